"""A cold sign-up under Lambda's share of a processor: by the memory that the function is given.

Lambda gives a function processor time in proportion to its memory, a whole virtual one at 1,769 MB (AWS Lambda Developer Guide,
"Configure Lambda function memory"). Linux's cgroups hold a process to such a share. While a sandbox starts Lambda lends more, which
is nowhere promised: here it does not.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.measure import Call, Comparison, Told, Unavailable
from bench.place import Bench
from bench.signup import STORED
from config.settings import load
from ops.errors import Problem
from ops.lambdas import local
from ops.lambdas.local import Parts
from ops.lambdas.package import bytecode
from ops.lambdas.runtime_api import Sandbox

WHOLE_MB = 1769
"""Memory with which a function has one virtual processor."""
SIZES = (256, 512, 1024)
WITHIN = 2.5
"""Seconds that a cold sign-up may take: half of what Cognito waits."""
BEFORE_PYTHON = 0.3
"""Seconds of them that AWS takes before Python starts, about; that part is not had here."""
BOUND = f"{WITHIN:g} s, half of what Cognito waits"
PERIOD = 20_000
"""Microseconds over which a share is counted."""
PATIENCE = 30.0
"""Seconds that a sign-up is waited for here."""
BY_KIND, UNIFIED = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


def share(megabytes: int) -> float:
    """Return how much of a processor a function has."""
    return megabytes / WHOLE_MB


@contextlib.contextmanager
def hold(part: float) -> Iterator[Path]:
    """Yield the file by which a process joins a group that has no more of a processor; raises `Unavailable` where there are none."""
    unified = (UNIFIED / "cgroup.controllers").exists()
    group = (UNIFIED if unified else BY_KIND) / f"inv-bench-{uuid.uuid4().hex[:8]}"
    quota = max(1000, int(part * PERIOD))
    limits = (
        {"cpu.max": f"{quota} {PERIOD}"}
        if unified
        else {"cpu.cfs_period_us": f"{PERIOD}", "cpu.cfs_quota_us": f"{quota}"}
    )
    try:
        try:
            if unified:
                (UNIFIED / "cgroup.subtree_control").write_text("+cpu", encoding="ascii")
            group.mkdir()
            for name, limit in limits.items():
                (group / name).write_text(limit, encoding="ascii")
        except OSError as error:
            raise Unavailable(
                f"no share of a processor can be set here ({error.strerror}): be root on Linux"
            ) from error
        yield group / "cgroup.procs"  # outside of that: what fails while the share is held is no lack of a share
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def starter(folder: Path, joins: Path, interpreter: Path) -> Path:
    """Make the program by which an interpreter starts in a group; it does not start where it cannot join."""
    program = folder / "python"
    enter, run = (shlex.quote(str(path)) for path in (joins, interpreter))
    program.write_text(f'#!/bin/sh\necho $$ > {enter} || exit 1\nexec {run} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


class Cold:
    """A sign-up in a sandbox that is started for it, in a group."""

    def __init__(self, at: Bench, parts: Parts, environment: Mapping[str, str], megabytes: int) -> None:
        joins = at.stack.enter_context(hold(share(megabytes)))
        folder = Path(tempfile.mkdtemp(prefix=f"{megabytes}-", dir=at.folder))
        program = starter(folder, joins, parts.interpreter)
        self.sandbox = Sandbox(replace(parts, interpreter=program), environment, PATIENCE)
        at.stack.callback(self.sandbox.close)

    def __call__(self) -> None:
        sub = str(uuid.uuid4())
        user = {"sub": sub, "name": "Andrew Brown", "email": f"{sub[:8]}@example.com", "preferred_username": sub[:18]}
        event: dict[str, Any] = {"triggerSource": "PostConfirmation_ConfirmSignUp", "userName": sub}
        answer = self.sandbox.invoke({**event, "request": {"userAttributes": user}})
        if not any('"outcome": "inserted"' in line for line in answer.logs):
            raise Problem("the sign-up left no row", *answer.logs)


def cold(at: Bench) -> Comparison:
    """The first sign-up of a sandbox, by either login: with the memory of the settings, and with other sizes."""
    settings = load(at.settings.config, os.environ, at.folder)
    mine = settings.lambdas.memory_mb
    way = at.ways
    parts = local.prepare(settings, settings.lambdas.python, settings.lambdas.architecture, rds=False)
    bytecode.compiled(parts.client, parts.interpreter)  # as AWS's own is

    def side(url: str, megabytes: int) -> Call:
        one = Cold(at, parts, {**way.aws, "CONNECTION_URL": url}, megabytes)
        return Call(one, before=one.sandbox.stop)

    beside: dict[str, Call | Told] = {STORED: side(way.stored, mine), BOUND: Told(lambda: WITHIN)}
    beside |= {f"{size} MB": side(way.token, size) for size in SIZES if size != mine}
    return Comparison(
        f"a cold sign-up with a token, {mine} MB",
        side(way.token, mine),
        beside,
        {BOUND: 1.0},
        note=f"Under Lambda's share of a processor ({WHOLE_MB} MB is a whole one), also while the sandbox starts, when Lambda lends more: "
        f"Python, AWS's runtime client, psycopg, TLS verified in full, the login, the row. The function needs nothing of AWS for either "
        "login: it signs the token itself, and a stored password stands in its environment.",
    )
