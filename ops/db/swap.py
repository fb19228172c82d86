"""Build a database beside the live one, swap names, and bring the previous one back.

At every moment there is a database under the name, whole and open to all: what
is new is built as `<name>__next`, names change in one transaction, and nothing
of value is removed before that. A run that is killed leaves at most `__next` or
`__old`, which the next run removes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from ops import postgres
from ops.db import load, lock, sessions
from ops.db.place import Place, not_maintenance, stamp
from ops.errors import Misconfigured, Problem, Refused

NEXT, PREV, OLD = "__next", "__prev", "__old"
LONGEST = 63 - len(NEXT)
SWAP_SECONDS = 15.0

# Settings whose value is a list of names, quoted already
_LISTS = (
    "local_preload_libraries", "search_path", "session_preload_libraries",
    "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories",
)  # fmt: skip

SETTINGS = """
select pg_get_userbyid(nullif(setrole, 0)) as role, unnest(setconfig) as setting
from pg_db_role_setting where setdatabase = %s
"""
GRANTS = """
select case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end as grantee,
       privilege_type as privilege, is_grantable as grantable
from pg_database, aclexplode(datacl) where oid = %s
"""


def check_name(place: Place) -> None:
    """Refuse a name that leaves no room for the databases beside it."""
    not_maintenance(place.target)
    if len(place.name.encode()) > LONGEST:
        raise Misconfigured(
            f"{place.name}: longer than {LONGEST} bytes leaves no room for the name's suffix: shorten it"
        )
    if place.name.endswith((NEXT, PREV, OLD)):
        raise Misconfigured(
            f"{place.target.source}: {place.name} is a name that the suite gives itself: name the database without the suffix"
        )


def create(place: Place) -> bool:
    """Make the database if it is not there; True if it was made."""
    check_name(place)
    with lock.held(place):
        if place.database():
            return False
        make(place, place.name)
        return True


def rebuild(place: Place, plans: Sequence[load.Plan], *, force: bool, after: Sequence[str]) -> bool:
    """Build the database anew from scripts and swap it in; True if one was there before.

    `after` is SQL for each script that belongs to the same transaction.
    Raises `Refused` at once when sessions are in the way.
    """
    check_name(place)
    with lock.held(place):
        live = place.database()
        load.check_extensions(place, plans)
        load.check_client(place, plans)
        involved = [place.name, place.name + PREV]
        sessions.check(place, involved, force=force)
        sweep(place)
        try:
            make(place, place.name + NEXT, like=live)
            fill(place, plans, after)
            stamp(place, NEXT)
            renames = [(place.name + NEXT, place.name)]
            if live:
                renames.insert(0, (place.name, place.name + PREV))
                if place.database(PREV):
                    renames.insert(0, (place.name + PREV, place.name + OLD))
            rename(place, renames, force=force)
        except BaseException:
            discard(place)
            raise
        sweep(place)
        return live is not None


def fill(place: Place, plans: Sequence[load.Plan], after: Sequence[str]) -> None:
    """Load the scripts into the new database, in one transaction unless psql has a part in it."""
    with place.connect(NEXT) as conn:
        if any(plan.by_psql for plan in plans):
            for plan, sql in zip(plans, after, strict=True):
                load.run(place, conn, plan, after=sql)
                conn.execute("reset all")
        else:
            with conn.transaction():
                for plan, sql in zip(plans, after, strict=True):
                    load.run(place, conn, plan, after=sql)
                    conn.execute("reset all; reset role")  # the next file starts as psql would


def drop(place: Place, *, force: bool) -> bool:
    """Rename the database away, so that `undo` has it; False if there was none."""
    check_name(place)
    with lock.held(place):
        if not place.database():
            sweep(place)
            return False
        sessions.check(place, [place.name, place.name + PREV], force=force)
        sweep(place)
        stamp(place)
        renames = [(place.name, place.name + PREV)]
        if place.database(PREV):
            renames.insert(0, (place.name + PREV, place.name + OLD))
        rename(place, renames, force=force)
        sweep(place)
        return True


def undo(place: Place, *, force: bool) -> None:
    """Swap the database with the previous one, or bring that back after a drop."""
    check_name(place)
    with lock.held(place):
        if not place.database(PREV):
            raise Problem(f"there is no {place.name}{PREV} to bring back: nothing was done")
        sessions.check(place, [place.name, place.name + PREV], force=force)
        sweep(place)
        renames = [(place.name + PREV, place.name)]
        if place.database():
            renames = [(place.name, place.name + OLD), *renames, (place.name + OLD, place.name + PREV)]
        rename(place, renames, force=force)
        place.look_again()
        stamp(place)


def make(place: Place, name: str, like: dict[str, Any] | None = None) -> None:
    """Create a database, with owner, encoding, settings and grants of another one."""
    import psycopg
    from psycopg import sql

    statement = [sql.SQL("create database {}").format(sql.Identifier(name))]
    if like:
        statement += options(like, place.facts["databases"].get("template1"))
    try:
        place.conn.execute(sql.SQL(" ").join(statement))
    except psycopg.errors.InsufficientPrivilege:
        raise Problem(
            f"{place.target.params.get('user', 'this user')} may not create databases on {place.target.host}: "
            f"ask for ALTER ROLE … CREATEDB, or load into the existing one (inv db.schema-load)"
        ) from None
    except psycopg.errors.DiskFull:
        raise Problem(
            f"the disk of {place.target.host} is full: nothing was changed; free some space, then run again"
        ) from None
    if like:
        carry(place, like, name)


def options(like: dict[str, Any], template: dict[str, Any] | None) -> list[Any]:
    """Return the CREATE DATABASE options that make one like another.

    `like` is pg_database's row; its columns differ from one version to the next.
    """
    from psycopg import sql

    shape = ("encoding", "datlocprovider", "datcollate", "datctype", "datlocale", "daticulocale")
    found = [sql.SQL("owner {}").format(sql.Identifier(like["owner"]))]
    if template is None or any(like.get(k) != template.get(k) for k in shape):
        provider = like.get("datlocprovider", "c")
        found.append(sql.SQL("template template0 encoding {}").format(sql.Literal(like["charset"])))
        found.append(
            sql.SQL("lc_collate {} lc_ctype {}").format(sql.Literal(like["datcollate"]), sql.Literal(like["datctype"]))
        )
        locale = like.get("datlocale") or like.get("daticulocale")
        if provider == "i":
            found.append(sql.SQL("locale_provider icu icu_locale {}").format(sql.Literal(locale)))
        elif provider == "b":
            found.append(sql.SQL("locale_provider builtin builtin_locale {}").format(sql.Literal(locale)))
    if like["datconnlimit"] >= 0:
        found.append(sql.SQL("connection limit {}").format(sql.Literal(like["datconnlimit"])))
    if like["space"] != "pg_default":
        found.append(sql.SQL("tablespace {}").format(sql.Identifier(like["space"])))
    return found


def carry(place: Place, like: dict[str, Any], name: str) -> None:
    """Give a new database the settings, grants and comment of another one."""
    from psycopg import sql

    to, todo = sql.Identifier(name), []
    for row in postgres.fetch(place.conn, SETTINGS, like["oid"]):
        key, _, value = row["setting"].partition("=")
        of = sql.SQL("alter database {}").format(to)
        if row["role"]:
            of = sql.SQL("alter role {} in database {}").format(sql.Identifier(row["role"]), to)
        shown = sql.SQL(value) if key in _LISTS and value else sql.Literal(value)
        parts = [sql.Identifier(part) for part in key.split(".")]
        todo.append(sql.SQL("{} set {} to {}").format(of, sql.SQL(".").join(parts), shown))
    if like["datacl"]:
        todo.append(sql.SQL("revoke all on database {} from public").format(to))
        for row in postgres.fetch(place.conn, GRANTS, like["oid"]):
            option = " with grant option" if row["grantable"] and row["grantee"] != "public" else ""
            todo.append(sql.SQL(f"grant {row['privilege']} on database {{}} to {row['grantee']}{option}").format(to))
    if like["comment"]:
        todo.append(sql.SQL("comment on database {} is {}").format(to, sql.Literal(like["comment"])))
    if todo:
        place.conn.execute(sql.SQL("; ").join(todo))


def sweep(place: Place) -> None:
    """Remove what a finished swap or a killed run has left under our own suffixes."""
    from psycopg import sql

    for suffix in (NEXT, OLD):
        if (
            place.conn.execute("select from pg_database where datname = %s", [place.name + suffix]).fetchone()
            is not None
        ):
            place.conn.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(place.name + suffix))
            )


def discard(place: Place) -> None:
    """Remove the unfinished database; on failure the next run does it."""
    import contextlib

    with contextlib.suppress(Exception):
        sweep(place)


def rename(place: Place, renames: Sequence[tuple[str, str]], *, force: bool) -> None:
    """Change several names in one transaction, ending the sessions in the way.

    Postgres waits up to five seconds for other sessions on a database before
    it refuses to rename it, and holds new ones off meanwhile. So one session
    renames while this one ends those that are in the way: nobody is locked out
    by a flag that a killed run would leave behind.
    """
    from psycopg import sql

    conn, involved = place.conn, [old for old, _ in renames]
    sessions.end(conn, [s for s in sessions.in_the_way(conn, involved) if ours_to_end(place, s, force)])
    sessions.settle(conn, involved)
    statement = sql.SQL("; ").join(
        sql.SQL("alter database {} rename to {}").format(sql.Identifier(old), sql.Identifier(new))
        for old, new in renames
    )
    failed: list[Exception] = []

    def work() -> None:
        try:
            conn.execute(statement)  # several statements in one query are one transaction
        except Exception as error:
            failed.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        worker.join(0.05)
        if worker.is_alive():
            clear_the_way(place, involved, worker, force=force)
    except BaseException:
        conn.cancel_safe()
        worker.join()
        if failed:
            raise
    if failed:
        raise failed[0]


def clear_the_way(place: Place, involved: Sequence[str], worker: threading.Thread, *, force: bool) -> None:
    """End the sessions that hold up a rename, until it is through."""
    deadline = time.monotonic() + SWAP_SECONDS
    with postgres.connect(place.target, task=place.task, dbname=place.conn.info.dbname) as conn:
        while worker.is_alive():
            for session in sessions.in_the_way(conn, involved):
                if not ours_to_end(place, session, force):
                    raise Refused(
                        f"{sessions.describe(session)} came in between: nothing was changed; --force ends such sessions"
                    )
                sessions.end(conn, [session])
            if time.monotonic() > deadline:
                raise Problem(
                    f"{place.name} could not be renamed in {SWAP_SECONDS:.0f} s: nothing was changed; see inv db.sessions"
                )
            worker.join(0.02)


def ours_to_end(place: Place, session: dict[str, Any], force: bool) -> bool:
    """Whether a session may be ended for the sake of a rename."""
    return force or (not place.prod and bool(session["idle"]))
