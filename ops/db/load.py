"""Load SQL files: whole, in one transaction, with a pointer to what is wrong."""

from __future__ import annotations

import re
import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.console import say
from ops.db import binaries, explain
from ops.db.place import Place
from ops.db.script import Found, Script, missing_variables, needs_psql
from ops.errors import Misconfigured, Problem

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

# First words of statements that Postgres refuses inside a transaction
_ALONE = re.compile(
    r"VACUUM|ALTER SYSTEM|(CREATE|DROP) (DATABASE|TABLESPACE)|REINDEX (DATABASE|SYSTEM)"
    r"|(CREATE( UNIQUE)?|DROP) INDEX CONCURRENTLY|REINDEX .*CONCURRENTLY|CREATE SUBSCRIPTION"
    r"|CLUSTER$|PREPARE TRANSACTION|(COMMIT|ROLLBACK) PREPARED"
)
_OPENS = re.compile(r"(BEGIN|START TRANSACTION)\b")
_CLOSES = re.compile(r"(COMMIT|END)\b")
_UNDOES = re.compile(r"(ROLLBACK|ABORT)\b(?! (WORK |TRANSACTION )?TO\b)")
_NAMES_DATABASE = re.compile(r"(?:ALTER|COMMENT ON|DROP) DATABASE (?:IF EXISTS )?(\S+)|(?:GRANT|REVOKE) .* ON DATABASE (.+)")
_EXTENSION = re.compile(r"CREATE EXTENSION (?:IF NOT EXISTS )?(\S+)")


@dataclass(frozen=True)
class Plan:
    """A script, checked and ready to be sent."""

    script: Script
    variables: Mapping[str, str]
    by_psql: Found | None
    """What in it only psql understands; None: it goes as one query."""
    own_transaction: list[Found]
    """Its own BEGIN and COMMIT, which are blanked out: one transaction holds it all."""
    extensions: list[Found]

    @property
    def text(self) -> bytes:
        """The script with its own BEGIN and COMMIT replaced by spaces, so that positions stay."""
        text = self.script.data
        for found in self.own_transaction:
            text = text[: found.start] + b" " * (found.end - found.start) + text[found.end :]
        return text


def plan(script: Script, variables: Mapping[str, str], *, rebuilds: str = "") -> Plan:
    """Check a script before anything is changed.

    `rebuilds` is the name of the database that the script is loaded beside of:
    a script that names it would reach the live one. Raises `Misconfigured`.
    """
    for use in missing_variables(script, variables):
        raise Misconfigured(f"{script.at(use.start)}: the variable {use.text} is not given: add --var {use.text}=…")
    own, extensions = [], []
    for found in script.contents.remarkable:
        at, words = script.at(found.start), found.text
        if _ALONE.match(words):
            advice = "leave CONCURRENTLY out" if "CONCURRENTLY" in words else "run it by inv db.connect --write"
            raise Misconfigured(f"{at}: {short(words)} cannot run in one transaction with the rest: {advice}")
        if _UNDOES.match(words):
            raise Misconfigured(f"{at}: {short(words)} would undo what the file loads: remove it")
        if rebuilds and (named := _NAMES_DATABASE.match(words)):
            names = [name.strip().strip('"') for name in (named[1] or named[2]).split(",")]
            if rebuilds.lower() in (name.partition(" ")[0].lower() for name in names):
                raise Misconfigured(
                    f"{at}: names the database {rebuilds} itself, and would change the live one "
                    "while the new one is built: remove it (settings and grants are carried over)"
                )
        if _OPENS.match(words) or _CLOSES.match(words):
            own.append(found)
        if extension := _EXTENSION.match(words):
            name = extension[1].strip('"') if extension[1].startswith('"') else extension[1].lower()
            extensions.append(Found(found.start, found.end, name))
    for found in script.contents.commands:
        if re.match(r"\\(c|connect)\b", found.text):
            raise Misconfigured(
                f"{script.at(found.start)}: {found.text.split()[0]} would leave the target's database: remove it"
            )
    if script.data.startswith(b"#!"):
        raise Misconfigured(f"{script.at(0)}: a #! line is not SQL: remove it")
    return Plan(script, variables, needs_psql(script, variables), own, extensions)


def short(words: str) -> str:
    """Return the words that name a statement."""
    return " ".join(words.split()[:3])


def check_extensions(place: Place, plans: Sequence[Plan]) -> None:
    """Name an extension that the server cannot give, before anything is changed."""
    wanted = [(p.script, found) for p in plans for found in p.extensions]
    if not wanted:
        return
    rows = postgres.fetch(
        place.conn, "select name from pg_available_extensions where name = any(%s)", [f.text for _, f in wanted]
    )
    have = {row["name"] for row in rows}
    for script, found in wanted:
        if found.text not in have:
            raise Problem(f"{script.at(found.start)}: the server has no extension {found.text}: {explain.extension(found.text)}")


def check_client(place: Place, plans: Sequence[Plan]) -> None:
    """See that a psql can do what a script needs, before anything is changed."""
    for p in plans:
        if not p.by_psql:
            continue
        line, what = p.script.at(p.by_psql.start), describe(p.by_psql)
        if p.own_transaction and any(re.match(r"\\i", c.text) for c in p.script.contents.commands):
            at = p.script.at(p.own_transaction[0].start)
            raise Misconfigured(
                f"{at}: a file that includes others cannot have its own transaction here: "
                "remove it, the whole load is one transaction"
            )
        psql = binaries.psql()
        if psql is None:
            raise Problem(f"{line}: {what} needs psql: install the package postgresql-client")
        if not psql[1] and place.conn.pgconn.ssl_in_use:
            raise Problem(
                f"{line}: {what} needs psql, and the one of the embedded server has no TLS, "
                f"which {place.target.host} uses: install the package postgresql-client"
            )


def describe(found: Found) -> str:
    """Return what it is in a script that needs psql."""
    if found.text.startswith("\\"):
        return found.text.split()[0]
    return "COPY … FROM stdin" if found.text.startswith("COPY") else f"the variable {found.text}"


def run(place: Place, conn: Connection[DictRow], plan: Plan, *, after: str = "") -> None:
    """Load a script into the database of `conn`; all of it or nothing.

    `after` is SQL that belongs to the same transaction. A script that needs
    psql goes there, with its own connection to the same database.
    """
    if plan.by_psql:
        by_psql(place, conn.info.dbname, plan, after)
        return
    conn.add_notice_handler(tell)
    try:
        with conn.transaction():
            execute(conn, plan)
            if after:
                conn.execute(after)  # type: ignore[arg-type]
    finally:
        conn.remove_notice_handler(tell)


def execute(conn: Connection[DictRow], plan: Plan) -> None:
    """Send a script as one query, and say where it fails.

    Results are taken one by one and dropped: a failure without a position
    (a constraint) is then known by its statement.
    """
    from psycopg import errors, pq

    pgconn = conn.pgconn
    text = plan.text
    if not plan.script.contents.statements:
        return
    pgconn.send_query(text)
    done = 0
    try:
        while pgconn.flush():
            select.select([pgconn.socket], [pgconn.socket], [])
            pgconn.consume_input()
        while True:
            while pgconn.is_busy():
                select.select([pgconn.socket], [], [])
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                return
            if result.status == pq.ExecStatus.FATAL_ERROR:
                error = errors.error_from_result(result, encoding="utf-8")
                while pgconn.get_result() is not None:
                    pass
                raise failure(plan, error, done)
            done += 1
    except KeyboardInterrupt:
        conn.cancel_safe()
        while pgconn.get_result() is not None:
            pass
        raise
    except OSError as error:
        raise Problem(f"the connection broke while {plan.script.name} was loading: nothing of it was kept") from error


def failure(plan: Plan, error: Any, done: int) -> Problem:
    """Return file, line, caret and advice for a failed script.

    `done` is the number of statements that had succeeded.
    """
    script, diag = plan.script, error.diag
    starts = [s for s in script.contents.statements if not any(t.start == s for t in plan.own_transaction)]
    if diag.statement_position:
        offset = script.offset(int(diag.statement_position))
    elif done < len(starts):
        offset = starts[done]
    else:
        offset = -1
    statement = ""
    if starts and done < len(starts):
        end = starts[done + 1] if done + 1 < len(starts) else len(script.data)
        statement = script.data[starts[done] : min(end, starts[done] + 4000)].decode(errors="replace")
    return pointed(script, offset, diag, statement)


def pointed(script: Script, offset: int, diag: Any, statement: str) -> Problem:
    """Return the error of a script with its line and a caret under the place."""
    message = diag.message_primary or "failed"
    code = f" ({diag.sqlstate})" if diag.sqlstate else ""
    lines = []
    if offset >= 0:
        lines = excerpt(script, offset)
    for label, text in (("detail", diag.message_detail), ("hint", diag.message_hint), ("where", diag.context)):
        if text:
            lines.append(f"  {label}: {text.splitlines()[0]}")
    if advice := explain.failure(diag, statement):
        lines.append(f"  advice: {advice}")
    at = script.at(offset) if offset >= 0 else script.name
    return Problem(f"{at}: {message}{code}", *lines)


def excerpt(script: Script, offset: int, width: int = 100) -> list[str]:
    """Return the line of a place and a caret under it, cut to what fits a terminal."""
    start = script.data.rfind(b"\n", 0, offset) + 1
    newline = script.data.find(b"\n", offset)
    line = script.data[start : newline if newline >= 0 else len(script.data)].decode(errors="replace")
    column = len(script.data[start:offset].decode(errors="replace"))
    line = "".join(" " if c in "\t\r" else c for c in line)
    cut = max(0, min(column - width // 2, len(line) - width))
    return [f"  {line[cut : cut + width].rstrip()}", f"  {' ' * (column - cut)}^"]


def by_psql(place: Place, dbname: str, plan: Plan, after: str) -> None:
    """Give a script to psql: one transaction, stop on the first error."""
    import tempfile

    from ops import process

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
        raise psql_failure(plan.script, done.stderr)
    for line in done.stderr.splitlines():
        if "NOTICE" in line and not line.endswith("skipping"):
            say(line)


def psql_failure(script: Script, stderr: str) -> Problem:
    """Read psql's account of an error into file, line, caret and advice.

    psql counts the line where a statement ends, and shows the line within it
    under LINE n: that text is looked for above.
    """
    found = re.search(r"^psql:(?P<file>[^\n]*?):(?P<line>\d+): (?P<severity>[A-Z]+): +(?:(?P<state>\w{5}): )?(?P<message>.*)$", stderr, re.MULTILINE)
    if not found:
        fault = re.search(r"^psql:(?P<file>[^\n]*?):(?P<line>\d+): (error: )?(?P<message>.*)$", stderr, re.MULTILINE)
        if fault:
            name = script.name if fault["file"] in ("<stdin>", str(script.path)) else fault["file"]
            return Problem(f"{name}:{fault['line']}: {fault['message']}")
        return Problem(f"{script.name}: psql: {' '.join(stderr.split()) or 'failed without a word'}")
    rest = stderr[found.end() :]

    class Diag:
        message_primary = found["message"]
        sqlstate = found["state"] or ""
        message_detail = field(rest, "DETAIL")
        message_hint = field(rest, "HINT")
        context = field(rest, "CONTEXT")
        table_name = field(rest, "TABLE NAME")
        column_name = field(rest, "COLUMN NAME")
        constraint_name = field(rest, "CONSTRAINT NAME")

    if found["file"] not in ("<stdin>", str(script.path)):  # a file that was included
        state = f" ({Diag.sqlstate})" if Diag.sqlstate else ""
        lines = [f"  {line}" for line in rest.strip().splitlines() if not line.startswith("LOCATION")]
        return Problem(f"{found['file']}:{found['line']}: {Diag.message_primary}{state}", *lines)
    ends = [0, *(m.end() for m in re.finditer(rb"\n", script.data))]
    last = min(int(found["line"]), len(ends)) - 1
    begins = max((s for s in script.contents.statements if s < (ends[last + 1] if last + 1 < len(ends) else len(script.data) + 1)), default=0)
    offset = begins
    shown = re.search(r"^LINE (\d+): (.*)\n( *)\^", rest, re.MULTILINE)
    if shown:
        column = len(shown[3]) - len(f"LINE {shown[1]}: ")
        text = shown[2].removesuffix("...")
        lead = 3 if text.startswith("...") else 0
        at = script.data.find(text[lead:].encode(), begins)
        if at >= 0:
            offset = at + len(text[lead:column].encode())
    copied = re.search(r"COPY \w+, line (\d+)", Diag.context or "")
    if copied:
        for copy in script.contents.copies:
            if copy.start == begins:
                data = script.data.find(b"\n", copy.end) + 1
                offset = data
                for _ in range(int(copied[1]) - 1):
                    offset = script.data.find(b"\n", offset) + 1
    statement = script.data[begins : begins + 4000].decode(errors="replace")
    return pointed(script, offset, Diag, statement)


def field(text: str, name: str) -> str | None:
    """Return one of the fields that psql prints with an error."""
    found = re.search(rf"^{name}:\s+(.*)$", text, re.MULTILINE)
    return found[1] if found else None


def tell(diag: Any) -> None:
    """Pass the server's notices on, save those about nothing having been there."""
    text = diag.message_primary or ""
    if not text.endswith("skipping"):
        say(f"{diag.severity or 'NOTICE'}: {text}")
