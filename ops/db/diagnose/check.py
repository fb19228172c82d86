"""What a check of a database's health is: data, looked up and judged by others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from config.diagnose import Diagnose

if TYPE_CHECKING:
    from typing_extensions import LiteralString

Row: TypeAlias = Mapping[str, Any]
Status: TypeAlias = Literal["red", "yellow", "unseen", "green"]

OURS = """
  n.nspname not in ('pg_catalog', 'information_schema', 'inv') and not starts_with(n.nspname, 'pg_t')
  and c.oid <> all (array(
    select objid from pg_depend where refclassid = 'pg_extension'::regclass and classid = 'pg_class'::regclass and deptype = 'e'))
"""
"""What of pg_class c and pg_namespace n is the user's own: not Postgres's, not of an extension, not the suite's, nothing temporary."""
OURS_OF_INDEX = """
  n.nspname not in ('pg_catalog', 'information_schema', 'inv') and not starts_with(n.nspname, 'pg_t')
  and x.indrelid <> all (array(
    select objid from pg_depend where refclassid = 'pg_extension'::regclass and classid = 'pg_class'::regclass and deptype = 'e'))
"""
"""The same of pg_index x, which belongs to its table and to no extension."""
NAME = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
"""The same as a statement names it. The functions that give whole definitions (pg_get_indexdef, pg_get_expr, pg_get_constraintdef)
open the table, and would wait behind whoever has locked it; so do pg_relation_size and pg_partition_tree."""
BLOCK = 8192
"""Bytes of a page, as Postgres is built everywhere (current_setting('block_size'))."""
LEAST_WASTE = 8 * 1024 * 1024 // BLOCK
"""Pages below which nobody misses the room."""


@dataclass(frozen=True)
class Proof:
    """An index that was tried on a copy of the target's shape, whose rows were made up."""

    before_cost: int
    """Of the query without it, as the planner counts: a page read in turn is 1."""
    after_cost: int
    """Of the query with it."""
    used: bool
    """Whether the planner takes it."""
    rows_ratio: float
    """Which part of the target's rows were made."""


@dataclass(frozen=True)
class Line:
    """What a check says: of one object that is not as it should be, or that there is none."""

    check: str
    """Its name, which does not change: invalid_index."""
    status: Status
    """How bad it is: red wants to be mended now, yellow soon; unseen could not be judged, and the text says why."""
    object: str | None
    """What it is about, as a statement names it; a session by its pid; null where it is about all of them."""
    what: str
    """What was found, in words."""
    cost: str | None
    """What it costs as long as it stays, in words; null where nothing is wrong."""
    mend: list[str]
    """Statements for the database, or tasks (`inv …`), that mend it, in their order; none of them was run."""
    proof: Proof | None = None
    """What the index that mends it does to the query (--prove); null for all else."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, with what it costs and what mends it."""

    status: Status
    object: str
    """As a statement names it; a session by its pid."""
    what: str
    cost: str
    mend: tuple[str, ...]
    """Statements, or tasks (`inv …`), in their order."""

    def line(self, check: str) -> Line:
        return Line(check, self.status, self.object, self.what, self.cost, list(self.mend))


@dataclass(frozen=True)
class Facts:
    """What is known of a target beside what a check asks for."""

    limits: Diagnose
    user: str
    database: str
    """Its name, as a statement names it."""
    version: int
    """As server_version_num has it."""
    rds: bool
    replicas: int
    """Servers that stream from it: what is read there is counted there."""
    standby: bool
    since: datetime | None
    """From when on its statistics count."""
    days: float
    """Since then."""
    memory: int | None
    """Bytes of its machine; None where that is not known from here."""
    cpus: int | None
    embedded: bool = False
    target: str = "local"
    """As it is given to --target."""


@dataclass(frozen=True)
class Check:
    """One thing to look for.

    `sql` reads pg_catalog and gives a row for each suspect; it may hold {since}, from when on the statistics count, and {long}, {blocked} and
    {unused_days}, which are numbers from the settings. `judge` makes a finding of a row, or nothing.
    """

    name: str
    sql: LiteralString
    judge: Callable[[Row, Facts], Finding | None]
    green: str
    """What is said where nothing is found."""
    hidden: LiteralString = ""
    """Gives one row: how many things this user cannot see (`hidden`)."""
    lacks: str = ""
    """What is said of these; {hidden} is their number, {user} who may not see them."""
    mend: str = ""
    """The statement that would let the user see them."""
    unless: Callable[[Facts], str] = field(default=lambda _: "")
    """Why this cannot be judged on such a target; empty where it can."""


SEE_SESSIONS = 'grant pg_read_all_stats to "{user}"'
SEE_ROWS = 'grant pg_read_all_data to "{user}"'


def task(name: str, facts: Facts) -> str:
    """Return a task of ours as it is typed for a target."""
    return f"inv {name} -t {facts.target}"


def count(number: float, what: str) -> str:
    """Return a number of things in words: 1 row, 1,200 rows."""
    return f"{number:,.0f} {what}{'' if round(number) == 1 else 's'}"


def bytes_of(pages: float) -> str:
    """Return a number of pages as people read a size."""
    from ops.db.status import human

    return human(round(pages * BLOCK))


def age(seconds: float) -> str:
    """Return a length of time as people read it."""
    from ops.db.sessions import length

    return length(round(seconds))


def mostly_empty(row: Row, cost: str, mend: str) -> Finding | None:
    """Return what is found of a file of which half or more is empty, by the pages that are wasted; None for any other."""
    if row["wasted"] < max(LEAST_WASTE, row["pages"] / 2):
        return None
    return Finding(
        "red" if row["wasted"] * BLOCK >= 1 << 30 else "yellow",
        row["object"],
        f"about {bytes_of(row['wasted'])} of its {bytes_of(row['pages'])} are empty",
        cost,
        (mend,),
    )
