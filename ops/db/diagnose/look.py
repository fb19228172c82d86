"""Asking a database for all that the checks want: in one transaction that cannot write, all at once.

The statements are ours and call nothing but pg_catalog's functions, so they run as the login that the target names: pg_read_all_data
(ops/db/reader.py) would not see what sessions of others do. One that fails, for a lock or a right, is asked for again by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from config.diagnose import Diagnose
from ops import row_values
from ops.db.diagnose import machine
from ops.db.diagnose.check import Check, Facts, Line
from ops.errors import Problem
from ops.targets import outcome
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection, Error
    from psycopg.rows import DictRow

LOCK_TIMEOUT = "250ms"
"""For each lock of the catalog: who has it is in the way of more than us."""
SET = (
    f"select set_config('search_path', 'pg_catalog', true), set_config('lock_timeout', '{LOCK_TIMEOUT}', true), "
    "set_config('statement_timeout', '{timeout}ms', true)"
)
# Statistics that were never thrown away count from when the server was made, or came up after a crash
SINCE = """coalesce((select stats_reset from pg_stat_database where datname = current_database()),
                      (select stats_reset from pg_stat_bgwriter))"""
FACTS = """
select current_user as user, quote_ident(current_database()) as database, current_setting('server_version_num')::int as version,
       pg_is_in_recovery() as standby, (select count(*) from pg_stat_replication) as replicas, s.since,
       coalesce(extract(epoch from clock_timestamp() - s.since) / 86400, 0)::float as days
from (select {since} as since) s
"""
Rows: TypeAlias = list[dict[str, Any]]
Answer: TypeAlias = Rows | str
"""Rows, or why there are none."""


def ask(conn: Connection[DictRow], texts: Sequence[str], limits: Diagnose) -> list[Answer]:
    """Return the rows of each statement, or why they could not be had."""
    import psycopg

    conn.read_only = True
    try:
        return list(together(conn, texts, limits))
    except psycopg.Error as error:
        if outcome.is_lost(error):
            raise
    return [alone(conn, text, limits) for text in texts]


def together(conn: Connection[DictRow], texts: Sequence[str], limits: Diagnose) -> list[Rows]:
    """Return the rows of each statement, all sent at once."""
    found = []
    with conn.transaction():
        cursor = conn.execute(";".join(filled(text, limits) for text in (SET, *texts)).encode())
        while cursor.nextset():
            found.append([dict(row) for row in cursor.fetchall()])
    return found


def alone(conn: Connection[DictRow], text: str, limits: Diagnose) -> Answer:
    """Return the rows of one statement, or why they could not be had."""
    import psycopg

    try:
        return together(conn, [text], limits)[0]
    except psycopg.Error as error:
        if outcome.is_lost(error):
            raise
        return reason(error)


def reason(error: Error) -> str:
    """Return in words why something could not be seen."""
    from psycopg import errors

    if isinstance(error, errors.LockNotAvailable):
        return "it is locked just now"
    return f"the server says: {row_values.message(error.diag) or type(error).__name__}"


def filled(text: str, limits: Diagnose) -> str:
    """Return a check's SQL with the settings in it."""
    known = {
        "since": SINCE,
        "long": f"{limits.long:g}",
        "blocked": f"{limits.blocked:g}",
        "unused_days": str(limits.unused_days),
        "timeout": f"{limits.timeout * 1000:.0f}",
    }
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def look(
    conn: Connection[DictRow], place: OpenTarget, checks: Sequence[Check], *more: str
) -> tuple[Facts, list[Line], list[Rows]]:
    """Return what is known of a target, what each check says of it, and the rows of `more` statements."""
    limits = place.settings.diagnose
    wanted = [FACTS, *more, *(text for check in checks for text in (check.hidden, check.sql) if text)]
    texts = list(dict.fromkeys(wanted))
    answers = dict(zip(texts, ask(conn, texts, limits), strict=True))
    if isinstance(answers[FACTS], str):
        raise Problem(f"{place.target.address}: {answers[FACTS]}")
    facts = known(place, limits, rows(answers[FACTS])[0])
    return facts, [line for check in checks for line in judged(check, facts, answers)], [rows(answers[t]) for t in more]


def known(place: OpenTarget, limits: Diagnose, row: dict[str, Any]) -> Facts:
    """Return what is known of a target before anything is judged."""
    memory, cpus = machine.of(place)
    return Facts(
        limits=limits,
        rds=place.target.rds,
        memory=memory,
        cpus=cpus,
        embedded=place.target.embedded,
        target=place.target.name,
        **row,
    )


def rows(answer: Answer) -> Rows:
    return [] if isinstance(answer, str) else answer


def judged(check: Check, facts: Facts, answers: Mapping[str, Answer]) -> list[Line]:
    """Return what a check says: a line for each thing it has found, one for what it could not see, or that there is nothing."""
    answer = answers[check.sql]
    if why := check.unless(facts) or (answer if isinstance(answer, str) else ""):
        return [unseen(check, why)]
    found = [each.line(check.name) for row in rows(answer) if (each := check.judge(row, facts))]
    hidden = answers[check.hidden] if check.hidden else []
    if isinstance(hidden, str):
        found.append(unseen(check, hidden))
    elif hidden and hidden[0]["hidden"]:
        user = facts.user.replace('"', '""')
        told = check.lacks.format(hidden=hidden[0]["hidden"], user=facts.user)
        found.append(unseen(check, told, check.mend.format(user=user)))
    return found or [Line(check.name, "green", None, check.green, None, [])]


def unseen(check: Check, why: str, *mend: str) -> Line:
    return Line(check.name, "unseen", None, why, None, list(mend))
