"""db.migrations: what is applied, what is pending, and what is odd."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from config.settings import Settings
from ops import console
from ops.db.branches import names
from ops.db.migrations import files, history, objects
from ops.db.migrations.objects import Late
from ops.db.migrations.standing import Standing, State, stand
from ops.db.sql_file.script import display
from ops.errors import Differs
from ops.targets import git_branch, opening
from ops.times import in_utc

COLUMNS = ("migration", "state", "applied", "by", "took")
BRANCH = "branch"
"""One more column, on another git branch than the main one."""


def show(settings: Settings, target: str, *, check: bool, json: bool) -> None:
    """Print the migrations of the folder and of the database; with `check`, raise `Differs` unless they are the same."""
    found = look_at(settings, target, check=check)
    standing = found.standing
    if json:
        console.as_json(standing.states)
    else:
        columns = COLUMNS if all(each.on_main is None for each in standing.states) else (*COLUMNS, BRANCH)
        console.table(columns, [as_row(each) for each in standing.states], lambda row: row["state"] not in CALM)
    if check:
        check_all(settings, found)


class Found(NamedTuple):
    """What was found on a target."""

    target: str
    """Its name."""
    standing: Standing
    late: Late | None
    """What db.migrate would refuse as out of order; not looked for without `check`."""


def look_at(settings: Settings, target: str, *, announced: bool = True, check: bool = False) -> Found:
    """Return how the folder and the database of a target stand to each other.

    With `check`, the files that are out of order are read: raises `Misconfigured` for one that is wrong.
    """
    found = files.find(settings.migrations)
    with opening.open_target(settings, target, "db.migrations", announced=announced, login="reader") as at:
        at.required()
        with at.connect() as conn:
            known = history.read(conn)
            standing = stand(found, known)
            read = [files.read(standing.files[each].path) for each in standing.late] if check else []
            late = objects.first_late(conn, standing, read)
        at.remember(there=True, applied=[each.version for each in known.applied])
        return Found(at.target.name, beside_main(settings, standing), late)


def beside_main(settings: Settings, standing: Standing) -> Standing:
    """Return the same, with what the main git branch has of the folder."""
    repository = git_branch.find(settings.root)
    there = names.on_main(repository, settings.migrations) if repository else None
    if there is None:
        return standing
    states = [
        replace(each, on_main=standing.files[each.version].path.name in there) if each.file else each
        for each in standing.states
    ]
    return replace(standing, states=states)


def check_all(settings: Settings, found: Found) -> None:
    """Raise `Differs` unless the folder, the database and the schema file say the same."""
    from ops.db.drift import repository

    odd = [each for each in found.standing.states if each.state != "applied"]
    differing = repository.check_schema_file(settings)
    lines = [f"  {each.kind} {console.harmless(each.name)}: {each.what}" for each in differing]
    if odd:
        raise Differs(f"{found.target}: {summary(odd)}: {step(found)}", *lines)
    if lines:
        raise Differs(
            f"{display(settings.schema)} is not what the migrations make: inv db.migrate --write-schema writes it anew, or add what is missing",
            *lines,
        )


CALM = ("applied", "pending")


def as_row(state: State) -> dict[str, str | None]:
    """Return a migration as a row of the table."""
    return {
        "migration": f"{state.version}_{state.name}" if state.name else state.version,
        "state": state.state.replace("_", " "),
        "applied": in_utc(state.applied_at) if state.applied_at else None,
        "by": state.applied_by or ("another tool" if state.state in ("applied", "missing") else None),
        BRANCH: "only here" if state.on_main is False else None,
        "took": None if state.duration_seconds is None else f"{state.duration_seconds:.2f} s",
    }


def summary(odd: list[State]) -> str:
    """Return how many there are in each state, and the first of each, in words."""
    words = dict.fromkeys(each.state for each in odd)
    told = []
    for word in words:
        same = [each for each in odd if each.state == word]
        names = [as_row(each)["migration"] or "" for each in same]
        told.append(f"{len(same)} {word.replace('_', ' ')} ({console.few(names)})")
    return "; ".join(told)


def step(found: Found) -> str:
    """Return what to do about the first thing that is odd."""
    standing = found.standing
    if standing.of("edited"):
        return "put back what was edited, and write what is new into another one (inv db.migration-new)"
    begun = {file.version for file in standing.pending}
    if undone := next((each for each in standing.of("interrupted") if each.version not in begun), None):
        return f"{rollback(standing, undone)} goes on taking {undone.version} back"
    if late := found.late:
        return f"{late.migration.path.name} is not applied behind {late.other} ({late.why}): give it a new stamp, or inv db.migrate --out-of-order"
    if standing.of("pending", "interrupted"):
        return "inv db.migrate applies what is pending"
    if standing.of("out_of_order"):
        return "inv db.migrate applies what came late, too: it touches nothing that is touched by what is behind it"
    return "inv db.rollback takes back what is not in the folder, or fetch the branch that has it"


def rollback(standing: Standing, undone: State) -> str:
    """Return the command that takes back one that is applied, and with it all behind it."""
    pending = {file.version for file in standing.pending}
    applied = [each.version for each in standing.states if each.version not in pending]
    place = applied.index(undone.version)
    if place == len(applied) - 1:
        return "inv db.rollback"
    return f"inv db.rollback --to {applied[place - 1] if place else 0}"
