"""What is kept of before beside a database, and taking it away: only what carries our mark in its comment."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops import postgres
from ops.console import as_json, say, table
from ops.db import lock, sessions, status, swap
from ops.targets import bound, opening, production_guard
from ops.targets.identity import KEPT, NEXT, OLD, PREV, SINCE
from ops.times import in_utc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.targets.open_target import OpenTarget

BESIDE = """
select datname as name, pg_get_userbyid(datdba) as owner, shobj_description(oid, 'pg_database') as comment,
       case when datconnlimit <> -2 and (has_database_privilege(oid, 'connect') or pg_has_role('pg_read_all_stats', 'member'))
            then pg_database_size(oid) end as size_bytes
from pg_database where datname = any(%s)
"""
"""One whose removal was broken off has the connection limit -2, and no size any more."""
ROLES = {PREV: "previous", OLD: "older", NEXT: "unfinished"}
COLUMNS = ("database", "what", "ours", "size", "kept since", "brought back by")


@dataclass(frozen=True)
class Kept:
    """A database beside the live one, of one before or of a run that was broken off."""

    database: str
    """Its name on the server."""
    what: str
    """previous, which db.undo brings back; older or unfinished: left by a run that was broken off, the next one removes it."""
    ours: bool
    """Whether it carries the mark of the suite; what does not is never removed."""
    owner: str
    """Its role."""
    size_bytes: int | None
    """Null where this user may not see it."""
    kept_since_at: datetime | None
    """When it was put aside; null for what was put aside before that was noted."""
    age_seconds: int | None
    """Since then."""


def show(settings: Settings, target: str, *, json: bool) -> None:
    """Print what is kept beside the target's database."""
    with opening.open_target(settings, target, "db.previous") as at:
        found = kept(at)
    if json:
        as_json(found)
    elif found:
        table(COLUMNS, [as_row(each) for each in found])
    else:
        say(f"nothing is kept beside {at.name}")


def kept(at: OpenTarget) -> list[Kept]:
    """Return what is kept beside the target's database, the previous one first."""
    names = [at.name + suffix for suffix in ROLES]
    rows = {row["name"]: row for row in postgres.fetch(at.conn, BESIDE, names)}
    return [one(rows[at.name + suffix], what, suffix) for suffix, what in ROLES.items() if at.name + suffix in rows]


def one(row: dict[str, Any], what: str, suffix: str) -> Kept:
    comment = row["comment"] or ""
    found, since = SINCE.search(comment), None
    if found:
        with contextlib.suppress(ValueError):  # somebody has changed it
            since = datetime.strptime(found[1], "%Y-%m-%dT%H:%MZ").replace(tzinfo=timezone.utc)
    age = None if since is None else max(0, int((datetime.now(timezone.utc) - since).total_seconds()))
    # what is unfinished has no mark yet; the name is one that the suite gives itself
    return Kept(row["name"], what, KEPT in comment or suffix == NEXT, row["owner"], row["size_bytes"], since, age)


def as_row(each: Kept) -> dict[str, object]:
    """Return it for people."""
    return {
        "database": each.database,
        "what": each.what,
        "ours": "yes" if each.ours else "no",
        "size": status.human(each.size_bytes),
        "kept since": in_utc(each.kept_since_at) if each.kept_since_at else "",
        "brought back by": "inv db.undo" if each.what == "previous" and each.ours else "",
    }


def purge(settings: Settings, target: str, confirm: str, *, force: bool, dry_run: bool) -> None:
    """Remove what is kept beside the target's database."""
    with opening.open_target(settings, target, "db.purge", writes=True) as at:
        found = kept(at)
        if dry_run and found:
            tell(at, found)
            return
        if found or confirm:
            production_guard.confirm(at, bound.PURGE, confirm)
        if not found:
            say(f"nothing is kept beside {at.name}: nothing to do")
            return
        for each in remove(at, force=force):
            say(f"removed {each.database}{sized(each)}")


def tell(at: OpenTarget, found: Sequence[Kept]) -> None:
    """Say what a purge would do."""
    for each in found:
        say(
            f"would remove {each.database}{sized(each)}"
            if each.ours
            else f"{each.database} was not put there by inv, and stays"
        )
        for session in sessions.in_the_way(at.conn, [each.database]):
            say(f"in use by {sessions.describe(session)}")
    say("nothing was done")


def sized(each: Kept) -> str:
    return f", {status.human(each.size_bytes)}" if each.size_bytes is not None else ""


def remove(at: OpenTarget, *, force: bool) -> list[Kept]:
    """Remove what is ours of it; return that. Raises `Refused` while somebody is at work there, or it is not ours."""
    with lock.hold_lock(at):
        swap.check_kept(at, PREV, OLD)
        bound.check_bound(at, bound.PURGE, force=force)
        found = kept(at)
        sessions.check_sessions(at, [each.database for each in found], force=force)
        before = at.database(PREV)
        if before:
            at.begin()
            at.work.before = int(before["oid"])
        for each in found:
            bound.release(at, each.database)
            at.conn.execute(swap.removal(each.database))
        at.work.done = True
        at.look_again()
        at.remember(there=at.database() is not None, kept=False)
        return found
