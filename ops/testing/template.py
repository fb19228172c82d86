"""The set-up database that clones are made of: built once for each content, as db.setup builds it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from config.settings import Settings
from ops import postgres
from ops.console import say
from ops.db import build, create_database, load, lock, seed, swap
from ops.db.migrations import baseline
from ops.db.migrations.baseline import Baseline
from ops.db.sql_file.script import Script
from ops.errors import Problem
from ops.targets.identity import NEXT
from ops.targets.open_target import OpenTarget
from ops.testing import names

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

FORM = "1"
"""Goes into the digest: another way to build makes another database of the same files."""
KEPT = 3
"""How many templates stay on a server of the tests' own: one for each branch that is being worked on."""
SEED = {"yes": build.DEFAULT, "no": ""}

TEMPLATES = r"select datname as name from pg_catalog.pg_database where datname ~ '^inv_tests_' order by oid desc"
# A run holds an advisory lock by its name, and a shared one by its template's, as long as it lives. The list of locks is the
# server's: it has those of sessions that work from another maintenance database, too.
HOLD = "select pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended('inv testing ' || %s, 0))"
SHARE = "select pg_catalog.pg_advisory_lock_shared(pg_catalog.hashtextextended('inv testing ' || %s, 0))"
LEAVE = "select pg_catalog.pg_advisory_unlock_shared(pg_catalog.hashtextextended('inv testing ' || %s, 0))"
FREE = """
select name from unnest(%s::text[]) as name where not exists (
  select from pg_catalog.pg_locks where locktype = 'advisory' and granted and objsubid = 1 and pid <> pg_catalog.pg_backend_pid()
    and (classid::bigint << 32 | objid::bigint) = pg_catalog.hashtextextended('inv testing ' || name, 0))
"""
ROLES = (
    r"select rolname as name from pg_catalog.pg_roles where rolname !~ '^pg_' and oid <> 10 and rolname <> current_user"
)


@dataclass(frozen=True)
class Content:
    """What the repository says of a database, checked."""

    plans: list[load.Plan]
    after: list[Callable[[], str]]
    behind: Baseline | None
    """The migrations that the schema does not hold."""
    schemas: int
    """How many of the plans come before them: 0 or 1."""
    variables: Mapping[str, str]
    shown: str
    """The files, for people."""

    @property
    def digest(self) -> str:
        """What a database that holds this is known by."""
        of_behind = (self.behind.upto, [each.digest for each in self.behind.migrations]) if self.behind else ()
        files = [plan.script.digest for plan in self.plans]
        parts = (FORM, self.schemas, files, of_behind, sorted(self.variables.items()))
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def content(settings: Settings, seeds: str, variables: Mapping[str, str]) -> Content:
    """Read schema, migrations and seed, as db.setup takes them; `seeds` is yes, no, or a file. Raises `Misconfigured`."""
    schema = None if build.by_migrations(settings, "") else build.script("", settings.schema)
    given = SEED.get(seeds.lower(), str(settings.root / seeds))
    rows = build.script(given, settings.seed) if given else None
    scripts: list[Script] = [each for each in (schema, rows) if each]
    plans = [load.plan(each, variables, rebuilds=settings.database) for each in scripts]
    after: list[Callable[[], str]] = [str] if schema else []
    if rows:
        after.append(partial(seed.ledger, rows, variables))
    behind = baseline.of(settings, schema, rebuilds=settings.database, silent="the tests' database is without them")
    shown = " and ".join([each.name for each in scripts] or ["migrations"])
    return Content(plans, after, behind, 1 if schema else 0, variables, shown)


@contextlib.contextmanager
def hold_template(at: OpenTarget, content: Content, *, own: bool) -> Iterator[None]:
    """Build the template if it is not there, and keep it as long as clones are made of it.

    On a server that is not the tests' `own`, the last run to leave removes it.
    """
    kept = KEPT if own else 0
    at.conn.execute(SHARE.encode(), [at.name])
    try:
        with lock.hold_lock(at):
            if not at.database():
                say(f"building a database from {content.shown}")
                try:
                    make(at, content)
                except Problem as error:
                    if not own or "already exists" not in str(error) or not clear(at):
                        raise
                    make(at, content)
            sweep(at, kept, spare=at.name)
        yield
    finally:
        with contextlib.suppress(Exception):  # a lost connection leaves it to the next run
            at.conn.execute(LEAVE.encode(), [at.name])  # first: of two that leave at once, one sees nobody else
            if not own:
                with lock.hold_lock(at):
                    sweep(at, kept)


def make(at: OpenTarget, content: Content) -> None:
    """Build the template under another name, and give it its own once it is whole; nothing is left where that fails."""
    from psycopg import sql

    load.check_extensions(at, content.plans)
    load.check_client(content.plans)
    swap.sweep(at)
    unfinished = sql.Identifier(at.name + NEXT)
    try:
        create_database.create_database(at, at.name + NEXT)
        with contextlib.closing(at.connect(NEXT)) as conn:
            between = swap.Between(content.schemas, partial(content.behind.bring_up, at)) if content.behind else None
            swap.fill(at, conn, content.plans, content.after, between)
            conn.execute("vacuum (analyze)")  # once, and not by the first statements in each clone
        at.conn.execute(
            sql.SQL("alter database {} allow_connections false").format(unfinished)
        )  # a session would stop clones
        at.conn.execute(sql.SQL("alter database {} rename to {}").format(unfinished, sql.Identifier(at.name)))
    except BaseException:
        with contextlib.suppress(Exception):
            drop(at.conn, at.name + NEXT)
        raise
    at.look_again()


def clear(at: OpenTarget) -> bool:
    """Remove from a server of the tests' own what another schema has made there: roles are of the whole server, and in the way.

    False where there is nothing of that kind.
    """
    import psycopg
    from psycopg import sql

    sweep(at, 0, spare=at.name)
    gone = False
    for row in postgres.fetch(at.conn, ROLES):
        with contextlib.suppress(psycopg.Error):  # another run's template has it
            at.conn.execute(sql.SQL("drop role {}").format(sql.Identifier(row["name"])))
            gone = True
    return gone


def sweep(at: OpenTarget, kept: int, spare: str = "") -> None:
    """Remove the templates of which nobody makes clones, but the newest ones; what is unfinished is of no use to anybody."""
    found = [row["name"] for row in postgres.fetch(at.conn, TEMPLATES) if names.is_template(row["name"])]
    free = is_free(at.conn, [name.removesuffix(NEXT) for name in found])
    whole = [name for name in found if not name.endswith(NEXT) and name != spare]
    for name in found:
        if name.removesuffix(NEXT) in free and name != spare and name not in whole[:kept]:
            drop(at.conn, name)


def is_free(conn: Connection[DictRow], keys: list[str]) -> set[str]:
    """Return which names of runs or templates no session but this one holds."""
    return {row["name"] for row in postgres.fetch(conn, FREE, keys)}


def drop(conn: Connection[DictRow], name: str) -> None:
    """Remove a database of ours."""
    assert names.is_template(name) or names.run_of(name)
    conn.execute(swap.removal(name))
