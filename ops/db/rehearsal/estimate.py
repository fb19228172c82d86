"""How long a statement will take on the target, from how long it took here on a part of the rows, or on none.

What grows is known from what was done: rows read, rewritten, sorted into an index, joined or changed. What each of
these costs is measured here, once, on two tables, a narrow and a wide one, so that the cost of a row and that of its bytes
are known apart. With rows, the time that was measured is multiplied; without, the costs are all there is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from ops.db.rehearsal.work import Effect

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from typing_extensions import LiteralString

FEW = 2000
"""Rows up to which what was measured is no more than what a statement costs anyway."""
NARROW, WIDE = (40_000, 1), (8_000, 25)
"""Rows, and how many pieces of 33 bytes each has."""
MEASURED_BAR, CALIBRATED_BAR, FIXED_BAR = 2.0, 4.0, 3.0
"""By which factor the time may be off to either side: scaled, by costs alone, and where nothing grows."""
TIMED: dict[str, LiteralString] = {
    "scan": "alter table inv_rates add constraint c check (n > -{0})",
    "rewrite": "alter table inv_rates alter n type bigint using n + {0}",
    "index": "create index on inv_rates ((n + {0}))",
    "join": "alter table inv_rates add constraint f{0} foreign key (n) references inv_parents (id)",
    "change": "update inv_rates set n = n + {0}",
}
"""What costs each kind of work, once."""


class Size(NamedTuple):
    """Of a table."""

    rows: float
    bytes: float
    """Without its indexes."""


@dataclass(frozen=True)
class Cost:
    """Of one kind of work, in seconds."""

    row: float
    byte: float

    def of(self, size: Size) -> float:
        return max(0.0, self.row * size.rows + self.byte * size.bytes)


@dataclass(frozen=True)
class Estimate:
    """The time of a statement on a table of the target's size, on a server as fast as the one of the rehearsal."""

    seconds: float
    """The most likely."""
    least_seconds: float
    """The lower end of the error bar."""
    most_seconds: float
    """The upper end of the error bar."""
    basis: Literal["measured", "calibrated", "constant"]
    """measured: on a part of the rows, and scaled; calibrated: from what the same work costs on other tables; constant: nothing that it did grows with the rows."""


def estimated(
    seconds: float,
    effects: Sequence[Effect],
    here: Mapping[int, Size],
    there: Mapping[int, Size],
    costs: Mapping[str, Cost],
) -> Estimate:
    """Return how long a statement will take whose work on tables is known, by their sizes here and there; in seconds."""
    at_hand = sum(cost(effect, here[effect.oid], 1, costs) for effect in effects if effect.oid in here)
    at_target = 0.0
    for effect in effects:
        if effect.oid in there:
            small, large = here.get(effect.oid, Size(0, 0)), there[effect.oid]
            at_target += cost(effect, large, large.rows / small.rows if small.rows else 0, costs)
    if not effects or at_target == 0:
        return bar(seconds, FIXED_BAR, "constant")
    rows = max(here[effect.oid].rows for effect in effects if effect.oid in here)
    if rows <= FEW or at_hand == 0:
        return bar(seconds + max(0.0, at_target - at_hand), CALIBRATED_BAR, "calibrated")
    return bar(max(seconds, seconds * at_target / at_hand), MEASURED_BAR, "measured")


def bar(seconds: float, factor: float, basis: Literal["measured", "calibrated", "constant"]) -> Estimate:
    return Estimate(seconds, seconds / factor, seconds * factor, basis)


def cost(effect: Effect, size: Size, grown: float, costs: Mapping[str, Cost]) -> float:
    """Return what the work of an effect costs on a table of a size, in seconds; `grown`: how many times as many rows it has."""
    if effect.what == "change" and effect.rows and grown:
        share = min(1.0, effect.rows * grown / size.rows) if size.rows else 0.0
        return costs["change"].of(size) * share * (1 + effect.times) / 2
    if effect.what == "change":  # what was measured has one index
        return costs["change"].of(size) * (1 + effect.times) / 2
    sorting = math.log2(max(2.0, size.rows)) / math.log2(NARROW[0]) if effect.what == "index" else 1.0
    return costs[effect.what].of(size) * effect.times * sorting


def calibrated(conn: Connection[DictRow]) -> dict[str, Cost]:
    """Return what each kind of work costs on this server; takes a second or two, and leaves nothing behind."""
    small, large = (timed(conn, rows, pieces) for rows, pieces in (NARROW, WIDE))
    return {what: solved(small, large, what) for what in TIMED}


def timed(conn: Connection[DictRow], rows: int, pieces: int) -> tuple[Size, dict[str, float]]:
    """Return the size of a table with so many rows, and what each kind of work on it took, in seconds."""
    conn.execute("begin")
    try:
        conn.execute("create table inv_parents (id int primary key)")
        conn.execute("insert into inv_parents select generate_series(0, 999)")
        conn.execute("create table inv_rates (id int primary key, n int not null, t text)")
        conn.execute(
            f"insert into inv_rates select i, i % 1000, p from generate_series(1, {rows}) i, lateral (select string_agg(md5((i * 100 + k)::text), '') as p from generate_series(1, {pieces}) k) x".encode()
        )
        found = conn.execute("select pg_relation_size('inv_rates') as bytes").fetchone()
        assert found is not None
        took = {}
        for what in ("scan", "index", "join", "rewrite", "change"):
            took[what] = sum(one(conn, what, number) for number in (1, 2)) / 2
        return Size(rows, found["bytes"]), took
    finally:
        conn.execute("rollback")


def one(conn: Connection[DictRow], what: str, number: int) -> float:
    conn.execute("savepoint before")
    started = time.monotonic()
    conn.execute(TIMED[what].format(number).encode())
    took = time.monotonic() - started
    conn.execute("rollback to before")
    return took


def solved(small: tuple[Size, dict[str, float]], large: tuple[Size, dict[str, float]], what: str) -> Cost:
    """Return the cost of a row and of a byte that explain what a narrow and a wide table took."""
    (a, took), (b, took_b) = small, large
    seconds, seconds_b = took[what], took_b[what]
    area = a.rows * b.bytes - b.rows * a.bytes
    row = (seconds * b.bytes - seconds_b * a.bytes) / area
    byte = (a.rows * seconds_b - b.rows * seconds) / area
    if row < 0:
        return Cost(0.0, max(seconds / a.bytes, seconds_b / b.bytes))
    return Cost(row, byte) if byte >= 0 else Cost(max(seconds / a.rows, seconds_b / b.rows), 0.0)
