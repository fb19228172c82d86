"""What changes a property of an object that is there, as statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ops.db.drift.catalog import Key, Thing
from ops.db.drift.new_objects import Maker
from ops.db.drift.words import (
    COLUMNS,
    NOTHING,
    WORDS,
    Statement,
    address,
    comes,
    default_rights,
    dropped,
    literal,
    own_name,
    reloptions,
    rights,
    server_options,
)


class Changer(Maker):
    """Writes the statements that make an object as `want` has it, where `have` has another one."""

    def change(self, key: Key, what: str) -> list[Statement]:
        """Return what gives a property of an object that both sides have the value of `want`."""
        bare = Thing({}, (self.want.things.get(key) or self.have.things[key]).inside, 0)
        return self.alter(key, self.want.things.get(key, bare), self.have.things.get(key, bare), what)

    def alter(self, key: Key, want: Thing, have: Thing, what: str) -> list[Statement]:
        """Return what gives a property the value that it is to have."""
        value, was = want.facets.get(what), have.facets.get(what)
        if (
            "inherited" in want.facets
            and "inherited" in have.facets
            and what in ("type", "collation", "generated", "definition")
        ):
            return []  # it follows the parent's
        by_hand = [
            Statement(f"{key.kind} {key.name}: {what} is {was or 'none'}, and is to be {value or 'none'}", by_hand=True)
        ]
        if what == "comment":
            return [Statement(f"comment on {address(key, want)} is {literal(value)}")]
        if what == "owner":
            return [Statement(f"alter {address(key, want)} owner to {value or 'current_user'}")]
        if what.startswith("granted to "):
            return [Statement(sql) for sql in self.granting(key, want, have, what)]
        if what == "depends on the extension":
            wanted, held = set((value or "").split(", ")) - {""}, set((was or "").split(", ")) - {""}
            made = [f"alter {address(key, want)} depends on extension {each}" for each in sorted(wanted - held)]
            return [
                Statement(sql)
                for sql in [
                    *made,
                    *(f"alter {address(key, want)} no depends on extension {each}" for each in sorted(held - wanted)),
                ]
            ]
        if what == "taken from its owner":
            on = key.name if key.kind not in ("schema", "function", "type", "sequence") else f"{key.kind} {key.name}"
            given = [Statement(f"grant all on {on} to current_user")] if was else []
            return given + ([Statement(f"revoke {value} on {on} from current_user")] if value else [])
        ways: dict[str, Callable[..., list[str]]] = {
            "table": self.of_table, "foreign table": self.of_table, "view": self.of_view, "materialized view": self.of_view,
            "table column": self.of_column, "foreign table column": self.of_column, "view column": self.of_column,
            "table constraint": self.again, "domain constraint": self.again, "index": self.of_index, "trigger": self.of_trigger, "rule": self.of_trigger,
            "policy": self.again, "function": self.of_function, "procedure": self.of_function, "aggregate": self.again, "type": self.of_type,
            "sequence": self.of_sequence, "statistics object": self.of_statistics, "composite type column": self.of_attribute,
            "publication relation": self.again, "event trigger": self.of_event, "cast": self.again, "operator": self.again, "collation": self.again,
            "extension": self.of_extension, "publication": self.of_publication, "server": self.of_server, "text search dictionary": self.again,
            "text search configuration": self.again, "default acl": self.of_defaults,
        }  # fmt: skip
        way = ways.get(key.kind)
        made = way(key, want, have, what) if way else []
        return [Statement(sql) for sql in made if sql != NOTHING] if made else by_hand

    def granting(self, key: Key, want: Thing, have: Thing, what: str) -> Iterator[str]:
        """Yield what makes the rights of one grantee as they are to be."""
        if key.kind == "default acl":
            yield from default_rights(have, want)
            return
        on, who = f"{WORDS.get(key.kind, key.kind)} {key.name}", what.removeprefix("granted to ")
        if who == want.facets.get("owner"):
            return
        if key.kind in ("table", "view", "materialized view", "foreign table"):
            on = f"table {key.name}"
        if key.kind == "server":
            on = f"foreign server {key.name}"
        if key.kind == "aggregate":
            on = f"function {key.name}"
        if key.kind in COLUMNS:
            name, table = own_name(key, want), want.inside.name if want.inside else ""
            for each in rights(have.facets.get(what), want.facets.get(what), f"table {table}", who):
                verb, _, rest = each.partition(" on table ")
                yield ", ".join(f"{right} ({name})" for right in verb.split(", ")) + f" on table {rest}"
            return
        yield from rights(have.facets.get(what), want.facets.get(what), on, who)

    def of_table(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        f, alter = want.facets, f"alter table {key.name}"
        match what:
            case "unlogged":
                return [f"{alter} set {'unlogged' if what in f else 'logged'}"]
            case "row level security":
                return [f"{alter} {'enable' if what in f else 'disable'} row level security"]
            case "forced row level security":
                return [f"{alter} {'force' if what in f else 'no force'} row level security"]
            case "replica identity":
                value = f.get(what, "default")
                return [
                    f"{alter} replica identity {value if value in ('default', 'full', 'nothing') else 'using index ' + value.rpartition('.')[2]}"
                ]
            case "options":
                return reloptions(alter, f.get(what), have.facets.get(what))
            case "options of its toast table":
                given, was = (
                    ", ".join(f"toast.{each}" for each in (one or "").split(", ") if each)
                    for one in (f.get(what), have.facets.get(what))
                )
                return reloptions(alter, given, was)
            case "tablespace":
                return [f"{alter} set tablespace {f.get(what, 'pg_default')}"]
            case "access method":
                return [f"{alter} set access method {f[what]}"] if what in f else []
            case "inherits":
                wanted, held = (set((one.facets.get(what) or "").split(", ")) - {""} for one in (want, have))
                return [
                    *(f"{alter} no inherit {each}" for each in sorted(held - wanted)),
                    *(f"{alter} inherit {each}" for each in sorted(wanted - held)),
                ]
            case "partition":
                return [
                    *(
                        f"alter table {have.facets[what].partition(' ')[0]} detach partition {key.name}"
                        for _ in "x"
                        if what in have.facets
                    ),
                    *(
                        f"alter table {parent} attach partition {key.name} {bound}"
                        for parent, _, bound in [f.get(what, "").partition(" ")]
                        if bound
                    ),
                ]
            case "options of the server":
                return server_options(
                    alter.replace("alter table", "alter foreign table"), f.get(what), have.facets.get(what)
                )
            case "of type":
                return [f"{alter} of {f[what]}" if what in f else f"{alter} not of"]
        return []

    def of_view(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        if what == "definition":
            return [self.view(key, want)] if key.kind == "view" else self.again(key, want, have, what)
        if what == "options":
            return reloptions(f"alter {key.kind} {key.name}", want.facets.get(what), have.facets.get(what))
        return self.of_table(key, want, have, what) if what in ("tablespace", "access method") else []

    def of_column(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        f, name = want.facets, own_name(key, want)
        table = want.inside.name if want.inside else ""
        alter = f"alter {'view' if key.kind == 'view column' else 'table'} {table} alter column {name}"
        match what:
            case "type" | "collation":
                collate = f" collate {f['collation']}" if "collation" in f else ""
                return [f"{alter} type {f['type']}{collate} using {name}::{f['type']}"]
            case "default":
                return [f"{alter} set default {f[what]}" if what in f else f"{alter} drop default"]
            case "not null":
                return (
                    [f"{alter} {'set' if what in f else 'drop'} not null"]
                    if {f.get(what, "yes"), have.facets.get(what, "yes")} == {"yes"}
                    else []
                )
            case "not null constraint":
                was, now = (one.facets.get(what, f"{table.rpartition('.')[2]}_{name}_not_null") for one in (have, want))
                return [f"alter table {table} rename constraint {was} to {now}"] if "not null" in have.facets else []
            case "identity":
                if what not in f:
                    return [f"{alter} drop identity"]
                return [
                    f"{alter} set generated {f[what]}"
                    if what in have.facets
                    else f"{alter} add generated {f[what]} as identity"
                ]
            case "generated":
                if what not in f:
                    return [f"{alter} drop expression"]
                return (
                    [f"{alter} set expression as {f[what].removesuffix(' stored').removesuffix(' virtual')}"]
                    if what in have.facets
                    else []
                )
            case "storage":
                return [f"{alter} set storage {f.get(what, 'default')}"]
            case "compression":
                return [f"{alter} set compression {f.get(what, 'default')}"]
            case "statistics":
                return [f"{alter} set statistics {f.get(what, '-1')}"]
            case "options":
                return reloptions(alter, f.get(what), have.facets.get(what))
            case "options of the server":
                return server_options(
                    alter.replace("alter table", "alter foreign table"), f.get(what), have.facets.get(what)
                )
        return []

    def again(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        """Return what removes an object and makes it again."""
        if what == "not valid" and what not in want.facets:
            word = "domain" if key.kind == "domain constraint" else "table"
            return [f"alter {word} {want.inside.name if want.inside else ''} validate constraint {own_name(key, want)}"]
        made = [*dropped(key, have), *self.create(key)]
        for child, thing in sorted(self.want.things.items(), key=lambda each: each[1].oid):
            if thing.inside == key and child.kind not in COLUMNS and comes(child, self.want, self.want):
                made += self.create(child)
        return [] if any(each.by_hand for each in made) else [each.sql for each in made]

    def of_index(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        table = want.inside.name.rpartition(" on ")[2] if want.inside else ""
        match what:
            case "invalid":
                return [f"reindex index {key.name}"] if what not in want.facets else []
            case "clustered":
                return [
                    f"alter table {table} cluster on {key.name.rpartition('.')[2]}"
                    if what in want.facets
                    else f"alter table {table} set without cluster"
                ]
            case "options":
                return reloptions(f"alter index {key.name}", want.facets.get(what), have.facets.get(what))
            case "tablespace":
                return [f"alter index {key.name} set tablespace {want.facets.get(what, 'pg_default')}"]
            case "statistics":
                wanted, held = (
                    dict(each.split(": ") for each in (one.facets.get(what) or "").split(", ") if each)
                    for one in (want, have)
                )
                return [
                    f"alter index {key.name} alter column {n} set statistics {wanted.get(n, '-1')}"
                    for n in sorted(wanted.keys() | held.keys())
                    if wanted.get(n) != held.get(n)
                ]
            case "attached to":
                parent = Key("table", table)
                if parent in self.want.things and self.want.things[parent].facets.get("partition") != self.have.things[
                    parent
                ].facets.get("partition"):
                    return [NOTHING]  # it goes with its table
                return [f"alter index {want.facets[what]} attach partition {key.name}"] if what in want.facets else []
        return self.again(key, want, have, what) if "definition" in want.facets else []

    def of_trigger(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        table, word = want.inside.name if want.inside else "", key.kind
        if what == "fires":
            how = {None: "enable", "never": "disable", "on replicas": "enable replica", "always": "enable always"}[
                want.facets.get(what)
            ]
            return [f"alter table {table} {how} {word} {own_name(key, want)}"]
        return self.again(key, want, have, what)

    def of_function(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        made = want.facets["definition"].rstrip()
        if what in ("returns", "arguments"):
            return self.again(key, want, have, what)
        return [made]

    def of_type(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        f = want.facets
        if f.get("kind") != have.facets.get("kind"):
            return []
        match what:
            case "values":
                wanted, held = (one.facets.get(what, "").split(", ") for one in (want, have))
                other = [pair for pair in zip(held, wanted, strict=False) if pair[0] != pair[1]]
                if len(wanted) == len(held) and len(other) == 1 and other[0][0] not in wanted:
                    return [f"alter type {key.name} rename value {other[0][0]} to {other[0][1]}"]
                if [each for each in wanted if each in held] != held:
                    return []
                return [
                    f"alter type {key.name} add value {each} "
                    + (f"after {wanted[i - 1]}" if i else f"before {held[0]}")
                    for i, each in enumerate(wanted)
                    if each not in held
                ]
            case "default":
                return [
                    f"alter domain {key.name} set default {f[what]}"
                    if what in f
                    else f"alter domain {key.name} drop default"
                ]
            case "not null":
                return [f"alter domain {key.name} {'set' if what in f else 'drop'} not null"]
        return []

    def of_sequence(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:  # noqa: ARG002 - one signature for all
        f, alter = want.facets, f"alter sequence {key.name}"
        words = {
            "increment": "increment",
            "minimum": "minvalue",
            "maximum": "maxvalue",
            "start": "start",
            "cache": "cache",
        }
        if what in words:
            return [f"{alter} {words[what]} {f[what]}"]
        match what:
            case "type":
                return [f"{alter} as {f[what]}"]
            case "cycle":
                return [f"{alter} {'cycle' if f[what] == 'yes' else 'no cycle'}"]
            case "owned by":
                return [f"{alter} owned by {f.get(what, 'none')}"]
            case "unlogged":
                return [f"{alter} set {'unlogged' if what in f else 'logged'}"]
        return []

    def of_statistics(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        if what == "target":
            return [f"alter statistics {key.name} set statistics {want.facets.get(what, '-1')}"]
        return self.again(key, want, have, what)

    def of_attribute(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:  # noqa: ARG002 - one signature for all
        inside = want.inside.name if want.inside else ""
        return (
            [f"alter type {inside} alter attribute {own_name(key, want)} type {want.facets['type']}"]
            if what == "type"
            else []
        )

    def of_event(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        if what == "fires":
            how = {None: "enable", "never": "disable", "on replicas": "enable replica", "always": "enable always"}[
                want.facets.get(what)
            ]
            return [f"alter event trigger {key.name} {how}"]
        return self.again(key, want, have, what)

    def of_extension(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:  # noqa: ARG002 - one signature for all
        return [f"alter extension {key.name} set schema {want.facets['schema']}"] if what == "schema" else []

    def of_server(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        if what == "options":
            return server_options(f"alter server {key.name}", want.facets.get(what), have.facets.get(what))
        return [f"alter server {key.name} version {literal(want.facets.get(what))}"] if what == "version" else []

    def of_publication(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:
        match what:
            case "publishes":
                return [f"alter publication {key.name} set (publish = {literal(want.facets[what])})"]
            case "by the root":
                return [
                    f"alter publication {key.name} set (publish_via_partition_root = {'true' if what in want.facets else 'false'})"
                ]
        return self.again(key, want, have, what)

    def of_defaults(self, key: Key, want: Thing, have: Thing, what: str) -> list[str]:  # noqa: ARG002 - one signature for all
        return list(default_rights(have, want))
