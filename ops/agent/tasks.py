"""What a task says with --json, in a process of its own: an assistant gets what people get, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from config.settings import Settings
from ops import process
from ops.agent import asking
from ops.console import redact
from ops.errors import Problem
from ops.targets import opening

LONGEST = 600.0
"""Seconds that a task may take: a rehearsal builds a database."""
MAKES = frozenset({"db.rehearse"})
"""Those that make something, on a server of this machine: not for production."""
ANSWERS = frozenset({0, 4})
"""Exit codes with an answer: done, and looked and found a difference."""


def run(settings: Settings, name: str, task: str) -> Any:
    """Return the JSON of a task on a target; raises `Problem` with the line that it would have ended with."""
    with opening.open_target(settings, name, "agent", announced=False, login="reader") as at:
        at.required()
        asking.require_reader(at)
        if at.prod and task in MAKES:
            raise Problem(f"{at.name} is production: a person runs inv {task} -t {name}")
        env = as_reader(at.target) if at.prod else {}
    argv = [sys.executable, "-m", "invoke", task, "-t", name, "--json"]
    try:
        # It is ours, and reads the same variables as this one
        done = process.run(argv, {**process.environ(), **env}, cwd=settings.root, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        raise Problem(f"inv {task} took longer than {LONGEST:.0f} s and was ended") from None
    if done.returncode in ANSWERS and done.stdout.strip():
        return json.loads(done.stdout)
    lines = done.stderr.strip().splitlines() or [f"inv {task} ended with {done.returncode}"]
    raise Problem(redact(lines[-1]))


def as_reader(reader: Any) -> dict[str, str]:
    """Return the variable by which a task of its own process logs in as the reader; raises `Problem` where that wants a token."""
    if reader.token:
        raise Problem("the reader logs in by a token, which a task of its own cannot be given: a person runs it")
    return {reader.declared.names.url: reader.url(show_password=True)}
