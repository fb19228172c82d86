"""A person as Cognito describes one, and the one row that stands for them.

The table is the user's own. It may lack unique constraints, limit lengths,
demand an e-mail address, or have an encoding that cannot hold every character;
the role that writes may SELECT and INSERT, no more. So nothing here relies on
a constraint, and what does not fit is learned from the server's refusal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection, Error

TEXTS = ("display_name", "handle", "email")
"""The columns whose values may be changed to make them fit; the sub is stored as it is, or not at all."""
SHORT = 255
"""Characters to which a text is cut that an index refuses: none of Postgres holds more than 2,704 bytes."""
NO_HANDLE = "no handle was found that is free"
TRIES = 12
"""Refusals after which a person is given up; each of them is answered by another change."""

# Two transactions for the same sub, or the same handle, take turns by the locks. They come before the look at the
# table, as a statement of their own, and read committed whatever the database's default: what a statement sees is
# settled when it begins, or in stricter isolation when the first one does. All of it is one round trip.
LOOK = """
begin isolation level read committed;
set local statement_timeout = %(milliseconds)s;
set local idle_in_transaction_session_timeout = %(milliseconds)s;
select pg_advisory_xact_lock(%(sub_lock)s), pg_advisory_xact_lock(%(handle_lock)s);
select exists (select from public.users where cognito_user_id = %(cognito_user_id)s),
  exists (select from public.users where lower(handle) = lower(%(handle)s))
"""
INSERT = """
insert into public.users (display_name, email, handle, cognito_user_id)
values (%(display_name)s, %(email)s, %(handle)s, %(cognito_user_id)s);
commit
"""
WIDTHS = """
select column_name, character_maximum_length from information_schema.columns
where table_schema = 'public' and table_name = 'users' and character_maximum_length is not null
"""


class Unusable(ValueError):
    """What Cognito sent names nobody: there is no `sub`, or none that a database can hold."""


@dataclass(frozen=True)
class Person:
    """The values of one row of public.users; without NUL and lone surrogates, which no column can hold."""

    display_name: str
    handle: str
    email: str | None
    """Absent for phone-only and some federated users."""
    cognito_user_id: str
    """The `sub`: what a person is known by, whatever else changes."""

    @classmethod
    def of(cls, attributes: Mapping[str, Any], user_name: str) -> Person:
        """Read the attributes of an event, or of ListUsers, by name; raises `Unusable`.

        The handle falls back to the user name; the display name to the given
        and family names, then to the handle. What is no text counts as absent.
        """
        sub = attributes.get("sub")
        if not isinstance(sub, str) or not sub.strip() or clean(sub) != sub:
            raise Unusable("no usable sub")
        given = " ".join(filter(None, (filled(attributes.get(key)) for key in ("given_name", "family_name"))))
        handle = filled(attributes.get("preferred_username")) or filled(user_name) or sub
        return cls(
            display_name=filled(attributes.get("name")) or given or handle,
            handle=handle,
            email=filled(attributes.get("email")) or None,
            cognito_user_id=sub,
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a person."""

    inserted: bool
    """Whether a row was added; else the sub had one already."""
    changed: tuple[str, ...] = ()
    """Columns stored otherwise than given: a handle that another sub holds, a text that did not fit."""

    @property
    def word(self) -> str:
        return "inserted" if self.inserted else "present"


@dataclass(frozen=True)
class Fit:
    """A person as the table may take them; each refusal leads to another one."""

    person: Person
    taken: Mapping[str, int] = field(default_factory=dict)
    """How many values were found to be held by others, by column."""
    widths: Mapping[str, int] = field(default_factory=dict)
    """Characters that a column may have."""

    @property
    def values(self) -> Person:
        """The person with the names to try next: the same at each repetition, since they come from the sub."""
        return replace(self.person, handle=self.name("handle"), display_name=self.name("display_name"))

    def name(self, column: str) -> str:
        """Return a name within its column's width, with a suffix where others hold it."""
        text, width = str(getattr(self.person, column)), self.widths.get(column)
        if self.taken.get(column):
            suffix = "-" + hashlib.sha256(self.person.cognito_user_id.encode()).hexdigest()[: 4 * self.taken[column]]
            room = len(text) if width is None else max(0, width - len(suffix))
            text = text[:room] + suffix
        return text[:width]

    def next(self, column: str) -> Fit:
        return replace(self, taken={**self.taken, column: self.taken.get(column, 0) + 1})

    @property
    def nowhere(self) -> str:
        """An address that is this person's alone and leads nowhere (RFC 2606)."""
        return f"{self.person.cognito_user_id}@invalid"

    def with_email(self, email: str | None) -> Fit:
        return replace(self, person=replace(self.person, email=email))

    def cut(self, widths: Mapping[str, int]) -> Fit:
        """Shorten what is too long. An e-mail address is left out: a shortened one is somebody else's."""
        email = self.person.email or ""
        if len(email) > widths.get("email", len(email)):
            return self.with_email(email[-widths["email"] :] if email == self.nowhere else None)
        return replace(self, widths={**widths, **{c: min(w, widths.get(c, w)) for c, w in self.widths.items()}})

    def ascii(self) -> Fit:
        """Put `?` for what is not ASCII; an e-mail address is left out, as by `cut`."""
        names = {n: getattr(self.person, n).encode("ascii", "replace").decode() for n in ("display_name", "handle")}
        email = self.person.email if (self.person.email or "").isascii() else None
        return replace(self, person=replace(self.person, **names, email=email))


def clean(text: str) -> str:
    """Return a text as Postgres can hold it: without NUL, a lone surrogate as `?`."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def filled(value: object) -> str:
    """Return the text of an attribute, empty where it is absent, blank or no text."""
    text = clean(value) if isinstance(value, str) else ""
    return text if text.strip() else ""


def store(connection: Connection[Any], person: Person, *, timeout: float = 10.0) -> Outcome:
    """Make sure that public.users holds exactly one row of a person.

    `connection` is in autocommit mode: each attempt is one transaction, so that
    this is safe to repeat, at the same time too, and to break off anywhere.
    `timeout` is in seconds, for a statement. Raises psycopg's errors:
    `OperationalError` where a new connection may help, another where the table
    refuses what cannot be changed.
    """
    from psycopg import Error
    from psycopg.errors import UniqueViolation

    fit, refusal = Fit(person), Error()
    for _ in range(TRIES):
        try:
            inserted = insert(connection, fit.values, timeout)
        except Error as error:
            other = repaired(connection, fit, error)
            if other is None or other == fit:
                raise
            fit, refusal = other, error
            continue
        if inserted is None:
            fit, refusal = fit.next("handle"), UniqueViolation(NO_HANDLE)
            continue
        names = TEXTS if inserted else ()
        return Outcome(inserted, tuple(n for n in names if getattr(fit.values, n) != getattr(person, n)))
    raise refusal


def insert(connection: Connection[Any], person: Person, timeout: float) -> bool | None:
    """Add a row unless the sub has one, in a transaction; None where another sub holds the handle."""
    from psycopg import ClientCursor
    from psycopg.rows import tuple_row

    values = {
        **asdict(person),
        "milliseconds": max(1, int(timeout * 1000)),
        "sub_lock": key("sub", person.cognito_user_id),
        "handle_lock": key("handle", person.handle.lower()),
    }
    try:
        # which escapes values here, so that several statements go as one
        with ClientCursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(LOOK, values)
            while cursor.nextset():
                pass
            [(known, taken)] = cursor.fetchall()
            if not known and not taken:
                cursor.execute(INSERT, values)
                return True
    finally:
        if not connection.closed:
            connection.rollback()
    return False if known else None


def key(kind: str, text: str) -> int:
    """Return the number of an advisory lock: 64 bits, signed."""
    digest = hashlib.sha256(f"post_confirmation {kind} {text}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def repaired(connection: Connection[Any], fit: Fit, error: Error) -> Fit | None:
    """Return what to try after a refusal; None where nothing of it can be changed."""
    from psycopg import errors
    from psycopg.rows import tuple_row

    email = fit.person.email
    if isinstance(error, errors.UniqueViolation):
        # The detail begins with the columns, as in "Key (lower(handle))=(…)"; row security keeps it back
        columns = (error.diag.message_detail or "").partition("=")[0] or error.diag.constraint_name or ""
        if "email" in columns:
            return fit.with_email(None if email else fit.nowhere)
        if "cognito_user_id" in columns:  # by whom no lock is taken, just now: another look finds it
            return fit.next("cognito_user_id")
        return next((fit.next(column) for column in ("display_name", "handle") if column in columns), None)
    if error.diag.column_name == "email":  # which must not be null
        return fit.with_email("")
    if isinstance(error, errors.CheckViolation) and email == "":  # of an address, perhaps
        return fit.with_email(fit.nowhere)
    if isinstance(error, errors.StringDataRightTruncation):
        return fit.cut(dict(connection.cursor(row_factory=tuple_row).execute(WIDTHS).fetchall()))
    if isinstance(error, errors.ProgramLimitExceeded):  # an index; most often that of the handle
        first = fit.widths.get("handle", SHORT + 1) > SHORT
        return fit.cut({"handle": SHORT} if first else dict.fromkeys(TEXTS, SHORT))
    if isinstance(error, errors.UntranslatableCharacter):
        return fit.ascii()
    return None
