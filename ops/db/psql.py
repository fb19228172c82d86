"""Scripts that only psql understands, given to it, and its errors read back."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ops import postgres, postgres_errors, process, row_values, silence
from ops.console import harmless, say
from ops.db.copies import relay
from ops.db.copies.programs import Programs
from ops.db.sql_file import diagnostics
from ops.db.sql_file.script import Script
from ops.db.sql_file.text import line_end
from ops.errors import Problem, Silent
from ops.targets import outcome
from ops.targets.embedded import binaries
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.db.load import Plan

# An account begins with "psql:FILE:LINE: SEVERITY:  STATE: message", what is ours with SEVERITY; that may be in the
# server's language, and a notice may have any state. What the error is stands last, before the statement that it ended.
_LABELS = r"LINE \d+|DETAIL|HINT|QUERY|CONTEXT|[A-Z]+ NAME|LOCATION"
_ACCOUNT = re.compile(
    r"^(?:psql:(?P<file>[^\n]*?):(?P<line>\d+): )?"
    rf"(?!(?:{_LABELS}|STATEMENT): )(?P<severity>[^\n:]+):  (?P<state>[0-9A-Z]{{5}}): ",
    re.MULTILINE,
)
_STATEMENT = re.compile(r"^(?:psql:[^\n]*?:\d+: )?STATEMENT:  ", re.MULTILINE)
# What psql says of our own last statement has no file; these states mean that our savepoint is gone
_CROSSED = re.compile(r"^(?:psql: )?[^\n:]+: +(?:3B001|25P01): ", re.MULTILINE)
_PLAINLY = re.compile(r"^psql:(?P<file>[^\n]*?):(?P<line>\d+): (?:error: )?(?P<message>.*)$", re.MULTILINE)
_LOCATION = re.compile(r"^LOCATION: +(\w+),", re.MULTILINE)
_LABEL = re.compile(rf"^({_LABELS}): ", re.MULTILINE)
# What psql says where it was not let in
_REFUSED = re.compile(r"^psql: error: connection to server (?:at|on) .*", re.MULTILINE | re.DOTALL)
TEXT = 1 << 20
"""How much of a script is looked at for what a notice comes from, in bytes."""
_LOST = 2  # psql's exit code for a connection that broke, or never was


def program() -> Programs | None:
    """Return where the psql to use is.

    The embedded server's comes first, because an old one fails on newer dumps and servers (\\restrict, COPY in CSV); TLS,
    which it has not, is made for it.
    """
    folder = binaries.wheel_bin()
    if folder and (folder / "psql").exists():
        return Programs(folder, 0, tls=False)
    found = shutil.which("psql")
    return Programs(Path(found).parent, 0, tls=True) if found else None


def load_by_psql(
    place: OpenTarget,
    conn: Connection[DictRow],
    plan: Plan,
    feed: Iterable[bytes] | None,
    mark: str,
    after: str,
    *,
    lasting: bool,
    options: str = "",
) -> None:
    """Give a script to psql for the database of `conn`: one transaction, stop on the first error.

    `feed` is the text to send; None: psql opens the file. `mark` names our savepoint at the start; `after` is SQL for
    the end, `lasting` and `options` as for `load.run`.
    """
    client = program()
    assert client is not None  # check_client has seen it
    argv = [client.psql, "-X", "-q", "-b", "--single-transaction"]
    for name, value in plan.variables.items():
        argv += ["-v", f"{name}={value}"]
    argv += ["-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]
    if feed is None:
        for member in plan.script.members:
            member.check_path()
    argv += ["-c", f"savepoint {mark}; select concat_ws(' ', pid, xid, database) as {mark} from {outcome.BEGUN}"]
    argv += ["-f", str(plan.script.path) if feed is None else "-"]
    # The SQL also tells a transaction that failed while the file had ON_ERROR_STOP off; what follows it is the COMMIT
    argv += ["-c", after, "-c", f"\\echo {mark}"]
    silent: list[Silent] = []
    session = (postgres.application(place.task), conn.info.dbname, place.work.pids)
    with relay.open_way(place, client, options=options) as env:
        env |= {"PGDATABASE": conn.info.dbname, "PGCLIENTENCODING": "UTF8"}
        done = process.run(argv, env, feed=feed, watch=partial(watched, place.conn, silent, session))
    begun, printed, closing = told_apart(done.stdout, mark)
    if printed.strip():
        say(printed.rstrip())
    if begun:
        pid, xid, place.work.built = int(begun[0]), begun[1], int(begun[2])
        place.work.pids.append(pid)
        if lasting:  # a psql that was killed has not told all
            place.work.load(pid, xid, closing=closing or bool(silent))
    elif lasting and silent:
        place.work.load(0, "", closing=True)
    if silent:
        raise diagnostics.disconnected(plan.script, None, str(silent[0]))
    if done.returncode == _LOST:
        raise lost(place, plan.script, done.stderr)
    if done.returncode != 0:
        error = failure(plan.script, done.stderr)
        if _CROSSED.search(done.stderr) or (begun and is_committed(conn, begun[1])):
            why = str(error) if any(account["file"] for account in _ACCOUNT.finditer(done.stderr)) else ""
            raise diagnostics.ended_inside(plan.script, conn.info.dbname, why, lasting=lasting)
        raise error
    for account in _ACCOUNT.finditer(done.stderr):
        message, _, rest = done.stderr[account.end() :].partition("\n")
        if account["file"] and not message.endswith("skipping"):
            by = _LOCATION.search(_ACCOUNT.split(rest, maxsplit=1)[0])
            diag = SimpleNamespace(
                message_primary=message, sqlstate=account["state"], source_function=by[1] if by else ""
            )
            say(f"{account['severity']}: {row_values.message(diag, plan.script.data[:TEXT].decode(errors='replace'))}")


@contextlib.contextmanager
def watched(
    conn: Any, silent: list[Silent], session: tuple[str, str, list[int]], child: subprocess.Popen[str]
) -> Iterator[None]:
    """Look after a psql; note that it was killed, since its server has fallen silent."""
    try:
        with silence.watching_child(conn.what, partial(conn.others, session), child, quiet=silence.PROGRESS):
            yield
    except Silent as error:
        silent.append(error)


def told_apart(stdout: str, mark: str) -> tuple[list[str], str, bool]:
    """Return what our statements printed at the start, what the file's did, and whether psql came to its end."""
    begun = re.match(rf"\s*{mark}\s*\n-+\n +(\d+) (\d+) (\d+)\n\(1 row\)\n\n", stdout)
    rest = stdout[begun.end() :] if begun else stdout
    printed = rest.removesuffix(f"{mark}\n")
    return list(begun.groups()) if begun else [], printed, printed != rest


def is_committed(conn: Connection[DictRow], xid: str) -> bool:
    """Whether a transaction was committed, as far as the server tells."""
    import psycopg

    try:
        return outcome.ended(conn, xid) == "committed"
    except psycopg.Error:
        return False


def lost(place: OpenTarget, script: Script, stderr: str) -> Problem:
    """Return what became of a psql whose connection broke, or never was."""
    if refused := _REFUSED.search(stderr):
        return postgres_errors.refusal(place.target, refused[0])
    for account in reversed(list(_ACCOUNT.finditer(stderr))):
        if (found := outcome.row(account["state"])) and found.breaks:
            return diagnostics.disconnected(script, account["state"], stderr[account.end() :].partition("\n")[0])
    return diagnostics.disconnected(script, None, stderr)


def running(place: OpenTarget, dbname: str, _: int) -> str:
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
    return re.split(r"['$\"(;]|\b[0-9]", harmless(" ".join(statement.split())))[0][:60].strip()


def failure(script: Script, stderr: str) -> Problem:
    """Read psql's account of an error into file, line, caret and advice."""
    before = _STATEMENT.split(stderr, maxsplit=1)[0]
    *_, found = None, *_ACCOUNT.finditer(before)
    *_, plainly = None, *_PLAINLY.finditer(before)
    if plainly and not (found and found.start() >= plainly.start()):  # psql's own, not the server's
        inside = named(script, plainly["file"])
        return Problem(f"{inside.name if inside else plainly['file']}:{plainly['line']}: {plainly['message']}")
    if not found:
        return Problem(f"{script.name}: psql: {' '.join(stderr.split()) or 'failed without a word'}")
    account, sent = [*_STATEMENT.split(stderr[found.end() :], maxsplit=1), ""][:2]
    message, *rest = _LABEL.split(account)
    fields = dict(zip(rest[::2], rest[1::2], strict=True))
    diag = SimpleNamespace(
        message_primary=" ".join(message.split()),
        sqlstate=found["state"],
        message_detail=fields.get("DETAIL", "").strip(),
        message_hint=fields.get("HINT", "").strip(),
        context=fields.get("CONTEXT", "").strip(),
        schema_name=fields.get("SCHEMA NAME", "").strip(),
        constraint_name=fields.get("CONSTRAINT NAME", "").strip(),
        internal_query=fields.get("QUERY", "").strip(),
        table_name=fields.get("TABLE NAME", "").strip(),
        column_name=fields.get("COLUMN NAME", "").strip(),
        source_function=fields.get("LOCATION", "").partition(",")[0].strip(),
    )
    if found["file"] is None:  # at the end of the load
        return diagnostics.pointed(script, -1, diag, "")
    inside = named(script, found["file"])
    if inside is None:
        lines = diagnostics.notes(diag, sent)
        return Problem(f"{found['file']}:{found['line']}: {row_values.message(diag, sent)} ({diag.sqlstate})", *lines)
    begins = beginning(inside, int(found["line"]), sent)
    offset = pointer(inside, begins, sent, fields)
    offset = diagnostics.in_copy(inside, begins, diag.context) or offset
    statement = inside.data[begins : begins + 4000].decode(errors="replace")
    return diagnostics.pointed(inside, offset, diag, statement)


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
    at = max(0, diagnostics.plain(row).find(diagnostics.plain(text)))
    length = next((n for n in range(len(text)) if diagnostics.columns(text[:n]) >= before), len(text))
    found = line + len(row[: at + length].encode())
    return found if script.data.startswith(row[: at + length].encode(), line) else begins
