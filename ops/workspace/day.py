"""Bare `inv`: the tasks of a day, and the next step for where this clone stands.

From files alone, at the cost of a list of tasks: no server is asked, and psycopg, rich and boto3 stay out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from config.declared import Declared, Kind, assert_never
from config.settings import Settings
from config.targets import kind_of
from ops.targets.last_look import Look, recalled
from ops.times import largest_unit

DAY = {
    "First day": (
        "doctor",
        "db.setup",
        "app.run",
    ),
    "Change": (
        "db.migration-new",
        "db.rehearse",
        "db.migrate",
    ),
    "Copy": (
        "db.dump",
        "db.pull",
        "db.undo",
    ),
    "Production": (
        "rds.create",
        "rds.allow-my-ip",
        "lambda.deploy",
    ),
}
"""The dozen, in the order in which a team meets them: a stage, and its tasks."""


class Step(NamedTuple):
    """Where a clone stands."""

    found: str
    """What is known, a line for each target."""
    command: str
    """What to run next; empty: there is nothing to be done."""


def rows(line: Callable[[str], str | None]) -> Iterator[tuple[str, str, str]]:
    """Yield stage, command and description of each of the dozen; `line` gives a task's own, None where it is not here."""
    for stage, commands in DAY.items():
        for command in commands:
            if (own := line(command)) is not None:
                yield stage, f"inv {command}", own


def page(line: Callable[[str], str | None], count: int) -> str:
    """Return what bare `inv` prints before the next step; `count` is the number of all tasks."""
    found = list(rows(line))
    width = max((len(command) for _, command, _ in found), default=0)
    lines: list[str] = []
    for stage, steps in itertools.groupby(found, key=lambda row: row[0]):
        lines += [stage, *(f"  {command:{width}} {text}" for _, command, text in steps), ""]
    rest = f"All {count} tasks: inv --list. One task: inv TASK --help. Options of inv: inv --help."
    return "\n".join([*lines, rest, ""])


def told(step: Step) -> str:
    """Return the lines on where this clone stands."""
    return f"{step.found}\nNext: {step.command}" if step.command else step.found


def standing(settings: Settings, now: datetime) -> Step:
    """Return where this clone stands: first the target that commands are about without --target, then production."""
    looks = recalled(settings)
    home, production = settings.on("").focus, settings.focus
    kind = kind_of(settings, home)
    look = looks.get(home.name)
    if look and look.embedded != (kind is Kind.EMBEDDED):  # the target was another server then
        look = None
    if look is None or (kind is Kind.EMBEDDED and not made(settings)):
        return unseen(settings, home, kind)
    if wanted := missing(settings, home, look, now):
        return wanted
    found = f"{home.name}: {seen(look, now)}"
    if home is production:
        return Step(found, "")
    further = beyond(settings, production, looks.get(production.name), now)
    return Step(f"{found}\n{production.name}: {further.found}", further.command)


def made(settings: Settings) -> bool:
    """Whether there is an embedded server."""
    return (settings.root / ".local" / "postgres" / "server.json").exists()


def unseen(settings: Settings, home: Declared, kind: Kind) -> Step:
    """Return the first step to a database at which nobody has looked from this clone."""
    nobody = f"{home.name}: nobody has looked there from this clone"
    match kind:
        case Kind.EMBEDDED:
            if made(settings):
                return Step(f"{home.name}: the embedded server is there, what is in it is not known", "inv db.status")
            return Step(f"{home.name}: there is no database yet", "inv db.setup")
        case Kind.COMPOSE:
            return Step(nobody, "inv db.up")
        case Kind.SERVER | Kind.RDS:
            return Step(nobody, "inv db.status")
        case never:
            return assert_never(never)


def missing(settings: Settings, home: Declared, look: Look, now: datetime) -> Step | None:
    """Return the step that the database of every day wants, None where it is as the files say."""
    if not look.there:
        return Step(f"{home.name}: {seen(look, now)}", "inv db.undo" if look.kept else "inv db.setup")
    if look.applied is not None and (pending := sorted(versions(settings) - set(look.applied))):
        many = f"{len(pending)} migrations are" if len(pending) > 1 else "1 migration is"
        return Step(f"{home.name}: {many} pending, by the last look ({age(look.at, now)})", "inv db.migrate")
    built = look.built
    changed = [path for path in (settings.schema, settings.seed) if built and written(path) > built.timestamp() + 1]
    if not built or not changed:
        return None
    names = " and ".join(shown(path, settings.root) for path in changed)
    return Step(f"{home.name}: {names} changed after the database was built ({age(built, now)})", "inv db.setup")


def versions(settings: Settings) -> set[str]:
    """Return the versions of the migrations in the folder, by their names."""
    names = (path.name for path in settings.migrations.glob("*.sql"))
    return {digits for name in names if (digits := "".join(itertools.takewhile(str.isdigit, name)))}


def beyond(settings: Settings, production: Declared, look: Look | None, now: datetime) -> Step:
    """Return the step towards production, where the database of every day is as it should be."""
    names, option = production.names, f" -t {production.name}"
    if look is None and not any(settings.vars.get(name) for name in (names.url, names.endpoint)):
        return Step("not set up", f"inv rds.create --dry-run, or inv env.set {names.url} where you have one")
    if look is None:
        return Step("nobody has looked there from this clone", f"inv rds.allow-my-ip, then inv db.status{option}")
    if look.there:
        return Step(seen(look, now), "")
    return Step(seen(look, now), f"inv db.{'undo' if look.kept else 'setup'}{option}")


def seen(look: Look, now: datetime) -> str:
    """Return what the last look has seen, and when."""
    return f"{look.address} {'was' if look.there else 'was not'} there {age(look.at, now)}"


def age(then: datetime, now: datetime) -> str:
    """Return how long ago a time was, for people."""
    count, unit = largest_unit((now - then).total_seconds())
    return "just now" if unit == "second" else f"{count} {unit}{'s' if count > 1 else ''} ago"


def written(path: Path) -> float:
    """Return when a file was written last, in seconds since 1970; 0 where it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def shown(path: Path, root: Path) -> str:
    """Return a path as people know it: from the repository on where it lies there."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
