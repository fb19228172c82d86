"""Load SQL files: whole, in one transaction, with a pointer to what is wrong."""

from __future__ import annotations

import re
import select
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.console import say
from ops.db import binaries, explain, faults, psql
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
_NAMES_DATABASE = re.compile(
    r"(?:ALTER|COMMENT ON|DROP) DATABASE (?:IF EXISTS )?(\S+)|(?:GRANT|REVOKE) .* ON DATABASE (.+)"
)
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
            raise Problem(
                f"{script.at(found.start)}: the server has no extension {found.text}: {explain.extension(found.text)}"
            )


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
        client = binaries.psql()
        if client is None:
            raise Problem(f"{line}: {what} needs psql: install the package postgresql-client")
        if not client[1] and place.conn.pgconn.ssl_in_use:
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
        psql.run(place, conn.info.dbname, plan, after)
        return
    conn.add_notice_handler(tell)
    try:
        with conn.transaction():
            execute(conn, plan)
            if after:
                conn.execute(after.encode())
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
                raise faults.of_statement(
                    plan.script, error.diag, done, skipping={f.start for f in plan.own_transaction}
                )
            done += 1
    except KeyboardInterrupt:
        conn.cancel_safe()
        while pgconn.get_result() is not None:
            pass
        raise
    except OSError as error:
        raise Problem(f"the connection broke while {plan.script.name} was loading: nothing of it was kept") from error


def tell(diag: Any) -> None:
    """Pass the server's notices on, save those about nothing having been there."""
    text = diag.message_primary or ""
    if not text.endswith("skipping"):
        say(f"{diag.severity or 'NOTICE'}: {text}")
