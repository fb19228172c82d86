"""db.migrate and db.rollback: each migration whole or not at all, with its record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from config.settings import Settings
from ops.console import as_json, few, result, say
from ops.db.migrations import files, history
from ops.db.migrations.files import File, Migration
from ops.db.migrations.history import History
from ops.db.migrations.standing import Standing, State, chosen, stand
from ops.errors import Misconfigured, Problem, Refused, SessionLost
from ops.targets import opening, production_guard
from ops.targets.open_target import OpenTarget
from ops.targets.roles import acting
from ops.times import in_utc

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.db.migrations.patience import Limits
    from ops.db.migrations.steps import Act

# What applies is imported where there is something to apply: mostly there is not


@dataclass(frozen=True)
class Change:
    """A migration that was applied or taken back, or would be."""

    version: str
    """The digits that order and identify it."""
    file: str | None
    """Its path from the working directory; null where only the history knows it."""
    done: bool
    """False with --dry-run."""
    duration_seconds: float | None
    """How long it took; null with --dry-run."""


def report(changes: Sequence[Change], *, json: bool) -> None:
    """Print changes as JSON, or those that are not done."""
    if json:
        as_json(changes)
        return
    for each in changes:
        if not each.done:
            result(each.file or each.version)


# --- forward ------------------------------------------------------------------------------


class Care(NamedTuple):
    """What a user lets happen that is held back else."""

    allow: Sequence[str] = ()
    """The rules that may be broken: stall is that of tables closed to all others."""
    end_idle: bool = False
    """Sessions in the way are ended that are idle in a transaction."""


CAREFUL = Care()


def check_care(care: Care) -> None:
    """Raise `Misconfigured` for a rule that there is not, whether or not it would have been asked for."""
    if care.allow:
        from ops.db.migrations import lint

        lint.check_allow(care.allow)


def limits_of(at: OpenTarget, care: Care) -> Limits:
    """Return how long a change may wait, and be waited for."""
    from ops.db.migrations import patience

    limits = patience.limits(at, allow_stall=patience.STALL in care.allow, end_idle=care.end_idle)
    return replace(limits, allowed_by="--allow stall")


def in_the_way(at: OpenTarget) -> list[str]:
    """Return the open transactions that a change may have to wait for, in words."""
    from ops.db.migrations import watch

    return watch.in_the_way(at)


def tell_before(
    at: OpenTarget, pending: Sequence[Migration], others: Sequence[str], care: Care, *, dry_run: bool
) -> None:
    """Say, before production is asked for: the rehearsal's estimate, who may be in the way, the lint; raises `Refused` on its errors."""
    from ops.db.migrations import lint_report
    from ops.db.rehearsal import remembered

    for each in pending:
        if line := remembered.told(at.settings.root, at.target.name, each.version, each.digest):
            say(f"{each.path.name}: {line}")
    for line in others:
        say(f"may be in the way: {line}")
    lint_report.tell_before(at, pending, care.allow, dry_run=dry_run)


def migrate(
    settings: Settings,
    target: str,
    to: str,
    confirm: str,
    care: Care = CAREFUL,
    *,
    dry_run: bool = False,
    out_of_order: bool = False,
    accept_edited: bool = False,
    write_schema: bool = False,
) -> list[Change]:
    """Apply what is pending in the folder, in order, and return that; `to` is the last version to be applied.

    Raises `Misconfigured` for files that are not to be read, `Refused` for what is out of order or not confirmed, `Problem`
    for a file that was edited since it was applied, and for what the server refuses: of that one nothing is kept.
    """
    check_care(care)
    found = files.find(settings.migrations)
    with opening.open_target(settings, target, "db.migrate", writes=True, login="migrator") as opened:
        opened.required()
        at = acting.as_owner(opened)
        if write_schema:
            refuse_to_write(at)
        if accept_edited and not dry_run:
            accept(at, found, confirm)
        with at.connect() as conn:
            pending = planned(conn, history.read(conn), found, to, {}, out_of_order=out_of_order)
            others = in_the_way(at) if pending and at.prod else []
        if not pending:
            if write_schema and not dry_run:
                update_schema_file(at, force=True)
            return []
        told(at, pending)
        if at.prod:
            tell_before(at, pending, others, care, dry_run=dry_run)
        if dry_run:
            return [Change(each.version, each.shown, done=False, duration_seconds=None) for each in pending]
        production_guard.confirm(at, "migrate", confirm)
        with turn(at) as (conn, known):
            pending = planned(
                conn, known, found, to, {each.version: each for each in pending}, out_of_order=out_of_order
            )
            changes = run(at, conn, known, pending, limits_of(at, care)) if pending else []
            give_rights(at, conn)
            note_applied(at, conn)
        update_schema_file(at, force=write_schema)
        return changes


def give_rights(at: OpenTarget, conn: Connection[DictRow]) -> None:
    """Give the declared rights in what is new, as far as they do not come by default."""
    if at.role:
        from ops.db.roles import give

        give.give_rights_over(at, conn)


def note_applied(at: OpenTarget, conn: Connection[DictRow]) -> None:
    """Note for bare `inv` which migrations the database has."""
    at.remember(there=True, applied=[each.version for each in history.read(conn).applied])


def refuse_to_write(at: OpenTarget) -> None:
    from ops.db.drift import repository

    repository.refuse_to_write(at)


def update_schema_file(at: OpenTarget, *, force: bool = False) -> None:
    from ops.db.drift import repository

    repository.update_schema_file(at, force=force)


@contextlib.contextmanager
def turn(at: OpenTarget) -> Iterator[tuple[Connection[DictRow], History]]:
    """Yield a session that nobody else migrates beside, and the history that it finds."""
    from ops.db import lock
    from ops.db.migrations import steps

    with lock.hold_lock(at), at.connect() as conn:
        steps.take_turn(at, conn)
        yield conn, history.read(conn)


def accept(at: OpenTarget, found: Sequence[File], confirm: str) -> None:
    """Take the files that were edited since they were applied for what was applied."""
    production_guard.confirm(at, "migrate", confirm)
    with turn(at) as (conn, known):
        for each in stand(found, known).of("edited"):
            file = next(file for file in found if file.version == each.version)
            migration = files.read(file.path)
            history.accept(conn, migration)
            say(f"{migration.shown} counts as applied as it is (SHA-256 {migration.digest})")


def planned(
    conn: Connection[DictRow],
    known: History,
    found: Sequence[File],
    to: str,
    read: Mapping[str, Migration],
    *,
    out_of_order: bool,
) -> list[Migration]:
    """Return what is to be applied, read and checked, unless it was `read` before; say so where that is nothing."""
    standing = stand(found, known)
    last = chosen(to, found, known) if to else ""
    refuse_edited(standing)
    tell_missing(standing.of("missing"))
    pending = standing.pending
    if last:
        upto = standing.upto(last)
        pending = [each for each in pending if each.version in upto]
    if not pending:
        named = f", none is pending up to {last}" if last else ""
        say(f"{len(known.applied)} migrations are applied{named}: nothing to do")
        return []
    fresh = files.read_all([each for each in pending if each.version not in read], pending[0].shown.rpartition("/")[0])
    known_files = {**read, **{each.version: each for each in fresh}}
    ready = [known_files[each.version] for each in pending]
    if not out_of_order:
        refuse_late(conn, standing, ready)
    return ready


def tell_missing(missing: Sequence[State]) -> None:
    """Say which are applied and not in the folder: one line for all that the history can take back, one for all others."""
    for kept in (True, False):
        names = [label_of(each) for each in missing if bool(each.kept_down) == kept]
        verb, them, their = ("is", "it", "its file") if len(names) == 1 else ("are", "them", "their files")
        way = f"inv db.rollback takes {them} back" if kept else f"fetch {their} (no tool of ours has applied {them})"
        if names:
            say(f"note: {few(names)} {verb} applied and not in the folder: another branch's? {way}")


def label_of(state: State) -> str:
    return f"{state.version}_{state.name}" if state.name else state.version


def refuse_edited(standing: Standing) -> None:
    """Raise `Problem` where a file is not what was applied."""
    lines = [
        f"{each.file}: edited since it was applied{f' on {in_utc(each.applied_at)}' if each.applied_at else ''}"
        f" (SHA-256 then {each.sha256_applied}, now {each.sha256})"
        for each in standing.of("edited")
    ]
    if lines:
        step = "put it back as it was, and write what is new into another one (inv db.migration-new); or --accept-edited, if nothing that runs has changed, or dbmate has applied it anew"
        raise Problem(f"{lines[0]}: {step}", *(f"  {line}" for line in lines[1:]))


def refuse_late(conn: Connection[DictRow], standing: Standing, read: Sequence[Migration]) -> None:
    """Raise `Refused` for what is out of order, unless it shares no object with what was applied in its place."""
    from ops.db.migrations import objects

    if late := objects.first_late(conn, standing, read):
        behind = standing.late[late.migration.version]
        raise Refused(
            f"{late.migration.shown} is out of order: {few(behind)} behind it {'is' if len(behind) == 1 else 'are'} applied "
            f"({late.other}: {late.why}): give it a new stamp, or --out-of-order"
        )


def run(
    at: OpenTarget, conn: Connection[DictRow], known: History, pending: Sequence[Migration], limits: Limits
) -> list[Change]:
    """Apply migrations one by one, over a session that has its turn."""
    from ops.db.migrations.steps import Act

    acts = [Act("up", each.version, each.shown, each.up, files.script(each.up, each.shown), each) for each in pending]
    for each in pending:
        if files.PSQL in each.up.allow:
            say(f"note: {each.shown} is for psql (allow:psql): dbmate cannot run it")
        if each.marked:
            say(
                f"note: {each.shown} begins with a byte order mark, behind which dbmate finds no marker: save it without"
            )
    begun = time.monotonic()
    changes = carry_out(at, conn, known, acts, limits)
    if len(acts) > 1:
        say(f"{len(acts)} migrations applied to {at.name} in {time.monotonic() - begun:.1f} s")
    return changes


# --- back ---------------------------------------------------------------------------------


def rollback(
    settings: Settings, target: str, to: str, confirm: str, care: Care = CAREFUL, *, dry_run: bool = False
) -> list[Change]:
    """Take back the last migration that is applied, or all behind the version `to`, newest first; 0: all of them. Return them.

    By the down part of the file; where that is not in the folder, by the one that the history has kept.
    """
    check_care(care)
    found = files.find(settings.migrations)
    with opening.open_target(settings, target, "db.rollback", writes=True, login="migrator") as opened:
        opened.required()
        at = acting.as_owner(opened)
        with at.connect() as conn:
            acts = to_take_back(found, history.read(conn), to)
        if not acts:
            say("no migration is applied" + (f" behind {to}" if to not in ("", "0") else "") + ": nothing to do")
            return []
        for act in acts:
            say(f"to be taken back: {act.shown}")
        if dry_run:
            return [Change(act.version, act.file, done=False, duration_seconds=None) for act in acts]
        production_guard.confirm(at, "rollback", confirm)
        with turn(at) as (conn, known):
            changes = carry_out(at, conn, known, to_take_back(found, known, to), limits_of(at, care))
            give_rights(at, conn)
            note_applied(at, conn)
        update_schema_file(at)
        return changes


def to_take_back(found: Sequence[File], known: History, to: str) -> list[Act]:
    """Return what is to be taken back, newest first; raises `Problem` for one that nothing takes back."""
    standing = stand(found, known)
    applied = [each for each in standing.states if known.find(each.version)]
    if to and to != "0":
        last = chosen(to, found, known)
        if not known.find(last):
            raise Misconfigured(f"--to {to}: that migration is not applied: inv db.migrations lists those that are")
        upto = standing.upto(last)
        applied = [each for each in applied if each.version not in upto]
    elif not to:
        applied = applied[-1:]
    return [act_back(each, standing.files.get(each.version), known) for each in reversed(applied)]


def act_back(state: State, file: File | None, known: History) -> Act:
    """Return how a migration is taken back."""
    from ops.db.migrations.steps import Act

    kept = known.find(state.version)
    assert kept is not None
    migration = files.read(file.path) if file else None
    section = migration.down if migration else kept.down
    name = file.shown if file else label_of(state)
    if section is None:
        where = "it has no down part" if file else "its file is not in the folder, and no tool of ours has applied it"
        raise Problem(
            f"{name}: {where}: fetch the branch that has it, or write what takes it back into a new migration"
        )
    script = files.script(section, name)
    if not (script.contents.statements or script.contents.commands):
        raise Misconfigured(f"{name}:{section.line - 1}: the down part is empty: write what takes it back below it")
    if state.state == "edited":
        say(f"note: {name} was edited since it was applied; its down part is taken as it is now")
    shown = name if file else f"{name} (by the down part that the history has kept)"
    return Act("down", state.version, shown, section, script, migration)


# --- both ---------------------------------------------------------------------------------


def told(at: OpenTarget, pending: Sequence[Migration]) -> None:
    """Say what is pending, before anything is asked or done."""
    say(f"{len(pending)} pending on {at.name}: {few([each.path.name for each in pending], 10)}")


def carry_out(
    at: OpenTarget, conn: Connection[DictRow], known: History, acts: Sequence[Act], limits: Limits
) -> list[Change]:
    """Do one act after the other, each with its record, and return them; what goes wrong ends the run, and what was done before has stayed."""
    from ops.db import load, rights
    from ops.db.migrations import patience, steps, together

    acts = [act._replace(plan=load.plan(act.script, {})) if act.section.transaction else act for act in acts]
    plans = [act.plan for act in acts if act.plan]
    load.check_extensions(at, plans)
    load.check_client(plans)
    history.prepare(conn, known)
    production_guard.stamp(at)
    held = rights.Held()
    changes: list[Change] = []

    def note(took: float) -> None:
        act = acts[len(changes)]
        changes.append(Change(act.version, act.file, done=True, duration_seconds=round(took, 3)))
        say(f"{'applied' if act.way == 'up' else 'took back'} {act.shown} in {took:.2f} s")

    with patience.sharing(at, conn, limits) as shared:
        followed = replace(shared, followed=True)
        many = together.Together(at, conn, known, acts, followed, held)
        while (number := len(changes)) < len(acts):
            act = acts[number]
            for seconds in many.take(number):
                note(seconds)
            if len(changes) > number:
                continue
            begun = time.monotonic()
            try:
                steps.take(at, conn, known, act, followed if number + 1 < len(acts) else shared, held)
            except Problem as error:
                if not isinstance(error, SessionLost) and not conn.closed:
                    rights.tell_gone(conn, held)
                if number and not isinstance(error, SessionLost):
                    error.detail += (f"  {number} of {len(acts)} were done before it, and have stayed",)
                raise
            note(time.monotonic() - begun)
    rights.tell_gone(conn, held)
    at.look_again()
    production_guard.stamp(at)
    return changes
