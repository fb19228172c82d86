"""Two catalogs, object by object and property by property.

Postgres prints an expression anew from how it has understood it, so one text may be printed in two ways: by two versions, or
after it was dumped and loaded (`in ('a', 'b')` over a varchar is the known one). What differs so is told from what differs
indeed by having one server understand both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ops.db.drift.catalog import Catalog, Key, Thing

EXISTS = "existence"
"""What differs where one side has no such object."""
OF_VIEWS = ("view column", "materialized view column")
"""They come and go with the definition of the view: only what was said of one besides is looked at."""
ORDERS = ("column order", "attribute order")
SINCE = {"not null constraint": 180000}
"""Properties that older servers do not know, and which version is the first to."""
UNCOMPARED = {
    ("function", "definition"),
    ("procedure", "definition"),
    ("table column", "inherited"),
    ("table constraint", "inherited"),
}
"""What is only there to be proposed: the parts of a function are compared, and from which tables a table inherits."""
SAME: Callable[[Key, str, str, str], bool] = lambda *_: False  # noqa: E731 - a default, that asks nobody


@dataclass(frozen=True)
class Difference:
    """One property of one object that is not the same on both sides."""

    kind: str
    """Of the object, as pg_identify_object() calls it: table, table column, index."""
    name: str
    """Of the object, as pg_identify_object() writes it: public.users.email."""
    what: str
    """The property: type, default, definition, comment; `existence` where only one side has the object."""
    left: str | None
    """As it is on the one side; null where it is at its default, or there is none."""
    right: str | None
    """As it is on the other side."""

    @property
    def key(self) -> Key:
        return Key(self.kind, self.name)


def differences(a: Catalog, b: Catalog, alike: Callable[[Key, str, str, str], bool] = SAME) -> list[Difference]:
    """Return where two catalogs differ, in order of kind and name.

    What is not there is named once: not its columns, constraints and triggers besides. `alike` is asked of two texts of one
    property that are not the same, whether they mean the same.
    """
    found = []
    common = min(a.version, b.version)
    for key in sorted(a.things.keys() | b.things.keys()):
        left, right = a.things.get(key), b.things.get(key)
        if (left is None or right is None) and key.kind not in OF_VIEWS:
            if not within(left, b) and not within(right, a) and not counts_for_identity(left or right):
                found.append(Difference(*key, EXISTS, told(left), told(right)))
            continue
        if (left is None and within(right, a)) or (right is None and within(left, b)):
            continue
        for what in changed(key, left, right, a.version != b.version, common):
            mine, theirs = value(left, what), value(right, what)
            if mine is None or theirs is None or not alike(key, what, mine, theirs):
                found.append(Difference(*key, what, mine, theirs))
    return found


def changed(key: Key, left: Thing | None, right: Thing | None, versions: bool, common: int) -> list[str]:
    """Return the properties of an object that are not written alike; `versions`: the servers are of two, `common` is the older."""
    mine, theirs = (thing.facets if thing else {} for thing in (left, right))
    names = sorted(mine.keys() | theirs.keys())
    return [
        what
        for what in names
        if mine.get(what) != theirs.get(what)
        and (key.kind, what) not in UNCOMPARED
        and SINCE.get(what, 0) <= common
        and not (what in ORDERS and set(split(mine.get(what))) != set(split(theirs.get(what))))
        and not (
            versions and common < 170000 and without_maintain(mine.get(what)) == without_maintain(theirs.get(what))
        )
    ]


def split(order: str | None) -> list[str]:
    """Return the columns of an order."""
    return (order or "").split(", ")


def without_maintain(rights: str | None) -> str | None:
    """Return rights without the one that servers before 17 do not know, and GRANT ALL gives on newer ones."""
    if rights is None or "MAINTAIN" not in rights:
        return rights
    return ", ".join(each for each in rights.split(", ") if not each.startswith("MAINTAIN")) or None


def value(thing: Thing | None, what: str) -> str | None:
    return thing.facets.get(what) if thing else None


def within(thing: Thing | None, other: Catalog) -> bool:
    """Whether what an object goes away with is not on the other side, either: then that is what is named."""
    return bool(thing and thing.inside and thing.inside not in other.things)


def counts_for_identity(thing: Thing | None) -> bool:
    """Whether it is the sequence of an identity column, which comes and goes with that property."""
    return bool(thing and thing.inside and "increment" in thing.facets and "owned by" not in thing.facets)


def told(thing: Thing | None) -> str | None:
    """Return an object in a few words, None where there is none."""
    if thing is None:
        return None
    for what in ("definition", "type", "values", "kind"):
        if what in thing.facets:
            return thing.facets[what]
    return "there"
