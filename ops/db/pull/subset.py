"""Which rows of a source come along, where not all do: with all that their foreign keys need.

A share is taken of the tables that point to no other; what points to them follows, a row with all that it points to. A
table with a share or a condition of its own brings what its rows need. All is asked by conditions in the source's own
reading, so that nothing is written there, and which rows a share has depends on their keys alone: two pulls agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.db.pull import masks_file
from ops.db.pull.columns import Foreign, Table
from ops.db.pull.masks_file import Decided
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

PARTS = 1_000_000
"""Into which the keys fall by their hash."""


def share(text: str) -> float | None:
    """Return the share of --rows, above 0 and up to 1; None for all."""
    if not text:
        return None
    try:
        return masks_file.share_of(text)
    except ValueError as error:
        raise Misconfigured(f"--rows {error}") from None


def conditions(given: Sequence[str]) -> dict[str, str]:
    """Return the conditions of --where by table, as they are named there."""
    found = {}
    for each in given:
        told = re.match(r"\s*((?:\"(?:[^\"]|\"\")+\"|[\w.$])+)\s*=\s*(.*\S)", each, re.DOTALL)
        if not told:
            raise Misconfigured(f"--where {each}: write it as TABLE=CONDITION, like users=created_at > '2026-01-01'")
        if told[1] in found:
            raise Misconfigured(f"--where {told[1]}: stands here twice: join the two by AND")
        found[told[1]] = told[2]
    return found


@dataclass
class Choice:
    """All that decides which rows come along."""

    tables: Mapping[str, Table]
    own: dict[str, list[str]] = field(default_factory=dict)
    """By table: what its rows have to keep by themselves; `t` is the table."""


def choose(
    conn: Connection[DictRow], decided: Mapping[str, Decided], rows: float | None, where: Mapping[str, str]
) -> dict[str, str]:
    """Return by table the condition of its rows, which is about `t`; one that is not in it comes along as a whole.

    Raises `Misconfigured` for a condition that names no table, or that the source does not take.
    """
    choice = Choice({quoted: one.table for quoted, one in decided.items() if not one.skip})
    for quoted, one in decided.items():
        if one.skip:
            continue
        if one.share is not None:
            choice.own.setdefault(quoted, []).append(by_share(one.table, one.share))
        if one.where:
            choice.own.setdefault(quoted, []).append(f"(\n{one.where}\n)")
    for name, condition in where.items():
        table = named(choice.tables, name)
        check(conn, table, name, condition)
        choice.own.setdefault(table.quoted, []).append(f"(\n{condition}\n)")
    if rows is not None and rows < 1:
        for quoted in roots(choice.tables):
            if quoted not in choice.own:
                choice.own[quoted] = [by_share(choice.tables[quoted], rows)]
    if not choice.own:
        return {}
    found = {}
    for quoted in choice.tables:
        if condition := of_table(choice, quoted):
            found[quoted] = condition
    return found


def named(tables: Mapping[str, Table], name: str) -> Table:
    """Return the table that --where names."""
    for table in tables.values():
        if name in (table.quoted, table.plain, *masks_file.short(table)):
            return table
    raise Misconfigured(f"--where {name}: the source has no such table whose rows come along")


def check(conn: Connection[DictRow], table: Table, name: str, condition: str) -> None:
    """See that the source takes a condition; no row is read."""
    from psycopg import Error

    only = "" if table.partitioned else "only "
    try:
        with conn.transaction():
            conn.execute(f"select from {only}{table.quoted} as t where (\n{condition}\n) and false".encode())
    except Error as error:
        raise Misconfigured(f"--where {name}: {masks_file.said(error)}") from None


def by_share(table: Table, rows: float) -> str:
    """Return the condition that a share of a table's rows keeps: by its key, or where it has none by all of a row."""
    key = next((each.columns for each in table.unique if each.main), ())
    of = ", ".join(f"t.{table.columns[name].quoted}::text" for name in key) or "t::text"
    return f"abs(hashtextextended(concat_ws('/', {of}), 0) % {PARTS}) < {round(rows * PARTS)}"


def roots(tables: Mapping[str, Table]) -> Iterator[str]:
    """Yield the tables that point to no other; of those that point to each other in a circle, all that point to none besides."""
    for quoted, table in tables.items():
        below = reached(tables, quoted)
        if all(quoted in reached(tables, other) for other in parents(tables, table)) and (
            quoted in below or not parents(tables, table)
        ):
            yield quoted


def parents(tables: Mapping[str, Table], table: Table) -> list[str]:
    """Return the other tables that one points to."""
    return sorted({key.parent for key in table.foreign if key.parent in tables and key.parent != table.quoted})


def reached(tables: Mapping[str, Table], quoted: str) -> set[str]:
    """Return the tables that one points to, or that those point to, and so on; itself where a way leads back."""
    found: set[str] = set()
    todo = parents(tables, tables[quoted])
    while todo:
        if (one := todo.pop()) not in found:
            found.add(one)
            todo += parents(tables, tables[one])
    return found


def concerned(choice: Choice, quoted: str) -> bool:
    """Whether not all rows of a table come along by themselves: it has a condition, or points to one that has."""
    return quoted in choice.own or bool(reached(choice.tables, quoted) & choice.own.keys())


def of_table(choice: Choice, quoted: str) -> str:
    """Return the condition of a table's rows: their own, or that another row needs one; empty where all come along."""
    if not concerned(choice, quoted):
        return ""
    begun = seeds(choice, quoted, "t", frozenset())
    needing = [other for other in choice.tables if quoted in reached(choice.tables, other) or points_to_itself(choice, other, quoted)]  # fmt: skip
    if not any(brings(choice, other) for other in needing):
        return begun
    return f"({begun} or (t.tableoid, t.ctid) in ({closure(choice, quoted, sorted({quoted, *needing}))}))"


def points_to_itself(choice: Choice, other: str, quoted: str) -> bool:
    return other == quoted and any(key.parent == quoted for key in choice.tables[quoted].foreign)


def brings(choice: Choice, quoted: str) -> bool:
    """Whether rows of a table may need some that do not come along by themselves."""
    table = choice.tables[quoted]
    pointed = [key.parent for key in table.foreign if key.parent in choice.tables]
    circle = quoted in pointed or quoted in reached(choice.tables, quoted)
    return concerned(choice, quoted) and bool(pointed) and (quoted in choice.own or circle)


def seeds(choice: Choice, quoted: str, alias: str, seen: frozenset[str]) -> str:
    """Return the condition of the rows of a table that come along by themselves, under an alias.

    With a condition of its own it is that; else what it points to must come along by itself, too.
    """
    table = choice.tables[quoted]
    if quoted in choice.own:
        inner = " and ".join(choice.own[quoted])
        if alias == "t":
            return f"({inner})"
        # a condition of people's names columns as it likes: it is asked in a reading of its own
        return f"exists (select from {relation(table)} as t where t.tableoid = {alias}.tableoid and t.ctid = {alias}.ctid and {inner})"
    found = []
    for number, key in enumerate(table.foreign):
        if key.parent not in choice.tables or key.parent in seen or key.parent == quoted:
            continue
        if concerned(choice, key.parent):
            inner_alias = f"p{len(seen)}_{number}"
            parent = choice.tables[key.parent]
            inner = seeds(choice, key.parent, inner_alias, seen | {quoted})
            empty = " or ".join(f"{alias}.{table.columns[name].quoted} is null" for name in key.columns)
            found.append(
                f"({empty} or exists (select from {relation(parent)} as {inner_alias} where {joined(table, alias, parent, inner_alias, key)} and {inner}))"
            )
    return f"({' and '.join(found)})" if found else "true"


def relation(table: Table) -> str:
    return table.quoted if table.partitioned else f"only {table.quoted}"


def joined(table: Table, alias: str, parent: Table, other: str, key: Foreign) -> str:
    """Return the condition by which a row points to its parent."""
    pairs = zip(key.columns, key.keys, strict=True)
    return " and ".join(f"{other}.{parent.columns[b].quoted} = {alias}.{table.columns[a].quoted}" for a, b in pairs)


def closure(choice: Choice, wanted: str, names: Sequence[str]) -> str:
    """Return the query for the rows of a table that others need: from what comes along by itself, along the foreign keys."""
    numbers = {quoted: number for number, quoted in enumerate(names)}
    begun, steps = [], []
    for quoted in names:
        table = choice.tables[quoted]
        begun.append(
            f"select {numbers[quoted]}, t.tableoid, t.ctid from {relation(table)} as t where {seeds(choice, quoted, 't', frozenset())}"
        )
        for key in table.foreign:
            if key.parent in numbers:
                parent = choice.tables[key.parent]
                steps.append(
                    f"select {numbers[key.parent]}, p.tableoid, p.ctid from {relation(table)} as c join {relation(parent)} as p"
                    f" on {joined(table, 'c', parent, 'p', key)} where n.number = {numbers[quoted]} and c.tableoid = n.part and c.ctid = n.place"
                )
    return (
        f"with recursive need (number, part, place) as ({' union all '.join(begun)} union"
        f" select s.number, s.part, s.place from need as n cross join lateral ({' union all '.join(steps)}) as s (number, part, place))"
        f" select part, place from need where number = {numbers[wanted]}"
    )
