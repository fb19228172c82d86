"""What the statements of a migration do to which table, as Postgres's own parser reads them.

postgast brings libpg_query, the parser of PostgreSQL 18. Which lock a form of ALTER TABLE takes is in
https://www.postgresql.org/docs/current/sql-altertable.html: ACCESS EXCLUSIVE, unless noted otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

What = Literal[
    "drop_column",
    "drop_table",
    "drop_other",
    "retype",
    "set_not_null",
    "rename_column",
    "rename_table",
    "add_column",
    "rewrite",
    "refresh",
    "check",
    "add_not_valid",
    "validate",
    "detach",
    "write_all",
    "truncate",
    "enum_value",
    "do",
]
WEAK = {
    "AT_ValidateConstraint",
    "AT_SetStatistics",
    "AT_SetOptions",
    "AT_ResetOptions",
    "AT_SetRelOptions",
    "AT_ResetRelOptions",
    "AT_ClusterOn",
    "AT_DropCluster",
    "AT_AttachPartition",
    "AT_DetachPartitionFinalize",
    "AT_EnableTrig",
    "AT_EnableAlwaysTrig",
    "AT_EnableReplicaTrig",
    "AT_DisableTrig",
    "AT_EnableTrigAll",
    "AT_DisableTrigAll",
    "AT_EnableTrigUser",
    "AT_DisableTrigUser",
}
"""Forms of ALTER TABLE that let readers and writers of rows, or readers at least, go on."""
REWRITES = {
    "AT_SetLogged": "SET LOGGED writes the whole table anew",
    "AT_SetUnLogged": "SET UNLOGGED writes the whole table anew",
    "AT_SetTableSpace": "SET TABLESPACE copies the whole table",
    "AT_SetAccessMethod": "SET ACCESS METHOD writes the whole table anew",
}
SERIAL = ("serial", "bigserial", "smallserial", "serial2", "serial4", "serial8")


class Name(NamedTuple):
    """A relation, as the statement names it."""

    schema: str
    name: str

    def __str__(self) -> str:
        return ".".join(part for part in self if part)


class Type(NamedTuple):
    """A type as a statement names it: its last name, and its modifiers where all are plain numbers."""

    name: str
    modifiers: tuple[int, ...]


@dataclass(frozen=True)
class Act:
    """One thing that a statement does to a relation."""

    what: What
    table: Name
    start: int
    """Its byte offset in the text: of the column's name where there is one, else of the statement."""
    column: str = ""
    detail: str = ""
    """The constraint, the new name, the value of an enum, or what is done to the table in words."""
    type: Type | None = None
    cascade: bool = False


@dataclass(frozen=True)
class Statement:
    """A statement by its byte offsets, and what it means for others."""

    start: int
    end: int
    acts: tuple[Act, ...] = ()
    needs: tuple[Name, ...] = ()
    """The relations that it is about, which have to be there."""
    makes: tuple[str, ...] = ()
    """The names, without their schemas, of relations and functions that it makes."""
    locks: tuple[Name, ...] = ()
    """What of these is locked against everybody (ACCESS EXCLUSIVE) until the transaction ends."""


class Unreadable(Exception):
    """The text is no SQL of Postgres's; `offset` is the byte at which that shows."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message, self.offset = message, offset


def read(data: bytes) -> list[Statement]:
    """Return the statements of an up part; raises `Unreadable`, and `ModuleNotFoundError` where postgast is not installed."""
    import postgast

    text = data.decode()
    try:
        tree: Any = postgast.parse(text)
    except postgast.PgQueryError as error:
        offset = len(text[: max(0, error.cursorpos - 1)].encode())
        raise Unreadable(error.message, offset) from None
    found = []
    for raw in tree.stmts:
        start = raw.stmt_location
        end = start + raw.stmt_len if raw.stmt_len else len(data)
        kind = raw.stmt.WhichOneof("node")
        found.append(Reader(data, start, end).read(kind, getattr(raw.stmt, kind)))
    return found


class Reader:
    """Reads one statement."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data, self.start, self.end = data, start, end

    def read(self, kind: str, node: Any) -> Statement:
        """Return what a statement does; one whose kind is not known here does nothing of interest."""
        reading = getattr(self, kind, None)
        if reading is None:
            return Statement(self.start, self.end)
        made: Statement = reading(node)
        return made

    def made(
        self,
        needs: Iterable[Name] = (),
        *,
        acts: Iterable[Act] = (),
        makes: Iterable[str] = (),
        locks: Iterable[Name] = (),
    ) -> Statement:
        return Statement(self.start, self.end, tuple(acts), tuple(needs), tuple(makes), tuple(locks))

    def at(self, word: str, since: int = 0) -> int:
        """Return where a name stands in the statement, or else where that begins."""
        found = re.compile(rb'(?<![\w$"])"?%b"?(?![\w$"])' % re.escape(word.encode()), re.IGNORECASE).search(
            self.data, max(since, self.start), self.end
        )
        return found.start() if found else self.start

    def alter_table_stmt(self, node: Any) -> Statement:
        from postgast.pg_query_pb2 import OBJECT_MATVIEW, OBJECT_TABLE, AlterTableType

        table = named(node.relation)
        if node.objtype not in (OBJECT_TABLE, OBJECT_MATVIEW):
            return self.made()
        acts: list[Act] = []
        strong = False
        for each in node.cmds:
            command = each.alter_table_cmd
            form = AlterTableType.Name(command.subtype)
            weak = form in WEAK or self.is_weak(form, command)
            strong = strong or not weak
            acts += self.acts(form, command, table, node.relation.location)
        return self.made([table], acts=acts, locks=[table] if strong else [])

    def is_weak(self, form: str, command: Any) -> bool:
        """Whether what stands behind a form makes its lock a lesser one."""
        from postgast.pg_query_pb2 import CONSTR_FOREIGN

        if form == "AT_AddConstraint":
            return bool(definition(command).constraint.contype == CONSTR_FOREIGN)
        return form == "AT_DetachPartition" and bool(definition(command).partition_cmd.concurrent)

    def acts(self, form: str, command: Any, table: Name, since: int) -> Iterator[Act]:
        from postgast.pg_query_pb2 import DROP_CASCADE

        column = str(command.name)
        at = self.at(column, since + len(table.name)) if column else self.start
        if form == "AT_DropColumn":
            yield Act("drop_column", table, at, column, cascade=command.behavior == DROP_CASCADE)
        elif form == "AT_AlterColumnType":
            yield Act("retype", table, at, column, type=type_of(definition(command).column_def.type_name))
        elif form == "AT_SetNotNull":
            yield Act("set_not_null", table, at, column)
        elif form == "AT_AddColumn":
            yield from self.added(definition(command).column_def, table, since)
        elif form in REWRITES:
            yield Act("rewrite", table, self.start, detail=REWRITES[form])
        elif form == "AT_AddConstraint" and definition(command).constraint.skip_validation:
            name = definition(command).constraint.conname
            yield Act("add_not_valid", table, self.at(name, since) if name else self.start, detail=name)
        elif form == "AT_ValidateConstraint":
            yield Act("validate", table, at, detail=column)
        elif form == "AT_DetachPartition" and not definition(command).partition_cmd.concurrent:
            yield Act("detach", table, self.start, detail=str(named(definition(command).partition_cmd.name)))

    def added(self, made: Any, table: Name, since: int) -> Iterator[Act]:
        """Yield what it means that a column is added; its default is squawk's to look at."""
        from postgast.pg_query_pb2 import CONSTR_CHECK, CONSTR_GENERATED

        at, kinds = self.at(made.colname, since), [each.constraint for each in made.constraints]
        virtual = any(each.contype == CONSTR_GENERATED and each.generated_kind == "v" for each in kinds)
        yield Act("add_column", table, at, made.colname, detail="virtual" if virtual else "")
        if type_of(made.type_name).name in SERIAL:
            yield Act("rewrite", table, at, detail="a serial column writes the whole table anew, to number its rows")
        if any(each.contype == CONSTR_CHECK for each in kinds):
            yield Act("check", table, at, detail=made.colname)

    def rename_stmt(self, node: Any) -> Statement:
        from postgast.pg_query_pb2 import OBJECT_COLUMN, OBJECT_TABLE

        table = named(node.relation)
        if node.rename_type == OBJECT_COLUMN and node.relation_type == OBJECT_TABLE:
            at = self.at(node.subname, node.relation.location + len(table.name))
            return self.made(
                [table], acts=[Act("rename_column", table, at, node.subname, detail=node.newname)], locks=[table]
            )
        if node.rename_type == OBJECT_TABLE:
            renamed = [Act("rename_table", table, self.start)]
            return self.made([table], acts=renamed, locks=[table], makes=[node.newname])
        return self.made()

    def drop_stmt(self, node: Any) -> Statement:
        from postgast.pg_query_pb2 import DROP_CASCADE, OBJECT_MATVIEW, OBJECT_TABLE, OBJECT_VIEW, ObjectType

        relations = node.remove_type in (OBJECT_TABLE, OBJECT_VIEW, OBJECT_MATVIEW)
        what: What = "drop_table" if node.remove_type == OBJECT_TABLE else "drop_other"
        cascade, acts = node.behavior == DROP_CASCADE, []
        kind = ObjectType.Name(node.remove_type).removeprefix("OBJECT_").lower()
        for each in node.objects:
            words = (
                [word.string.sval for word in each.list.items]
                or [word.string.sval for word in each.object_with_args.objname]
                or [word.string.sval for word in each.type_name.names]
            )
            if words:
                acts.append(Act(what, of_words(words), self.at(words[-1]), detail=kind, cascade=cascade))
        names = [act.table for act in acts]
        needs = [] if node.missing_ok or not relations else names
        return self.made(needs, acts=acts, locks=names if node.remove_type == OBJECT_TABLE else [])

    def index_stmt(self, node: Any) -> Statement:
        return self.made([named(node.relation)])

    def insert_stmt(self, node: Any) -> Statement:
        return self.made([named(node.relation)])

    def update_stmt(self, node: Any) -> Statement:
        return self.written(node, "UPDATE")

    def delete_stmt(self, node: Any) -> Statement:
        return self.written(node, "DELETE")

    def written(self, node: Any, word: str) -> Statement:
        table = named(node.relation)
        everything = not node.HasField("where_clause")
        return self.made([table], acts=[Act("write_all", table, self.start, detail=word)] if everything else [])

    def truncate_stmt(self, node: Any) -> Statement:
        tables = [named(each.range_var) for each in node.relations]
        return self.made(tables, acts=[Act("truncate", table, self.start) for table in tables], locks=tables)

    def vacuum_stmt(self, node: Any) -> Statement:
        full = any(option.def_elem.defname == "full" for option in node.options)
        tables = [named(each.vacuum_relation.relation) for each in node.rels]
        acts = [Act("rewrite", table, self.start, detail="VACUUM FULL writes the whole table anew") for table in tables]
        return self.made(tables, acts=acts if full else [])

    def cluster_stmt(self, node: Any) -> Statement:
        table = named(node.relation)
        what = [Act("rewrite", table, self.start, detail="CLUSTER writes the whole table anew")]
        return self.made([table], acts=what if table.name else [], locks=[table] if table.name else [])

    def refresh_mat_view_stmt(self, node: Any) -> Statement:
        view = named(node.relation)
        plain = not node.concurrent and not node.skip_data
        return self.made(
            [view], acts=[Act("refresh", view, self.start)] if plain else [], locks=[view] if plain else []
        )

    def lock_stmt(self, node: Any) -> Statement:
        tables = [named(each.range_var) for each in node.relations]
        return self.made(tables, locks=tables if node.mode == 8 else [])  # AccessExclusiveLock

    def alter_enum_stmt(self, node: Any) -> Statement:
        name = of_words([word.string.sval for word in node.type_name])
        added = node.new_val and not node.old_val
        return self.made(acts=[Act("enum_value", name, self.start, detail=node.new_val)] if added else [])

    def do_stmt(self, _: Any) -> Statement:
        return self.made(acts=[Act("do", Name("", ""), self.start)])

    def create_stmt(self, node: Any) -> Statement:
        return self.made(makes=[node.relation.relname])

    def create_table_as_stmt(self, node: Any) -> Statement:
        return self.made(makes=[node.into.rel.relname])

    def view_stmt(self, node: Any) -> Statement:
        return self.made(makes=[node.view.relname])

    def create_function_stmt(self, node: Any) -> Statement:
        return self.made(makes=[node.funcname[-1].string.sval])

    def create_enum_stmt(self, node: Any) -> Statement:
        return self.made(makes=[node.type_name[-1].string.sval])

    def composite_type_stmt(self, node: Any) -> Statement:
        return self.made(makes=[node.typevar.relname])


def definition(command: Any) -> Any:
    """Return what a form of ALTER TABLE defines; its field's name is a word of Python's."""
    return getattr(command, "def")


def named(relation: Any) -> Name:
    return Name(relation.schemaname, relation.relname)


def of_words(words: list[str]) -> Name:
    return Name(words[-2] if len(words) > 1 else "", words[-1])


def type_of(node: Any) -> Type:
    """Return a type; modifiers that are no plain numbers are none that can be compared."""
    numbers = [each.a_const.ival.ival if each.a_const.HasField("ival") else -1 for each in node.typmods]
    suffix = "[]" * len(node.array_bounds)
    return Type((node.names[-1].string.sval if node.names else "") + suffix, tuple(numbers))
