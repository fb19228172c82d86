"""Who owns what a task makes: where a database's roles are declared, its owner and not the login.

What a role makes belongs to it, also where it has the rights of another one, and default privileges follow whoever makes:
https://www.postgresql.org/docs/current/sql-alterdefaultprivileges.html. So a session becomes the owner first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.console import say
from ops.targets.roles import names

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.targets.open_target import OpenTarget

SESSIONS = ("pg_monitor", "pg_signal_backend")
"""Who sees what others' sessions do, and who ends them: https://www.postgresql.org/docs/current/predefined-roles.html."""
LENT = """
select rolname::text as name from pg_catalog.pg_roles
where rolname = any(%s) and pg_catalog.pg_has_role(oid, 'member') and not pg_catalog.pg_has_role(oid, 'usage')
"""
MAY_SET = "select current_user = %s as same, pg_catalog.pg_has_role(current_user, %s, %s) as may"


def is_with_roles(place: OpenTarget, row: dict[str, Any] | None = None) -> bool:
    """Whether the roles of the place's database are declared ones: its owner carries our mark. `row` is another one's beside it."""
    row = place.database() if row is None else row
    return bool(row and names.OURS.search(row.get("owner_comment") or ""))


def role_to_set(place: OpenTarget) -> str:
    """Return the role that a session of this login has to SET before it makes anything; empty: it stays what it is."""
    row = place.database()
    if not row or not is_with_roles(place, row):
        return ""
    how = "SET" if place.conn.info.server_version >= 160000 else "MEMBER"
    found = postgres.row(place.conn, MAY_SET, row["owner"], row["owner"], how)
    if found["same"]:
        return ""
    if not found["may"]:
        say(f"note: this login may not become {row['owner']}, which owns {place.name}: inv db.roles says who may")
        return ""
    return str(row["owner"])


def as_owner(place: OpenTarget) -> OpenTarget:
    """Return the place with sessions on its database that are the owner's; the same where its roles are not declared."""
    return replace(place, role=role_to_set(place))


def lent(conn: Connection[DictRow]) -> list[str]:
    """Return the roles about sessions that a login has by SET ROLE alone.

    Before 16 a login that has no right of its own inherits from none of its roles; from then on each membership says whether
    (https://www.postgresql.org/docs/current/sql-grant.html).
    """
    if conn.info.server_version >= 160000:
        return []
    return [row["name"] for row in postgres.fetch(conn, LENT, list(SESSIONS))]
