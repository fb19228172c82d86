"""db.drift: what the repository says against what a target has.

pg-schema-diff (PyPI, 0.2.4: a module named schemadrift) was tried first: it finds 18 of the 131 changes in tests/test_drift.py, since it
reads tables, columns, indexes, foreign keys and enums of the schema public and nothing else. migra sleeps since 2022.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from config.settings import Settings
from ops import console
from ops.console import say
from ops.db.drift import catalog, compare, propose, repository, scratch, spelling
from ops.db.drift.catalog import Catalog
from ops.errors import Differs
from ops.targets import opening
from ops.targets.open_target import OpenTarget

LONG = 60
"""Characters of a value in a line for people; all of it is in --json."""
BEFORE = 20
"""Of them before the place where two differ."""


@dataclass(frozen=True)
class Found:
    """Something that is not the same in the repository and in the database."""

    kind: str
    """Of the object, as Postgres calls it (pg_identify_object): table, table column, index."""
    name: str
    """Of the object, with its schema; quoted where SQL wants it."""
    what: str
    """The property: type, default, definition, comment; existence where one side lacks the object."""
    repository: str | None
    """As the repository says it; null where it is at its default, or the object is not there."""
    database: str | None
    """As the database has it."""


@dataclass(frozen=True)
class Drift:
    """What the repository says against what a database has."""

    target: str
    """As it is given to --target."""
    address: str
    """user@host:port/database, as it stands in messages."""
    same: bool
    """Whether there is no difference; if there is, the exit code is 4."""
    build_seconds: float
    """To build what the repository says; 0 where it was kept from a run before."""
    differences: list[Found]
    """By kind and name of the object."""
    to_repository: list[str]
    """Statements that would make the database as the repository says; a comment where there is none."""
    to_database: list[str]
    """Statements that would bring into the repository what the database has."""


def show(settings: Settings, target: str, variables: Mapping[str, str], *, sql: bool, json: bool) -> None:
    """Print where a target is not what the repository says; raises `Differs` where it is not."""
    content, name = repository.content(settings, variables)
    with opening.open_target(settings, target, "db.drift") as at:
        at.required()
        reader = Reader(at)
        with (
            scratch.open_built(at.settings, content) as (built, seconds),
            built.connect() as conn,
        ):
            if seconds:
                say(f"built what {name} says in {seconds:.1f} s; it is kept for the next look")
            mine, theirs = catalog.read(conn), reader.result()
            found = compare.differences(mine, theirs, spelling.Speller(conn, mine, theirs))
    answer = Drift(
        target=at.target.name,
        address=at.target.address,
        same=not found,
        build_seconds=round(seconds, 3),
        differences=[Found(d.kind, d.name, d.what, d.left, d.right) for d in found],
        to_repository=[str(each) for each in propose.statements(found, mine, theirs)],
        to_database=[str(each) for each in propose.statements(turned(found), theirs, mine)],
    )
    if json:
        console.as_json(answer)
    elif sql:
        print_sql(answer)
    else:
        print_all(answer, name)
    if found:
        raise Differs(summed_up(found, at))
    say(f"{at.name} is what {name} says: {len(mine.things)} objects are the same")


class Reader(threading.Thread):
    """Reads the objects of a target beside the reading of the repository's."""

    def __init__(self, at: OpenTarget) -> None:
        super().__init__(daemon=True)
        self.conn = at.connect()
        self.found: Catalog | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            with self.conn:
                self.found = catalog.read(self.conn)
        except BaseException as error:  # raised by result(), where it can be told
            self.error = error

    def result(self) -> Catalog:
        """Return what was read, or raise what came of it."""
        self.join()
        if self.error:
            raise self.error
        assert self.found is not None
        return self.found


def turned(found: list[compare.Difference]) -> list[compare.Difference]:
    """Return the same differences seen from the other side."""
    return [compare.Difference(d.kind, d.name, d.what, d.right, d.left) for d in found]


def summed_up(found: list[compare.Difference], at: OpenTarget) -> str:
    """Return what was found on one line, and the next step."""
    objects = len({difference.key for difference in found})
    return (
        f"{at.name} is not what the repository says: {objects} object{'s' if objects > 1 else ''} "
        f"differ{'' if objects > 1 else 's'} (inv db.drift --sql proposes statements)"
    )


def print_all(answer: Drift, repository: str) -> None:
    """Print the differences, a line for each."""
    for found in answer.differences:
        console.result(f"{found.kind} {console.harmless(found.name)}: {line(found, repository)}")


def line(found: Found, repository: str) -> str:
    """Return what differs, for people."""
    if found.what == compare.EXISTS:
        return f"only in {repository}" if found.database is None else "only in the database"
    mine, theirs = shortened(found.repository, found.database)
    return f"{found.what}: {mine} in {repository}, {theirs} in the database"


def shortened(*values: str | None) -> list[str]:
    """Return values on one line each, of long ones the part where they differ."""
    texts = ["none" if value is None else console.harmless(" ".join(value.split())) for value in values]
    if all(len(text) <= LONG for text in texts):
        return texts
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False))
    begin = max(0, sum(1 for _ in same) - BEFORE)
    return [
        ("…" if begin else "") + text[begin : begin + LONG] + ("…" if len(text) > begin + LONG else "")
        for text in texts
    ]


def print_sql(answer: Drift) -> None:
    """Print statements either way: those for the database, then as comments those for the repository."""
    if answer.same:
        return
    console.result(
        "-- What makes the database as the repository says. Read it first: what loses data is commented out."
    )
    for statement in answer.to_repository:
        console.result(statement)
    console.result("\n-- The other way, for the repository (a migration, or the schema file):")
    for statement in answer.to_database:
        console.result("\n".join(f"-- {each}" for each in statement.splitlines()))
