"""Reading with the rights of a reader, where the server lets us: a session's own read-only setting can be switched off in it.

`pg_read_all_data` reads every table and does nothing else: it ends no session of
others and runs no program (https://www.postgresql.org/docs/current/predefined-roles.html).
What it would not see is what row security shows to the owner only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from config.targets import Target
from ops import postgres
from ops.console import say
from ops.targets import least_login
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

ROLE = "pg_read_all_data"
READ_ONLY = "-c default_transaction_read_only=on"
AS_READER = f"{READ_ONLY} -c role={ROLE}"
"""RESET ROLE goes back to what a session started with: only SET ROLE NONE leaves it."""

# Before 16 whoever is a member may also become it
MAY_BECOME = """
select pg_has_role(oid, case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end) as may
from pg_roles where rolname = %s
"""
HIDES = "select count(*) as tables from pg_class where relrowsecurity"


def lacking(conn: Connection[DictRow]) -> str:
    """Return why the login cannot read as `ROLE` in this database; empty where it can."""
    found = postgres.fetch(conn, MAY_BECOME, ROLE)
    if not found:
        return f"this server has no {ROLE}"
    if not found[0]["may"]:
        return f'grant {ROLE} to "{conn.info.user}" would make it so'
    if postgres.row(conn, HIDES)["tables"]:
        return f"row security would hide rows from {ROLE}"
    return ""


def way(place: OpenTarget) -> tuple[Target, str]:
    """Return login and settings of a client's session that is to read only: those of our reader, where there is one."""
    found = place.target
    if found is place.own and "reader" in place.facts["roles"]:
        found = least_login.least(place.settings, found, "reader") or found
    return found, READ_ONLY if found is not place.own else options(place)


def options(place: OpenTarget) -> str:
    """Return the settings of a client's session that is to read only; say so where it could switch them off."""
    with place.connect() as conn:
        why = lacking(conn)
    if why:
        say(f"read-only by a setting that a session can switch off: {why}")
    return READ_ONLY if why else AS_READER


@contextlib.contextmanager
def reading(conn: Connection[DictRow]) -> Iterator[None]:
    """Have the block in a read-only transaction, with the rights of a reader where the server lets us.

    Both end with it: a pooler may give the session to somebody else then.
    """
    may = not lacking(conn)
    conn.read_only = True
    with conn.transaction():
        if may:
            conn.execute(f"set local role {ROLE}".encode())
        yield
