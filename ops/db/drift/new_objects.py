"""What makes an object that is not there, as statements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from ops.db.drift.catalog import Catalog, Key, Thing
from ops.db.drift.plain_objects import PLAIN, Named
from ops.db.drift.words import BARE, COLUMNS, PUBLIC, Statement, default_rights, options_of_server, own_name, part

SAID = {"comment", "owner", "security label", "fires", "taken from its owner", "depends on the extension"}
"""What is said of an object after it was made."""
OF_COLUMN = {
    "type", "collation", "not null", "not null constraint", "default", "generated", "identity", "inherited", "options of the server",
}  # fmt: skip
OF_TABLE = {
    "column order", "partitioned by", "partition", "inherits", "access method", "options", "unlogged", "tablespace", "of type", "server",
    "options of the server",
}  # fmt: skip
BROUGHT = {
    "schema": set[str](),
    "extension": {"schema", "comment"},
    "table": OF_TABLE,
    "foreign table": OF_TABLE,
    "table column": OF_COLUMN,
    "foreign table column": OF_COLUMN,
    "composite type column": {"type"},
    "view": {"definition", "options"},
    "materialized view": {"definition", "options", "access method"},
    "table constraint": {"definition", "not valid", "inherited"},
    "domain constraint": {"definition", "not valid"},
    "index": {"definition", "options"},
    "statistics object": {"definition"},
}
"""Which properties the statement brings that makes an object; of other kinds all but what is said after."""
IN_PARTS = {*COLUMNS, "composite type column"}
ON = {
    "view": "tables", "materialized view": "tables", "foreign table": "tables", "procedure": "functions", "aggregate": "functions",
}  # fmt: skip
"""For which kind a default right counts, where its name is another one."""


class Maker(ABC):
    """Writes the statements that make objects, as `want` has them and `have` has not."""

    def __init__(self, want: Catalog, have: Catalog) -> None:
        self.want, self.have = want, have

    @abstractmethod
    def alter(self, key: Key, want: Thing, have: Thing, what: str) -> list[Statement]:
        """Return what gives a property the value that it is to have."""

    def create(self, key: Key) -> list[Statement]:
        """Return what makes an object, with all that was said of it."""
        thing = self.want.things[key]
        made, done = self.body(key, thing)
        if not made:
            return [Statement(f"make the {key.kind} {key.name}", by_hand=True)]
        found = [Statement(sql) for sql in made]
        start = Thing(self.first_rights(key), thing.inside, 0)
        parts = [(key, thing, start, done)]
        if key.kind in ("table", "foreign table", "view", "materialized view", "type"):
            children = [(k, t) for k, t in self.want.things.items() if t.inside == key and k.kind in IN_PARTS]
            brought = set() if key.kind.endswith("view") else OF_COLUMN
            parts += [(k, t, Thing({}, key, 0), brought) for k, t in sorted(children)]
        for each, wanted, bare, left_out in parts:
            for what in sorted(wanted.facets.keys() | bare.facets.keys()):
                if what not in left_out and wanted.facets.get(what) != bare.facets.get(what):
                    found += self.alter(each, wanted, bare, what)
        return found

    def first_rights(self, key: Key) -> dict[str, str]:
        """Return the rights that a new object gets by itself."""
        found = {"granted to public": PUBLIC[key.kind]} if key.kind in PUBLIC else {}
        for default in [
            t.facets for k, t in self.have.things.items() if k.kind == "default acl" and "owner" not in t.facets
        ]:
            inside = f"{default['schema']}." if "schema" in default else ""
            if default["on"] == ON.get(key.kind, f"{key.kind}s") and key.name.startswith(inside):
                found |= {what: value for what, value in default.items() if what.startswith("granted to ")}
                if not inside and "granted to public" not in default:
                    found.pop("granted to public", None)
        return found

    def body(self, key: Key, thing: Thing) -> tuple[list[str], set[str]]:
        """Return the statements that make an object, none where there are none, and which of its properties they bring."""
        brought = BROUGHT.get(key.kind, {what for what in thing.facets if not what.startswith("granted to ")} - SAID)
        inside, ways = thing.inside.name if thing.inside else "", self.ways()
        if key.kind in PLAIN:
            return PLAIN[key.kind](Named(own_name(key, thing), key.name, inside), thing.facets), brought
        return (ways[key.kind](key, thing) if key.kind in ways else []), brought

    def ways(self) -> dict[str, Callable[[Key, Thing], list[str]]]:
        """Return what makes the kinds that consist of others."""
        return {
            "table": lambda key, thing: [self.table(key, thing)],
            "foreign table": lambda key, thing: [self.table(key, thing)],
            "table column": self.added,
            "foreign table column": self.added,
            "view": lambda key, thing: [self.view(key, thing)],
            "materialized view": lambda key, thing: [self.view(key, thing)],
            "sequence": self.counting,
            "type": self.type,
            "default acl": lambda _, thing: list(default_rights(BARE, thing)),
        }

    def added(self, key: Key, thing: Thing) -> list[str]:
        return [f"alter table {thing.inside.name if thing.inside else ''} add column {self.column(key, thing)}"]

    def counting(self, key: Key, thing: Thing) -> list[str]:
        f = thing.facets
        made = [f"create sequence {key.name} as {f['type']}{self.sequence(f)}"]
        if "owned by" in f and thing.inside in self.have.things:
            made.append(f"alter sequence {key.name} owned by {f['owned by']}")
        return made

    def table(self, key: Key, thing: Thing) -> str:
        """Return the CREATE TABLE of a table, with its columns."""
        f = thing.facets
        inside = [(k, t) for k, t in self.want.things.items() if t.inside == key and k.kind in COLUMNS]
        columns = [(k, t) for k, t in inside if "inherited" not in t.facets]
        order = f.get("column order", "").split(", ")
        columns.sort(key=lambda each: order.index(own_name(*each)) if own_name(*each) in order else len(order))
        text = f"{'create unlogged table' if 'unlogged' in f else f'create {key.kind}'} {key.name}"
        if "partition" in f:
            text += f" partition of {f['partition'].removesuffix(' (detach pending)')}"
        elif "of type" in f:
            text += f" of {f['of type']}"
        else:
            lines = ",\n".join(f"  {self.column(k, t)}" for k, t in columns)
            text += f" (\n{lines}\n)" if lines else " ()"
        text += part(f, "inherits", " inherits ({})") + part(f, "partitioned by", " partition by {}")
        text += part(f, "server", " server {}") + options_of_server(f)
        if f.get("access method", "heap") != "heap":
            text += f" using {f['access method']}"
        return text + part(f, "options", " with ({})") + part(f, "tablespace", " tablespace {}")

    def column(self, key: Key, thing: Thing) -> str:
        """Return a column as CREATE TABLE takes it."""
        f, text = thing.facets, f"{own_name(key, thing)} {thing.facets['type']}{options_of_server(thing.facets)}"
        text += (
            part(f, "collation", " collate {}")
            + part(f, "generated", " generated always as {}")
            + part(f, "default", " default {}")
        )
        if "identity" in f:
            counts = [t.facets for t in self.want.things.values() if t.inside == key and "increment" in t.facets]
            text += f" generated {f['identity']} as identity" + "".join(
                f" ({self.sequence(one).strip()})" for one in counts
            )
        if "not null" in f:
            text += part(f, "not null constraint", " constraint {}") + " not null"
            text += " no inherit" if "no inherit" in f["not null"] else ""
        return text

    def sequence(self, f: dict[str, str]) -> str:
        """Return how a sequence counts, as CREATE SEQUENCE takes it."""
        cycle = " cycle" if f["cycle"] == "yes" else " no cycle"
        return f" increment {f['increment']} minvalue {f['minimum']} maxvalue {f['maximum']} start {f['start']} cache {f['cache']}{cycle}"

    def view(self, key: Key, thing: Thing) -> str:
        """Return the CREATE VIEW of a view."""
        f, word = thing.facets, "or replace view" if key.kind == "view" else key.kind
        given = f" with ({f['options']})" if "options" in f else ""
        return f"create {word} {key.name}{given} as\n{f['definition'].strip()}"

    def type(self, key: Key, thing: Thing) -> list[str]:
        """Return what makes a type; nothing for a base type, which is made in steps."""
        f = thing.facets
        match f.get("kind"):
            case "enum":
                return [f"create type {key.name} as enum ({f.get('values', '')})"]
            case "domain":
                text = f"create domain {key.name} as {f['type']}{part(f, 'collation', ' collate {}')}{part(f, 'default', ' default {}')}"
                return [text + part(f, "not null", " not null")]
            case "composite":
                inside = [(k, t) for k, t in self.want.things.items() if t.inside == key and k.kind in IN_PARTS]
                columns = {own_name(k, t): t.facets for k, t in inside}
                order = [each for each in f.get("attribute order", "").split(", ") if each]
                return [f"create type {key.name} as ({', '.join(f'{c} ' + columns[c]['type'] for c in order)})"]
            case "range":
                names = {
                    "subtype": "subtype",
                    "subtype_opclass": "operator class",
                    "collation": "collation",
                    "canonical": "canonical",
                    "subtype_diff": "difference",
                    "multirange_type_name": "multirange",
                }
                return [
                    f"create type {key.name} as range ({', '.join(f'{word} = {f[what]}' for word, what in names.items() if what in f)})"
                ]
        return []
