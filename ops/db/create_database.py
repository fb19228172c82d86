"""Create a database: plain, or with all that belongs to another one but its content."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ops import postgres, row_values
from ops.db import sessions
from ops.errors import Problem
from ops.targets import bound
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg.sql import Composed

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
select pg_get_userbyid(nullif(grantee, 0)) as grantee,
       privilege_type as privilege, is_grantable as grantable
from pg_database, aclexplode(datacl) where oid = %s
"""


def create_database(
    place: OpenTarget, name: str, like: dict[str, Any] | None = None, *, force: bool = False, act: str = bound.SETUP
) -> None:
    """Create a database, with owner, encoding, settings and grants of another one.

    What this user may not give it is left out with `force`, else `Refused`, in the name of the task `act`.
    """
    import psycopg
    from psycopg import sql

    statement = [sql.SQL("create database {}").format(sql.Identifier(name))]
    if like:
        statement += options(like, place.facts["databases"].get("template1"))
    try:
        place.conn.execute(sql.SQL(" ").join(statement))
    except psycopg.errors.InsufficientPrivilege as error:
        if like and "create database" not in str(error):
            raise Problem(
                f"{place.name} belongs to {like['owner']}, and this user may not make a database in that name "
                f"({row_values.message(error.diag)}): make it a member: grant {like['owner']} to this user"
            ) from None
        raise Problem(
            f"{place.target.params.get('user', 'this user')} may not create databases on {place.target.host}: "
            f"ask for ALTER ROLE … CREATEDB, or load into the existing one (inv db.schema-load)"
        ) from None
    except psycopg.errors.ObjectInUse as error:  # after five seconds, which the server gives its sessions to go
        template = re.findall(r'"([^"]+)"', row_values.words(error.diag))
        busy = sessions.in_the_way(place.conn, template)
        who = sessions.describe(busy[0]) if busy else "a session that has gone since"
        raise Problem(
            f"{template[0] if template else 'the template'}, of which new databases are made, is in use by {who}: nothing was "
            f"changed; end it (select pg_terminate_backend({busy[0]['pid'] if busy else 'pid'})), then run this again"
        ) from None
    if like:
        carry_over(place, like, name, force=force, act=act)


def options(like: dict[str, Any], template: dict[str, Any] | None) -> list[Any]:
    """Return the CREATE DATABASE options that make one like another.

    `like` is pg_database's row; its columns differ from one version to the next.
    """
    from psycopg import sql

    shape = ("encoding", "datlocprovider", "datcollate", "datctype", "datlocale", "daticulocale", "daticurules")
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
            if like.get("daticurules"):
                found.append(sql.SQL("icu_rules {}").format(sql.Literal(like["daticurules"])))
        elif provider == "b":
            found.append(sql.SQL("locale_provider builtin builtin_locale {}").format(sql.Literal(locale)))
    if like["space"] != "pg_default":
        found.append(sql.SQL("tablespace {}").format(sql.Identifier(like["space"])))
    return found


def limits(like: dict[str, Any], name: str) -> list[Composed]:
    """Return the SQL that gives a database what would stand in the way while it is filled, as another one has it."""
    from psycopg import sql

    found, to = [], sql.Identifier(name)
    if like["datconnlimit"] >= 0:
        limit = sql.Literal(like["datconnlimit"])
        found.append(sql.SQL("alter database {} connection limit {}").format(to, limit))
    if like["datistemplate"]:
        found.append(sql.SQL("alter database {} is_template true").format(to))
    return found


def carry_over(place: OpenTarget, like: dict[str, Any], name: str, *, force: bool, act: str) -> None:
    """Give a new database the settings, grants and comment of another one."""
    import psycopg
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
            whom = sql.Identifier(row["grantee"]) if row["grantee"] else sql.SQL("public")
            option = sql.SQL(" with grant option" if row["grantable"] and row["grantee"] else "")
            todo.append(sql.SQL("grant {} on database {} to {}{}").format(sql.SQL(row["privilege"]), to, whom, option))
    if like["comment"]:
        todo.append(sql.SQL("comment on database {} is {}").format(to, sql.Literal(like["comment"])))
    if not todo:
        return
    try:
        place.conn.execute(sql.SQL("; ").join(todo))
    except psycopg.Error:  # one of them; which, and is it the only one?
        lines = []
        for statement in todo:
            try:
                place.conn.execute(statement)
            except psycopg.Error as error:
                why = row_values.message(error.diag) or type(error).__name__
                lines.append(f"{statement.as_string(place.conn).replace(name, place.name)} cannot be done: {why}")
        bound.heed(place, act, lines, force=force)
