"""What the words of sql/roles.yaml mean as privileges: https://www.postgresql.org/docs/current/ddl-priv.html."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ops.db.roles.there import DefaultRight, Options, Right, There
from ops.targets.roles.declared import Declared, Role
from ops.targets.roles.names import FUNCTION

NOTES = "inv"
"""The schema in which the suite keeps what it remembers of a database: read by all who read rows."""
MEANING: dict[str, dict[str, tuple[str, ...]]] = {
    "read rows": {"schema": ("USAGE",), "table": ("SELECT",), "sequence": ("SELECT",)},
    "write rows": {"schema": ("USAGE",), "table": ("INSERT", "UPDATE", "DELETE"), "sequence": ("USAGE",)},
    "empty tables": {"schema": ("USAGE",), "table": ("TRUNCATE",)},
    "maintain tables": {"schema": ("USAGE",), "table": ("MAINTAIN",)},
    "run functions": {"schema": ("USAGE",), "function": ("EXECUTE",)},
}
"""By word, for each kind of object in the declared schemas."""
PREDEFINED = {"see sessions": "pg_monitor", "end sessions": "pg_signal_backend"}
"""Roles that the server brings: https://www.postgresql.org/docs/current/predefined-roles.html."""
BY_TOKEN = "rds_iam"  # noqa: S105 - a role
"""Whose members log in by token alone: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.DBAccounts.html."""
LETTERS = {"table": "r", "sequence": "S", "function": "f"}
"""As pg_default_acl has them."""
SINCE = {"MAINTAIN": 170000}
"""The server's version from which on there is such a privilege."""


def meaning(role: Role, version: int) -> Iterator[tuple[str, str, str]]:
    """Yield word, kind and privilege of all that a role may in the declared schemas, as far as a server of the version has that."""
    for word in sorted(role.words & MEANING.keys()):
        for kind, privileges in MEANING[word].items():
            for privilege in privileges:
                if version >= SINCE.get(privilege, 0):
                    yield word, kind, privilege


def rights(declared: Declared, names: Mapping[str, str], there: There) -> set[Right]:
    """Return the rights in what is there; `names` are the roles' on the server, by key."""
    found: set[Right] = set()
    database = next(thing for thing in there.things if thing.kind == "database")
    for role in declared.roles.values():
        grantee = names[role.key]
        if role.login:
            found.add(Right("database", database.name, "", "CONNECT", grantee))
        meant = list(meaning(role, there.version))
        for thing in there.things:
            for word, kind, privilege in meant:
                schemas = (*declared.schemas, NOTES) if word == "read rows" else declared.schemas
                if thing.kind == kind and thing.schema in schemas:
                    found.add(Right(kind, thing.name, "", privilege, grantee))
        found |= in_tables(role, grantee, there)
    return found


def in_tables(role: Role, grantee: str, there: There) -> set[Right]:
    """Return the rights in single tables, with what they are no use without."""
    found: set[Right] = set()
    tables = {thing.plain: thing for thing in there.things if thing.kind == "table"}
    schemas = {thing.schema: thing for thing in there.things if thing.kind == "schema"}
    for on in role.tables:
        if (table := tables.get(on.table)) is None:
            continue
        found.add(Right("schema", schemas[table.schema].name, "", "USAGE", grantee))
        for privilege in (each.upper() for each in on.privileges):
            if there.version >= SINCE.get(privilege, 0):
                found.add(Right("table", table.name, "", privilege, grantee))
        if "insert" in on.privileges:
            found |= {Right("sequence", each, "", "USAGE", grantee) for each in there.numbers.get(table.name, ())}
    return found


def defaults(declared: Declared, names: Mapping[str, str], there: There) -> set[DefaultRight]:
    """Return the rights in what the owner will make."""
    owner = declared.owner
    assert owner is not None
    found: set[DefaultRight] = set()
    for role in declared.roles.values():
        for word, kind, privilege in meaning(role, there.version):
            for schema in (*declared.schemas, *((NOTES,) if word == "read rows" else ())):
                if kind in LETTERS and schema in there.schemas:
                    found.add(DefaultRight(names[owner.key], schema, LETTERS[kind], privilege, names[role.key]))
    return found


def has_password_of_function(name: str, there: There) -> bool:
    """Whether a role is the login of a function that has a password: lambda.deploy alone takes that away, once the function knows tokens."""
    row = there.roles.get(name)
    return bool(row and (row["comment"] or "").startswith(FUNCTION) and (BY_TOKEN, name) not in there.members)


def memberships(declared: Declared, names: Mapping[str, str], there: There) -> dict[tuple[str, str], Options]:
    """Return which role is to be a member of which, by role and member.

    Whoever may become another one has none of its rights before that. The user who governs the roles, and is no superuser,
    must be one of the owner to change what that owns (https://www.postgresql.org/docs/current/sql-alterdatabase.html).
    """
    found: dict[tuple[str, str], Options] = {}
    for role in declared.roles.values():
        member = names[role.key]
        for other in role.becomes:
            found[names[other], member] = Options(admin=False, inherit=False, set=True)
        wanted = [PREDEFINED[word] for word in sorted(role.words & PREDEFINED.keys())]
        if role.iam and role.login and not has_password_of_function(member, there):
            wanted.append(BY_TOKEN)
        for other in wanted:
            if other in there.me["predefined"] and is_to_be_had(other, member, there):
                found[other, member] = Options(admin=False, inherit=True, set=False)
    owner = declared.owner
    if owner and not there.me["superuser"]:
        found[names[owner.key], there.me["name"]] = Options(admin=False, inherit=True, set=True)
    return found


def is_to_be_had(other: str, member: str, there: There) -> bool:
    """Whether a role may be given by this user, or was given by another one already; one by which it logs in is not done without."""
    return other == BY_TOKEN or other in there.me["may_give"] or (other, member) in there.members


def lacking(declared: Declared, names: Mapping[str, str], there: There) -> Iterator[str]:
    """Yield what is declared and cannot be given yet, in words."""
    for schema in declared.schemas:
        if schema not in there.schemas:
            yield f"there is no schema {schema} yet: run inv db.roles again once it is made"
    tables = {thing.plain for thing in there.things if thing.kind == "table"}
    for role in declared.roles.values():
        for on in role.tables:
            if on.table not in tables:
                yield f"{role.key}: there is no table {on.table} yet: run inv db.roles again once it is made"
        for word in sorted(role.words & PREDEFINED.keys()):
            if not is_to_be_had(other := PREDEFINED[word], names[role.key], there):
                yield f"{role.key}: {word}: {there.me['name']} may not give {other}: a superuser can, by grant {other} to {names[role.key]}"
        if "maintain tables" in role.words and there.version < SINCE["MAINTAIN"]:
            yield f"{role.key}: maintain tables: only PostgreSQL 17 and later have that right"
