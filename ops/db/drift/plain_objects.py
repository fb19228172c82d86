"""What makes an object that stands for itself, by kind: from its properties alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ops.db.drift.words import literal, pairs, part


class Named(NamedTuple):
    """How an object is called."""

    own: str
    """Without what it belongs to."""
    whole: str
    """As pg_identify_object() writes it."""
    inside: str
    """What it belongs to, nothing where it stands alone."""

    @property
    def plain(self) -> str:
        """The name without its arguments."""
        return self.whole.partition("(")[0]


Facets = dict[str, str]


def as_defined(_: Named, f: Facets) -> list[str]:
    """Return the statement that the server itself prints."""
    return [f["definition"].rstrip()]


def policy(at: Named, f: Facets) -> list[str]:
    text = f"create policy {at.own} on {at.inside}{' as restrictive' if 'restrictive' in f else ''} for {f['for']} to {f['to']}"
    return [text + part(f, "using", " using ({})") + part(f, "with check", " with check ({})")]


def aggregate(at: Named, f: Facets) -> list[str]:
    names = {
        "transition": "sfunc", "state": "stype", "state size": "sspace", "final": "finalfunc", "combine": "combinefunc", "serialize": "serialfunc",
        "deserialize": "deserialfunc", "moving transition": "msfunc", "moving inverse": "minvfunc", "moving state": "mstype",
        "moving final": "mfinalfunc", "parallel": "parallel",
    }  # fmt: skip
    terms = [f"{word} = {f[what]}" for what, word in names.items() if what in f]
    terms += [f"initcond = {literal(f['initial state'])}"] if "initial state" in f else []
    terms += ["finalfunc_extra"] if "final takes arguments" in f else []
    return [f"create aggregate {at.plain} ({f['arguments'] or '*'}) ({', '.join(terms)})"]


def collation(at: Named, f: Facets) -> list[str]:
    terms = [
        f"{word} = {literal(f[word])}"
        for word in ("provider", "locale", "lc_collate", "lc_ctype", "rules")
        if word in f
    ]
    terms += ["deterministic = false"] if "nondeterministic" in f else []
    return [f"create collation {at.whole} ({', '.join(terms)})"]


def wrapper(at: Named, f: Facets) -> list[str]:
    return [
        f"create foreign data wrapper {at.own}{part(f, 'handler', ' handler {}')}{part(f, 'validator', ' validator {}')}"
    ]


def server(at: Named, f: Facets) -> list[str]:
    given = ", ".join(f"{name} {literal(value)}" for name, value in pairs(f.get("options")).items())
    more = "".join(f" {what} {literal(f[what])}" for what in ("type", "version") if what in f)
    return [
        f"create server {at.own}{more} foreign data wrapper {f['wrapper']}" + (f" options ({given})" if given else "")
    ]


def event_trigger(at: Named, f: Facets) -> list[str]:
    tags = part(f, "tags", " when tag in ({})")
    return [f"create event trigger {at.own} on {f['event']}{tags} execute function {f['function']}()"]


def publication(at: Named, f: Facets) -> list[str]:
    every, via = part(f, "all tables", " for all tables"), part(f, "by the root", ", publish_via_partition_root = true")
    return [f"create publication {at.own}{every} with (publish = {literal(f['publishes'])}{via})"]


def published_table(_: Named, f: Facets) -> list[str]:
    more = part(f, "columns", " ({})") + part(f, "where", " where ({})")
    return [f"alter publication {f['publication']} add table {f['table']}{more}"]


def published_schema(_: Named, f: Facets) -> list[str]:
    return [f"alter publication {f['publication']} add tables in schema {f['schema']}"]


def dictionary(at: Named, f: Facets) -> list[str]:
    return [f"create text search dictionary {at.whole} (template = {f['template']}{part(f, 'options', ', {}')})"]


def configuration(at: Named, f: Facets) -> list[str]:
    made = [f"create text search configuration {at.whole} (parser = {f['parser']})"]
    for each in f.get("mapping", "").split(", "):
        token, _, found = each.partition(": ")
        made.append(
            f"alter text search configuration {at.whole} add mapping for {token} with {found.replace(' ', ', ')}"
        )
    return made


def cast(_: Named, f: Facets) -> list[str]:
    how = {"inout": "with inout", "binary": "without function"}.get(f["method"]) or f"with function {f['function']}"
    used = {"in assignment": " as assignment", "implicitly": " as implicit"}.get(f["used"], "")
    return [f"create cast ({f['from']} as {f['to']}) {how}{used}"]


def operator(at: Named, f: Facets) -> list[str]:
    sides = {"leftarg": "left", "rightarg": "right", "restrict": "restriction", "join": "join"}
    terms = [f"function = {f['function'].partition('(')[0]}"]
    terms += [f"{word} = {f[what]}" for word, what in sides.items() if what in f]
    terms += [f"{each} = operator({f[each].partition('(')[0]})" for each in ("commutator", "negator") if each in f]
    terms += [each for each in ("merges", "hashes") if each in f]
    return [f"create operator {at.plain} ({', '.join(terms)})"]


PLAIN: dict[str, Callable[[Named, Facets], list[str]]] = {
    "schema": lambda at, _: [f"create schema {at.own}"],
    "extension": lambda at, f: [f"create extension {at.own} schema {f['schema']}"],
    "composite type column": lambda at, f: [f"alter type {at.inside} add attribute {at.own} {f['type']}"],
    "table constraint": lambda at, f: [f"alter table {at.inside} add constraint {at.own} {f['definition']}"],
    "domain constraint": lambda at, f: [f"alter domain {at.inside} add constraint {at.own} {f['definition']}"],
    "index": as_defined,
    "trigger": as_defined,
    "rule": as_defined,
    "function": as_defined,
    "procedure": as_defined,
    "statistics object": as_defined,
    "policy": policy,
    "aggregate": aggregate,
    "collation": collation,
    "foreign-data wrapper": wrapper,
    "server": server,
    "event trigger": event_trigger,
    "publication": publication,
    "publication relation": published_table,
    "publication namespace": published_schema,
    "text search dictionary": dictionary,
    "text search configuration": configuration,
    "cast": cast,
    "operator": operator,
}
