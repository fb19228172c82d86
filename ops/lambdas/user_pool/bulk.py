"""Many people at once: those of whom nothing has to be found out.

The same rows as by `functions.post_confirmation.people.store`, under the same locks, a page of the pool in one
transaction. Whoever somebody else is busy with, whose handle is taken, or whom the table refuses is left to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from config.sign_up import COLUMNS, TABLE

if TYPE_CHECKING:
    from psycopg import Connection

    from functions.post_confirmation.people import Person

SECONDS = 10
"""How long the rows of somebody else's open transaction are waited for."""
# Not waited for: the function takes its two locks in another order. The look comes with a statement of its
# own, since what a statement sees is settled when it begins
LOCK = "select key from unnest(%s::bigint[]) as key where pg_try_advisory_xact_lock(key)"
# What a handle is in lower case is the server's to say; of people of this page who want the same, the first has it
INSERT = f"""
insert into {TABLE} ({", ".join(COLUMNS)})
select distinct on (lower(p.handle)) p.display_name, p.email, p.handle, p.sub
from unnest(%s::text[], %s::text[], %s::text[], %s::text[]) with ordinality as p (display_name, email, handle, sub, nth)
where not exists (select from {TABLE} where cognito_user_id = p.sub)
  and not exists (select from {TABLE} where lower(handle) = lower(p.handle))
order by lower(p.handle), p.nth
returning cognito_user_id
"""


def insert(conn: Connection[Any], people: Sequence[Person]) -> set[str]:
    """Add rows in one transaction, and return the subs of those who were added: all, some or none of `people`."""
    import psycopg

    from functions.post_confirmation.people import key

    locks = [{key("sub", p.cognito_user_id), key("handle", p.handle.lower())} for p in people]
    try:
        with conn.transaction():
            conn.execute(f"set transaction isolation level read committed; set local statement_timeout = '{SECONDS}s'")
            held = {row["key"] for row in conn.execute(LOCK, [list(set().union(*locks))]).fetchall()}
            free = [person for person, both in zip(people, locks, strict=True) if both <= held]
            columns = [[getattr(p, name) for p in free] for name in COLUMNS]
            # not prepared: a plan made while the table was small would read all of it for each page
            return {row["cognito_user_id"] for row in conn.execute(INSERT, columns, prepare=False).fetchall()}
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if isinstance(error, psycopg.errors.QueryCanceled):
            return set()
        raise
    except psycopg.Error:  # of one of them: they go in one by one
        return set()
