"""db.access: who may what, until when, and whether they are connected now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from config.settings import Settings
from ops.console import as_json, say, table
from ops.db.access import ends, logins, schedule
from ops.db.access.schedule import Schedule
from ops.targets import opening, persons
from ops.targets.roles import declared, names
from ops.times import in_utc

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.targets.open_target import OpenTarget

State = Literal["open", "ended", "to_be_ended", "without_rights"]
COLUMNS = ("who", "login", "role", "may", "until", "connected")
MARKED = """
select r.rolname::text as login, r.rolcanlogin as opens, d.description as comment,
  array(select pg_catalog.pg_get_userbyid(m.roleid)::text from pg_catalog.pg_auth_members m where m.member = r.oid) as roles,
  (select count(*) from pg_catalog.pg_stat_activity a where a.usesysid = r.oid)::int as sessions
from pg_catalog.pg_shdescription d join pg_catalog.pg_roles r on r.oid = d.objoid
where d.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass and d.description ~ '\\[inv: |^inv: function '
order by r.rolname
"""


@dataclass(frozen=True)
class Login:
    """A login for the database: a person's, or that of a declared role."""

    login: str
    """Its role on the server."""
    person: str | None
    """The name that db.grant-access was given; null for a declared role itself."""
    role: str
    """The declared role whose rights it has."""
    may: str
    """Those, in words."""
    until_at: datetime | None
    """When it ends; null for never."""
    state: State
    """open; ended: it is shut; to_be_ended: its time is over and it is not shut yet; without_rights: somebody has taken them away."""
    sessions: int
    """That are open as it, on any database of the server."""


@dataclass(frozen=True)
class Access:
    """Who may log in to a database by what the suite has made."""

    database: str
    """Whose the logins are."""
    logins: list[Login]
    """People first."""
    schedule: Schedule
    """What ends an access while nothing of ours runs."""


def people(conn: Connection[DictRow], database: str) -> list[dict[str, Any]]:
    """Return what the server has of the logins of people for a database."""
    rows = conn.execute(MARKED.encode()).fetchall()
    return [row for row in rows if persons.read_mark(row["comment"], database)]


def show(settings: Settings, target: str, *, json: bool) -> None:
    """Print who may what; what has ended meanwhile is shut before."""
    with opening.open_target(settings, target, "db.access") as at:
        found = look(settings, at)
    if json:
        as_json(found)
        return
    now = datetime.now().astimezone()
    if found.logins:
        table(COLUMNS, [as_row(each, now) for each in found.logins], lambda row: "not shut" in row["until"])
    if not any(each.person for each in found.logins):
        say(f"nobody has a login of their own for {found.database}: inv db.grant-access gives one")
    else:
        say(found.schedule.note)


def look(settings: Settings, at: OpenTarget) -> Access:
    """Return who may log in to the database of a target."""
    database, file = names.database_of(at.target), declared.read(settings)
    rows = at.conn.execute(MARKED.encode()).fetchall()
    now = persons.server_time(at.conn)
    found = [one(at, row, file, now) for row in people(at.conn, database)]
    by_name = {row["login"]: row for row in rows}
    for role in file.logins():
        row = by_name.get(role.name(database))
        if row and row["opens"] and role.is_marked(database, row["comment"]):
            found.append(Login(row["login"], None, role.key, in_words(role), None, "open", row["sessions"]))
    return Access(database, found, schedule.look(at))


def one(at: OpenTarget, row: dict[str, Any], file: declared.Declared, now: datetime) -> Login:
    """Return a person's login as it stands."""
    access = persons.read_mark(row["comment"], names.database_of(at.target))
    assert access
    role = file.roles.get(access.role)
    group = role.name(names.database_of(at.target)) if role else ""
    if access.until <= now:
        state: State = "to_be_ended" if row["opens"] or row["roles"] or row["sessions"] else "ended"
    else:
        state = "open" if row["opens"] and group in row["roles"] else "without_rights"
    may = in_words(role) if role else f"a role that {file.name} has not"
    return Login(row["login"], logins.name_of(at, row["login"]), access.role, may, access.until, state, row["sessions"])


def in_words(role: declared.Role) -> str:
    """Return what a declared role may, as the file says it."""
    tables = [f"{', '.join(each.privileges)} on {each.table}" for each in role.tables]
    return ", ".join([*(f"become {other}" for other in role.becomes), *(word for word in declared.PLAIN if word in role.words), *tables]) or "nothing"  # fmt: skip


def as_row(each: Login, now: datetime) -> dict[str, Any]:
    """Return a login for people."""
    until = "" if not each.until_at else in_utc(each.until_at)
    match each.state:
        case "open" if each.until_at:
            until += f" ({ends.words(each.until_at - now)})"
        case "ended":
            until += " (ended)"
        case "to_be_ended":
            until += " (not shut yet)"
        case "without_rights":
            until += " (without its rights: grant it again)"
    connected = f"{each.sessions} session{'s' if each.sessions > 1 else ''}" if each.sessions else ""
    return {"who": each.person or "", "login": each.login, "role": each.role, "may": each.may, "until": until, "connected": connected}  # fmt: skip
