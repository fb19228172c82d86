"""Nothing dangerous happens to production unconfirmed, and it is marked as what it is."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING

from config.targets import Target
from ops import addresses, postgres
from ops.console import say
from ops.errors import Problem, Refused
from ops.targets.identity import NOT_PROD, PREV, STAMP, Watch, base, forget, seen
from ops.typed_name import require_confirmation

if TYPE_CHECKING:
    from ops.targets.open_target import OpenTarget


def confirm(place: OpenTarget, act: str, given: str) -> None:
    """Ask for the database's name before a dangerous act on production.

    A name given by --confirm must be right on any target.
    """
    dangerous = place.prod or is_elsewhere(place.target)
    if not (given or dangerous):
        return
    where = "production" if place.prod else "another machine"
    why = f": {place.prod}" if place.prod else ""
    what = "" if given else f"({place.target.address}{why}){stake(place, act)}"
    require_confirmation(
        place.name,
        given,
        this="the name of this database",
        act=f"{act} on {where} {what}",
        question=f"{act} on {where.upper()} {what}. Type the database's name to go on:",
    )


def is_elsewhere(target: Target) -> bool:
    """Whether a server is out on the network: under a full name, or a public address.

    A single word is a name in a compose network, a private address a neighbour.
    """
    if target.via:
        return True
    host = target.params.get("hostaddr") or target.host
    try:
        return addresses.is_public(ipaddress.ip_address(host))
    except ValueError:
        return not target.loopback and "." in host


def stake(place: OpenTarget, act: str) -> str:
    """Return what a dangerous act would be about, as the server estimates it."""
    import psycopg

    from ops.targets import bound

    if not place.database():
        return ""
    more = ""
    with contextlib.suppress(psycopg.Error):
        more = bound.stake(place) if act in (*bound.REPLACES, bound.DROP, bound.UNDO) else ""
    try:
        with place.connect() as conn:
            found = postgres.row(
                conn,
                "select count(*) as tables, coalesce(sum(n_live_tup), 0) as rows,"
                " pg_size_pretty(pg_database_size(current_database())) as size"
                " from pg_stat_user_tables where schemaname <> 'inv'",
            )
    except (psycopg.Error, Problem):
        return more
    kept = ""
    if place.database(PREV) and act in (*bound.REPLACES, bound.DROP):
        kept = f"; {place.name}{PREV}, kept from the run before, goes for good"
    return f", which holds {found['tables']} tables, about {found['rows']} rows, {found['size']}{kept}{more}"


def stamp(place: OpenTarget, suffix: str = "") -> None:
    """Mark a production database as such, keeping the comment that it has."""
    import psycopg

    comment = (place.database(suffix) or place.database() or {}).get("comment") or ""
    if place.prod and STAMP not in comment:
        try:
            comment_on(place, place.name + suffix, f"{comment} {STAMP}".strip())
        except psycopg.errors.InsufficientPrivilege:
            say(f"note: {place.name} is not marked as production: only its owner may comment on it")


def mark(place: OpenTarget, *, production: bool, given: str) -> str:
    """Write into the database's comment that it is production, or that it is none; return what to tell.

    A previous one that is kept beside it, and says otherwise, takes the new word, too: undo brings it back.
    What is declared as production, or is the database of a target that is, stays so: raises `Refused`.
    """
    place.required()
    word, other = (STAMP, NOT_PROD) if production else (NOT_PROD, STAMP)
    there = ((place.name + suffix, place.database(suffix)) for suffix in ("", PREV))
    comments = {name: row["comment"] or "" for name, row in there if row}
    wanted = {
        name: f"{' '.join(comment.replace(STAMP, '').replace(NOT_PROD, '').split())} {word}".strip()
        for name, comment in comments.items()
        if name == place.name or other in comment
    }
    if not production:
        require_none(place)
        confirm(place, "mark as not production", given)
    if all(comments[name] == text for name, text in wanted.items()):
        return f"{place.name} is marked so already: nothing to do"
    for name, text in wanted.items():
        comment_on(place, name, text)
    if not production:
        forget(place.settings.root, place.facts["system_id"], place.target)
    return f"{place.name} is marked as {'production' if production else 'not production'}: its comment says so to every clone"


def require_none(place: OpenTarget) -> None:
    """Raise `Refused` where something stronger than a word says that a database is production."""
    target = place.target
    if target.protected:
        raise Refused(
            f"{target.name} is declared as production: give the database a target of its own (targets: in invoke.yaml)"
        )
    watch = Watch(place.settings, target)
    watch.wait()
    here = (place.facts["system_id"], base(target.dbname))
    others = [e["address"] for e in seen(place.settings.root) if e["address"] != target.address]
    same = [e for e in seen(place.settings.root) if e["address"] in others and here == (e["system_id"], e["dbname"])]
    if source := watch.same(target) or (f"{same[0]['address']}, seen as prod before," if same and here[0] else ""):
        raise Refused(f"{source} names this very database: it is production")


def comment_on(place: OpenTarget, name: str, text: str) -> None:
    """Write a database's comment; raises psycopg's errors."""
    from psycopg import sql

    with place.conn.transaction():
        if place.role:
            place.conn.execute(sql.SQL("set local role {}").format(sql.Identifier(place.role)))
        place.conn.execute(sql.SQL("comment on database {} is {}").format(sql.Identifier(name), sql.Literal(text)))


def stamp_new(place: OpenTarget) -> None:
    """Mark an RDS instance's database on the first connection to it, so that any clone knows it.

    It needs no confirmation: it changes a comment, and guards all later acts.
    """
    import psycopg

    row = place.database()
    if row is not None and STAMP not in (row["comment"] or ""):
        with contextlib.suppress(psycopg.Error):  # a replica, or a user who is not the owner
            stamp(place)
            place.look_again()
