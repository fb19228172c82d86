"""Whether the release that runs survives a change: its own queries, prepared before in an open session, run after it.

What an open session sees differs from what a new one does: it holds statements that were parsed before the change, and
the server parses them anew, but refuses one whose columns have changed (0A000, `plancache.c`). So each query is asked
of both. Nothing that is run here lasts: each run is a transaction that is rolled back.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ops import row_values

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGresult
    from psycopg.rows import DictRow

Word = Literal["survives", "fails_once", "breaks", "answers_otherwise", "not_judged"]
TIMEOUT = 2.0
"""Seconds that a query may run here: one that takes longer is parsed and not run from then on."""
TOO_LONG = "57014"
REPAIRS = 12
"""Refusals of made-up values after which they stay as they are."""
_IN_TYPES = {
    "int2": lambda n: str(3000 + n),
    "int4": lambda n: str(7000 + n),
    "int8": lambda n: str(7000 + n),
    "oid": lambda n: str(7000 + n),
    "float4": lambda n: f"{7000 + n}.5",
    "float8": lambda n: f"{7000 + n}.5",
    "numeric": lambda n: str(7000 + n),
    "money": lambda n: str(7000 + n),
    "bool": lambda _: "t",
    "text": lambda n: f"rehearsed {n} {uuid.uuid4()}",
    "varchar": lambda n: f"rehearsed {n} {uuid.uuid4()}",
    "bpchar": lambda _: "r",
    "citext": lambda n: f"rehearsed {n} {uuid.uuid4()}",
    "name": lambda n: f"rehearsed{n}",
    "uuid": lambda _: str(uuid.uuid4()),
    "date": lambda n: f"2001-02-{n % 28 + 1:02}",
    "time": lambda n: f"01:02:{n % 60:02}",
    "timetz": lambda n: f"01:02:{n % 60:02}+00",
    "timestamp": lambda n: f"2001-02-03 04:05:{n % 60:02}",
    "timestamptz": lambda n: f"2001-02-03 04:05:{n % 60:02}+00",
    "interval": lambda n: f"{n + 1} seconds",
    "json": lambda n: f'{{"rehearsed": {n}}}',
    "jsonb": lambda n: f'{{"rehearsed": {n}}}',
    "bytea": lambda n: f"\\x{n:08x}",
    "inet": lambda n: f"10.0.0.{n % 256}",
    "cidr": lambda n: f"10.0.0.{n % 256}/32",
}  # type: dict[str, Callable[[int], str]]

# What a type is: enough to make a value of it, in one look for all parameters
TYPES = """
select t.oid::bigint as oid, coalesce(b.typname, t.typname) as name, t.typtype = 'e' as is_enum, t.typcategory as category,
  (select enumlabel from pg_catalog.pg_enum where enumtypid = t.oid order by enumsortorder limit 1) as label
from pg_catalog.pg_type t left join pg_catalog.pg_type b on b.oid = t.typbasetype
where t.oid = any(%s)
"""
# The columns that a foreign key asks for, in the order of those that it is on
REFERENCED = """
select f.confrelid::regclass::text as parent,
  (select array_agg(a.attname::text order by k.n) from unnest(f.conkey) with ordinality k(c, n)
   join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.c) as columns,
  (select array_agg(quote_ident(a.attname) order by k.n) from unnest(f.confkey) with ordinality k(c, n)
   join pg_catalog.pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.c) as keys
from pg_catalog.pg_constraint f join pg_catalog.pg_class c on c.oid = f.conrelid join pg_catalog.pg_namespace s on s.oid = c.relnamespace
where f.contype = 'f' and f.conname = %s and c.relname = %s and s.nspname = %s
"""


@dataclass(frozen=True)
class Query:
    """A query of the application."""

    name: str
    """Where it comes from: a file, the function, or a number of pg_stat_statements."""
    sql: str
    """One statement, its parameters as $1, $2 …"""


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    sqlstate: str = ""
    """Empty where it ran."""
    message: str = ""
    """The server's, in words, without values."""
    columns: tuple[tuple[str, int], ...] = ()
    """Name and type of each column of the answer."""


@dataclass
class Prepared:
    """A query as an open session holds it."""

    query: Query
    statement: str
    values: list[str | None]
    before: Outcome
    runs: bool = True
    """Not where it takes too long."""


@dataclass(frozen=True)
class Unprepared:
    """A query that could not be prepared before anything was changed, so that nothing is said of it."""

    name: str
    """Where it comes from: a file, the function, or a number of pg_stat_statements."""
    sqlstate: str
    """Of the refusal."""
    message: str
    """Of the server, in words."""


@dataclass(frozen=True)
class Verdict:
    """Whether a query of the running release survives a migration."""

    query: str
    """Where it comes from: a file, the function, or a number of pg_stat_statements."""
    verdict: Word
    """survives; fails_once: in open sessions that have prepared it, until they do so anew; breaks; answers_otherwise: it runs, with other columns or types; not_judged: it failed before alike, or took too long."""
    open_session_sqlstate: str | None
    """What an open session gets that had it prepared; null where it runs."""
    new_session_sqlstate: str | None
    """What a new session gets; null where it runs."""
    message: str
    """Why, in words."""
    text: str
    """The query, with its literals replaced."""


@dataclass
class Release:
    """The release that runs: an open session with all its queries prepared, before anything is changed."""

    connect: Callable[[], Connection[Any]]
    shown: Callable[[str], str] = field(default=lambda sql: sql)
    """Gives the text of a query as it may be shown."""
    prepared: list[Prepared] = field(default_factory=list)
    unprepared: list[Unprepared] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = self.opened()

    def opened(self) -> Connection[Any]:
        """Open a session in which no query runs for long."""
        conn = self.connect()
        conn.execute(f"set statement_timeout = {round(TIMEOUT * 1000)}".encode())
        return conn

    def close(self) -> None:
        self.session.close()

    def prepare(self, queries: Iterable[Query]) -> None:
        """Prepare each query, and run it once: what it gives now is what a change is judged by."""
        for query in queries:
            statement = f"rehearsed_{len(self.prepared)}"
            said = outcome(self.session.pgconn.prepare(statement.encode(), query.sql.encode()))
            if said.sqlstate:
                self.unprepared.append(Unprepared(query.name, said.sqlstate, said.message))
                continue
            values = [] if not parameters(self.session, statement) else made_up(self.session, statement)
            values, before = settled(self.session, statement, values)
            runs = before.sqlstate != TOO_LONG
            if not runs:
                before = parsed(self.session, statement)
            self.prepared.append(Prepared(query, statement, values, before, runs))

    def judge(self) -> list[Verdict]:
        """Return what each query gives now, in the open session and in a new one."""
        found = []
        with contextlib.closing(self.opened()) as new:
            for number, one in enumerate(self.prepared):
                in_open = asked(self.session, one)
                again = outcome(new.pgconn.prepare(one.statement.encode(), one.query.sql.encode()))
                in_new = again if again.sqlstate else asked(new, one)
                found.append(self.told(one, in_open, in_new))
                self.prepared[number] = self.next(one, in_open, in_new)
        return found

    def next(self, one: Prepared, in_open: Outcome, in_new: Outcome) -> Prepared:
        """Return a query as the next change finds it: prepared anew by a client that has failed once, the new columns known."""
        if not in_new.sqlstate:
            one = replace(one, before=in_new)
            if in_open.sqlstate:
                one = replace(one, statement=f"{one.statement}_")
                self.session.pgconn.prepare(one.statement.encode(), one.query.sql.encode())
        return one

    def told(self, one: Prepared, in_open: Outcome, in_new: Outcome) -> Verdict:
        word, why = judged(one.before, in_open, in_new)
        return Verdict(
            query=one.query.name,
            verdict=word,
            open_session_sqlstate=in_open.sqlstate or None,
            new_session_sqlstate=in_new.sqlstate or None,
            message=why,
            text=self.shown(one.query.sql),
        )


def judged(before: Outcome, in_open: Outcome, in_new: Outcome) -> tuple[Word, str]:
    """Return the verdict on a query, and why."""
    worse = [one for one in (in_open, in_new) if one.sqlstate and one.sqlstate != before.sqlstate]
    if TOO_LONG in (in_open.sqlstate, in_new.sqlstate):
        return "not_judged", f"it took longer than {TIMEOUT:.0f} s here"
    if worse:
        once = not in_new.sqlstate or in_new.sqlstate == before.sqlstate
        return ("fails_once" if once else "breaks"), worse[0].message
    if before.sqlstate:
        return "not_judged", f"it failed before, too: {before.message}"
    if in_new.columns != before.columns:
        return "answers_otherwise", changed(before.columns, in_new.columns)
    return "survives", ""


def changed(before: Sequence[tuple[str, int]], after: Sequence[tuple[str, int]]) -> str:
    """Return in words how the columns of an answer have changed."""
    was, now = dict(before), dict(after)
    told = [f"without {name}" for name in was if name not in now]
    told += [f"with {name}" for name in now if name not in was]
    told += [f"{name} of another type" for name in was if name in now and was[name] != now[name]]
    return f"its answer is {', '.join(told) or 'in another order'}"


# --- a run --------------------------------------------------------------------------------


def run(conn: Connection[Any], statement: str, values: Sequence[str | None]) -> Outcome:
    """Run a prepared statement in a transaction that is rolled back."""
    return outcome(result_of(conn, statement, values))


def parsed(conn: Connection[Any], statement: str) -> Outcome:
    """Return what the server says of a prepared statement without running it: it parses it anew where something has changed."""
    return outcome(conn.pgconn.describe_prepared(statement.encode()))


def asked(conn: Connection[Any], one: Prepared) -> Outcome:
    """Return what a session gets for a query that it has prepared."""
    return run(conn, one.statement, one.values) if one.runs else parsed(conn, one.statement)


def result_of(conn: Connection[Any], statement: str, values: Sequence[str | None]) -> PGresult:
    """Return what the server answers to a prepared statement; its transaction is rolled back."""
    given: list[Any] = [None if value is None else value.encode() for value in values]
    conn.pgconn.exec_(b"begin")
    found = conn.pgconn.exec_prepared(statement.encode(), given)
    conn.pgconn.exec_(b"rollback")
    return found


def outcome(result: PGresult) -> Outcome:
    """Return what a result says."""
    from psycopg.errors import Diagnostic
    from psycopg.pq import ExecStatus

    if result.status in (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE):
        diag = Diagnostic(result)
        state = diag.sqlstate or "08006"
        # the class 22 quotes what it was given
        message = row_values.words(diag) or "the session broke"
        return Outcome(state, re.sub(r':? "[^"]*"$', "", message) if state.startswith("22") else message)
    columns = tuple(((result.fname(n) or b"").decode(), result.ftype(n)) for n in range(result.nfields))
    return Outcome(columns=columns)


# --- values -------------------------------------------------------------------------------


def parameters(conn: Connection[Any], statement: str) -> list[int]:
    """Return the types of a prepared statement's parameters, as the server has found them."""
    told = conn.pgconn.describe_prepared(statement.encode())
    return [told.param_type(n) for n in range(told.nparams)]


def made_up(conn: Connection[Any], statement: str) -> list[str | None]:
    """Return a value for each parameter, all different, of its type; null where none can be made."""
    from psycopg.rows import dict_row

    wanted = parameters(conn, statement)
    rows = conn.cursor(row_factory=dict_row).execute(TYPES.encode(), [wanted]).fetchall()
    known = {row["oid"]: row for row in rows}
    return [value(known.get(oid), number) for number, oid in enumerate(wanted)]


def value(kind: DictRow | None, number: int) -> str | None:
    if kind is None:
        return None
    if kind["is_enum"]:
        return str(kind["label"])
    if kind["category"] == "A":
        return "{}"
    if kind["category"] == "R":
        return "empty" if "multi" not in str(kind["name"]) else "{}"
    make = _IN_TYPES.get(str(kind["name"]))
    return make(number) if make else None


def settled(conn: Connection[Any], statement: str, values: list[str | None]) -> tuple[list[str | None], Outcome]:
    """Return values with which a statement runs, and what it gives; the server's refusals tell which to change."""
    first: Outcome | None = None
    tried = list(values)
    for _ in range(REPAIRS if values else 1):
        result = result_of(conn, statement, tried)
        found = outcome(result)
        if not found.sqlstate:
            return tried, found
        first = first or found
        other = repaired(conn, result, found.sqlstate, tried)
        if other is None or other == tried:
            break
        tried = other
    nothing: list[str | None] = [None] * len(values)
    if values and not (found := run(conn, statement, nothing)).sqlstate:
        return nothing, found
    assert first is not None
    return values, run(conn, statement, values) if values else first


def repaired(
    conn: Connection[Any], result: PGresult, sqlstate: str, values: list[str | None]
) -> list[str | None] | None:
    """Return the values with those changed that the server has refused; None where it does not say which."""
    from psycopg.pq import DiagnosticField

    def told(what: DiagnosticField) -> str:
        return (result.error_field(what) or b"").decode()

    if sqlstate == "22001":  # too long for its column, and it does not say which: the longest first
        longest = max(range(len(values)), key=lambda n: len(values[n] or ""))
        return [(v or "")[: max(1, len(v or "") // 4)] if n == longest else v for n, v in enumerate(values)]
    given = re.search(r"\)=\((.*)\) (?:is not present|already exists)", told(DiagnosticField.MESSAGE_DETAIL))
    if not given:
        return None
    if sqlstate == "23505":
        other = {one: str(2_000_000_000 - n) for n, one in enumerate(values) if one and one in given[1]}
    elif sqlstate == "23503":
        name = [DiagnosticField.CONSTRAINT_NAME, DiagnosticField.TABLE_NAME, DiagnosticField.SCHEMA_NAME]
        other = referenced(conn, [told(one) for one in name], given[1].split(", "))
    else:
        return None
    return [other.get(one, one) if one is not None else None for one in values]


def referenced(conn: Connection[Any], names: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """Return what to put for the values that a foreign key has refused: those of a row that is there."""
    from psycopg.rows import dict_row, tuple_row

    key = conn.cursor(row_factory=dict_row).execute(REFERENCED.encode(), names).fetchone()
    if key is None or len(key["keys"]) != len(given):
        return {}
    columns = ", ".join(f"{one}::text" for one in key["keys"])
    wanted = " and ".join(f"{one} is not null" for one in key["keys"])
    row = conn.cursor(row_factory=tuple_row).execute(
        f"select {columns} from {key['parent']} where {wanted} limit 1".encode()
    )
    found = row.fetchone()
    return dict(zip(given, found, strict=True)) if found else {}
