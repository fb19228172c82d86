"""The declared rights given again in a database that has taken another one's place, or that has new tables.

Only where the database's roles are declared ones, and there are such: else nothing is asked. Roles themselves, and what
nobody declared, are left to db.roles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops import row_values
from ops.console import say
from ops.errors import Problem
from ops.targets.identity import PREV
from ops.targets.open_target import OpenTarget
from ops.targets.roles import acting

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow


def give_rights(place: OpenTarget, suffix: str = "") -> None:
    """Give owners and rights in the place's database, or in the one beside it that takes its place; the live one says whether."""
    live = place.database() or place.database(PREV)
    if acting.is_with_roles(place, live):
        with place.connect(suffix) as conn:
            give_rights_over(place, conn)


def give_rights_over(place: OpenTarget, conn: Connection[DictRow]) -> None:
    """Give owners and rights in the database of a session, in one transaction; what this login may not give is said."""
    import psycopg

    from ops.db.roles import compare  # most databases have no roles of ours
    from ops.targets.roles import declared, names

    said = declared.read(place.settings)
    if not said.roles:
        return
    scope = compare.Scope(names.database_of(place.target), inside=True)
    try:
        with conn.transaction():
            for change in compare.compare(conn, said, scope).changes:
                if change.declared:
                    for statement in change.statements:
                        conn.execute(statement)
    except (psycopg.errors.InsufficientPrivilege, Problem) as error:
        why = row_values.message(error.diag) if isinstance(error, psycopg.Error) else str(error)
        say(f"note: the declared rights are not all given ({why}): inv db.roles -t {place.target.name} gives them")
