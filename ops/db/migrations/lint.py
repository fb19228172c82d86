"""db.migration-lint: what squawk says of migrations, and what only their own database knows, under the file's own line numbers."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ops.console import few
from ops.db.migrations import lint_rules, live_tables, squawk
from ops.db.migrations.files import PSQL, Migration
from ops.db.migrations.lint_rules import Level
from ops.db.migrations.live_tables import Known, Use
from ops.db.migrations.patience import STALL
from ops.db.migrations.statements import Act, Name, Statement, Unreadable, read
from ops.db.migrations.steps import REPEAT
from ops.db.sql_file.text import WHOLE
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.targets.open_target import OpenTarget


OTHERS = {PSQL, STALL, REPEAT}
"""What a marker and --allow may name that is no rule of the lint: those who apply a migration look at it."""
RELATIONS = ("table", "view", "matview")


@dataclass(frozen=True)
class Finding:
    """Something in a migration that may go wrong where it is applied."""

    level: Level
    """An error stops db.migrate on production, unless it is allowed."""
    rule: str
    """squawk's name for it, or ours."""
    file: str
    """As it was named, or from the working directory."""
    line: int
    """In the file, from 1."""
    column: int
    """In that line, from 1, in characters."""
    message: str
    """What is wrong, in words."""
    help: str | None
    """What to do instead, in words."""
    table: str | None
    """The table that it is about, as the database has it; null where that is not known."""
    allowed: str | None
    """Why it is allowed, in words: by the file, or by --allow; null where it is not."""

    @property
    def stops(self) -> bool:
        """Whether it keeps the migration from production."""
        return self.level == "error" and self.allowed is None


@dataclass(frozen=True)
class Table:
    """A table that the migrations are about, as the database has it."""

    name: str
    """Its schema and name, quoted where SQL wants it."""
    rows: int
    """The planner's estimate."""
    size_bytes: int
    """With indexes, and what is stored aside; of a partitioned table all of it."""
    scans: int
    """Of the table and its indexes, since the counters began."""
    rows_written: int
    """Inserted, updated or deleted, since then."""
    counted_since_at: datetime | None
    """When the server's counters began; null where it does not tell."""


@dataclass(frozen=True)
class Lint:
    """What was found in migrations."""

    target: str
    """As it is given to --target."""
    live: bool
    """Whether the database was asked; where not, every table counts as large."""
    server_major: int
    """The version of PostgreSQL that they were looked at for."""
    files: list[str]
    """The migrations, in their order."""
    tables: list[Table]
    """Those that they change and that are there, by size."""
    findings: list[Finding]
    """In the order of the files, then of their lines."""


@dataclass
class Work:
    """A migration while it is looked at."""

    migration: Migration
    data: bytes
    """The up part, as UTF-8."""
    statements: list[Statement] = field(default_factory=list)
    fault: Unreadable | None = None
    unread: str = ""
    """Why it could not be read, in words; empty where it was."""

    @cached_property
    def makes(self) -> dict[str, int]:
        """By the name of what it makes: the byte offset behind which that is there."""
        return {name: each.end for each in reversed(self.statements) for name in each.makes}

    @cached_property
    def made_last(self) -> dict[str, int]:
        """By the name of what it makes: the byte offset at which that is made last."""
        return {name: each.start for each in self.statements for name in each.makes}

    @cached_property
    def drops(self) -> dict[str, int]:
        """By the name of what it drops: the byte offset at which it does."""
        acts = [act for each in reversed(self.statements) for act in each.acts]
        return {act.table.name: act.start for act in acts if act.what in ("drop_table", "drop_other")}

    @cached_property
    def columns(self) -> set[tuple[str, str]]:
        """The columns that it makes, with their tables' names."""
        acts = [act for each in self.statements for act in each.acts]
        added = {(act.table.name, act.column) for act in acts if act.what == "add_column"}
        return added | {(act.table.name, act.detail) for act in acts if act.what == "rename_column"}

    def statement(self, offset: int) -> Statement | None:
        """Return the statement that a byte offset is in."""
        at = bisect.bisect_right(self.statements, offset, key=lambda each: each.start) - 1
        return self.statements[at] if at >= 0 and offset <= self.statements[at].end else None

    def finding(
        self, rule: str, start: int, message: str, *, help: str | None = None, table: Known | None = None
    ) -> Finding:
        """Return a finding at a byte offset of the up part, by the policy of its rule."""
        policy = lint_rules.policy(rule)
        begin = self.data.rfind(b"\n", 0, start) + 1
        small = policy.scales and table is not None and table.small
        level: Level = "warning" if small or policy.level == "off" else policy.level
        return Finding(
            level=level,
            rule=rule,
            file=self.migration.shown,
            line=self.migration.up.line + self.data.count(b"\n", 0, start),
            column=len(self.data[begin:start].decode(errors="replace")) + 1,
            message=message,
            help=help or policy.why or None,
            table=table.shown if table else None,
            allowed=None,
        )


def check_before(at: OpenTarget, migrations: Sequence[Migration], allow: Sequence[str]) -> list[Finding]:
    """Return what is found in the migrations that are about to be applied at a place, whose database is asked.

    What `stops` among them has to keep them from a protected target. Raises `Misconfigured` for an --allow that names no rule.
    """
    with at.connect() as conn:
        return lint(
            migrations, allow, at.target.name, at.facts["version_num"] // 10000, at.settings.root, conn
        ).findings


def lint(
    migrations: Sequence[Migration],
    allow: Sequence[str],
    target: str,
    major: int,
    root: Path,
    conn: Connection[DictRow] | None,
) -> Lint:
    """Look at migrations, which are applied in this order, for a server of that version; without a connection by their text alone."""
    works = [parsed(migration) for migration in migrations]
    by_squawk = squawks(works, major, root)
    known: dict[Name, Known] = {}
    findings: list[Finding] = []
    if conn is None:
        findings = [*found(works, by_squawk, known, None)]
    else:
        with conn.transaction():
            conn.execute("set transaction read only")
            known = live_tables.tables(conn, {name for work in works for name in mentioned(work)})
            findings = [*found(works, by_squawk, known, conn)]
    order = {work.migration.shown: number for number, work in enumerate(works)}
    findings = [allowed(each, works[order[each.file]].migration, allow) for each in findings]
    check_allow(allow)
    tables = {each.oid: each for each in known.values()}
    return Lint(
        target=target,
        live=conn is not None,
        server_major=major,
        files=list(order),
        tables=[
            Table(each.shown, each.rows, each.size_bytes, each.reads, each.writes, each.counted_since)
            for each in sorted(tables.values(), key=lambda each: (-each.size_bytes, each.shown))
            if each.is_stored
        ],
        findings=sorted(findings, key=lambda each: (order[each.file], each.line, each.column, each.level, each.rule)),
    )


def parsed(migration: Migration) -> Work:
    """Read the up part of a migration."""
    # bytes in another encoding that the file has declared are no matter to a parser
    data = migration.up.sql.encode(errors="surrogateescape").decode(errors="replace").encode()
    work = Work(migration, data)
    if len(data) > WHOLE:
        work.unread = (
            f"more than {live_tables.size(WHOLE)}, too much to be read as statements: are these rows, which are seeds?"
        )
        return work
    try:
        work.statements = read(data)
    except Unreadable as error:
        work.fault = error
    except ModuleNotFoundError:
        work.unread = (
            "Postgres's parser is not installed here (python -m pip install postgast, where there is a wheel for it)"
        )
    return work


def squawks(works: Sequence[Work], major: int, root: Path) -> list[list[squawk.Said]] | None:
    """Return what squawk says of each; None where it is not installed."""
    program = squawk.program()
    if program is None:
        return None
    texts = [
        squawk.Text(work.data if len(work.data) <= WHOLE else b"", work.migration.up.transaction) for work in works
    ]
    return squawk.lint(program, texts, major, root)


def mentioned(work: Work) -> set[Name]:
    """Return the relations that a migration is about."""
    names = {name for each in work.statements for name in (*each.needs, *each.locks)}
    acts = [act for each in work.statements for act in each.acts if act.table.name and act.what != "enum_value"]
    return names | {act.table for act in acts if act.what != "drop_other" or act.detail in RELATIONS}


def found(
    works: Sequence[Work],
    by_squawk: list[list[squawk.Said]] | None,
    known: dict[Name, Known],
    conn: Connection[DictRow] | None,
) -> Iterator[Finding]:
    """Yield what is found in each migration, those before it being applied."""
    look = Look(known, conn)
    for number, work in enumerate(works):
        look.work = work
        yield from look.at_file()
        if by_squawk is None:
            yield work.finding(
                lint_rules.MISSING, 0, "squawk is not installed here", help="python -m pip install squawk-cli brings it"
            )
        else:
            yield from look.by_squawk(by_squawk[number])
        yield from look.by_statements()
        look.made |= work.makes.keys()
        look.dropped |= work.drops.keys()
        look.columns |= work.columns


@dataclass
class Look:
    """Looks at one migration after the other, by what is known of the tables and of the migrations before it."""

    known: dict[Name, Known]
    conn: Connection[DictRow] | None
    work: Work = field(init=False)
    made: set[str] = field(default_factory=set)
    """What the migrations before it make."""
    dropped: set[str] = field(default_factory=set)
    """What they drop."""
    columns: set[tuple[str, str]] = field(default_factory=set)
    """The columns that they make, with their tables' names."""

    def at_file(self) -> Iterator[Finding]:
        """Yield what is about the file as a whole."""
        work, up, down = self.work, self.work.migration.up, self.work.migration.down
        if work.fault and PSQL in up.allow:
            yield work.finding(lint_rules.UNREAD, 0, "only psql reads this file, so what it does is not seen here")
        elif work.fault:
            yield work.finding("syntax-error", work.fault.offset, work.fault.message)
        elif work.unread:
            yield work.finding(lint_rules.UNREAD, 0, work.unread)
        if not up.transaction and len(work.statements) > 1:
            yield work.finding(
                "several-statements", work.statements[1].start, "a second statement beside transaction:false"
            )
        if down is None or not re.sub(r"--[^\n]*|/\*.*?\*/|[\s;]", "", down.sql, flags=re.DOTALL):
            finding = work.finding("missing-down", 0, "the down part is empty" if down else "there is no down part")
            yield replace(finding, line=(down.line if down else up.line) - 1, column=1)
        if (rules := [rule for rule in up.allow if rule not in OTHERS]) and not up.reason:
            finding = work.finding("reason-missing", 0, f"allow:{rules[0]} without a reason")
            yield replace(finding, line=up.line - 1, column=1, help="write it behind -- on the marker's line")

    def by_squawk(self, said: Sequence[squawk.Said]) -> Iterator[Finding]:
        """Yield squawk's findings, save those that have no place here, or that the database knows better."""
        places = {(each.start, each.end) for each in said if each.rule in lint_rules.COVERED}
        for each in said:
            policy = lint_rules.policy(each.rule)
            # Postgres's own parser is who knows what is SQL
            if policy.level == "off" or (each.rule == "syntax-error" and not self.work.unread):
                continue
            statement = self.work.statement(each.start)
            if each.rule == "adding-field-with-default" and statement and is_virtual(statement, each.start):
                continue
            tables = [*statement.needs, *(act.table for act in statement.acts)] if statement else []
            if policy.fades and tables and all(self.is_new(name, each.start) for name in tables):
                continue
            if each.rule == "constraint-missing-not-valid" and statement:
                if any(
                    statement.start <= start <= statement.end and each.start <= start <= each.end for start, _ in places
                ):
                    continue
                if "VALIDATE CONSTRAINT" in each.message and any(act.what == "validate" for act in statement.acts):
                    continue  # as validates-under-lock
            if each.rule.startswith("ban-drop-") and statement and self.is_made_again(statement):
                continue
            table = max(
                (self.known[name] for name in tables if name in self.known), key=lambda k: k.size_bytes, default=None
            )
            help = None if each.rule in lint_rules.SAYS_LESS else each.help
            finding = self.work.finding(each.rule, each.start, each.message, help=help, table=table)
            yield self.eased(finding, each, statement, table)

    def eased(self, finding: Finding, said: squawk.Said, statement: Statement | None, table: Known | None) -> Finding:
        """Return a finding as a warning where the database knows that it costs nothing."""
        acts = statement.acts if statement and table else ()
        act = min(
            (act for act in acts if act.what in ("retype", "set_not_null")),
            key=lambda act: abs(act.start - said.start),
            default=None,
        )
        if not act or not table:
            return finding
        if said.rule == "changing-column-type" and live_tables.is_wider(table, act.column, act.type):
            help = f"nothing: {act.column} becomes wider by this, and its rows are not read"
            return replace(finding, level="warning", help=help)
        if said.rule == "adding-not-nullable-field" and live_tables.is_checked(table, act.column):
            help = (
                f"nothing: a CHECK that is valid says that {act.column} has no nulls, and spares the look at its rows"
            )
            return replace(finding, level="warning", help=help)
        return finding

    def is_new(self, name: Name, before: int) -> bool:
        """Whether a relation is made by these migrations, before a place in this one, and is not there yet."""
        return name not in self.known and self.is_made(name, before)

    def is_made(self, name: Name, before: int) -> bool:
        """Whether these migrations make something of that name, before a place in this one."""
        return name.name in self.made or self.work.makes.get(name.name, before) < before

    def is_made_again(self, statement: Statement) -> bool:
        """Whether what a statement drops is made anew behind it, in the same transaction."""
        dropped = [act.table.name for act in statement.acts if act.what in ("drop_table", "drop_other")]
        again = all(self.work.made_last.get(name, 0) > statement.start for name in dropped)
        return self.work.migration.up.transaction and bool(dropped) and again

    def by_statements(self) -> Iterator[Finding]:
        """Yield what squawk does not look at."""
        yield from self.of_transaction()
        for statement in self.work.statements:
            yield from self.not_there(statement)
            for act in statement.acts:
                yield from self.of_act(act)
        if self.conn is not None:
            yield from self.of_uses(self.conn)

    def of_transaction(self) -> Iterator[Finding]:
        """Yield what goes wrong since the whole migration is one transaction."""
        if not self.work.migration.up.transaction:
            return
        locked: list[Name] = []
        unvalidated: set[tuple[Name, str]] = set()
        values: dict[str, str] = {}
        for statement in self.work.statements:
            for act in statement.acts:
                if act.what == "validate" and not self.is_new(act.table, act.start):
                    behind = (act.table, act.detail) in unvalidated
                    if behind or locked:
                        why = "its ADD … NOT VALID" if behind else f"a lock on {locked[0]}"
                        said = f"VALIDATE of {act.detail} behind {why} in one transaction, whose lock is held until all rows are looked at"
                        yield self.work.finding(
                            "validates-under-lock", act.start, said, table=self.known.get(act.table)
                        )
                if act.what == "add_not_valid":
                    unvalidated.add((act.table, act.detail))
            text = self.work.data[statement.start : statement.end] if values else b""
            for value, kind in values.items():
                at = text.find(b"'%b'" % value.replace("'", "''").encode())
                if at >= 0:
                    said = f"uses {value!r}, which this transaction adds to {kind}"
                    yield self.work.finding(
                        "enum-value-in-same-transaction",
                        statement.start + at,
                        said,
                        help="add the value in a file before this one",
                    )
            values |= {act.detail: str(act.table) for act in statement.acts if act.what == "enum_value"}
            new = [name for name in statement.locks if name not in locked and not self.is_new(name, statement.start)]
            if locked and new:
                said = f"waits for a lock on {new[0]} while it keeps everybody from {locked[0]}"
                yield self.work.finding("locks-several-tables", statement.start, said, table=self.known.get(new[0]))
            locked += new

    def not_there(self, statement: Statement) -> Iterator[Finding]:
        """Yield what a statement names and the database does not have."""
        if self.conn is None:
            return
        for name in statement.needs:
            if name not in self.known and not self.is_made(name, statement.start):
                yield self.work.finding("no-such-table", statement.start, f"there is no {name} in the database")
        for act in statement.acts:
            table = self.known.get(act.table)
            if not table or not act.column or act.what == "add_column" or act.column in table.columns:
                continue
            if (act.table.name, act.column) not in self.columns | self.work.columns:
                said = f"{table.shown} has no column {act.column}"
                yield self.work.finding("no-such-column", act.start, said, table=table)

    def of_act(self, act: Act) -> Iterator[Finding]:
        """Yield what one thing that a statement does means for a table that is in use."""
        if self.is_new(act.table, act.start):
            return
        table = self.known.get(act.table)
        if act.what == "do":
            yield self.work.finding("not-seen", act.start, "what a DO block runs is not looked at")
        elif act.what == "rewrite":
            yield self.work.finding("rewrites-table", act.start, act.detail, table=table)
        elif act.what == "check":
            said = f"the CHECK on the new column {act.detail} is held against all rows"
            help = "add the column, then the CHECK as NOT VALID, and VALIDATE it in a file of its own"
            yield self.work.finding("constraint-missing-not-valid", act.start, said, help=help, table=table)
        elif act.what == "refresh":
            yield self.work.finding(
                "refresh-locks", act.start, f"REFRESH keeps its readers from {act.table}", table=table
            )
        elif act.what == "write_all":
            yield self.work.finding(
                "writes-all-rows",
                act.start,
                f"{act.detail} without a WHERE writes every row of {act.table} at once",
                table=table,
            )
        elif act.what == "truncate" and (table is None or table.rows > 0):
            yield self.work.finding(
                "empties-table", act.start, f"TRUNCATE removes all rows of {act.table}", table=table
            )
        elif act.cascade and self.conn is None:
            yield self.work.finding(
                "drop-cascade", act.start, f"CASCADE drops what uses {act.column or act.table}, unnamed"
            )

    def of_uses(self, conn: Connection[DictRow]) -> Iterator[Finding]:
        """Yield what uses the columns and tables that are dropped, renamed or given another type."""
        acts = [
            (act, self.known[act.table])
            for each in self.work.statements
            for act in each.acts
            if act.table in self.known
            and act.what in ("drop_column", "drop_table", "drop_other", "retype", "rename_column", "rename_table")
            and (act.what != "drop_other" or act.detail in RELATIONS)
            and (not act.column or act.column in self.known[act.table].columns)
        ]
        for (act, table), uses in zip(acts, live_tables.uses(conn, acts), strict=True):
            here = {name for name, start in self.work.drops.items() if start < act.start}
            gone = self.dropped | here | self.drops_beside(act)
            left = [use for use in uses if use.name.rpartition(".")[2].strip('"') not in gone]
            yield from self.of_use(act, table, left)
        for (act, table), functions in zip(acts, live_tables.named(conn, acts), strict=True):
            if functions and act.what != "retype":
                said = f"named in the text of {listed(functions)}, which Postgres does not check"
                help = "see whether that means it, and change it in the same migration"
                yield self.work.finding(
                    "named-in-function", act.start, f"{act.column or act.table} is {said}", help=help, table=table
                )

    def drops_beside(self, act: Act) -> set[str]:
        """Return what the same statement drops."""
        statement = self.work.statement(act.start)
        return (
            {each.table.name for each in statement.acts if each.what == act.what}
            if statement and not act.column
            else set()
        )

    def of_use(self, act: Act, table: Known, uses: list[Use]) -> Iterator[Finding]:
        """Yield what it means that a column or table which is dropped or changed is used."""
        loud = [use for use in uses if not use.silent]
        quiet = [use for use in uses if use.silent and not use.what.startswith(("sequence ", "default value "))]
        what = f"{table.shown}.{act.column}" if act.column else table.shown
        rule = "column-in-use" if act.column else "table-in-use"
        if act.what == "drop_column" and quiet:
            said = f"with {what} go {listed(quiet)}"
            yield self.work.finding("goes-with-column", act.start, said, table=table)
        if act.what == "retype":
            loud = [use for use in loud if not use.what.startswith("table constraint ")]
            if loud:
                said = f"{what} is used by {listed(loud)}, so Postgres refuses another type"
                help = "drop that before, and make it again behind, in the same migration"
                yield self.work.finding(rule, act.start, said, help=help, table=table)
        elif act.what.startswith("drop_") and loud:
            said = (
                f"CASCADE drops {listed(loud)}, too"
                if act.cascade
                else f"{what} is used by {listed(loud)}, so Postgres refuses this"
            )
            help = "drop or change that before, by its name"
            yield self.work.finding(rule, act.start, said, help=help, table=table)


def is_virtual(statement: Statement, offset: int) -> bool:
    """Whether the column that is added before a place in a statement is a generated one that no row holds."""
    added = [act for act in statement.acts if act.what == "add_column" and act.start <= offset]
    return bool(added) and added[-1].detail == "virtual"


def listed(uses: Sequence[Use]) -> str:
    """Return the first of them in words, and how many there are more."""
    return few([use.what for use in uses])


def allowed(finding: Finding, migration: Migration, allow: Iterable[str]) -> Finding:
    """Return a finding with why it is allowed, if it is."""
    if finding.rule in migration.up.allow and finding.rule != "reason-missing":
        return replace(finding, allowed=migration.up.reason or None) if migration.up.reason else finding
    return replace(finding, allowed="--allow") if finding.rule in allow else finding


def check_allow(allow: Sequence[str]) -> None:
    """Raise `Misconfigured` for an --allow that is no rule."""
    rules = OTHERS | lint_rules.OURS.keys() | lint_rules.SQUAWK.keys()
    strange = sorted(set(allow) - rules)
    program = squawk.program() if strange else None
    if wrong := squawk.unknown(program, strange) if program else strange:
        raise Misconfigured(f"--allow {wrong[0]}: there is no such rule: there are {', '.join(sorted(rules))}")
