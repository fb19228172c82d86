"""Other programs: arguments as a list, secrets in the environment only."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

# libpq's own variables would redirect or re-configure a child behind our back
_INHERITED = ("PGPASSFILE", "PGSSLCERT", "PGSSLKEY")

PATIENCE = 5.0
"""Seconds that an interrupted program has to put its things in order."""


def clean_environ(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without libpq's variables, plus `extra`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG") or k in _INHERITED}
    return {**kept, **extra}


def forget_libpq() -> None:
    """Drop libpq's variables here too: a PGSSLMODE or PGSERVICE meant for psql is none of ours."""
    for name in set(os.environ) - set(clean_environ({})):
        del os.environ[name]


def export(name: str, value: str) -> None:
    """Set a variable of this process, for a library that looks there."""
    os.environ[name] = value


def replace(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Become another program: it owns the terminal, signals and exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(argv[0], list(argv), clean_environ(env))


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: IO[bytes] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run another program to its end and return what it printed."""
    with subprocess.Popen(
        list(argv),
        env=clean_environ(env),
        stdin=stdin if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as child:
        try:
            out, err = child.communicate(timeout=timeout)
        except BaseException as stopped:
            if isinstance(stopped, KeyboardInterrupt):
                # A signal to us alone has not reached it; psql ends its query on the server by this one
                child.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.communicate(timeout=PATIENCE)
            child.kill()
            raise
    return subprocess.CompletedProcess(list(argv), child.returncode, out, err)
