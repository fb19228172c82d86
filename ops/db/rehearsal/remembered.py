"""What the last rehearsal of a migration has found, for who is about to apply it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.paths import local_dir, write_private
from ops import own_files

if TYPE_CHECKING:
    from ops.db.rehearsal.estimate import Estimate
    from ops.db.rehearsal.report import Rehearsal, Rehearsed, Step

FILE = "rehearsed.json"
NUMBER = (int, float)
STEP = {
    "line": int,
    "text": str,
    "relation": (str, type(None)),
    "level": (str, type(None)),
    "keeps_out": (str, type(None)),
    "held_seconds": NUMBER,
    "estimate_seconds": NUMBER,
}
SHAPE = [{"target": str, "version": str, "digest": str, "at": str, "told": str, "steps?": [STEP]}]
LONGEST = 200
"""Characters of a statement that are kept."""
MOST = 200
"""Migrations that are remembered, the latest."""


def remember(root: Path, found: Rehearsal, digests: Mapping[str, str]) -> None:
    """Note what was found of each migration, by the digest of its file; an older note of it goes."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    new = [
        {
            "target": found.target,
            "version": one.version,
            "digest": digests[one.version],
            "at": now,
            "told": headline(one),
            "steps": [kept(step) for step in one.statements],
        }
        for one in found.migrations
        if one.version in digests
    ]
    named = {(one["target"], one["version"]) for one in new}
    old = [one for one in read(root) if (one["target"], one["version"]) not in named]
    write_private(local_dir(root) / FILE, json.dumps([*old, *new][-MOST:], indent=2), lasting=False)


def told(root: Path, target: str, version: str, digest: str) -> str:
    """Return in words what was found of a migration whose file has not changed since; empty where it was not rehearsed."""
    for one in read(root):
        if (one["target"], one["version"], one["digest"]) == (target, version, digest):
            return f"rehearsed {one['at'][:16].replace('T', ' ')} UTC: {one['told']}"
    return ""


def read(root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] | None = own_files.read(root / ".local" / FILE, SHAPE, "remove it")
    return found or []


def kept(step: Step) -> dict[str, Any]:
    """Return of a statement its strongest lock, whom that keeps out, how long it was held here, and its time on the target."""
    from ops.db.rehearsal.locks import STOPS_READS, STOPS_WRITES, STRENGTH

    lock = step.locks[0] if step.locks else None
    strength = STRENGTH[lock.level] if lock else -1
    return {
        "line": step.line,
        "text": step.text[:LONGEST],
        "relation": lock.relation if lock else None,
        "level": lock.level if lock else None,
        "keeps_out": "readers and writers"
        if strength >= STOPS_READS
        else "writers"
        if strength >= STOPS_WRITES
        else None,
        "held_seconds": step.held_seconds,
        "estimate_seconds": step.estimate.seconds,
    }


def headline(one: Rehearsed) -> str:
    """Return the most that is to be known of a migration on one line."""
    from ops.db.rehearsal.report import span

    if one.failures:
        return f"it fails ({one.failures[0].sqlstate})"
    parts = [f"{what} kept out for about {span(closed)}" for what, closed in closings(one) if closed]
    broken = sum(verdict.verdict == "breaks" for verdict in one.verdicts)
    parts += [f"{broken} queries of the running release break"] if broken else []
    parts += ["the down part does not restore the schema"] if one.down in ("differs", "failed") else []
    return ", ".join(parts) or "nobody is kept out"


def closings(one: Rehearsed) -> list[tuple[str, Estimate | None]]:
    """Return who is kept out for how long; writers are where readers are."""
    if one.closed_to_reads:
        return [("readers and writers", one.closed_to_reads)]
    return [("writers", one.closed_to_writes)]
