"""Indexes that db.diagnose advises for the application's queries, tried: a real one on a copy of the target's shape, rolled back.

The copy is that of a rehearsal (ops/db/rehearsal/scratch.py): the target's schema, rows made up by its numbers, none of its own; on
the target nothing is made. What is told is the planner's cost of the query with any values, before and after
(https://www.postgresql.org/docs/current/using-explain.html); the copy may have fewer rows, so it is the ratio that counts.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.paths import local_dir, write_private
from config.settings import Settings
from ops import own_files
from ops.console import say
from ops.db import query
from ops.db.diagnose import queries
from ops.db.diagnose.check import Line, Proof
from ops.db.rehearsal import rehearse, rows, scratch, shape
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

MOST_BYTES = 250e6
"""Of the rows that are made up: a few seconds' work."""
NAME = "inv_advised"
"""Of the index."""
ADVISED = re.compile(r"create index (?:concurrently )?on (.+)", re.DOTALL)
FILE = "advised.json"
SHAPE = [
    {
        "target": str,
        "at": str,
        "query": str,
        "statement": str,
        "used": bool,
        **dict.fromkeys(("before_cost", "after_cost", "rows_ratio"), (int, float)),
    }
]


def prove(settings: Settings, at: OpenTarget, lines: Sequence[Line]) -> list[Line]:
    """Return lines with the proof of those that advise an index for a query, and remember what was found.

    Raises `Problem` where the target's schema cannot be built here.
    """
    wanted = {number: found for number, line in enumerate(lines) if (found := advised(settings, line))}
    proofs: dict[int, Proof] = {}
    if wanted:
        with at.connect() as conn:
            conn.execute("set default_transaction_read_only = on")
            source = rehearse.known(at, conn, needed=True)
        proofs = dict(proved(settings, source, wanted))
    else:
        say("no query wants an index: nothing to prove")
    told = [replace(line, proof=proofs.get(number)) for number, line in enumerate(lines)]
    remember(settings.root, at.target.name, told)
    return told


def advised(settings: Settings, line: Line) -> tuple[str, str] | None:
    """Return the name of the query and the index that a line advises for it; None where it advises none."""
    found = ADVISED.fullmatch(line.mend[0]) if line.check == queries.READS_WHOLE and line.mend else None
    if not found or not line.object:
        return None
    return line.object.removeprefix(f"{settings.queries.name}/").removesuffix(".sql"), found[1]


def proved(
    settings: Settings, source: rehearse.Source, wanted: dict[int, tuple[str, str]]
) -> Iterator[tuple[int, Proof]]:
    """Yield the proof of each index."""
    share = shape.share(source.shapes, 1.0, MOST_BYTES)
    with scratch.opened(settings.root, source.major, source.settings) as made:
        rehearse.load(made, source)
        with contextlib.closing(made.connect()) as conn:
            say(
                f"making up {share:.1%} of the rows of {len(source.shapes)} tables of {source.name}, to try indexes there"
            )
            rows.fill(conn, source.shapes, share)
            for number, (name, index) in wanted.items():
                before = planned(settings, conn, name, "")
                after = planned(settings, conn, name, index)
                yield (
                    number,
                    Proof(
                        before_cost=round(before["Total Cost"]),
                        after_cost=round(after["Total Cost"]),
                        used=bool(set(indexes(after)) - set(indexes(before))),
                        rows_ratio=share,
                    ),
                )


def planned(settings: Settings, conn: Connection[DictRow], name: str, index: str) -> dict[str, Any]:
    """Return the plan of a query, with an index that is gone after."""
    with queries.prepared(conn), conn.transaction(force_rollback=True):
        if index:
            conn.execute(f"create index {NAME} on {index}".encode())
        return queries.plan_of(conn, query.template(settings.queries, name))


def indexes(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the indexes that a plan reads."""
    if "Index Name" in plan:
        yield plan["Index Name"]
    for each in plan.get("Plans", ()):
        yield from indexes(each)


# --- what is kept here -------------------------------------------------------------------


def remember(root: Path, target: str, lines: Sequence[Line]) -> None:
    """Note what was proved of a target's queries in the place of what was noted before."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    new = [
        {
            "target": target,
            "at": now,
            "query": line.object,
            "statement": line.mend[0],
            "before_cost": line.proof.before_cost,
            "after_cost": line.proof.after_cost,
            "used": line.proof.used,
            "rows_ratio": line.proof.rows_ratio,
        }
        for line in lines
        if line.proof
    ]
    kept = [one for one in read(root) if one["target"] != target]
    write_private(local_dir(root) / FILE, json.dumps([*kept, *new], indent=2), lasting=False)


def read(root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] | None = own_files.read(root / ".local" / FILE, SHAPE, "remove it")
    return found or []
