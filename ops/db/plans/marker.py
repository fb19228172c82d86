"""A database that shows plans and holds no rows: what it is called, and how it is told from any other.

Its files have the sizes of another database's and take no room; whatever copies them would write all those zeros. So what
clones or dumps asks `is_plans_only` first, and what reads a plan whether the database is still whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.errors import Problem, Refused
from ops.targets.identity import PLANS

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

SUFFIX = "__plans"
"""Behind the name of the database that it lies beside."""
NEXT, OLD = SUFFIX + "_new", SUFFIX + "_old"
MARKED = """
select coalesce(shobj_description(oid, 'pg_database'), '') as comment from pg_database
where datname = coalesce(%s, current_database())
"""
# A crash of the server empties an unlogged table. What was written past the server's log may then be gone, too
RECORD = """
create schema if not exists inv;
create unlogged table inv.plans (source text not null, made_at timestamptz not null default now())
"""
RECORDED = "select source, made_at from inv.plans"


def is_plans_only(conn: Connection[DictRow], name: str | None = None) -> bool:
    """Whether a database (default: that of the session) was made by db.pull --plans: it has no rows, and must not be copied."""
    return any(PLANS in row["comment"] for row in postgres.fetch(conn, MARKED, name))


def require_rows(conn: Connection[DictRow], name: str | None = None) -> None:
    """Raise `Refused` where a database was made by db.pull --plans, as `is_plans_only` tells."""
    if is_plans_only(conn, name):
        raise Refused(
            f"{name or conn.info.dbname} holds plans and no rows (inv db.pull --plans made it): take the database that it lies beside"
        )


def record(conn: Connection[DictRow]) -> dict[str, Any]:
    """Return of which target the plans are (`source`) and since when (`made_at`); raises `Problem` where a crash may have taken some."""
    found = postgres.fetch(conn, RECORDED)
    if not found:
        raise Problem(
            f"the server has crashed since {conn.info.dbname} was made, and its plans may be others now: inv db.pull --plans makes it anew"
        )
    return dict(found[0])
