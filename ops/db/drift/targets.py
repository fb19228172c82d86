"""db.compare: where two targets differ, read from their catalogs alone: nothing is written or built for it.

What means the same in other words is understood by a server in db.drift, in a transaction that makes it. That is writing, so here
two texts that differ are told with the mark that they may.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings
from ops import console
from ops.console import say
from ops.db.drift import catalog, compare, spelling
from ops.db.drift.report import shortened
from ops.errors import Differs, Misconfigured
from ops.targets import opening

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.db.drift.catalog import Catalog


@dataclass(frozen=True)
class Different:
    """Something that is not the same in two databases."""

    kind: str
    """Of the object, as Postgres calls it (pg_identify_object): table, table column, index."""
    name: str
    """Of the object, with its schema; quoted where SQL wants it."""
    what: str
    """The property: type, default, definition, comment; existence where one side lacks the object."""
    here: str | None
    """As the first target has it; null where it is at its default, or the object is not there."""
    there: str | None
    """As the other has it."""
    in_words: bool
    """Whether these are two texts that may mean the same."""


@dataclass(frozen=True)
class Between:
    """Where two targets differ."""

    target: str
    """The first one."""
    other: str
    """The one that it is held against."""
    same: bool
    """Whether there is no difference."""
    objects: int
    """How many are there, in both or in one."""
    differences: list[Different]
    """By kind and name of the object."""


def show(settings: Settings, target: str, other: str, *, json: bool) -> None:
    """Print where two targets differ; raises `Differs` where they do, `Misconfigured` where they are not two."""
    if not other:
        raise Misconfigured("--with: name the other target, as --with staging")
    names = settings.on(target).focus.name, settings.on(other, "--with").focus.name
    if names[0] == names[1]:
        raise Misconfigured(f"--with {other}: it is the same target: name another one")
    mine = read(settings, names[0])
    with open_reading(settings, names[1]) as conn:
        answer = between(names, mine, catalog.read(conn), conn)
    if json:
        console.as_json(answer)
    else:
        for found in answer.differences:
            console.result(f"{found.kind} {console.harmless(found.name)}: {line(found, names)}")
    if not answer.same:
        objects = len({(found.kind, found.name) for found in answer.differences})
        raise Differs(
            f"{names[0]} and {names[1]} are not the same: {objects} object{'s differ' if objects > 1 else ' differs'} "
            f"(inv db.migrations -t {names[1]} and -t {names[0]} show what either lacks)"
        )
    say(f"{names[0]} and {names[1]} are the same: {answer.objects} objects")


@contextlib.contextmanager
def open_reading(settings: Settings, name: str) -> Iterator[Connection[DictRow]]:
    """Open a target's database as the reader, in a session whose transactions cannot write."""
    with opening.open_target(settings, name, "db.compare", login="reader") as at:
        at.required()
        with at.connect() as conn:
            conn.read_only = True
            yield conn


def read(settings: Settings, name: str) -> Catalog:
    """Return the objects of a target; its session is closed before another target is asked, which may be slow."""
    with open_reading(settings, name) as conn:
        return catalog.read(conn)


def line(found: Different, names: tuple[str, str]) -> str:
    """Return what differs, for people."""
    if found.what == compare.EXISTS:
        return f"only in {names[1] if found.here is None else names[0]}"
    here, there = shortened(found.here, found.there)
    told = f"{found.what}: {here} in {names[0]}, {there} in {names[1]}"
    return f"{told} (may be the same in other words)" if found.in_words else told


def between(names: tuple[str, str], mine: Catalog, theirs: Catalog, conn: Connection[DictRow]) -> Between:
    """Compare what was read of two databases; of `conn`, which is to either, nothing is asked."""
    found = compare.differences(mine, theirs)
    speller = spelling.Speller(conn, mine, theirs)
    return Between(
        target=names[0],
        other=names[1],
        same=not found,
        objects=len(mine.things.keys() | theirs.things.keys()),
        differences=[Different(d.kind, d.name, d.what, d.left, d.right, may_mean_the_same(speller, d)) for d in found],
    )


def may_mean_the_same(speller: spelling.Speller, found: compare.Difference) -> bool:
    """Whether both sides have a text of what is told from another one by being understood."""
    if found.left is None or found.right is None or found.what == compare.EXISTS:
        return False
    return speller.how(found.key, found.what, found.left) is not None
