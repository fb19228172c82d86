"""Declared roles beside those that are there: role by role, grant by grant, with the statements that end each difference."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ops.console import few
from ops.db.roles import there as catalog
from ops.db.roles import words
from ops.db.roles.there import Options, Right, There
from ops.errors import Refused
from ops.targets.roles.declared import Declared, Role
from ops.targets.roles.names import FUNCTION, marks_like

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from psycopg.sql import Composed

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Kind = Literal["role", "attribute", "membership", "ownership", "right", "default_right", "password"]
State = Literal["missing", "undeclared", "wrong"]
EVERYBODY = "PUBLIC"
SHOWN = 4
"""Objects that a line names."""
EXCESS = {
    "superuser": "nosuperuser", "createdb": "nocreatedb", "createrole": "nocreaterole", "replication": "noreplication",
    "bypassrls": "nobypassrls",
}  # fmt: skip
"""Attributes that no role of ours has, by pg_roles' name, and the words that take them away."""
DEFAULT_KINDS = {"r": "tables", "S": "sequences", "f": "routines", "T": "types", "n": "schemas", "L": "large objects"}
ALTERS = {"statistics object": "statistics"}
"""What pg_identify_object() calls otherwise than ALTER does."""
TOOLS_OWN = ("pg_database_owner",)
"""Owns the schema public from PostgreSQL 15 on, and is whoever owns the database."""


@dataclass
class Difference:
    """Where a role is not as it is declared."""

    role: str
    """Its name on the server; PUBLIC is everybody there."""
    kind: Kind
    """What of it: the role itself, an attribute, a membership, what it owns, a right, one in what will be made, its password."""
    state: State
    """Declared and not there, there and not declared, or otherwise than declared."""
    what: str
    """The right, attribute or owner that it is about, in words."""
    objects: list[str]
    """What that is in: tables and others by their names in SQL; empty where it is in none."""
    done: bool = False
    """Whether it was ended; false with --dry-run and --check, and for what is not declared without --strict."""

    def __str__(self) -> str:
        on = few(self.objects, SHOWN)
        about = f"{self.what} {on}" if on else self.what
        match self.kind, self.state:
            case "role", "missing":
                return f"{self.role}: is not there ({about})"
            case "right" | "default_right", "missing":
                return f"{self.role}: lacks {about}"
            case "right" | "default_right", _:
                return f"{self.role}: has {about}, which nobody declared"
            case "membership", "missing":
                return f"{self.role}: is not {about}"
            case _, "undeclared":
                return f"{self.role}: is {about}, which nobody declared"
            case _:
                return f"{self.role}: {about}"


@dataclass
class Change:
    """A difference, with what ends it."""

    difference: Difference
    statements: list[Composed] = field(default_factory=list, repr=False)

    @property
    def declared(self) -> bool:
        """Whether it is something declared that is lacking or wrong: those are ended without --strict."""
        return self.difference.state != "undeclared"


@dataclass
class Compared:
    """All differences in the order in which they can be ended."""

    changes: list[Change]
    notes: list[str]
    """What is declared and cannot be given yet, in words."""
    there: There
    names: dict[str, str]
    """What the roles are called on the server, by key."""


@dataclass(frozen=True)
class Scope:
    """What a look is about."""

    database: str
    """Whose roles they are: its name is in theirs."""
    inside: bool = False
    """Only what is in the database: owners and rights; the roles are as they are."""


def compare(conn: Connection[DictRow], declared: Declared, scope: Scope) -> Compared:
    """Compare the declared roles with those of the server and database of a session.

    Raises `Refused` for a role of a declared name that does not carry our mark.
    """
    names = {role.key: role.name(scope.database) for role in declared.roles.values()}
    owner = declared.owner
    assert owner is not None
    predefined = (*words.PREDEFINED.values(), words.BY_TOKEN)
    there = catalog.read(conn, names.values(), marks_like(scope.database), names[owner.key], declared.schemas, predefined)  # fmt: skip
    check_marks(declared, names, there, scope.database)
    if scope.inside:  # rights of a role that is not there are not to be given
        declared = Declared(declared.name, declared.schemas, {k: r for k, r in declared.roles.items() if names[k] in there.roles})  # fmt: skip
    changes: list[Change] = []
    if not scope.inside:
        changes += roles(declared, names, there, scope.database)
        changes += memberships(declared, names, there)
    if declared.owner:
        changes += ownership(there, names[owner.key])
        changes += missing(declared, names, there)
    changes += undeclared(declared, names, there)
    return Compared(changes, list(words.lacking(declared, names, there)), there, names)


def check_marks(declared: Declared, names: Mapping[str, str], there: There, database: str) -> None:
    """Raise `Refused` for a role of a declared name that is somebody else's."""
    for role in declared.roles.values():
        row = there.roles.get(names[role.key])
        if row and not role.is_marked(database, row["comment"]):
            raise Refused(
                f"the role {row['name']} is there and does not carry the mark of inv, so it is not ours to change: rename it, "
                f"or give {role.key} another name ({role.at}: name:); to make it ours, comment on role: {role.mark(database)}"
            )


# --- the roles themselves -----------------------------------------------------------------


def roles(declared: Declared, names: Mapping[str, str], there: There, database: str) -> Iterator[Change]:
    """Yield what is other in the roles themselves."""
    from psycopg import sql

    for role in declared.roles.values():
        name, row = names[role.key], there.roles.get(names[role.key])
        identifier = sql.Identifier(name)
        if row is None:
            options = sql.SQL(" ".join(attributes(role)))
            made = sql.SQL("create role {} {}").format(identifier, options)
            mark = sql.SQL("comment on role {} is {}").format(identifier, sql.Literal(role.mark(database)))
            about = "login" if role.login else "no login"
            yield Change(Difference(name, "role", "missing", about, []), [made, mark])
            continue
        for words_, state, what in attribute_faults(role, row):
            alter = sql.SQL("alter role {} {}").format(identifier, sql.SQL(words_))
            yield Change(Difference(name, "attribute", state, what, []), [alter])
    for name in there.roles.keys() - names.values():
        alter = sql.SQL("alter role {} nologin").format(sql.Identifier(name))
        if there.roles[name]["login"]:
            yield Change(Difference(name, "role", "undeclared", "a login of ours", []), [alter])


def attributes(role: Role) -> list[str]:
    """Return the attributes of a new role: all others are off without a word."""
    return ["login" if role.login else "nologin", "noinherit" if role.becomes else "inherit"]


def attribute_faults(role: Role, row: Mapping[str, Any]) -> Iterator[tuple[str, State, str]]:
    """Yield what mends an attribute, what it is, and in words."""
    if role.login and not row["login"]:
        yield "login", "wrong", "cannot log in"
    if row["login"] and not role.login:
        yield "nologin", "undeclared", "one that can log in"
    if row["inherit"] and role.becomes:
        yield "noinherit", "wrong", "has the rights of those it may become before it does (INHERIT)"
    if not row["inherit"] and not role.becomes:
        yield "inherit", "wrong", "has not the rights of what it is a member of (NOINHERIT)"
    if row["ends"]:
        yield "valid until 'infinity'", "wrong", "has a password that ends (VALID UNTIL)"
    for attribute, words_ in EXCESS.items():
        if row[attribute]:
            yield words_, "undeclared", attribute.upper()


def memberships(declared: Declared, names: Mapping[str, str], there: There) -> Iterator[Change]:
    """Yield which memberships are lacking, wrong, or not declared."""
    from psycopg import sql

    wanted = words.memberships(declared, names, there)
    modern = there.version >= 160000
    for (role, member), options in wanted.items():
        if role == member:
            continue
        have = there.members.get((role, member))
        give = sql.SQL("grant {} to {}").format(sql.Identifier(role), sql.Identifier(member))
        if modern:
            with_ = f" with inherit {str(options.inherit).lower()}, set {str(options.set).lower()}"
            give = sql.Composed([give, sql.SQL(with_)])
        what = f"a member of {role}"
        if have is None:
            yield Change(Difference(member, "membership", "missing", what, []), [give])
        elif modern and differs(have, options, exactly=member in names.values()):
            told = f"is {what} with inherit {word(have.inherit)}, set {word(have.set)}: declared are {word(options.inherit)}, {word(options.set)}"
            again = [*taken(there, role, member), give] if member in names.values() else [give]
            yield Change(Difference(member, "membership", "wrong", told, []), again)
        if have and have.admin and member in names.values():
            take = taken(there, role, member, "admin option for ")
            yield Change(Difference(member, "membership", "undeclared", f"one who may give {role} to others", []), take)
    ours = set(names.values())
    for role, member in sorted(there.members.keys() - wanted.keys()):
        if member not in ours and (role not in ours or member in there.known_members):
            continue
        take = taken(there, role, member)
        yield Change(Difference(member, "membership", "undeclared", f"a member of {role}", []), take)


def taken(there: There, role: str, member: str, what: str = "") -> list[Composed]:
    """Return what takes a membership away, whoever has given it: from 16 on each who has must be named."""
    from psycopg import sql

    take = sql.SQL("revoke {}{} from {}").format(sql.SQL(what), sql.Identifier(role), sql.Identifier(member))
    if there.version < 160000:
        return [sql.Composed([take, sql.SQL(" cascade")])]
    by = [sql.SQL(" granted by {} cascade").format(sql.Identifier(each)) for each in there.given_by[role, member]]
    return [sql.Composed([take, each]) for each in by]


def differs(have: Options, wanted: Options, *, exactly: bool) -> bool:
    """Whether a membership has not the options that it should; that of the user who governs may have more."""
    if exactly:
        return (have.inherit, have.set) != (wanted.inherit, wanted.set)
    return have.inherit < wanted.inherit or have.set < wanted.set


def word(value: bool) -> str:
    return "true" if value else "false"


# --- owners -------------------------------------------------------------------------------


def ownership(there: There, owner: str) -> Iterator[Change]:
    """Yield what does not belong to the owner."""
    from psycopg import sql

    to = sql.Identifier(owner)
    for kind in ("database", "schema"):
        for thing in there.things:
            if thing.kind == kind and thing.owner not in (owner, *TOOLS_OWN):
                alter = sql.SQL(f"alter {kind} {{}} owner to {{}}").format(sql.SQL(thing.name), to)
                what = f"does not own {kind} {thing.name}, which belongs to {thing.owner}"
                yield Change(Difference(owner, "ownership", "wrong", what, []), [alter])
    for (type_, before), found in grouped(there.foreign, lambda each: (each.type, each.owner)):
        about = ALTERS.get(type_, type_)
        alters = [sql.SQL(f"alter {about} {{}} owner to {{}}").format(sql.SQL(each.name), to) for each in found]
        what = f"does not own what belongs to {before}: {type_}"
        yield Change(Difference(owner, "ownership", "wrong", what, [each.name for each in found]), alters)


# --- rights -------------------------------------------------------------------------------


def missing(declared: Declared, names: Mapping[str, str], there: There) -> Iterator[Change]:
    """Yield the rights that are declared and not there, in what there is and in what will be made."""
    from psycopg import sql

    owner = declared.owner
    assert owner is not None
    own = {names[owner.key]}
    lacking = [right for right in words.rights(declared, names, there) - there.rights if right.grantee not in own]
    for (grantee, kind), privileges, objects in bundled(lacking):
        statement = sql.SQL("grant {} on {} {} to {}").format(*target(kind, privileges, objects), whom(grantee))
        yield Change(Difference(grantee, "right", "missing", told(privileges, kind), objects), [statement])
    yield from defaults(words.defaults(declared, names, there) - there.defaults, "grant", "to", "missing")


def undeclared(declared: Declared, names: Mapping[str, str], there: There) -> Iterator[Change]:
    """Yield the rights that nobody declared: of our roles, of others, and of everybody beyond what the server gives."""
    from psycopg import sql

    wanted = words.rights(declared, names, there)
    own = {names[role.key] for role in declared.roles.values() if "own everything" in role.words}
    built_in = {Right("schema", "public", "", "USAGE", catalog.PUBLIC)}
    functions = {name for name, row in there.roles.items() if (row["comment"] or "").startswith(FUNCTION)}
    excess = [
        right
        for right in there.rights - wanted - built_in
        if right.grantee not in own and not (right.grantee in functions and right.grantee not in names.values())
    ]
    for (grantee, kind), privileges, objects in bundled(excess):
        statement = sql.SQL("revoke {} on {} {} from {} cascade").format(*target(kind, privileges, objects), whom(grantee))  # fmt: skip
        yield Change(Difference(grantee or EVERYBODY, "right", "undeclared", told(privileges, kind), objects), [statement])  # fmt: skip
    passed_on = [right for right in there.grantable & wanted if right.grantee not in own]
    for (grantee, kind), privileges, objects in bundled(passed_on):
        statement = sql.SQL("revoke grant option for {} on {} {} from {} cascade").format(*target(kind, privileges, objects), whom(grantee))  # fmt: skip
        what = f"the grant option for {told(privileges, kind)}"
        yield Change(Difference(grantee, "right", "undeclared", what, objects), [statement])
    for grantee, name in there.elsewhere:
        if grantee not in own:
            yield Change(
                Difference(grantee, "right", "undeclared", f"a right in {name} (to be taken away by hand)", [])
            )
    expected = words.defaults(declared, names, there) if declared.owner else set()
    extra = {each for each in there.defaults - expected if each.grantee not in own}
    yield from defaults(extra, "revoke", "from", "undeclared")


def defaults(found: Iterable[catalog.DefaultRight], verb: str, to: str, state: State) -> Iterator[Change]:
    """Yield the differences in what will be given by default."""
    from psycopg import sql

    for (maker, schema, letter, grantee), group in grouped(found, lambda e: (e.maker, e.schema, e.letter, e.grantee)):
        privileges = sorted(each.privilege for each in group)
        within = sql.SQL(" in schema {}").format(sql.Identifier(schema)) if schema else sql.SQL("")
        statement = sql.SQL("alter default privileges for role {}{} {} {} on {} {} {}").format(
            sql.Identifier(maker), within, sql.SQL(verb), sql.SQL(", ".join(privileges)), sql.SQL(DEFAULT_KINDS[letter]),
            sql.SQL(to), whom(grantee),
        )  # fmt: skip
        where = f" in schema {schema}" if schema else ""
        what = f"{', '.join(privileges).lower()} on {DEFAULT_KINDS[letter]} that {maker} will make{where}"
        yield Change(Difference(grantee or EVERYBODY, "default_right", state, what, []), [statement])


def bundled(rights: Iterable[Right]) -> Iterator[tuple[tuple[str, str], tuple[tuple[str, ...], str], list[str]]]:
    """Yield rights of one grantee in objects of one kind, where the same ones are in several: grantee and kind, privileges and column, objects."""
    each_object: dict[tuple[str, str, str, str], list[str]] = {}
    for right in rights:
        each_object.setdefault((right.grantee, right.kind, right.part, right.name), []).append(right.privilege)
    bundles: dict[tuple[str, str, str, tuple[str, ...]], list[str]] = {}
    for (grantee, kind, part, name), privileges in each_object.items():
        bundles.setdefault((grantee, kind, part, tuple(sorted(privileges))), []).append(name)
    for (grantee, kind, part, privileges_), names in sorted(bundles.items()):
        yield (grantee, kind), (privileges_, part), sorted(names)


def target(kind: str, privileges: tuple[tuple[str, ...], str], objects: list[str]) -> list[Composed]:
    """Return privileges, kind and objects for a GRANT."""
    from psycopg import sql

    names, part = privileges
    columns = f" ({part})" if part else ""
    about = {"function": "routine", "column": "table"}.get(kind, kind)
    texts = (", ".join(f"{each}{columns}" for each in names), about, ", ".join(objects))
    return [sql.Composed([sql.SQL(text)]) for text in texts]


def told(privileges: tuple[tuple[str, ...], str], kind: str) -> str:
    names, part = privileges
    of = f" ({part})" if part else ""
    return f"{', '.join(names).lower()}{of} on {kind}"


def whom(grantee: str) -> Composed:
    from psycopg import sql

    return sql.Composed([sql.Identifier(grantee) if grantee else sql.SQL("public")])


def grouped(found: Iterable[T], key: Callable[[T], K]) -> list[tuple[K, list[T]]]:
    """Return things of the same key together, in the order of the keys."""
    groups: dict[Any, list[T]] = {}
    for each in found:
        groups.setdefault(key(each), []).append(each)
    return sorted(groups.items(), key=lambda pair: pair[0])
