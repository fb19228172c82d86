"""Scripts that only psql understands, given to it, and its errors read back."""

from __future__ import annotations

import re
import tempfile
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ops import postgres, process
from ops.console import say
from ops.db import binaries, faults
from ops.db.place import Place
from ops.db.script import Script
from ops.errors import Problem

if TYPE_CHECKING:
    from ops.db.load import Plan


def run(place: Place, dbname: str, plan: Plan, after: str) -> None:
    """Give a script to psql: one transaction, stop on the first error."""
    found = binaries.psql()
    assert found is not None  # check_client has seen it
    argv = [found[0], "-X", "-q", "--single-transaction", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
    for name, value in plan.variables.items():
        argv += ["-v", f"{name}={value}"]
    with tempfile.TemporaryFile() as stdin:
        if plan.script.path and not plan.own_transaction:
            argv += ["-f", str(plan.script.path)]
        else:
            stdin.write(plan.text)
            stdin.seek(0)
            argv += ["-f", "-"]
        if after:
            argv += ["-c", after]
        env = postgres.environment(place.target.on(dbname=dbname), task=place.task)
        env |= {"PGCLIENTENCODING": "UTF8", "LC_ALL": "C"}
        done = process.run(argv, env, stdin=stdin)
    if done.stdout.strip():
        say(done.stdout.rstrip())
    if done.returncode != 0:
        raise failure(plan.script, done.stderr)
    for line in done.stderr.splitlines():
        if "NOTICE" in line and not line.endswith("skipping"):
            say(line)


def failure(script: Script, stderr: str) -> Problem:
    """Read psql's account of an error into file, line, caret and advice.

    psql counts the line where a statement ends, and shows the line within it
    under LINE n: that text is looked for above.
    """
    found = re.search(
        r"^psql:(?P<file>[^\n]*?):(?P<line>\d+): (?P<severity>[A-Z]+): +(?:(?P<state>\w{5}): )?(?P<message>.*)$",
        stderr,
        re.MULTILINE,
    )
    if not found:
        fault = re.search(r"^psql:(?P<file>[^\n]*?):(?P<line>\d+): (error: )?(?P<message>.*)$", stderr, re.MULTILINE)
        if fault:
            name = script.name if fault["file"] in ("<stdin>", str(script.path)) else fault["file"]
            return Problem(f"{name}:{fault['line']}: {fault['message']}")
        return Problem(f"{script.name}: psql: {' '.join(stderr.split()) or 'failed without a word'}")
    rest = stderr[found.end() :]

    diag = SimpleNamespace(
        message_primary=found["message"],
        sqlstate=found["state"] or "",
        message_detail=field(rest, "DETAIL"),
        message_hint=field(rest, "HINT"),
        context=field(rest, "CONTEXT"),
        table_name=field(rest, "TABLE NAME"),
        column_name=field(rest, "COLUMN NAME"),
    )
    if found["file"] not in ("<stdin>", str(script.path)):  # a file that was included
        state = f" ({diag.sqlstate})" if diag.sqlstate else ""
        lines = [f"  {line}" for line in rest.strip().splitlines() if not line.startswith("LOCATION")]
        return Problem(f"{found['file']}:{found['line']}: {diag.message_primary}{state}", *lines)
    ends = [0, *(m.end() for m in re.finditer(rb"\n", script.data))]
    last = min(int(found["line"]), len(ends)) - 1
    begins = max(
        (
            s
            for s in script.contents.statements
            if s < (ends[last + 1] if last + 1 < len(ends) else len(script.data) + 1)
        ),
        default=0,
    )
    offset = begins
    if shown := re.search(r"^LINE (\d+): (.*)\n( *)\^", rest, re.MULTILINE):
        column = len(shown[3]) - len(f"LINE {shown[1]}: ")
        text = shown[2].removesuffix("...")
        lead = 3 if text.startswith("...") else 0
        at = script.data.find(text[lead:].encode(), begins)
        if at >= 0:
            offset = at + len(text[lead:column].encode())
    if copied := re.search(r"COPY \w+, line (\d+)", diag.context or ""):
        for copy in script.contents.copies:
            if copy.start == begins:
                data = script.data.find(b"\n", copy.end) + 1
                offset = data
                for _ in range(int(copied[1]) - 1):
                    offset = script.data.find(b"\n", offset) + 1
    statement = script.data[begins : begins + 4000].decode(errors="replace")
    return faults.pointed(script, offset, diag, statement)


def field(text: str, name: str) -> str | None:
    """Return one of the fields that psql prints with an error."""
    found = re.search(rf"^{name}:\s+(.*)$", text, re.MULTILINE)
    return found[1] if found else None
