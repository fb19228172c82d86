"""What each part of the page shows: for each path of its API the function that the task of the same answer calls.

All of them read. A target that is the embedded server, and is stopped, stays so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from config.declared import BUILT_IN, Kind
from config.settings import Settings
from config.targets import kind_of
from ops.errors import NoDatabase, Problem
from ops.targets import opening
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.aws import Aws


PATIENCE = "250ms"
"""How long a look waits for a lock: it is not to stand in a queue before others."""
DAYS = 14
"""Of sign-ups that are shown."""


class Failure(NamedTuple):
    """Why something could not be looked at: the line that the task would have ended with, and its exit code."""

    error: str
    exit_code: int


def chosen(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return the targets to look at: those that are named, else local and each that a variable names; raises `Misconfigured`."""
    for name in names:
        settings.on(name)
    return list(dict.fromkeys(names)) or [
        name for name in settings.targets if name == settings.target or is_configured(settings, name)
    ]


def is_configured(settings: Settings, name: str) -> bool:
    """Whether a variable says where a target is."""
    names = settings.targets[name].names
    return any(settings.vars.get(each) for each in (names.url, names.endpoint, names.password))


def is_of_aws(settings: Settings, name: str) -> bool:
    """Whether a target has, or may have, an instance and a function on AWS."""
    found = settings.on(name)
    return Kind.RDS in found.focus.kinds and kind_of(found, found.focus) is Kind.RDS


@contextlib.contextmanager
def reading(settings: Settings, name: str, task: str = "look") -> Iterator[tuple[OpenTarget, Connection[DictRow]]]:
    """Open a target's database as the reader, in a session whose transactions cannot write; raises `Problem` for one that is stopped."""
    from ops.db import lifecycle

    settings = settings.on(name)
    if lifecycle.is_stopped(settings):
        raise Problem(lifecycle.STOPPED)
    with opening.open_target(settings, name, task, announced=False, login="reader") as at:
        if not at.database():
            raise NoDatabase(f"{at.target.address}: {at.missing}")
        with at.connect() as conn:
            conn.read_only = True
            yield at, conn


@contextlib.contextmanager
def once(settings: Settings, name: str) -> Iterator[tuple[OpenTarget, Connection[DictRow]]]:
    """Open a target's database as the reader, in one transaction that cannot write."""
    with reading(settings, name) as (at, conn), conn.transaction():
        conn.execute(f"set local lock_timeout = '{PATIENCE}'".encode())
        yield at, conn


def require_running(settings: Settings, name: str) -> None:
    """Raise `Problem` where a look would start the embedded server."""
    from ops.db import lifecycle

    if lifecycle.is_stopped(settings.on(name)):
        raise Problem(lifecycle.STOPPED)


# --- of a database -----------------------------------------------------------------------


def status(settings: Settings, name: str) -> Any:
    from ops.db import lifecycle

    return lifecycle.look(settings, name)


def diagnose(settings: Settings, name: str) -> Any:
    from ops.db.diagnose import report

    require_running(settings, name)
    return report.look_at(settings, name, announced=False)


def tables(settings: Settings, name: str) -> Any:
    from ops.db import described

    with once(settings, name) as (_, conn):
        return described.look(conn)


def diagram(settings: Settings, name: str) -> Any:
    """Return what db.diagram prints: the tables as SVG."""
    from ops.db.diagram import schema, svg

    with reading(settings, name) as (at, conn):  # its own transaction is of one state of the catalog
        return svg.drawn(schema.read(conn), name=at.name)


def now(settings: Settings, name: str) -> Any:
    """Return one look at what is going on; the page that is served has more of them, from ops/look/watch.py."""
    from ops.db import now

    with once(settings, name) as (_, conn):
        return [now.look(conn, None, None)[0]]


def migrations(settings: Settings, name: str) -> Any:
    from ops.db.migrations import listing

    require_running(settings, name)
    return listing.look_at(settings, name, announced=False).standing.states


def rehearsals(settings: Settings, name: str) -> Any:
    """Return what the last rehearsal found of each migration, as it is kept here."""
    from ops.db.rehearsal import remembered

    return [one for one in remembered.read(settings.root) if one["target"] == settings.on(name).focus.name]


def drift(settings: Settings, name: str, other: str) -> Any:
    """Return where two targets differ."""
    from ops.db.drift import catalog, targets

    with reading(settings, name) as (_, conn):
        mine = catalog.read(conn)
    with reading(settings, other) as (_, conn):  # one after the other: no session waits for a target that hangs
        return targets.between((name, other), mine, catalog.read(conn), conn)


def advice(settings: Settings, name: str) -> Any:
    """Return what db.diagnose --prove has found last, as it is kept here."""
    from ops.db.rehearsal import advice

    return [one for one in advice.read(settings.root) if one["target"] == settings.on(name).focus.name]


def branches(settings: Settings, name: str) -> Any:
    from ops.db.branches import branches as all_branches

    if name != all_branches.LOCAL:
        return []
    require_running(settings, name)
    return all_branches.listed(settings, name, announced=False)


def sessions(settings: Settings, name: str) -> Any:
    from ops.db import sessions as all_sessions

    require_running(settings, name)
    with opening.open_target(settings, name, "db.sessions", announced=False, login="reader") as at:
        return all_sessions.listed(at)


def slow(settings: Settings, name: str) -> Any:
    from ops.db import slow

    with once(settings, name) as (_, conn):
        return slow.look(conn)


def queries(settings: Settings, name: str) -> Any:
    """Return the queries of paths.queries, each with its plan there, for any value of its parameters, or why there is none."""
    from ops.db import query

    require_running(settings, name)
    folder = settings.queries
    found = []
    for file in sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.sql")):
        plan, why = None, None
        try:
            text = query.template(folder, file)
            given = dict.fromkeys(query.parameters(text))
            plan = query.explained(settings, name, text, given, as_json=True, announced=False, patience=PATIENCE)[1]
        except Exception as error:
            if (failure := line(error, name)) is None:
                raise
            why = failure.error
        found.append({"name": file, "plan": plan, "error": why})
    return found


# --- of AWS ------------------------------------------------------------------------------


def cloud(settings: Settings, name: str) -> tuple[Settings, Aws]:
    from ops.aws import Aws

    found = settings.on(name)
    return found, Aws(found)


def instance(settings: Settings, name: str) -> Any:
    from ops.rds import instance

    found, aws = cloud(settings, name)
    return instance.facts(found, aws, instance.require_instance(aws, found.rds))


def rules(settings: Settings, name: str) -> Any:
    from ops.rds.security_group import allow

    found, aws = cloud(settings, name)
    every, mine = allow.found(aws, found)
    return [allow.as_data(rule, mine) for rule in every]


def function(settings: Settings, name: str) -> Any:
    from ops.lambdas import status
    from ops.lambdas.user_pool import pool

    found, aws = cloud(settings, name)
    return status.facts(found, aws, pool.identifier(found) if pool.is_configured(found) else "")


def sign_ups(settings: Settings, name: str) -> Any:
    from ops.lambdas import sign_ups

    found, aws = cloud(settings, name)
    return sign_ups.look(found, aws, DAYS)


Look = Callable[[Settings, str], Any]
OF_DATABASE: dict[str, Look] = {
    "status": status,
    "diagnose": diagnose,
    "tables": tables,
    "diagram": diagram,
    "migrations": migrations,
    "rehearsals": rehearsals,
    "branches": branches,
    "sessions": sessions,
    "slow": slow,
    "queries": queries,
    "advice": advice,
}
OF_AWS: dict[str, Look] = {"instance": instance, "rules": rules, "function": function, "sign_ups": sign_ups}
DRIFT = "drift/"
"""Before the name of the other target."""
PANELS = {"now": now, **OF_DATABASE, **OF_AWS}
"""By the last word of the path /api/TARGET/WORD."""


def look_of(panel: str) -> Look:
    """Return what looks for a panel, by the path behind its target's name; raises `KeyError` for none."""
    if panel.startswith(DRIFT):
        return lambda settings, name: drift(settings, name, panel.removeprefix(DRIFT))
    return PANELS[panel]


def line(error: Exception, name: str) -> Failure | None:
    """Return what a task would have said of an error, with its exit code; None for a bug."""
    import psycopg

    from ops import aws_errors
    from ops.console import directed, redact
    from ops.targets import outcome

    code = 1
    if isinstance(error, Problem):
        text, code = str(error), error.code
    elif isinstance(error, psycopg.Error):
        text = outcome.joined(*outcome.meaning(error))
    elif type(error).__module__.startswith("botocore") and isinstance(error, aws_errors.errors()):
        problem = aws_errors.explain(error)
        text, code = str(problem), problem.code
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    elif isinstance(error, ModuleNotFoundError):
        text = f"the package {error.name} is not installed here"
    else:
        return None
    return Failure(redact(directed(text, "" if name in BUILT_IN else name)), code)
