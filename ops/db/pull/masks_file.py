"""sql/masks.yaml: what of each column comes along in a copy, read with the place of each word, and held against the source.

It fails closed: a column without a rule stops the copy, whatever its type is, save those that say nothing of anybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from config.settings import Settings
from ops import row_values
from ops.console import few
from ops.db.pull import columns, masking, propose
from ops.db.pull.columns import Column, Table
from ops.db.pull.masking import Rule
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

Compose = Callable[[str], Any]
"""Reads YAML into nodes that know their places, as yaml.compose does; raises ValueError with `line:column: what`."""
Basis = Literal["rule", "boolean", "generated_key", "foreign_key", "safe_type", "computed"]

WORDS = ("keep", "null", "hash")
FORMS = (*WORDS, "constant", "fake", "sql")
HOW = "write keep, null, hash, {constant: …}, {fake: email}, or {sql: …}"


class Fault(NamedTuple):
    """What is wrong at a place of the file."""

    at: str
    """As path:line:column."""
    what: str
    """In words, with the mend."""

    def __str__(self) -> str:
        return f"{self.at}: {self.what}"


@dataclass
class TableRules:
    """What the file says of a table."""

    name: str
    at: str
    skip: bool = False
    share: float | None = None
    """Of its rows, between 0 and 1; None: all."""
    where: str = ""
    where_at: str = ""
    columns: dict[str, Rule] = field(default_factory=dict)
    columns_at: dict[str, str] = field(default_factory=dict)


@dataclass
class Masks:
    """The file."""

    name: str
    """Its path as it is shown."""
    safe_types: list[tuple[str, str]] = field(default_factory=list)
    """Each with its place."""
    tables: dict[str, TableRules] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class Decision:
    """What becomes of a column in the copy."""

    column: Column
    rule: Rule
    basis: Basis


@dataclass
class Decided:
    """What becomes of a table in the copy."""

    table: Table
    skip: bool
    share: float | None
    where: str
    where_at: str
    columns: dict[str, Decision]

    @property
    def masked(self) -> list[str]:
        """The columns whose values do not come along."""
        there = [(name, self.columns[name]) for name in self.table.columns if name in self.columns]
        return [name for name, each in there if each.rule.how != "keep" and each.basis != "computed"]


# --- the file -----------------------------------------------------------------------------


def read(settings: Settings, compose: Compose) -> Masks:
    """Return what the masks file says. Raises `Misconfigured` where there is none, or with the place of all that cannot be read."""
    path = settings.masks
    name = shown(path, settings.root)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Misconfigured(
            f"{name}: no such file, and without it no row of production is copied: inv db.pull --propose writes a first one (paths.masks)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured(f"{name}: {why}: correct paths.masks in invoke.yaml, or the file") from None
    try:
        node = compose(text)
    except ValueError as error:
        raise Misconfigured(f"{name}:{error}") from None
    found = Masks(name)
    Reader(found).file(node)
    if found.faults:
        raise told(found, found.faults)
    return found


def shown(path: Path, root: Path) -> str:
    """Return a path as people know it."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


class Reader:
    """Turns nodes of YAML into rules; what cannot be read is a fault at its place."""

    def __init__(self, masks: Masks) -> None:
        self.masks = masks

    def at(self, node: Any) -> str:
        return f"{self.masks.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def fault(self, node: Any, what: str) -> None:
        self.masks.faults.append(Fault(self.at(node), what))

    def pairs(self, node: Any, what: str) -> list[tuple[str, Any, Any]]:
        """Return the keys of a mapping, each with its own node and its value's; a key twice is a fault."""
        if node.id != "mapping":
            self.fault(node, f"{what} is no mapping: write a name, a colon, and what it has below it")
            return []
        found: dict[str, tuple[str, Any, Any]] = {}
        for key, value in node.value:
            if key.id != "scalar":
                self.fault(key, "this is no name")
            elif key.value in found:
                self.fault(key, f"{key.value} stands here twice: take one out")
            else:
                found[key.value] = (key.value, key, value)
        return list(found.values())

    def file(self, node: Any) -> None:
        for name, key, value in self.pairs(node, "the file") if node is not None else ():
            match name:
                case "safe_types" if value.id == "sequence":
                    self.masks.safe_types = [(each.value, self.at(each)) for each in value.value if each.id == "scalar"]
                case "safe_types":
                    self.fault(value, "safe_types is no list: write [boolean, timestamptz]")
                case "tables":
                    for table, table_key, rules in self.pairs(value, "tables") if value.value else ():
                        self.masks.tables[table] = self.table(table, table_key, rules)
                case _:
                    self.fault(key, f"{name}: no such word here, use tables or safe_types")

    def table(self, name: str, key: Any, node: Any) -> TableRules:
        found = TableRules(name, self.at(key))
        if node.id == "scalar":
            found.skip = node.value == "skip"
            if not found.skip:
                self.fault(node, f"{node.value or 'nothing'}: write skip, or columns:, rows: and where: below {name}")
            return found
        for word, word_key, value in self.pairs(node, name):
            match word:
                case "rows":
                    found.share = self.share(value)
                case "where" if value.id == "scalar":
                    found.where, found.where_at = value.value, self.at(value)
                case "where":
                    self.fault(value, f"where of {name} is no text: write a condition of SQL in quotes")
                case "columns":
                    for column, column_key, rule in self.pairs(value, f"columns of {name}"):
                        found.columns_at[column] = self.at(column_key)
                        if made := self.rule(rule):
                            found.columns[column] = made
                case _:
                    self.fault(word_key, f"{word}: no such word here, use columns, rows or where")
        return found

    def share(self, node: Any) -> float | None:
        try:
            return share_of(node.value if node.id == "scalar" else "this")
        except ValueError as error:
            self.fault(node, str(error))
            return None

    def rule(self, node: Any) -> Rule | None:
        at = self.at(node)
        if node.id == "scalar" and (node.value in WORDS or node.tag.endswith(":null")):
            return Rule("null" if node.tag.endswith(":null") else node.value, "", at)
        if node.id != "mapping" or len(node.value) != 1:
            self.fault(node, f"{node.value if node.id == 'scalar' else 'this'} is no rule: {HOW}")
            return None
        key, value = node.value[0]
        if key.id != "scalar" or key.value not in FORMS or key.value in ("null", "hash"):
            self.fault(key, f"{key.value if key.id == 'scalar' else 'this'} is no rule: {HOW}")
            return None
        if value.id != "scalar" or not value.value.strip():
            self.fault(value, f"{key.value}: give it a value")
            return None
        if key.value == "fake" and value.value not in masking.FAKES:
            self.fault(value, f"{value.value}: there is no such fake, use one of {', '.join(masking.FAKES)}")
            return None
        return Rule(cast("masking.How", key.value), value.value, self.at(value))


def share_of(text: str) -> float:
    """Return a share of rows, above 0 and up to 1; raises `ValueError` with the mend."""
    told = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    if not told or not 0 < float(told[1]) <= 100:
        raise ValueError(f"{text}: give a share of the rows, like 5%")
    return float(told[1]) / 100


# --- held against the source --------------------------------------------------------------


def decide(conn: Connection[DictRow], masks: Masks, tables: Mapping[str, Table], source: str) -> dict[str, Decided]:
    """Return what becomes of each table of the source, by its name as SQL wants it; no row is read.

    `source` names it for people. Raises `Misconfigured` with all that the file lacks or has wrong.
    """
    faults = check_types(conn, masks)
    by_name = {name: table for table in tables.values() for name in (table.quoted, table.plain, *short(table))}
    found = {quoted: Decided(table, False, None, "", "", {}) for quoted, table in tables.items()}
    rules: dict[str, TableRules] = {}
    for given in masks.tables.values():
        if (table := by_name.get(given.name)) is None:
            near = f", do you mean {like}?" if (like := nearest(given.name, by_name)) else ": take it out"
            faults.append(Fault(given.at, f"{source} has no table {given.name}{near}"))
        elif table.quoted in rules:
            faults.append(Fault(given.at, f"{table.quoted} is named above already: take one out"))
        else:
            rules[table.quoted] = given
            one = found[table.quoted]
            one.skip, one.share, one.where, one.where_at = given.skip, given.share, given.where, given.where_at
    undecided: list[Column] = []
    for quoted, one in found.items():
        if not one.skip:
            faults += of_table(one, rules.get(quoted), masks, source)
    for quoted, table in tables.items():
        if not found[quoted].skip:
            undecided += follow(tables, found, table, masks)
    faults += [fault for one in found.values() if not one.skip for fault in check_kept(one, masks)]
    faults += [fault for one in found.values() if not one.skip for fault in masked_wrongly(one)]
    faults += check_foreign(found)
    faults += [fault for one in found.values() if not one.skip for fault in check_unique(one)]
    bad = {fault.at for fault in faults}
    faults += [fault for one in found.values() if not one.skip for fault in check_sql(conn, one, bad)]
    if faults or undecided:
        raise refused(masks, source, faults, undecided, rules, found)
    return found


def short(table: Table) -> Sequence[str]:
    """Return the name of a table without its schema, where that is public."""
    return (table.name,) if table.schema == "public" else ()


def nearest(name: str, names: Iterable[str]) -> str:
    import difflib

    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.75)), "")


def refused(
    masks: Masks,
    source: str,
    faults: Sequence[Fault],
    undecided: Sequence[Column],
    rules: Mapping[str, TableRules],
    found: Mapping[str, Decided],
) -> Misconfigured:
    """Return the error that names all that keeps a copy from being made."""
    lines = in_order(faults)
    if undecided:
        first = rules.get(undecided[0].table)
        at = first.at if first else masks.name
        names = few([f"{each.table}.{each.quoted}" for each in undecided])
        lines.append(
            f"{at}: no rule for {names}, which {source} has: no row was read; below tables, add what fits, as these lines or others:"
        )
        tables = {quoted: one.table for quoted, one in found.items()}

        def given(table: str, column: str) -> Rule | None:
            return decision.rule if (decision := found[table].columns.get(column)) else None

        lines += ["  " + line for line in propose.lines(undecided, tables, given)]
    if faults and undecided:
        return Misconfigured(f"{masks.name}: {len(set(faults)) + 1} faults, no row was read", *lines)
    return Misconfigured(*lines) if undecided else told(masks, faults)


def told(masks: Masks, faults: Sequence[Fault]) -> Misconfigured:
    """Return the error that names faults of the file: one as one line, several in the order of their places."""
    lines = in_order(faults)
    if len(lines) == 1:
        return Misconfigured(lines[0])
    return Misconfigured(f"{masks.name}: {len(lines)} faults, no row was read", *lines)


def in_order(faults: Sequence[Fault]) -> list[str]:
    """Return faults in the order of their places, each once."""
    return [str(fault) for fault in sorted(set(faults), key=lambda each: (place(each.at), each.what))]


def place(at: str) -> tuple[str, int, int]:
    """Return a place in the order of the file."""
    name, line, column = at.rsplit(":", 2)
    return name, int(line), int(column)


def check_types(conn: Connection[DictRow], masks: Masks) -> list[Fault]:
    """Return which of safe_types are no types of the source."""
    faults = []
    for name, at in masks.safe_types:
        row = conn.execute("select pg_catalog.to_regtype(%s)::text as found", [name]).fetchone()
        if not row or not row["found"]:
            faults.append(Fault(at, f"there is no type {name}: correct it, or take it out"))
    return faults


def is_safe(column: Column, masks: Masks) -> bool:
    """Whether the file takes all values of a column's type for harmless."""
    names = {name.lower() for name, _ in masks.safe_types}
    return bool(
        names & {column.plain_type.lower(), column.type.lower(), ALIASES.get(column.plain_type, column.plain_type)}
    )


ALIASES = {
    "timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp", "time without time zone": "time",
    "integer": "int", "smallint": "int2", "bigint": "int8", "real": "float4", "double precision": "float8", "character varying": "varchar",
}  # fmt: skip


def of_table(one: Decided, given: TableRules | None, masks: Masks, source: str) -> list[Fault]:
    """Take what the file says of a table's columns, and what needs no rule; return what it has wrong."""
    faults = []
    for name, at in given.columns_at.items() if given else ():
        if name not in one.table.columns:
            near = nearest(name, one.table.columns)
            mend = f", do you mean {near}?" if near else ": take it out"
            faults.append(Fault(at, f"{one.table.quoted} has no column {name} in {source}{mend}"))
    for name, column in one.table.columns.items():
        rule = given.columns.get(name) if given else None
        if column.computed:
            one.columns[name] = Decision(column, masking.KEEP, "computed")
            if rule:
                faults.append(Fault(rule.at, f"{column.quoted} is generated from other columns, and will be from what they become: take it out"))  # fmt: skip
        elif rule:
            one.columns[name] = Decision(column, rule, "rule")
        elif column.base == "bool":
            one.columns[name] = Decision(column, masking.KEEP, "boolean")
        elif columns.is_surrogate(one.table, column) and not any(columns.pointing(one.table, name)):
            one.columns[name] = Decision(column, masking.KEEP, "generated_key")
    for name, column in one.table.columns.items():
        if name not in one.columns and not any(columns.pointing(one.table, name)) and is_safe(column, masks):
            one.columns[name] = Decision(column, masking.KEEP, "safe_type")
    return faults


def follow(tables: Mapping[str, Table], found: Mapping[str, Decided], table: Table, masks: Masks) -> list[Column]:
    """Give each column without a rule what the generated key has that it points to; return those that have none."""
    undecided = []
    for name, column in table.columns.items():
        if name in found[table.quoted].columns:
            continue
        if decision := pointed_to(tables, found, table, name, set()):
            found[table.quoted].columns[name] = Decision(column, decision.rule, "foreign_key")
        elif is_safe(column, masks):
            found[table.quoted].columns[name] = Decision(column, masking.KEEP, "safe_type")
        else:
            undecided.append(column)
    return undecided


def pointed_to(
    tables: Mapping[str, Table], found: Mapping[str, Decided], table: Table, name: str, seen: set[tuple[str, str]]
) -> Decision | None:
    """Return what becomes of the generated key that a column points to in the end; None where it points to none."""
    if (table.quoted, name) in seen:
        return None
    seen.add((table.quoted, name))
    column = table.columns[name]
    targets = [(tables[key.parent], theirs) for key, theirs in columns.pointing(table, name)]
    if not targets and columns.is_surrogate(table, column):
        return found[table.quoted].columns.get(name) or Decision(column, masking.KEEP, "generated_key")
    made = [pointed_to(tables, found, parent, theirs, seen) for parent, theirs in targets]
    if not made or None in made:
        return None
    return made[0]


def check_kept(one: Decided, masks: Masks) -> list[Fault]:
    """Return which columns are kept that look like e-mail addresses of people."""
    faults = []
    for name, each in one.columns.items():
        if (
            each.rule.how != "keep"
            or each.rule.what
            or each.basis in ("computed", "boolean", "generated_key", "foreign_key")
        ):
            continue  # fmt: skip
        if propose.is_mail(each.column):
            why = "its values do" if each.column.mails else "its name says so"
            at = each.rule.at or next((at for kind, at in masks.safe_types), masks.name)
            faults.append(
                Fault(at, f"keep for {one.table.quoted}.{name}, which looks like an e-mail address ({why}): {{fake: email}}, or {{keep: why it is nobody's}}")
            )  # fmt: skip
    return faults


def masked_wrongly(one: Decided) -> list[Fault]:
    """Return which rules do not fit the type of their column."""
    return [
        Fault(each.rule.at, f"{one.table.quoted}.{each.column.quoted}: {why}")
        for each in one.columns.values()
        if each.basis == "rule" and (why := masking.why_not(each.column, each.rule))
    ]


def check_unique(one: Decided) -> list[Fault]:
    """Return which rules would give several rows the same value where none may have it."""
    faults = []
    for key in one.table.unique:
        lossy = [each for name in key.columns if (each := one.columns.get(name)) and loses(each, key)]
        whole = [name for name in key.columns if (each := one.columns.get(name)) and not loses(each, key)]
        if not lossy or any(other.whole and set(other.columns) <= set(whole) for other in one.table.unique):
            continue
        for each in lossy:
            said = f"{each.rule.how}: {each.rule.what}" if each.rule.what and each.rule.how == "fake" else each.rule.how
            names = ", ".join(one.table.columns[name].quoted for name in key.columns)
            faults.append(
                Fault(each.rule.at, f"{said} gives several rows the same value, and {one.table.quoted} ({names}) is unique by {key.name}: {masking.instead(each.column)}")
            )  # fmt: skip
    return faults


def loses(each: Decision, key: columns.Unique) -> bool:
    """Whether two values of a column may become the same that a key tells apart."""
    if each.rule.how == "null":
        return key.main or key.nulls_alike
    return each.basis in ("rule", "foreign_key") and not masking.is_injective(each.column, each.rule)


def check_foreign(found: Mapping[str, Decided]) -> list[Fault]:
    """Return which rules would have a foreign key point to what is not there."""
    faults = []
    for one in found.values():
        for key in () if one.skip else one.table.foreign:
            parent = found[key.parent]
            mine = [one.columns[name] for name in key.columns if name in one.columns]
            if any(each.rule.how == "null" for each in mine):
                continue
            at = next((each.rule.at for each in mine if each.rule.at), "")
            if parent.skip and mine:
                faults.append(
                    Fault(at or rule_place(found, one, parent), f"{one.table.quoted} points to {key.parent} by {key.name}, which is skipped: skip both, or mask {mine[0].column.quoted} with null")
                )  # fmt: skip
                continue
            for name, theirs in zip(key.columns, key.keys, strict=True):
                ours, other = one.columns.get(name), parent.columns.get(theirs)
                if ours and other and masking.made(ours.column, ours.rule) != masking.made(other.column, other.rule):
                    where = ours.rule.at or other.rule.at
                    faults.append(
                        Fault(where, f"{one.table.quoted}.{name} points to {key.parent}.{theirs} by {key.name}, and the two become different values: give both one rule")
                    )  # fmt: skip
    return faults


def rule_place(found: Mapping[str, Decided], *tables: Decided) -> str:
    """Return a place in the file that is about one of these tables."""
    rules = [each.rule.at for one in (*tables, *found.values()) for each in one.columns.values() if each.rule.at]
    return next(iter(rules), "sql/masks.yaml:1:1")


# --- what only the server can say ---------------------------------------------------------


def check_sql(conn: Connection[DictRow], one: Decided, bad: set[str]) -> list[Fault]:
    """Return which expressions, constants and conditions the source does not take, or that give another type; nothing is read."""
    faults = []
    for name, each in one.columns.items():
        if each.basis != "rule" or each.rule.at in bad:
            continue
        if each.rule.how in ("sql", "constant"):
            if fault := tried(conn, one.table, each):
                faults.append(Fault(each.rule.at, f"{one.table.quoted}.{name}: {fault}"))
        elif each.rule.how == "null" and each.column.filled:
            faults.append(
                Fault(each.rule.at, f"{one.table.quoted}.{each.column.quoted} may not be null: hash, a fake, or {{constant: …}}")
            )  # fmt: skip
    if one.where:
        from psycopg import Error

        try:
            with conn.transaction():
                conn.execute(f"select from only {one.table.quoted} where (\n{one.where}\n) and false".replace(
                    "only " if one.table.partitioned else "\0", "").encode())  # fmt: skip
        except Error as error:
            faults.append(Fault(one.where_at, f"where of {one.table.quoted}: {said(error)}"))
    return faults


TYPE = "select format_type(oid, null) as name, typcategory::text as category from pg_catalog.pg_type where oid = %s"


def tried(conn: Connection[DictRow], table: Table, each: Decision) -> str:
    """Return why the source does not take an expression in the place of a column; empty where it does.

    It is planned with each constant part computed, and asked of no row. In a WHERE it may neither be an aggregate nor make
    several rows of one.
    """
    from psycopg import Error

    expression = masking.expression(each.column, each.rule)
    only = "" if table.partitioned else "only "
    given = f"(\n{each.rule.what}\n)" if each.rule.how == "sql" else expression
    try:
        with conn.transaction(), conn.cursor() as cursor:
            cursor.execute(
                f"select {given} as made from {only}{table.quoted} where ({expression}) is null and false".encode()
            )
            made = cursor.description[0].type_code if cursor.description else 0
            cursor.execute(f"explain select {expression} from {only}{table.quoted}".encode())
            kind = conn.execute(TYPE.encode(), [made]).fetchone() or {"name": "nothing", "category": ""}
    except Error as error:
        if error.sqlstate == "42501":  # what this login may do is no fault of the file's
            raise
        return said(error)
    if made in each.column.oids or (kind["category"] == "S" and each.column.category == "S"):
        return ""
    return f"the expression gives {kind['name']}, and the column is {each.column.type}: ({each.rule.what})::{each.column.type}"


def said(error: Exception) -> str:
    """Return what the server says of an expression of the file."""
    from psycopg import Error

    words = row_values.words(error.diag) if isinstance(error, Error) else ""
    return f"{words or error}: correct it"
