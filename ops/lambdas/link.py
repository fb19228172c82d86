"""Seeded rows given to the people they were meant for.

A seed is written before anyone has signed up, with made-up ids. A row is
given away only where there is no doubt: exactly one row matches the person and
exactly one person the row, by handle or verified e-mail address, and its id is
nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

    from functions.post_confirmation.people import Person

SUB = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
"""What Cognito gives as a sub; another id is made up. One that is none of this pool's may be of an earlier one."""
MATCHES = """
select ctid::text as place, cognito_user_id, handle, email from public.users
where lower(email) = lower(%(email)s) or lower(handle) = lower(%(handle)s) limit 2
"""
GIVE = """
update public.users set cognito_user_id = %(sub)s
where ctid = %(place)s::tid and cognito_user_id = %(old)s
  and not exists (select from public.users where cognito_user_id = %(sub)s)
"""


class Doubtful(Exception):
    """More than one row or person may be meant; neither linked nor inserted."""


class Links:
    """Gives rows to users of one pool."""

    def __init__(self, client: Any, pool_id: str, *, dry_run: bool) -> None:
        self.client = client
        self.pool_id = pool_id
        self.dry_run = dry_run

    def give(self, conn: Connection[Any], person: Person, attributes: Mapping[str, str]) -> str:
        """Return "linked" where a row was found and given to a person, else nothing; raises `Doubtful`."""
        email = person.email if attributes.get("email_verified") == "true" else None
        wanted = {"email": email, "handle": attributes.get("preferred_username") or None}
        rows = conn.execute(MATCHES, wanted).fetchall()
        if not rows:
            return ""
        if len(rows) > 1:
            raise Doubtful("matching several rows, to be linked by hand")
        [row] = rows
        if SUB.fullmatch(row["cognito_user_id"]) and self.subs("sub", row["cognito_user_id"]):
            return ""  # it is somebody's
        others = self.subs("email", row["email"]) | self.subs("preferred_username", row["handle"])
        if others - {person.cognito_user_id}:
            raise Doubtful("matching a row that other users match, too, to be linked by hand")
        if self.dry_run:
            return "linked"
        return self.change(conn, person, row)

    def change(self, conn: Connection[Any], person: Person, row: Mapping[str, Any]) -> str:
        """Put the sub into a row, taking turns with the trigger, which may insert one for it just now."""
        from functions.post_confirmation.people import key

        with conn.transaction():
            conn.execute("select pg_advisory_xact_lock(%s)", [key("sub", person.cognito_user_id)])
            done = conn.execute(
                GIVE, {"sub": person.cognito_user_id, "place": row["place"], "old": row["cognito_user_id"]}
            )
        return "linked" if done.rowcount else ""

    def subs(self, attribute: str, value: str | None) -> set[str]:
        """Return the subs of the pool's users who have this value, two at most."""
        if not value:
            return set()
        text = value.replace("\\", "\\\\").replace('"', '\\"')
        found = self.client.list_users(UserPoolId=self.pool_id, Filter=f'{attribute} = "{text}"', Limit=2)
        return {item["Value"] for user in found["Users"] for item in user["Attributes"] if item["Name"] == "sub"}
