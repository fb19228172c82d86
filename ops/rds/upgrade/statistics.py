"""What the planner must know after an upgrade, and which extensions are still of the old version.

pg_upgrade carries statistics over from 18 on, but none of extended ones, and none of how much a table has changed
(PostgreSQL's documentation, pg_upgrade: "Statistics"); before, none at all. The server tells itself what it has analyzed since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.console import few, say

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

PENDING = """
select pg_catalog.format('%I.%I', schemaname, relname) as name
from pg_catalog.pg_stat_user_tables where last_analyze is null and last_autoanalyze is null
  and schemaname !~ '^pg_temp_' order by n_live_tup desc, 1
"""
OUTDATED = """
select pg_catalog.format('alter extension %I update', x.extname) as statement, x.extversion as have, a.default_version as new
from pg_catalog.pg_extension x join pg_catalog.pg_available_extensions a on a.name = x.extname
where x.extversion <> a.default_version order by 1
"""


def analyze(conn: Connection[DictRow]) -> int:
    """Analyze every table of a database that the server has not analyzed since its start; return how many.

    Done for each by itself, so that a run that was cut off is gone on with; it stops neither readers nor writers. What
    belongs to another role stays, and is said.
    """
    names = [str(row["name"]) for row in conn.execute(PENDING)]
    for name in names:
        conn.execute(f"analyze {name}".encode())  # quoted by the server
    conn.execute("select pg_catalog.pg_stat_clear_snapshot()")
    left = {str(row["name"]) for row in conn.execute(PENDING)} & set(names)
    if left:
        say(f"note: {conn.info.dbname}: not yours to analyze: {few(sorted(left), 10)}")
    return len(names) - len(left)


def tell_outdated(conn: Connection[DictRow]) -> None:
    """Say which extensions have a newer version now: an upgrade leaves them as they are (RDS user guide)."""
    for row in conn.execute(OUTDATED):
        say(f"note: {conn.info.dbname}: {row['statement']} leads from {row['have']} to {row['new']}")
