"""Seeded rows given to the people they were meant for.

A seed is written before anyone has signed up, with made-up ids or none. A row
is given away only where there is no doubt: exactly one row matches the person
and exactly one person the row, by handle or verified e-mail address, and its id
is nobody's. A handle can be chosen by anyone: it is not enough for a row whose
id may have been a real one, of a user who is gone or of an earlier pool.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from config.sign_up import TABLE
from ops.console import say

if TYPE_CHECKING:
    from psycopg import Connection

    from functions.post_confirmation.people import Person

SUB = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
"""What Cognito gives as a sub; another id is made up. One that is none of this pool's may be of an earlier one."""
MATCHES = f"""
select ctid::text as place, cognito_user_id::text, handle, email from {TABLE}
where lower(email) = lower(%(email)s) or lower(handle) = lower(%(handle)s) limit 2
"""
SEEDED = f"""
select handle, email from {TABLE}
where (lower(handle) = any(%(handles)s) or lower(email) = any(%(emails)s))
  and coalesce(cognito_user_id::text, '') !~ '^{SUB.pattern}$'
"""
GIVE = f"""
update {TABLE} set cognito_user_id = %(sub)s
where ctid = %(place)s::tid and cognito_user_id is not distinct from %(old)s
  and not exists (select from {TABLE} where cognito_user_id = %(sub)s)
"""
PAGE = 60
"""The most users that Cognito gives at once."""


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
        wanted = claims(person, attributes)
        rows = conn.execute(MATCHES, wanted).fetchall()
        if not rows:
            return ""
        if len(rows) > 1:
            raise Doubtful("matching several rows, to be linked by hand")
        [row] = rows
        if SUB.fullmatch(row["cognito_user_id"] or "") and (
            folded(wanted["email"]) != folded(row["email"]) or self.knows(row["cognito_user_id"])
        ):
            return ""  # it is somebody's, or may be
        for name, value in (("email", folded(row["email"])), ("preferred_username", folded(row["handle"]))):
            if value and self.holders[hash((name, value))] > (folded(attributes.get(name)) == value):
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

    def left(self, conn: Connection[Any], people: Iterable[tuple[Person, Mapping[str, str]]]) -> None:
        """Say which seeded rows match people who have a row of their own, and so stay nobody's."""
        wanted = [(person, claims(person, attributes)) for person, attributes in people]
        values = {
            f"{name}s": [folded(claim[name]) for _, claim in wanted if claim[name]] for name in ("handle", "email")
        }
        for row in conn.execute(SEEDED, values).fetchall():
            for person, claim in wanted:
                if any(claim[name] and folded(claim[name]) == folded(row[name]) for name in claim):
                    say(
                        f"{person.cognito_user_id}: has a row of their own; the seeded row {row['handle'] or row['email']} was left"
                    )

    def knows(self, sub: str) -> bool:
        """Return whether a user of the pool has this sub."""
        return bool(self.client.list_users(UserPoolId=self.pool_id, Filter=f'sub = "{sub}"', Limit=1)["Users"])

    @cached_property
    def holders(self) -> Counter[int]:
        """How many users have a value, by the hash of the attribute's name and the value without its capitals.

        The pool is read once for it, when a row is found to give: Cognito's filter tells capitals apart, and which
        attributes to send cannot be said where some users lack one of them.
        """
        pages = self.client.get_paginator("list_users").paginate(
            UserPoolId=self.pool_id, PaginationConfig={"PageSize": PAGE}
        )
        return Counter(
            hash((item["Name"], folded(item.get("Value"))))
            for page in pages
            for user in page["Users"]
            for item in user.get("Attributes", [])
            if item["Name"] in ("email", "preferred_username")
        )


def claims(person: Person, attributes: Mapping[str, str]) -> dict[str, str | None]:
    """Return by what a person may be given a row: a verified e-mail address, and a handle that they chose."""
    verified = attributes.get("email_verified") == "true"
    return {"email": person.email if verified else None, "handle": attributes.get("preferred_username") or None}


def folded(text: str | None) -> str:
    """Return a text without its capitals, empty for none."""
    return (text or "").lower()
