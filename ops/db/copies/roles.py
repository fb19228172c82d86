"""The roles that a dump names, and what becomes of its statements where the server lacks one.

An owner that is not there is the database's owner; so is whom a policy or a user mapping is for. A right that nobody can
have is left out. The statements are as pg_dump writes them (src/bin/pg_dump/dumputils.c, pg_backup_archiver.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops import postgres
from ops.console import few
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

FIRST = ("ALTER ", "GRANT ", "REVOKE ", "CREATE POLICY ", "CREATE USER MAPPING ", "SET SESSION AUTHORIZATION ")
# Quoted wherever it is more than these letters (src/fe_utils/string_utils.c, fmtId), so no text that ends in a quote is taken for one
_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*|PUBLIC|CURRENT_USER|SESSION_USER)'
_ROLES = rf"(?P<roles>{_NAME}(?:, {_NAME})*)"
OWNER = re.compile(rf"(?P<head>ALTER (?!DEFAULT PRIVILEGES).* OWNER TO ){_ROLES}(?P<rest>)\Z", re.DOTALL)
POLICY = re.compile(
    rf"(?P<head>CREATE POLICY {_NAME} ON (?:{_NAME}|\.)+(?: AS \w+)?(?: FOR \w+)? TO ){_ROLES}(?P<rest> .*|)\Z",
    re.DOTALL,
)
MAPPING = re.compile(rf"(?P<head>CREATE USER MAPPING FOR ){_ROLES}(?P<rest> SERVER .*)\Z", re.DOTALL)
RIGHT = re.compile(
    rf"(?P<head>(?:ALTER DEFAULT PRIVILEGES FOR ROLE (?P<whose>{_NAME}) .*?)?(?:GRANT .* TO|REVOKE .* FROM) ){_ROLES}(?P<rest>(?: WITH GRANT OPTION)?)\Z",
    re.DOTALL,
)
MAINTAIN = re.compile(
    r"(?P<head>(?:ALTER DEFAULT PRIVILEGES .*? )?(?:GRANT|REVOKE)(?: GRANT OPTION FOR)? )(?P<words>(?:[A-Z]+,)*MAINTAIN(?:,[A-Z]+)*)(?P<rest> ON .*)\Z",
    re.DOTALL,
)
SESSION = re.compile(rf"(?P<head>SET SESSION AUTHORIZATION ){_ROLES}(?P<rest>)\Z")
OF_POLICY = re.compile("COMMENT ON POLICY ")
EVERYBODY = ("PUBLIC", "CURRENT_USER", "SESSION_USER")
THERE = """
select rolname as name, pg_has_role(current_user, oid, %s) as ours from pg_roles where rolname = any(%s)
"""
AT_ONCE = 200
"""Statements that are one transaction: each holds a lock."""


@dataclass(frozen=True)
class Statement:
    """A statement of a dump that names roles."""

    kind: str
    """owner, policy, mapping, right or session."""
    text: str
    """Without its semicolon."""
    roles: tuple[str, ...]
    """All that it names, as they are called."""


@dataclass
class Roles:
    """Which roles of a dump can be used on a server, and who stands in for the others."""

    owner: str
    """Of the database."""
    superuser: bool
    missing: set[str] = field(default_factory=set)
    """Not there."""
    foreign: set[str] = field(default_factory=set)
    """There, and this user may give them nothing."""
    knows_maintain: bool = True
    """Whether the server has the privilege MAINTAIN (https://www.postgresql.org/docs/17/release-17.html)."""

    def is_fit(self, statement: Statement) -> bool:
        """Whether a statement can run as it is."""
        if statement.kind == "session":
            return self.superuser and not self.missing & set(statement.roles)
        if not self.knows_maintain and MAINTAIN.match(statement.text):
            return False
        return not self.missing & set(statement.roles) and not (
            statement.kind == "owner" and self.foreign & set(statement.roles)
        )

    def instead(self, statement: Statement) -> str:
        """Return what is run instead of a statement that is not fit; empty where nothing is."""
        if statement.kind == "right" and not self.missing & set(statement.roles):
            return without_maintain(statement.text)
        if statement.kind in ("right", "session"):
            return ""
        pattern = {"owner": OWNER, "policy": POLICY, "mapping": MAPPING}[statement.kind]
        found = pattern.match(statement.text)
        assert found is not None
        unfit = self.missing | (self.foreign if statement.kind == "owner" else set())
        names = [quoted(self.owner) if plain(each) in unfit else each for each in re.findall(_NAME, found["roles"])]
        return found["head"] + ", ".join(dict.fromkeys(names)) + found["rest"]

    def told(self) -> Iterator[str]:
        """Yield a line for each kind of role that is stood in for."""
        if self.missing:
            names = few(sorted(self.missing), 10)
            yield f"the server has no role {names}: what it owned is given to {self.owner}, and rights of it are left out"
        if self.foreign:
            names = few(sorted(self.foreign), 10)
            yield f"this user may give nothing to the role {names}: what it owned is given to {self.owner}"


def without_maintain(text: str) -> str:
    """Return a right without the privilege MAINTAIN; empty where it is of nothing else."""
    found = MAINTAIN.match(text)
    assert found is not None
    kept = [each for each in found["words"].split(",") if each != "MAINTAIN"]
    return found["head"] + ",".join(kept) + found["rest"] if kept else ""


def statement(text: str) -> Statement | None:
    """Return a statement of a dump that names roles; None for any other."""
    text = text.strip().rstrip(";").rstrip()
    for kind, pattern in (
        ("right", RIGHT),
        ("owner", OWNER),
        ("policy", POLICY),
        ("mapping", MAPPING),
        ("session", SESSION),
    ):
        if found := pattern.match(text):
            names = re.findall(_NAME, found["roles"])
            if kind == "right" and found["whose"]:
                names.append(found["whose"])
            return Statement(kind, text, tuple(plain(each) for each in names if each not in EVERYBODY))
    return None


def look(at: OpenTarget, statements: Iterable[Statement]) -> Roles:
    """Ask the server for the roles that statements name."""
    found = list(statements)
    names = {name for each in found for name in each.roles}
    owners = {name for each in found if each.kind == "owner" for name in each.roles}
    live = at.database()
    me = postgres.row(at.conn, "select current_user::text as name")["name"]
    roles = Roles(live["owner"] if live else me, at.facts["superuser"])
    if names:
        how = "SET" if at.conn.info.server_version >= 160000 else "MEMBER"
        there = {row["name"]: row["ours"] for row in postgres.fetch(at.conn, THERE, how, sorted(names))}
        roles.missing, roles.knows_maintain = names - there.keys(), at.conn.info.server_version >= 170000
        roles.foreign = {name for name in owners if there.get(name) is False}
    return roles


def run(conn: Connection[DictRow], statements: Iterable[str]) -> None:
    """Run statements in order, many at once; raises psycopg's errors."""
    left = [each for each in statements if each]
    for at in range(0, len(left), AT_ONCE):
        conn.execute("; ".join(left[at : at + AT_ONCE]).encode())


def plain(name: str) -> str:
    """Return what a name in SQL is."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def quoted(name: str) -> str:
    """Return a name for SQL."""
    return '"' + name.replace('"', '""') + '"'
