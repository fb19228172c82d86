"""Statements that would make one database as another one is, to be read by a person: nothing runs them.

What would lose data is commented out. What no single statement does is a comment that says so.
"""

from __future__ import annotations

from ops.db.drift.catalog import Catalog
from ops.db.drift.changed_objects import Changer
from ops.db.drift.compare import EXISTS, Difference
from ops.db.drift.words import Statement, comes, dropped


def statements(found: list[Difference], want: Catalog, have: Catalog) -> list[Statement]:
    """Return what would make `have` as `want` is, `found` being where they differ (`want` on the left).

    What goes comes first, the newest before what it was built on; then what is new, in the order in which it was made;
    then what is changed.
    """
    gone = [have.things[d.key].oid and d.key for d in found if d.what == EXISTS and d.key not in want.things]
    new = sorted(
        (key for key in want.things if key not in have.things and comes(key, want, have)),
        key=lambda key: want.things[key].oid,
    )
    made: list[Statement] = []
    for key in sorted((key for key in gone if key), key=lambda key: -have.things[key].oid):
        made += dropped(key, have.things[key])
    for key in new:
        made += Changer(want, have).create(key)
    seen = set()
    for d in sorted(found, key=lambda d: d.what != "owner"):  # rights are given by who owns it then
        if d.what == EXISTS:
            continue
        for statement in Changer(want, have).change(d.key, d.what):
            if statement.sql not in seen:
                seen.add(statement.sql)
                made.append(statement)
    return made
