"""db.branch and db.branches: a database for each git branch, made from the one that the branch was begun from.

It is made as `<name>__next`, given all that belongs to it, and gets its name last: killed anywhere, a branch has a whole
database or none, and the next run removes what is left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from config.settings import Settings
from ops import postgres
from ops.console import say
from ops.db import lock, rename_database, sessions, status, swap
from ops.db.branches import clone, names
from ops.errors import Misconfigured, Problem, Refused
from ops.targets import bound, git_branch, identity, opening, outcome, production_guard
from ops.targets.git_branch import Repository
from ops.targets.identity import NEXT, OLD, PREV
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg.rows import DictRow

LOCAL = "local"
COLUMNS = ("branch", "database", "size", "note")
STAMPED = """
select datname, oid, shobj_description(oid, 'pg_database') as comment, pg_get_userbyid(datdba) as owner,
  case when has_database_privilege(oid, 'connect') then pg_database_size(oid) end as bytes
from pg_database where datname = %s or shobj_description(oid, 'pg_database') like '%%[inv: branch %%'
order by datname
"""


@dataclass(frozen=True)
class Branch:
    """A database of a git branch."""

    branch: str | None
    """The git branch; null for the main database where git does not tell whose it is."""
    database: str
    """Its name on the server."""
    is_main: bool
    """Whether it is the one that the variables name."""
    is_current: bool
    """Whether its branch is checked out."""
    in_git: bool | None
    """Whether the branch is still there; null where another clone has made the database, or git does not tell."""
    size_bytes: int | None
    """Null where this user may not ask."""
    previous_database: str | None
    """The one that is kept beside it, which db.undo brings back."""


class Made(NamedTuple):
    """What a run has made."""

    source: str
    strategy: clone.Strategy
    seconds: float


# --- made ----------------------------------------------------------------------------------------


def branch(settings: Settings, target: str, name: str, *, force: bool) -> str:
    """Make the database of a git branch unless it is there; return its name.

    That of the branch that is checked out is made from the one it was begun from, that of another one from the current one.
    """
    settings = on_local(settings, target, "db.branch")
    repository = names.repository_of(settings)
    wanted = names.chosen(repository, name)
    here = repository.branch()
    source = here if name and wanted != here else names.begun_from(repository, wanted)
    follows = replace(settings, per_branch=True, branch=wanted)
    with opening.open_target(follows, LOCAL, "db.branch", writes=True) as at:
        require_local(at)
        if not at.target.branch:
            say(f"{git_branch.shown(wanted)} is the main branch, and has {at.name}: nothing to do")
            return at.name
        made = make(at, repository, source, force=force)
        if made is None:
            say(f"{git_branch.shown(wanted)} has {at.name} already: nothing to do")
        else:
            tell(at, made)
            if not settings.per_branch:
                say('db.per_branch: "yes" in invoke.yaml has the tasks use it while the branch is checked out')
        return at.name


def make_at_first_use(at: OpenTarget) -> None:
    """Make the database of the branch that is checked out, as a task needs it; without one to make it from nothing is done."""
    repository = names.repository_of(at.settings)
    main = git_branch.main_of(at.target)
    watch = identity.Watch(at.settings, main)  # a task that only reads has not asked
    require_local(replace(at, prod=identity.why_prod(at.settings, main, identity.facts(at.conn, main.dbname), watch)))
    place = replace(at, work=outcome.Work(pids=at.work.pids))  # the task's own work has not begun
    try:
        made = make(place, repository, names.begun_from(repository, at.target.branch), force=False)
    except NoSource:
        return
    except Refused as error:
        raise Refused(
            f"{git_branch.shown(at.target.branch)} has no database yet, and {error}".replace(
                "--force", "inv db.branch --force"
            )
        ) from None
    if made:
        tell(at, made)


class NoSource(Problem):
    """There is no database to make another one from."""


def tell(at: OpenTarget, made: Made) -> None:
    how = {"clone": "blocks shared", "file_copy": "files copied", "wal_log": "copied"}[made.strategy]
    say(f"made {at.name} for {git_branch.shown(at.target.branch)} from {made.source} ({how}, {made.seconds:.1f} s)")


def make(place: OpenTarget, repository: Repository, source: str, *, force: bool) -> Made | None:
    """Make the database of a place's branch from that of another one, or else from the main one; None: it is there already.

    Raises `NoSource`, and `Refused` where sessions are at work on the source.
    """
    swap.check_name(place)
    with lock.hold_lock(place):
        if place.database():
            return None
        if place.database(PREV):
            raise Problem(place.missing)
        origin = origin_of(place, repository, source)
        with lock.hold_lock(origin):
            row = origin.database()
            if row is None:
                raise NoSource(f"there is no {origin.name} to make it from: inv db.setup builds one from the files")
            remove(place, place.name + NEXT)
            begun = time.monotonic()
            place.begin()
            comment = git_branch.stamped(row["comment"], place.target.branch, repository.clone)
            try:
                strategy = clone.copy_whole(origin, place.name + NEXT, comment, force=force)
                rename_database.rename_databases(place, [(place.name + NEXT, place.name)], force=True)
            except BaseException:
                swap.discard(place)
                raise
        place.look_again()
        place.remember(there=True, kept=False)
        return Made(origin.name, strategy, time.monotonic() - begun)


def origin_of(place: OpenTarget, repository: Repository, source: str) -> OpenTarget:
    """Return the place of the database to copy: that of a branch if it has one, else the main one."""
    main = git_branch.main_of(place.target)
    if source and not repository.is_main(source):
        beside = placed(place, git_branch.database_of(main.dbname, source))
        if beside.database():
            return beside
    return placed(place, main.dbname)


def placed(place: OpenTarget, name: str) -> OpenTarget:
    """Return the place of another database on the same server, over the same connection."""
    target = replace(place.target.on(dbname=name), branch="", trunk="")
    return replace(place, target=target, facts=identity.facts(place.conn, name))


def on_local(settings: Settings, target: str, task: str) -> Settings:
    """Return the settings of the local target; raises `Misconfigured` for any other."""
    settings = settings.on(target)
    if settings.focus.name != LOCAL:
        raise Misconfigured(f"{task} -t {settings.focus.name}: only the target {LOCAL} has databases of git branches")
    return settings


def require_local(at: OpenTarget) -> None:
    """Refuse to make or remove databases on a server that others work on."""
    if at.prod or production_guard.is_elsewhere(at.target):
        why = f"is production ({at.prod})" if at.prod else "is on another machine"
        raise Refused(f"{at.target.address} {why}: databases of git branches are made on this machine's servers only")


def remove(place: OpenTarget, name: str) -> None:
    """Remove a database that carries a name of ours, if it is there."""
    if postgres.fetch(place.conn, "select from pg_database where datname = %s", name):
        bound.release(place, name)
        place.conn.execute(swap.removal(name))


# --- listed --------------------------------------------------------------------------------------


def listed(settings: Settings, target: str, *, announced: bool = True) -> list[Branch]:
    """Return the main database and those of the branches, whichever clone has made them."""
    settings = on_local(settings, target, "db.branches")
    repository = git_branch.find(settings.root)
    here = repository.branch() if repository else ""
    there = known(repository)
    with opening.open_target(replace(settings, per_branch=False), LOCAL, "db.branches", announced=announced) as at:
        rows = postgres.fetch(at.conn, STAMPED, at.name)
    return [described(at.name, row, rows, repository, here, there) for row in ours(at.name, rows)]


def known(repository: Repository | None) -> set[str] | None:
    """Return the branches that git has; None where it does not tell."""
    try:
        return names.branches(repository) if repository else None
    except Problem as error:
        say(f"note: {error}")
        return None


def ours(trunk: str, rows: list[DictRow]) -> Iterator[DictRow]:
    """Yield the main database and those of its branches, without what is kept or being made beside them."""
    for row in rows:
        if row["datname"] == trunk or (
            row["datname"] == identity.base(row["datname"]) and git_branch.is_ours(trunk, row)
        ):
            yield row


def described(
    trunk: str, row: DictRow, rows: list[DictRow], repository: Repository | None, here: str, there: set[str] | None
) -> Branch:
    """Return a database of a branch, told."""
    stamp = git_branch.stamp_of(row["comment"]) if row["datname"] != trunk else None
    main = not stamp
    is_home = bool(repository and here and repository.is_main(here))
    name = stamp.branch if stamp else (repository and repository.main()) or (here if is_home else None)
    mine = bool(stamp and repository and stamp.clone == repository.clone)
    kept = row["datname"] + PREV
    return Branch(
        branch=name or None,
        database=row["datname"],
        is_main=main,
        is_current=is_home if main else git_branch.shown(here) == name,
        in_git=None if there is None or main or not mine else name in there,
        size_bytes=row["bytes"],
        previous_database=kept if any(each["datname"] == kept for each in rows) else None,
    )


def as_row(found: Branch) -> dict[str, str | None]:
    """Return a database of a branch as a row of the table."""
    notes = []
    if found.is_current:
        notes.append("current")
    if found.in_git is False:
        notes.append("the git branch is gone: inv db.branch --prune removes it")
    elif found.in_git is None and not found.is_main:
        notes.append("of another clone")
    if found.previous_database:
        notes.append(f"{found.previous_database} is kept beside it")
    return {
        "branch": found.branch or "(main)",
        "database": found.database,
        "size": status.human(found.size_bytes),
        "note": ", ".join(notes),
    }


# --- removed -------------------------------------------------------------------------------------


def delete(settings: Settings, target: str, name: str, *, force: bool, dry_run: bool) -> None:
    """Remove the database of a branch for good, and what is kept beside it; the git branch stays."""
    settings = on_local(settings, target, "db.branch")
    repository = names.repository_of(settings)
    branch = name or names.chosen(repository, "")
    with opening.open_target(replace(settings, per_branch=False), LOCAL, "db.branch", writes=True) as at:
        require_local(at)
        if repository.is_main(branch):
            raise Refused(
                f"{git_branch.shown(branch)} is the main branch, and {at.name} no copy: nothing was done; inv db.drop drops it"
            )
        database = git_branch.database_of(at.name, branch)
        there = identity.facts(at.conn, database)["databases"]
        found = [there[name] for name in (database, database + PREV) if name in there]
        at.work.by_steps = True
        if not found:
            say(f"{git_branch.shown(branch)} has no database here: nothing to do")
        elif not all(git_branch.is_ours(at.name, row) for row in found):
            raise Refused(f"{database} does not carry the mark of inv: nothing was done; remove it yourself")
        else:
            remove_all(at, database, git_branch.shown(branch), force=force, dry_run=dry_run)


def prune(settings: Settings, target: str, *, force: bool, dry_run: bool) -> None:
    """Remove the databases of the git branches that are gone, of those that this clone has made; raises `Refused` after that for one in use."""
    settings = on_local(settings, target, "db.branch")
    repository = names.repository_of(settings)
    there = names.branches(repository)
    refused: list[Refused] = []
    with opening.open_target(replace(settings, per_branch=False), LOCAL, "db.branch", writes=True) as at:
        require_local(at)
        at.work.by_steps = True
        gone: dict[str, str] = {}
        for row in postgres.fetch(at.conn, STAMPED, at.name):
            stamp = git_branch.stamp_of(row["comment"])
            if (
                stamp
                and git_branch.is_ours(at.name, row)
                and stamp.clone == repository.clone
                and stamp.branch not in there
            ):
                gone[identity.base(row["datname"])] = stamp.branch
        for database, name in gone.items():
            try:
                remove_all(at, database, name, force=force, dry_run=dry_run)
            except Refused as error:
                refused.append(error)
        if not gone:
            say("each database of a branch has its git branch: nothing to do")
    if refused:
        raise refused[0]


def remove_all(at: OpenTarget, database: str, name: str, *, force: bool, dry_run: bool) -> None:
    """Remove a branch's database with those beside it, that itself last: killed on the way, the next run finds it again."""
    if dry_run:
        say(f"would remove {database}, of {name}")
        return
    place = placed(at, database)
    with lock.hold_lock(place):
        there = [database + suffix for suffix in (NEXT, OLD, PREV, "") if place.database(suffix)]
        lost = [f"  {bound.of_removed(row)}" for row in bound.found(place) if row["kind"] != "label"]
        if lost and not force:
            raise Refused(f"more would go with {database}: nothing was done; --force goes on all the same", *lost)
        sessions.check_sessions(place, there, force=force)
        for each in there:
            remove(place, each)
    say(f"removed {database}, of {name}")


def check_options(name: str, *, delete: bool, prune: bool, dry_run: bool) -> None:
    """Refuse options that do not go together."""
    if delete and prune:
        raise Misconfigured("give one of --delete, --prune")
    if prune and name:
        raise Misconfigured(
            f"--prune removes what has no git branch any more, and {name} names one: leave one of both out"
        )
    if dry_run and not (delete or prune):
        raise Misconfigured("--dry-run says what --delete or --prune would remove: give one of them")
