"""A first masks file, from names, types, keys and the server's statistics: a proposal to be read, which prints no value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from ops.db.pull import masking
from ops.db.pull.columns import Column, Table, is_surrogate, pointing
from ops.db.pull.masking import KEEP, Rule

MAIL = re.compile(r"e_?mail|mail_?(address|box)?$", re.IGNORECASE)
BY_NAME = (
    (re.compile(r"pass(word|wd|phrase)?|secret|token|salt|api_?key|otp|hash|digest|(cognito|external|auth|stripe).*id|subject|^sub$|ssn|iban|tax", re.IGNORECASE), "hash"),
    (MAIL, "email"),
    (re.compile(r"phone|mobile|fax|msisdn", re.IGNORECASE), "phone"),
    (re.compile(r"handle|user_?name|login|nick|slug", re.IGNORECASE), "handle"),
    (re.compile(r"(^|_)ip(_|$)|remote_addr|client_addr", re.IGNORECASE), "ip"),
    (re.compile(r"address|street|city|zip|postcode|postal", re.IGNORECASE), "address"),
    (re.compile(r"name$|surname|owner|author|contact|person", re.IGNORECASE), "name"),
    (re.compile(r"url|uri|link|website|homepage|avatar|image|photo", re.IGNORECASE), "url"),
)  # fmt: skip
"""What a column's name says of its values; the first that fits and whose type is right."""
DATES = re.compile(r"birth|dob|born|death|died", re.IGNORECASE)
HARMLESS = re.compile(
    r"_count$|^(count|position|ordinal|version|quantity|sort|priority)$|(created|updated|deleted|expires|sent|read|published)_?(at|on)?$",
    re.IGNORECASE,
)
PLAIN = ("int2", "int4", "int8", "timestamp", "timestamptz", "date")
TEXTS_OF_SCHEMA = r"""
select 'comment' as what, pg_catalog.pg_describe_object(classoid, objoid, objsubid) as name from pg_catalog.pg_description
  where classoid in ('pg_class'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass) and objoid >= 16384
  and pg_catalog.pg_describe_object(classoid, objoid, objsubid) !~ '\m(schema inv$|inv\.)'
union all
select 'default', pg_catalog.pg_describe_object('pg_attrdef'::regclass, oid, 0) from pg_catalog.pg_attrdef
  where pg_catalog.pg_get_expr(adbin, adrelid) ~ '''[^'']'
union all
select 'check', pg_catalog.pg_describe_object('pg_constraint'::regclass, oid, 0) from pg_catalog.pg_constraint
  where contype = 'c' and oid >= 16384 and pg_catalog.pg_get_constraintdef(oid) ~ '''[^'']'
union all
select 'values', pg_catalog.pg_describe_object('pg_type'::regclass, oid, 0) from pg_catalog.pg_type where typtype = 'e' and oid >= 16384
union all
select 'partition', pg_catalog.pg_describe_object('pg_class'::regclass, oid, 0) from pg_catalog.pg_class where relispartition and relkind in ('r', 'p')
order by 1, 2
"""


def is_mail(column: Column) -> bool:
    """Whether a column's values look like e-mail addresses, by its name or by statistics."""
    texts = (*masking.TEXTS, "json", "jsonb", "name", "xml", "hstore")
    kind = masking.element(column)
    return column.mails or (kind in texts and bool(MAIL.search(column.name)))


def rule(column: Column, *, unique: bool = False, told: bool = True) -> Rule:
    """Return the rule that fits a column by its name and type; `unique`: no two of its values may become the same.

    One that is not `told` by anything is masked: what it takes to keep a column is for people to know.
    """
    kind = masking.element(column)
    if is_mail(column) and fits(column, mail := Rule("fake", "email"), unique=unique):
        return mail
    if DATES.search(column.name) and fits(column, date := Rule("fake", "date"), unique=unique):
        return date
    for pattern, word in BY_NAME:
        found = Rule("hash") if word == "hash" else Rule("fake", word)
        if pattern.search(column.name) and fits(column, found, unique=unique):
            return found
    if told and HARMLESS.search(column.name) and kind in PLAIN and not column.element:
        return KEEP
    for found in (Rule("fake", "text"), Rule("fake", "number"), Rule("fake", "date"), Rule("fake", "ip"), Rule("hash")):
        if fits(column, found, unique=unique):
            return found
    if not column.filled:
        return masking.NULL
    return Rule("constant", EMPTY.get(kind, "") if not column.element else "{}") if kind in EMPTY or column.element else KEEP  # fmt: skip


EMPTY = {"json": "{}", "jsonb": "{}", "hstore": "", "xml": "", "bytea": "\\x", "tsvector": "", "interval": "0"}


def fits(column: Column, found: Rule, *, unique: bool) -> bool:
    return not masking.why_not(column, found) and (not unique or masking.is_injective(column, found))


def word(found: Rule) -> str:
    """Return a rule as the file has it."""
    if found.how in ("keep", "hash"):
        return found.how
    if found.how == "null":
        return '"null"'
    quoted = found.what.replace("'", "''")
    return f"{{{found.how}: {found.what if found.how == 'fake' else repr_yaml(quoted)}}}"


def repr_yaml(quoted: str) -> str:
    return f"'{quoted}'"


def key(text: str) -> str:
    """Return a name as a key of YAML."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.$]*", text) and text.lower() not in ("null", "yes", "no", "on", "off", "true", "false", "y", "n")  # fmt: skip
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return text if plain else f'"{escaped}"'


def lines(
    columns: Sequence[Column], tables: Mapping[str, Table], given: Callable[[str, str], Rule | None] = lambda *_: None
) -> list[str]:
    """Return what may be pasted below `tables:` for columns without a rule, in the order of their tables.

    `given` tells the rule that a column has already, by table and name: one that points to it takes the same.
    """
    found: list[str] = []
    table = ""
    for column in columns:
        if column.table != table:
            table = column.table
            found += [f"  {key(tables[table].plain)}:", "    columns:"]
        found.append(f"      {key(column.name)}: {word(proposed(tables, column, given, set()))}")
    return found


def proposed(
    tables: Mapping[str, Table], column: Column, given: Callable[[str, str], Rule | None], seen: set[tuple[str, str]]
) -> Rule:
    """Return the rule for a column: that of what it points to, else by its own name, type and keys."""
    seen.add((column.table, column.name))
    table = tables[column.table]
    for foreign, theirs in pointing(table, column.name):
        if (foreign.parent, theirs) not in seen:
            other = tables[foreign.parent].columns[theirs]
            return given(foreign.parent, theirs) or proposed(tables, other, given, seen)
    return rule(column, unique=any(column.name in each.columns for each in table.unique))


def wanting(tables: Mapping[str, Table]) -> list[Column]:
    """Return the columns that need a rule, in the order of their tables."""
    return [
        column
        for table in tables.values()
        for column in table.columns.values()
        if not column.computed and column.base != "bool" and not is_key(tables, table, column.name, set())
    ]


def is_key(tables: Mapping[str, Table], table: Table, name: str, seen: set[tuple[str, str]]) -> bool:
    """Whether a column is a generated key, or points to one in the end."""
    if (table.quoted, name) in seen:
        return False
    seen.add((table.quoted, name))
    targets = [(tables[key.parent], theirs) for key, theirs in pointing(table, name)]
    if not targets:
        return is_surrogate(table, table.columns[name])
    return all(is_key(tables, parent, theirs, seen) for parent, theirs in targets)
