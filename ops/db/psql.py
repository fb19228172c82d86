"""Scripts that only psql understands, given to it, and its errors read back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ops import postgres, process, silence
from ops.console import harmless, say
from ops.db import binaries, faults
from ops.db.place import Place
from ops.db.script import Script
from ops.db.text import line_end
from ops.errors import Problem, Silent

if TYPE_CHECKING:
    from ops.db.load import Plan

# An account begins with "psql:FILE:LINE: SEVERITY:  STATE: message"; the
# severity may be in the server's language, the state tells notices from errors
_ACCOUNT = re.compile(
    r"^psql:(?P<file>[^\n]*?):(?P<line>\d+): (?P<severity>[^\n:]+): +(?P<state>\w{5}): ", re.MULTILINE
)
# What psql says of our own last statement has no file; these states mean that our savepoint is gone
_CROSSED = re.compile(r"^(?:psql: )?[^\n:]+: +(?:3B001|25P01): ", re.MULTILINE)
_PLAINLY = re.compile(r"^psql:(?P<file>[^\n]*?):(?P<line>\d+): (?:error: )?(?P<message>.*)$", re.MULTILINE)
_LABEL = re.compile(r"^(LINE \d+|DETAIL|HINT|QUERY|CONTEXT|[A-Z]+ NAME|LOCATION): ", re.MULTILINE)
_LOST = 2  # psql's exit code for a connection that broke, or never was


def program(*, tls: bool) -> str | None:
    """Return the psql to use.

    The embedded server's comes first, because an old one fails on newer dumps
    and servers (\\restrict, COPY in CSV); but it has no TLS.
    """
    folder = binaries.wheel_bin()
    if folder and not tls and (folder / "psql").exists():
        return str(folder / "psql")
    return shutil.which("psql")


def run(place: Place, dbname: str, plan: Plan, feed: Iterable[bytes] | None, before: str, after: str) -> None:
    """Give a script to psql: one transaction, stop on the first error.

    `feed` is the text to send; None: psql opens the file. `before` and `after` are SQL for start and end.
    """
    client = program(tls=bool(place.conn.pgconn.ssl_in_use))
    assert client is not None  # check_client has seen it
    argv = [client, "-X", "-q", "-b", "--single-transaction"]
    for name, value in plan.variables.items():
        argv += ["-v", f"{name}={value}"]
    argv += ["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
    if feed is None:
        for member in plan.script.members:
            member.check_path()
    argv += ["-c", before, "-f", str(plan.script.path) if feed is None else "-"]
    # Also tells a transaction that failed while the file had ON_ERROR_STOP off
    argv += ["-c", after]
    env = postgres.environment(place.target.on(dbname=dbname), task=place.task, untimed=True)
    env.setdefault("PGHOST", place.conn.info.host)  # each libpq has a socket folder of its own
    env |= {"PGCLIENTENCODING": "UTF8", "LC_ALL": "C"}
    conn: Any = place.conn
    try:
        watch = partial(silence.watching_child, conn.what, conn.others, quiet=silence.PROGRESS)
        done = process.run(argv, env, feed=feed, watch=watch)
    except Silent as error:
        raise faults.disconnected(plan.script, str(error)) from None
    if done.stdout.strip():
        say(done.stdout.rstrip())
    if done.returncode == _LOST:
        raise faults.disconnected(plan.script, done.stderr)
    if done.returncode != 0 and _CROSSED.search(done.stderr):
        account = _ACCOUNT.search(done.stderr)
        raise faults.ended_inside(plan.script, dbname, str(failure(plan.script, done.stderr)) if account else "")
    if done.returncode != 0:
        raise failure(plan.script, done.stderr)
    for account in _ACCOUNT.finditer(done.stderr):
        message = done.stderr[account.end() :].partition("\n")[0]
        if not message.endswith("skipping"):
            say(f"{account['severity']}: {message}")


def running(place: Place, dbname: str, _: int) -> str:
    """Name the statement that psql has the server run, as the server knows it."""
    try:
        rows = postgres.fetch(
            place.conn,
            "select query from pg_stat_activity where datname = %s and application_name = %s and state = 'active'"
            " and pid <> pg_backend_pid() order by query_start desc limit 1",
            dbname,
            postgres.application(place.task),
        )
    except Exception:  # an ornament of a bar ends no load
        return ""
    return words(rows[0]["query"]) if rows else ""


def words(statement: str) -> str:
    """Return how a statement begins, up to the first value in it."""
    return re.split(r"['$\"(;]", harmless(" ".join(statement.split())))[0][:60].strip()


def failure(script: Script, stderr: str) -> Problem:
    """Read psql's account of an error into file, line, caret and advice."""
    found = next((a for a in _ACCOUNT.finditer(stderr) if not a["state"].startswith(("00", "01"))), None)
    plainly = found or _PLAINLY.search(stderr)
    if not plainly:
        return Problem(f"{script.name}: psql: {' '.join(stderr.split()) or 'failed without a word'}")
    inside = named(script, plainly["file"])
    if not found:
        name = inside.name if inside else plainly["file"]
        return Problem(f"{name}:{plainly['line']}: {plainly['message']}")
    account, _, sent = stderr[found.end() :].partition(f"psql:{found['file']}:{found['line']}: STATEMENT:  ")
    message, *rest = _LABEL.split(account)
    fields = dict(zip(rest[::2], rest[1::2], strict=True))
    diag = SimpleNamespace(
        message_primary=" ".join(message.split()),
        sqlstate=found["state"],
        message_detail=fields.get("DETAIL", "").strip(),
        message_hint=fields.get("HINT", "").strip(),
        context=fields.get("CONTEXT", "").strip(),
        table_name=fields.get("TABLE NAME", "").strip(),
        column_name=fields.get("COLUMN NAME", "").strip(),
    )
    if inside is None:
        lines = faults.notes(diag, sent)
        return Problem(f"{found['file']}:{found['line']}: {diag.message_primary} ({diag.sqlstate})", *lines)
    begins = beginning(inside, int(found["line"]), sent)
    offset = pointer(inside, begins, sent, fields)
    offset = faults.in_copy(inside, begins, diag.context) or offset
    statement = inside.data[begins : begins + 4000].decode(errors="replace")
    return faults.pointed(inside, offset, diag, statement)


def named(script: Script, file: str) -> Script | None:
    """Return which of the files it was, by the name that psql has for it."""
    if file == "<stdin>":
        return script
    path = Path(file).resolve()
    return next((m for m in script.members if m.path and m.path.resolve() == path), None)


def beginning(script: Script, line: int, sent: str) -> int:
    """Return where the statement begins that psql sent when it had read up to a line.

    Several may stand on that line: the text that psql sent tells which.
    """
    end = line_end(script.data, line)
    begun = [start for start in script.contents.statements if start <= end]
    text = sent[:200].rstrip().encode()
    same = [start for start in begun[-100:] if script.data.startswith(text, start)]
    return (same or begun or [0])[-1]


def pointer(script: Script, begins: int, sent: str, fields: dict[str, str]) -> int:
    """Return the offset at which psql's caret points, or the statement's.

    psql leaves out empty lines, so its line is looked for by what is in it.
    """
    label = next((name for name in fields if name.startswith("LINE ")), None)
    if label is None or "QUERY" in fields:  # the line of a function's query is not in the file
        return begins
    rows, number = sent.split("\n"), int(label.removeprefix("LINE "))
    if number > len(rows):
        return begins
    row, line = rows[number - 1], begins
    if number > 1:
        for _ in range(rows[1:number].count(row)):
            line = script.data.find(f"\n{row}".encode(), line) + 1
            if line == 0:  # a variable stood in this line
                return begins
    shown, _, caret = fields[label].partition("\n")
    before = caret.index("^") - len(f"{label}: ") if "^" in caret else 0
    text = shown.removesuffix("...")
    if text.startswith("..."):
        text, before = text[3:], before - 3
    at = max(0, faults.plain(row).find(faults.plain(text)))
    length = next((n for n in range(len(text)) if faults.columns(text[:n]) >= before), len(text))
    found = line + len(row[: at + length].encode())
    return found if script.data.startswith(row[: at + length].encode(), line) else begins
