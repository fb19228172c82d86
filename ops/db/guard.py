"""Nothing dangerous happens to production unconfirmed, and it is marked as what it is."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING

from config.targets import Target
from ops import addresses, postgres
from ops.confirm import confirmed
from ops.console import say
from ops.db.identity import PREV, STAMP
from ops.errors import Problem

if TYPE_CHECKING:
    from ops.db.place import Place


def confirm(place: Place, act: str, given: str) -> None:
    """Ask for the database's name before a dangerous act on production.

    A name given by --confirm must be right on any target.
    """
    dangerous = place.prod or elsewhere(place.target)
    if not (given or dangerous):
        return
    where = "production" if place.prod else "another machine"
    why = f": {place.prod}" if place.prod else ""
    what = "" if given else f"({place.target.address}{why}){stake(place, act)}"
    confirmed(
        place.name,
        given,
        this="the name of this database",
        act=f"{act} on {where} {what}",
        question=f"{act} on {where.upper()} {what}. Type the database's name to go on:",
    )


def elsewhere(target: Target) -> bool:
    """Whether a server is out on the network: under a full name, or a public address.

    A single word is a name in a compose network, a private address a neighbour.
    """
    host = target.params.get("hostaddr") or target.host
    try:
        return addresses.public(ipaddress.ip_address(host))
    except ValueError:
        return not target.loopback and "." in host


def stake(place: Place, act: str) -> str:
    """Return what a dangerous act would be about, as the server estimates it."""
    import psycopg

    from ops.db import bound

    if not place.database():
        return ""
    more = ""
    with contextlib.suppress(psycopg.Error):
        more = bound.stake(place) if act in (bound.SETUP, bound.DROP, bound.UNDO) else ""
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
    if place.database(PREV) and act in ("setup", "drop"):
        kept = f"; {place.name}{PREV}, kept from the run before, goes for good"
    return f", which holds {found['tables']} tables, about {found['rows']} rows, {found['size']}{kept}{more}"


def stamp(place: Place, suffix: str = "") -> None:
    """Mark a production database as such, keeping the comment that it has."""
    import psycopg
    from psycopg import sql

    comment = (place.database(suffix) or place.database() or {}).get("comment") or ""
    if place.prod and STAMP not in comment:
        statement = sql.SQL("comment on database {} is {}").format(
            sql.Identifier(place.name + suffix), sql.Literal(f"{comment} {STAMP}".strip())
        )
        try:
            place.conn.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            say(f"note: {place.name} is not marked as production: only its owner may comment on it")


def stamp_new(place: Place) -> None:
    """Mark an RDS instance's database on the first connection to it, so that any clone knows it.

    It needs no confirmation: it changes a comment, and guards all later acts.
    """
    import psycopg

    row = place.database()
    if row is not None and STAMP not in (row["comment"] or ""):
        with contextlib.suppress(psycopg.Error):  # a replica, or a user who is not the owner
            stamp(place)
            place.look_again()
