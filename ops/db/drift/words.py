"""Words and names of SQL for what is proposed: statements, rights, options, what goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ops.db.drift import kinds
from ops.db.drift.catalog import Catalog, Key, Thing

BARE = Thing({}, None, 0)
WORDS = {
    "foreign-data wrapper": "foreign data wrapper",
    "statistics object": "statistics",
    "table constraint": "constraint",
    "domain constraint": "constraint",
}
"""Kinds whose word in SQL is another one."""
COLUMNS = {"table column", "foreign table column", "view column", "materialized view column"}
WITH_ARGUMENTS = {"function", "procedure", "aggregate"}
PUBLIC = {"function": "EXECUTE", "procedure": "EXECUTE", "aggregate": "EXECUTE", "type": "USAGE", "language": "USAGE"}
"""What everybody may do with a new object of a kind."""
LOSES = {
    "table",
    "table column",
    "sequence",
    "materialized view",
    "schema",
    "extension",
    "type",
    "composite type column",
    "foreign table",
}
"""Kinds whose removal takes data, or what holds data, along."""
NOTHING = ""
"""Stands for a change that another one brings along."""


@dataclass(frozen=True)
class Statement:
    """One statement, or what to do where there is none."""

    sql: str
    loses: bool = False
    """It removes data."""
    by_hand: bool = False
    """It is no statement, but what to do."""

    def __str__(self) -> str:
        if self.by_hand:
            return f"-- by hand: {self.sql}"
        if self.loses:
            return "-- loses data:\n" + "\n".join(f"-- {line}" for line in f"{self.sql};".splitlines())
        return f"{self.sql};"


def comes(key: Key, want: Catalog, have: Catalog) -> bool:
    """Whether an object is made by a statement of its own: not with what it belongs to."""
    thing = want.things[key]
    if key.kind in COLUMNS or key.kind == "composite type column":
        return thing.inside in have.things and not key.kind.endswith("view column")
    if key.kind == "index":
        return "definition" in thing.facets and "attached to" not in thing.facets
    return not (key.kind == "sequence" and thing.inside and "owned by" not in thing.facets)


def own_name(key: Key, thing: Thing) -> str:
    """Return an object's name without what it belongs to."""
    inside = thing.inside.name if thing.inside else ""
    return key.name.removesuffix(f" on {inside}").removeprefix(f"{inside}.")


def address(key: Key, thing: Thing) -> str:
    """Return kind and name as COMMENT ON takes them."""
    inside, word = thing.inside.name if thing.inside else "", WORDS.get(key.kind, key.kind)
    if key.kind in COLUMNS or key.kind == "composite type column":
        return f"column {key.name}"
    if key.kind == "domain constraint":
        return f"constraint {own_name(key, thing)} on domain {inside}"
    return f"{word} {key.name}"


def dropped(key: Key, thing: Thing) -> list[Statement]:
    """Return what removes an object."""
    inside, name, loses = thing.inside.name if thing.inside else "", own_name(key, thing), key.kind in LOSES
    match key.kind:
        case "table column" | "foreign table column":
            return [Statement(f"alter table {inside} drop column {name}", loses)]
        case "composite type column":
            return [Statement(f"alter type {inside} drop attribute {name}", loses)]
        case "table constraint":
            return [Statement(f"alter table {inside} drop constraint {name}")]
        case "domain constraint":
            return [Statement(f"alter domain {inside} drop constraint {name}")]
        case "default acl":
            return [Statement(f"{each}", by_hand=each.startswith("remove")) for each in default_rights(thing, BARE)]
        case "type" if thing.facets.get("kind") == "base":  # it and its functions need each other
            return [Statement(f"drop type {key.name} cascade, and with it its functions", by_hand=True)]
        case "publication relation":
            relation, _, publication = key.name.rpartition(" in publication ")
            return [Statement(f"alter publication {publication} drop table {relation}")]
        case "publication namespace":
            relation, _, publication = key.name.rpartition(" in publication ")
            return [Statement(f"alter publication {publication} drop tables in schema {relation}")]
        case "user mapping":
            return [Statement(f"drop user mapping for {mapped(key)}")]
        case "operator class" | "operator family":
            return [Statement(f"drop {key.kind} {key.name.replace(' USING ', ' using ')}")]
    return [Statement(f"drop {WORDS.get(key.kind, key.kind)} {key.name}", loses)]


def mapped(key: Key) -> str:
    """Return the user and server of a mapping."""
    user, _, where = key.name.rpartition(" on server ")
    return f"{'current_user' if user == 'the login' else user} server {where}"


def default_rights(have: Thing, want: Thing) -> Iterator[str]:
    """Yield what changes rights that new objects get."""
    facets = have.facets or want.facets
    schema = f" in schema {facets['schema']}" if "schema" in facets else ""
    owner = f" for role {facets['owner']}" if "owner" in facets else ""
    for what in sorted(have.facets.keys() | want.facets.keys()):
        if what.startswith("granted to "):
            for verb in rights(
                have.facets.get(what), want.facets.get(what), facets["on"], what.removeprefix("granted to ")
            ):
                yield f"alter default privileges{owner}{schema} {verb}"


def rights(have: str | None, want: str | None, on: str, who: str) -> Iterator[str]:
    """Yield what takes and gives rights."""
    who = "current_user" if who == "the login" else who
    mine, wanted = set((have or "").split(", ")) - {""}, set((want or "").split(", ")) - {""}
    plain, option = " with grant option", sorted(wanted - mine)
    if gone := sorted({each.removesuffix(plain) for each in mine} - {each.removesuffix(plain) for each in wanted}):
        yield f"revoke {', '.join(gone)} on {on} from {who}"
    if less := sorted(each for each in mine - wanted if each.endswith(plain) and each.removesuffix(plain) in wanted):
        yield f"revoke grant option for {', '.join(each.removesuffix(plain) for each in less)} on {on} from {who} cascade"
    for more in ("", plain):
        given = [each.removesuffix(plain) for each in option if each.endswith(plain) == bool(more)]
        given = [each for each in given if not (less and any(one.startswith(each) for one in less))]
        if given:
            yield f"grant {', '.join(given)} on {on} to {who}{more}"


def literal(text: str | None) -> str:
    """Return a text as SQL has it, null where there is none."""
    if text is None:
        return "null"
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def part(facets: dict[str, str], what: str, text: str) -> str:
    """Return a text with the value of a property in it, nothing where that is at its default."""
    return text.replace("{}", facets[what]) if what in facets else ""


def pairs(options: str | None) -> dict[str, str]:
    """Return options by name; one whose value is not shown has words for that instead."""
    found = (each.partition("=") for each in (options or "").split(", ") if each)
    return {name: value if given else kinds.LEFT_OUT for name, given, value in found}


def reloptions(alter: str, want: str | None, have: str | None) -> list[str]:
    """Return what sets storage parameters, and sets those back that are not wanted."""
    wanted, held = pairs(want), pairs(have)
    less = sorted(held.keys() - wanted.keys())
    more = [f"{name} = {value}" for name, value in sorted(wanted.items()) if held.get(name) != value]
    return [
        *([f"{alter} reset ({', '.join(less)})"] if less else []),
        *([f"{alter} set ({', '.join(more)})"] if more else []),
    ]


def server_options(alter: str, want: str | None, have: str | None) -> list[str]:
    """Return what sets the options of something foreign."""
    wanted, held = pairs(want), pairs(have)
    words = [f"drop {name}" for name in sorted(held.keys() - wanted.keys())]
    words += [
        f"{'set' if name in held else 'add'} {name} {literal(value)}"
        for name, value in sorted(wanted.items())
        if held.get(name) != value
    ]
    return [f"{alter} options ({', '.join(words)})"] if words else []


def options_of_server(f: dict[str, str]) -> str:
    given = ", ".join(f"{name} {literal(value)}" for name, value in pairs(f.get("options of the server")).items())
    return f" options ({given})" if given else ""
