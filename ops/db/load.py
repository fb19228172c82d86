"""Load SQL files: whole, in one transaction, with a pointer to what is wrong."""

from __future__ import annotations

import re
import secrets
import select
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ops import postgres, row_values, silence
from ops.console import foreign, option, say, watched
from ops.db.sql_file import diagnostics, hints
from ops.db.sql_file.contents import Contents, CopyIn, Found
from ops.db.sql_file.metacommands import INCLUDES, SPECIAL, Follower, check_command, name_of
from ops.db.sql_file.script import Script, missing_variables, needs_psql
from ops.db.sql_file.text import blocks
from ops.errors import Misconfigured, Problem
from ops.meter import Meter, measured
from ops.targets import outcome
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGresult
    from psycopg.rows import DictRow

ALONE = re.compile(
    r"VACUUM|ALTER SYSTEM|DISCARD ALL|CLUSTER( VERBOSE)?$|PREPARE TRANSACTION|(COMMIT|ROLLBACK) PREPARED"
    r"|(CREATE|DROP) TABLESPACE|ALTER DATABASE .* SET TABLESPACE|CREATE SUBSCRIPTION"
    r"|REINDEX (\( [^)]*\) )?(SCHEMA|DATABASE|SYSTEM)|(CREATE( UNIQUE)?|DROP) INDEX CONCURRENTLY\b"
    r"|REINDEX .*(?<!\")\bCONCURRENTLY\b|ALTER TABLE .* DETACH PARTITION .*(?<!\")\bCONCURRENTLY\b"
)
"""First words of statements that Postgres refuses inside a transaction."""
_OF_DATABASE = re.compile("(CREATE|DROP) DATABASE")
_BEGINS = re.compile(r"(BEGIN|START TRANSACTION)\b")
_OPENS = re.compile(r"(BEGIN|(START|SET) TRANSACTION)\b")
_CLOSES = re.compile(r"(COMMIT|END)\b")
_GOES_ON = r"(COMMIT|END) .*(?<!NO )\bCHAIN$"
_UNDOES = re.compile(r"(ROLLBACK|ABORT)\b(?! (WORK |TRANSACTION )?TO\b)")
_NAME = r'"(?:[^"]|"")*"|[^\s"]+'
_NAMES_DATABASE = (
    rf"(?:(?:ALTER|COMMENT ON|DROP) DATABASE (?:IF EXISTS )?|ALTER (?:ROLE|USER) .*? IN DATABASE )({_NAME})"
    r"|(?:GRANT|REVOKE) .*? ON DATABASE (.+)"
)
EXTENSION = re.compile(rf"CREATE EXTENSION (?:IF NOT EXISTS )?({_NAME})")
# pg_dump 17 and newer write it; its 0 is what an older server does anyway
NEWER = r"SET TRANSACTION_TIMEOUT (=|TO) 0$"
# pg_dump writes that, too; how long a load waits for a lock is not the file's to say
ENDLESS = r"SET (LOCAL |SESSION )?LOCK_TIMEOUT (=|TO) (0|'0')$"
_QUICK = rb"(?i)\s*insert\s+into\s+[^;'(]+(\([^;')]*\))?\s*values\b"
_BLOCK = 1 << 20

RECORD = "schema_migrations"
"""The table in which a run may be recorded: what it refuses is no fault of the file's."""
RESET = "reset session authorization; reset role"
"""Makes us again who we are, whoever a file wanted to be."""


class Plan(NamedTuple):
    """A script, checked and ready to be sent."""

    script: Script
    variables: Mapping[str, str]
    by_psql: Found | None
    """What in it only psql understands; None: it is sent as it is."""
    own_transaction: list[Found]
    """Its own BEGIN and COMMIT: one transaction holds it all without them."""
    pointless: list[Found]
    """What the server need not see: pg_dump's \\restrict, where psql has no part in it."""
    newer: list[Found]
    """Settings that servers before 17 do not know, at their default."""
    extensions: list[tuple[Script, Found]]
    endless: Sequence[Found] = ()
    """Settings that would have it wait for locks without an end; none where psql has a part in it."""

    def blanks(self, server_version: int) -> list[Found]:
        """Return what is replaced by spaces, so that positions stay."""
        newer = self.newer if server_version < 170000 else []
        return sorted([*self.own_transaction, *self.pointless, *newer, *self.endless], key=lambda found: found.start)


class Own(NamedTuple):
    """A transaction that begins and ends with a load, in as few round trips as may be."""

    begin: str
    """BEGIN, and its settings."""
    asks: str
    """An expression of SQL that is asked at its end, and where that is so `first`, before the script is sent, too."""
    first: bool
    """Else a short script goes in one round trip with what begins it."""
    asked: Callable[[bool], None]
    """Is given the first answer."""
    ended: Callable[[bool], None]
    """Is given the last one, when all of it is kept."""


def pieces(script: Script, blanks: Sequence[Found], start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield a part of a script, as long as it was in lines and characters."""
    at, end = start, len(script.data) if end is None else end
    for found in blanks:
        if start <= found.start < end:
            yield from blocks(script.data, at, found.start)
            yield re.sub(r"[^\n]", " ", script.data[found.start : found.end].decode()).encode()
            at = found.end
    yield from blocks(script.data, at, end)


def plan(script: Script, variables: Mapping[str, str], *, rebuilds: str = "") -> Plan:
    """Check a script, and what it includes, before anything is changed.

    `rebuilds` is the name of the database that the script is loaded beside of:
    a script that names it would reach the live one. Raises `Misconfigured`.
    """
    own: list[Found] = []
    extensions = []
    for name in SPECIAL.keys() & variables.keys():
        raise Misconfigured(f"--var {name}: decides how the load ends, and is not to be changed: leave it out")
    for member in script.members:
        begun = False
        for use in missing_variables(member, variables):
            if member is script:
                advice = option("var", f"add --var {use.text}=…", f"write \\set {use.text} … above it")
                raise Misconfigured(f"{script.at(use.start)}: the variable {use.text} is not given: {advice}")
        if member.data.startswith(b"#!"):
            raise Misconfigured(f"{member.at(0)}: a #! line is not SQL: remove it")
        for found in member.contents.remarkable:
            refuse(member, found, rebuilds)
            if _OPENS.match(found.text) or _CLOSES.match(found.text):
                own.append(found)
                if _CLOSES.match(found.text) and not begun:
                    raise Misconfigured(
                        f"{member.at(found.start)}: {short(found.text)} without a BEGIN before it would end the load halfway: remove it"
                    )
                begun = bool(
                    _BEGINS.match(found.text)
                    or re.match(_GOES_ON, found.text)
                    or (begun and not _CLOSES.match(found.text))
                )
                if any(name_of(c.text) in INCLUDES for c in script.contents.commands):
                    raise Misconfigured(
                        f"{member.at(found.start)}: a file that includes others cannot have its own transaction here: "
                        "remove it, the whole load is one transaction"
                    )
            if extension := EXTENSION.match(found.text):
                name = extension[1].strip('"') if extension[1].startswith('"') else extension[1].lower()
                extensions.append((member, Found(found.start, found.end, name)))
        for found in member.contents.commands:
            check_command(member, found)
        for found in member.contents.copies:
            if isinstance(found, CopyIn) and not found.closed:
                raise Misconfigured(
                    f"{member.at(found.start)}: what follows a COPY FROM stdin on its line must end there: give it a line of its own"
                )

    def judge(member: Script, start: int, written: Contents, filled: Contents) -> None:
        if shape(written) != shape(filled):
            raise Misconfigured(f"{member.at(start)}: a variable brings a statement of its own here: write it out")
        for found in filled.remarkable:
            refuse(member, Found(start, start, found.text), rebuilds)

    Follower(variables, judge).follow(script, script.members)
    by_psql = needs_psql(script, variables)
    pointless = [] if by_psql else script.contents.commands
    sets = [found for found in script.contents.remarkable if found.text.startswith("SET ")]
    newer = [found for found in sets if re.match(NEWER, found.text)]
    endless = [] if by_psql else [found for found in sets if re.match(ENDLESS, found.text)]
    return Plan(script, variables, by_psql, own, pointless, newer, extensions, endless)


def shape(contents: Contents) -> tuple[object, ...]:
    """Return what a variable in a text must not change."""
    own = [each.text for each in contents.remarkable if _OPENS.match(each.text) or _CLOSES.match(each.text)]
    return len(contents.statements), len(contents.commands), len(contents.copies), own


def refuse(script: Script, found: Found, rebuilds: str) -> None:
    """Raise `Misconfigured` for a statement that cannot be part of a load."""
    at, words = script.at(found.start), found.text
    if made := _OF_DATABASE.match(words):
        raise Misconfigured(f"{at}: {made[0]} is what inv db.setup and db.create do: take out {tutorial(script)}")
    if ALONE.match(words):
        advice = "leave CONCURRENTLY out" if "CONCURRENTLY" in words else "run it by inv db.connect --write"
        raise Misconfigured(f"{at}: {short(words)} cannot run in one transaction with the rest: {advice}")
    if _UNDOES.match(words):
        raise Misconfigured(f"{at}: {short(words)} would undo what the file loads: remove it")
    if rebuilds and " DATABASE " in words and (named := re.match(_NAMES_DATABASE, words)):
        names = [name.strip('"').replace('""', '"').lower() for name in re.findall(_NAME, named[1] or named[2])]
        if rebuilds.lower() in names:
            raise Misconfigured(
                f"{at}: names the database {rebuilds} itself, and would change the live one "
                "while the new one is built: remove it (settings and grants are carried over)"
            )


def tutorial(script: Script) -> str:
    """Return which lines of a file make a database and go there: a tutorial begins so, and pg_dump --create does."""
    contents = script.contents
    starts = [each.start for each in contents.remarkable if _OF_DATABASE.match(each.text)]
    starts += [each.start for each in contents.commands if name_of(each.text) in ("c", "connect")]
    lines = [str(line) for line in sorted({script.place(start)[0] for start in starts})]
    return f"lines {', '.join(lines[:-1])} and {lines[-1]}" if len(lines) > 1 else "the line"


def short(words: str) -> str:
    """Return the words that name a statement."""
    named = re.match(r"\w+(?: \w+){0,2}", words)
    return named[0] if named else words


def check_extensions(place: OpenTarget, plans: Sequence[Plan]) -> None:
    """Name an extension that the server cannot give, before anything is changed."""
    wanted = [each for p in plans for each in p.extensions]
    if not wanted:
        return
    rows = postgres.fetch(
        place.conn, "select name from pg_available_extensions where name = any(%s)", [f.text for _, f in wanted]
    )
    have = {row["name"] for row in rows}
    for script, found in wanted:
        if found.text not in have:
            raise Problem(
                f"{script.at(found.start)}: the server has no extension {found.text}: {hints.extension(found.text)}"
            )


def check_client(plans: Sequence[Plan]) -> None:
    """See that there is a psql for what a script needs, before anything is changed."""
    for p in plans:
        if not p.by_psql:
            continue
        from ops.db import psql

        line, what = p.script.at(p.by_psql.start), describe(p.by_psql)
        if not psql.program():
            raise Problem(f"{line}: {what} needs psql: install the package postgresql-client")


def describe(found: Found) -> str:
    """Return what it is in a script that needs psql."""
    if found.text.startswith("\\"):
        return found.text.split()[0]
    return found.text if found.text.startswith(("COPY ", "SET ")) else f"the variable {found.text}"


def load_file(
    place: OpenTarget,
    conn: Connection[DictRow],
    plan: Plan,
    *,
    after: Callable[[], str] = str,
    lasting: bool = False,
    options: str = "",
    own: Own | None = None,
) -> None:
    """Load a script into the database of `conn`; all of it or nothing.

    `after` gives SQL that belongs to the same transaction; `lasting` says that
    this is kept once that is committed, and the database not another one's
    successor; `options` are the settings that `conn` has begun with, beside ours. A script that needs psql goes there, with its own connection to the same database.
    `own` is the transaction where that is to be begun and committed here; it is not for what needs psql.
    """
    blanks = plan.blanks(conn.info.server_version)
    try:
        if plan.by_psql:
            from ops.db import psql

            mark = fence()
            last = f"release savepoint {mark}; {RESET}; {after()}"
            text, shown = len(plan.script.data), partial(psql.running, place, conn.info.dbname)
            with measured(Path(plan.script.name).name, text, shown) as meter:
                psql.load_by_psql(
                    place, conn, plan, feed(plan.script, blanks, meter), mark, last, lasting=lasting, options=options
                )
        else:
            by_query(place, conn, plan.script, blanks, after, lasting=lasting, own=own)
    except Problem:
        plan.script.check()  # an error in a text that was being written to is none of the user's
        raise


def by_query(
    place: OpenTarget,
    conn: Connection[DictRow],
    script: Script,
    blanks: Sequence[Found],
    after: Callable[[], str],
    *,
    lasting: bool,
    own: Own | None = None,
) -> None:
    """Load a script over the connection, in a transaction of its own.

    A savepoint tells at the end whether that is still the same one: what ends the
    transaction, and was not seen in the file, takes the savepoint with it. One that is `own` begins and ends in
    the same round trips as those; whoever gives it undoes it where this raises.
    """
    from psycopg.pq import TransactionStatus

    mark, dbname = fence(), conn.info.dbname
    inside = own is not None or conn.info.transaction_status is not TransactionStatus.IDLE
    begin, asks = (f"{own.begin}; ", own.asks) if own else ("", "null")
    # in one round trip; the number tells what became of it where the answer to the COMMIT is lost
    head = f"{begin}select *, {asks} as asked from {outcome.BEGUN}; savepoint {mark}"
    begun = False

    def begins(told: tuple[bytes, ...]) -> None:
        nonlocal begun
        pid, xid, database, asked = told
        begun, place.work.built = True, int(database)
        if own and own.first:
            own.asked(asked == b"t")
        if lasting:
            place.work.load(int(pid), xid.decode())

    # whoever has begun a transaction ends it with what is raised here
    with telling(conn, script), nullcontext() if inside else conn.transaction():
        together = own is not None and not own.first and is_short(script)
        if not together:
            begins(next(filter(None, ask(conn, head))))
        try:
            shown = measured(script.name.rpartition("/")[2], len(script.data), partial(running, script))
            with silence.quiet(conn, silence.PROGRESS), shown as meter:
                if together:
                    execute_behind(conn, head, begins, script, blanks)
                else:
                    execute(conn, script, blanks, meter)
            ended = conn.info.transaction_status is TransactionStatus.IDLE
            if not ended:
                script.check()
                last = f"release savepoint {mark}; {RESET}; {after()}"
                if own:
                    last = f"{last}; select {own.asks} as asked; commit"
                    place.work.closing = lasting
                check = "set constraints all immediate"
                if not lasting:  # what comes behind it finds its constraints deferred again
                    check = f"savepoint {mark}_checked; {check}; rollback to savepoint {mark}_checked"
                told = checked(conn, script, f"{check}; {last}")
                ended = told is None
                if own and told is not None:
                    own.ended(next(filter(None, told))[0] == b"t")
        except Problem as error:
            if not begun or not is_crossed(conn, f"rollback to savepoint {mark}", failed=True):
                raise
            conn.close()  # nothing of it is to be rolled back
            raise diagnostics.ended_inside(script, dbname, str(error), lasting=lasting) from None
        if ended:
            conn.close()
            raise diagnostics.ended_inside(script, dbname, lasting=lasting)
        place.work.closing = lasting


def is_short(script: Script) -> bool:
    """Whether a script goes as one query, of which nothing has to be shown while it runs."""
    return not watched() and not script.contents.copies and len(script.data) <= _BLOCK


def fence() -> str:
    """Return the name of a savepoint that no file knows."""
    return f"inv_{secrets.token_hex(8)}"


def is_crossed(conn: Connection[DictRow], statement: str, *, failed: bool = False) -> bool:
    """Run what names our savepoint; True if that is gone.

    `failed` says that an error is being told already, which is the one that counts where the connection is gone.
    """
    import psycopg

    try:
        return within(conn, statement) is None
    except psycopg.OperationalError:
        if not failed:
            raise
    return False


def within(conn: Connection[DictRow], statements: str) -> list[tuple[bytes, ...]] | None:
    """Run what names our savepoint, as `ask`; None if that is gone, and with it the transaction it was made in."""
    import psycopg

    try:
        return ask(conn, statements)
    except (psycopg.errors.InvalidSavepointSpecification, psycopg.errors.NoActiveSqlTransaction):
        return None


def ask(conn: Connection[DictRow], statements: str) -> list[tuple[bytes, ...]]:
    """Send statements as one query, and return the first row of each, its columns as texts; empty where there is none.

    As `conn.execute`, at a third of its time, which counts where a thousand migrations are applied. Raises psycopg's errors.
    """
    conn.pgconn.send_query(statements.encode())
    try:
        return [first_row(answer) for answer in answers(conn)]
    except KeyboardInterrupt:
        give_up(conn)
        raise


def first_row(answer: PGresult) -> tuple[bytes, ...]:
    """Return the first row of an answer as texts; empty where there is none."""
    return tuple(answer.get_value(0, column) or b"" for column in range(answer.nfields)) if answer.ntuples else ()


def give_up(conn: Connection[DictRow]) -> None:
    """Cancel what a session has been sent, and take what is still said of it."""
    conn.cancel_safe(timeout=5.0)
    while conn.pgconn.get_result() is not None:
        pass


def feed(script: Script, blanks: Sequence[Found], meter: Meter) -> Iterable[bytes] | None:
    """Return what psql reads by standard input, or None where it is to open the file itself.

    Its commands may read standard input, or name files beside the script.
    """
    if script.commands and script.path and not blanks:
        return None

    def until_checked() -> Iterator[bytes]:
        for piece in pieces(script, blanks):
            yield piece
            meter.done += len(piece)
        script.check()

    return until_checked()


def running(script: Script, offset: int) -> str:
    """Name the statement that runs, without the values in it."""
    from ops.db import psql

    starts = script.contents.statements
    start = starts[max(0, bisect_right(starts, offset) - 1)] if starts else 0
    return f"{script.at(start)} {psql.words(script.data[start : start + 200].decode(errors='replace'))}"


def execute(conn: Connection[DictRow], script: Script, blanks: Sequence[Found], meter: Meter) -> None:
    """Send a script, and say where it fails.

    It goes as one query; a long one in blocks of whole statements, because
    the server takes some twenty times its size in memory. Results are dropped
    one by one: a failure without a position (a constraint) is then known by its statement.
    """
    import psycopg

    def quick(start: int) -> bool:
        # The server keeps its answers until the whole query is done: only what goes alone can be shown as it runs
        return not meter.is_alive() or bool(re.match(_QUICK, script.data[start : start + 1000]))

    skip = {found.start for found in blanks}
    starts = [start for start in script.contents.statements if start not in skip]
    copies = [copy for copy in script.contents.copies if isinstance(copy, CopyIn)]
    done = begin = 0
    try:
        for copy in [*copies, None]:
            upto = copy.start if copy else len(script.data)
            between = starts[bisect_left(starts, begin) : bisect_left(starts, upto)]
            for first, end in batches(between, upto, begin, quick):
                meter.done = starts[done] if done < len(starts) else first
                conn.pgconn.send_query(b"".join(pieces(script, blanks, first, end)))
                for error in results(conn):
                    if error:
                        raise diagnostics.of_statement(script, error, starts[done : done + 2], first)
                    done += 1
                    meter.done = starts[done] if done < len(starts) else end
            if copy:
                if error := copied(conn, script, copy, meter):
                    raise diagnostics.of_statement(script, error, starts[done : done + 2], copy.start)
                done, begin = done + 1, copy.resumes
    except KeyboardInterrupt:
        give_up(conn)
        raise
    except psycopg.OperationalError as error:
        raise diagnostics.disconnected(script, error.sqlstate, str(error)) from None


def execute_behind(
    conn: Connection[DictRow],
    head: str,
    begins: Callable[[tuple[bytes, ...]], None],
    script: Script,
    blanks: Sequence[Found],
) -> None:
    """Send what begins a transaction and a script in one round trip, and say where that fails.

    `begins` is given the row of the first, as soon as it is known that that was done.
    """
    import psycopg

    before = f"{head};\n"
    skip = {found.start for found in blanks}
    starts = [start for start in script.contents.statements if start not in skip]
    first = done = -before.count(";")
    told: tuple[bytes, ...] = ()
    conn.pgconn.send_query(before.encode() + b"".join(pieces(script, blanks)))
    try:
        for answer in answers(conn):
            done += 1
            if done <= 0:
                told = told or first_row(answer)
            if done == 0:
                begins(told)
    except KeyboardInterrupt:
        give_up(conn)
        raise
    except psycopg.Error as error:
        if not error.sqlstate:
            raise diagnostics.disconnected(script, error.sqlstate, str(error)) from None
        if first < done < 0:  # the server reads all of it before it does the first of it
            raise
        spans = starts[max(done, 0) : max(done, 0) + 2]
        raise diagnostics.of_statement(script, error.diag, spans, 0, len(before)) from None


def copied(conn: Connection[DictRow], script: Script, copy: CopyIn, meter: Meter) -> Any:
    """Send the rows of a COPY; return the diagnostics if it failed."""
    import psycopg

    try:
        with conn.cursor() as cursor, cursor.copy(script.data[copy.start : copy.end]) as rows:
            for block in blocks(script.data, copy.rows, copy.over):
                rows.write(block)
                meter.done += len(block)
    except psycopg.Error as error:
        if error.sqlstate:
            return error.diag
        raise
    return None


def checked(conn: Connection[DictRow], script: Script, statements: str) -> list[tuple[bytes, ...]] | None:
    """Have the constraints looked at that wait for the end of the transaction, and run what names our savepoint, as `within`."""
    import psycopg

    try:
        return within(conn, statements)
    except psycopg.errors.IntegrityError as error:
        if error.diag.table_name == RECORD:
            raise
        raise diagnostics.pointed(script, -1, error.diag, "") from None


def batches(
    starts: Sequence[int], size: int, begin: int = 0, quick: Callable[[int], bool] = lambda _: True
) -> Iterator[tuple[int, int]]:
    """Yield where each part of a script begins and ends that is sent at once; what is not `quick` goes alone."""
    together = True
    for start in starts:
        before, together = together, quick(start)
        if start > begin and (start - begin > _BLOCK or not (before and together)):
            yield begin, start
            begin = start
    if starts:
        yield begin, size


def results(conn: Connection[DictRow]) -> Iterator[Any]:
    """Yield None for each statement that was done, and the diagnostics of the one that failed."""
    import psycopg

    try:
        for _ in answers(conn):
            yield None
    except psycopg.Error as error:
        if not error.sqlstate:  # libpq's own words for a connection that is gone
            raise
        yield error.diag


def nothing() -> None:
    """Do nothing meanwhile."""


def answers(conn: Connection[DictRow], meanwhile: Callable[[], None] = nothing) -> Iterator[PGresult]:
    """Yield the answer to each statement of a query that was sent; raises psycopg's errors at its end.

    `meanwhile` is called before they are waited for; where it raises, the query is cancelled.
    """
    from psycopg import errors, pq

    pgconn, failed, usual = conn.pgconn, None, (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
    if pgconn.flush():
        with silence.watching(conn):
            while pgconn.flush():
                select.select([pgconn.socket], [pgconn.socket], [])
                pgconn.consume_input()
    try:
        meanwhile()
    except BaseException:
        give_up(conn)
        raise
    while True:
        try:
            if pgconn.is_busy():
                with silence.watching(conn):
                    while pgconn.is_busy():
                        select.select([pgconn.socket], [], [])
                        pgconn.consume_input()
        except errors.OperationalError:  # the server says why before it closes the connection
            if failed is None:
                raise
            break
        result = pgconn.get_result()
        if result is None:
            break
        status = result.status
        if status in usual:
            yield result
            continue
        match status:
            case pq.ExecStatus.FATAL_ERROR:
                failed = failed or errors.error_from_result(result, encoding="utf-8")
            case pq.ExecStatus.COPY_IN | pq.ExecStatus.COPY_OUT:
                pgconn.finish()
                raise Problem("a COPY from or to the client stands where it was not seen: nothing was loaded")
            case pq.ExecStatus.EMPTY_QUERY:
                pass
            case _:
                yield result
    if failed and not failed.sqlstate:
        raise errors.OperationalError(str(failed))
    if failed:
        raise failed


@contextmanager
def telling(conn: Connection[DictRow], script: Script) -> Iterator[None]:
    """Pass on what the server has to say while it works on a script."""
    handler = partial(tell, script)
    conn.add_notice_handler(handler)
    try:
        yield
    finally:
        conn.remove_notice_handler(handler)


def tell(script: Script, diag: Any) -> None:
    """Pass a notice of the server's on, save that nothing was there; on production without the values in it."""
    if text := heard(script, diag):
        say(text)


def heard(script: Script, diag: Any) -> str:
    """Return a notice of the server's as it is passed on, empty where it is not; it is gone when its handler has returned."""
    text = row_values.lines(diag)
    if row_values.hides():
        text = row_values.message(diag, script.data[: min(_BLOCK, len(script.data))].decode(errors="replace"))
    return "" if text.endswith("skipping") else foreign(f"{diag.severity or 'NOTICE'}: {text}")
