"""db.pull --plans: a target's plans on a server without its rows.

The planner looks at statistics, at the sizes of files, at the heights of B-trees and at settings. All four are brought into a
database of its own, beside the one of the embedded server: the schema by pg_dump, statistics as in pull/statistics.py, sizes by
files that take no room, heights by the first pages of each B-tree. It is built under another name and renamed at the end, so a
run that was cut off leaves what the next one removes. Nothing of it goes through the server's log, so a crash may take it: that
is seen by an unlogged table, and only makes it worth making anew.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.paths import own_folder
from config.settings import Settings
from ops import postgres, silence
from ops.console import say
from ops.db import load, lock, nowhere, reader, swap
from ops.db.drift import schema_file
from ops.db.plans import btree, marker, sparse
from ops.db.pull import columns, masks_file, statistics
from ops.db.pull.statistics import Column, Relation, Statistics
from ops.db.sql_file.script import Script, checked
from ops.errors import Misconfigured, Problem, Refused
from ops.targets import opening, outcome
from ops.targets.embedded import state
from ops.targets.identity import PLANS
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

TASK = "db.pull"
LONGEST = 63 - len(marker.NEXT)
OPTIONS = (
    "--schema-only", "--no-owner", "--no-privileges", "--no-comments", "--no-publications", "--no-subscriptions",
    "--no-security-labels", "--no-tablespaces", "--exclude-schema=inv", "--encoding=UTF8", "--lock-wait-timeout=10s",
)  # fmt: skip
"""Of pg_dump (https://www.postgresql.org/docs/current/app-pgdump.html): what a planner sees, and nothing of people or roles."""
HEAD = "SET check_function_bodies = false;\nSELECT pg_catalog.set_config('search_path', '', false);\n"
LEFT_OUT = (
    "CREATE POLICY ",
    "CREATE TRIGGER ",
    "CREATE CONSTRAINT TRIGGER ",
    "CREATE EVENT TRIGGER ",
    "CREATE USER MAPPING ",
)
ROW_SECURITY = " ROW LEVEL SECURITY;"
WRITTEN = "set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set extra_float_digits = 1; set bytea_output = 'hex'"
"""How values are written and read, on both sides."""
PATIENCE = "set local lock_timeout = '10s'; set local statement_timeout = '60s'"
"""On the source: to ask for a file's size waits for whoever holds the table."""
# No vacuum reads zeros or counts them, and nothing is emptied after a crash but the record
SETTLED = """
do $$
declare one record;
begin
  for one in select c.oid::regclass as name, c.relpersistence = 'u' as unlogged, c.reltoastrelid <> 0 as toasted, c.relkind = 'r' as is_table
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'inv')
               and not exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype = 'e')
  loop
    if one.unlogged then execute format('alter table %s set logged', one.name); end if;
    execute format('alter %s %s set (autovacuum_enabled = off%s)', case when one.is_table then 'table' else 'materialized view' end,
                   one.name, case when one.toasted then ', toast.autovacuum_enabled = off' else '' end);
  end loop;
end $$
"""
TOOLS = "pg_buffercache", "pageinspect"
"""Extensions of the server's own: one lets go of pages that it holds in memory, the other knows their checksums."""
LACKING_TOOLS = "select t as name from unnest(%s::text[]) t where t not in (select name from pg_available_extensions)"
THERE = "select extname as name from pg_extension where extname = any(%s)"
LET_GO = """
select count(pg_buffercache_evict_relation(c.oid)) from pg_class c join pg_am m on m.oid = c.relam
where c.relkind = 'i' and m.amname = 'btree' and c.oid >= 16384
"""
FILES = """
select n.nspname::text as schema, c.relname::text as name, pg_relation_filepath(c.oid) as path
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 'i') and n.nspname not in ('pg_catalog', 'information_schema', 'inv') and n.nspname !~ '^pg_(toast|temp)'
"""
BLOCK = """
select current_setting('block_size')::int as block, (select setting::bigint from pg_settings where name = 'segment_size') as segment
"""
SUMS = "select page_checksum(page, number) as sum from unnest(%s::bytea[], %s::int[]) with ordinality u(page, number, n) order by n"
SORTED = "select array_agg(v order by v)::text as bounds from unnest(%s::text::{}[]) v"
BY_CODE = ("C", "POSIX")


@dataclass(frozen=True)
class Made:
    """What was made."""

    database: str
    """Its name."""
    tables: int
    indexes: int
    bytes: int
    """How large the files say that they are."""
    left: int
    """How many columns' values were left where they are."""


Shown = Callable[["Connection[DictRow]"], Collection[Column]]
"""Which columns' most common values and bounds may leave the source; it is asked there, in a read-only transaction."""


def show(settings: Settings, compose: masks_file.Compose, source: str, target: str) -> None:
    """Make the database that has the plans of a source, and say what it is and how it is used."""
    made = make(settings, source, target, kept(settings, compose, source))
    size = f"{made.bytes / 1e9:.1f} GB" if made.bytes >= 1e9 else f"{made.bytes / 1e6:.0f} MB"
    say(
        f"{made.database} has the plans of {made.tables} tables and {made.indexes} indexes, {size} there and no rows here: "
        "inv db.query NAME --explain"
    )
    if made.left:
        say(
            f"note: the values of {made.left} columns stay where they are, and conditions on them are estimated by their number: "
            f"those of a column with keep in {masks_file.shown(settings.masks, settings.root)} come along"
        )


def kept(settings: Settings, compose: masks_file.Compose, source: str) -> Shown:
    """Return what asks which columns' values come along unmasked, by the masks file; without one those that tell of nobody.

    Of a column that is computed from others nothing does. Raises `Misconfigured` for a file that does not say what becomes of each column.
    """
    if not settings.masks.exists():
        return statistics.safe_columns
    given = masks_file.read(settings, compose)

    def shown(conn: Connection[DictRow]) -> set[Column]:
        decided = masks_file.decide(conn, given, columns.read(conn), source)
        return {
            Column(one.table.schema, one.table.name, name)
            for one in decided.values()
            for name, each in one.columns.items()
            if not one.skip and each.rule.how == "keep" and each.basis != "computed"
        }

    return shown


def make(settings: Settings, source: str, target: str, shown: Shown = statistics.safe_columns) -> Made:
    """Make the database that has the plans of `source`, beside that of `target`; one that was made before is replaced.

    Of the source everything is only read. Raises `Misconfigured` where the target is not the embedded server of PostgreSQL 18,
    `Refused` where it is production, `Problem` for what the schema needs and the server lacks.
    """
    with opening.open_target(settings, source, TASK) as there, opening.open_target(settings, target, TASK) as here:
        there.required()
        marker.require_rows(there.conn, there.name)
        data = require_place(here)
        with lock.hold_lock(here), ThreadPoolExecutor(2) as pool:
            check_replaced(here)
            sweep(here)
            schema = pool.submit(schema_of, there)
            known = pool.submit(read, there, shown)
            try:
                create(here, there)
                made = fill(here, there, data, schema.result, known.result)
                take_place(here)
            except BaseException:
                discard(here)
                raise
        return made


def require_place(here: OpenTarget) -> Path:
    """Return the data folder of the target's server; raise where that is not ours, or its database is production."""
    if here.prod:
        raise Refused(f"{here.target.name} is production ({here.prod}), where nothing is made: name another by -t")
    made = state.load(here.settings.root)
    if not made or not opening.is_at_home(here.settings, here.facts) or here.facts["version_num"] < 180000:
        raise Misconfigured(
            f"--plans: {here.target.name} is not the embedded server of PostgreSQL 18, whose files have to be at hand: "
            "leave CONNECTION_URL unset, or name that target by -t"
        )
    if len(here.name.encode()) > LONGEST:
        raise Misconfigured(f"{here.name}: longer than {LONGEST} bytes leaves no room for {marker.NEXT}: shorten it")
    if lacking := postgres.fetch(here.conn, LACKING_TOOLS, list(TOOLS)):
        raise Problem(
            f"the embedded server has no extension {lacking[0]['name']}: install the package with Postgres's contrib modules"
        )
    return made.data


def check_replaced(here: OpenTarget) -> None:
    """Refuse to replace a database that somebody else has called so."""
    name = here.name + marker.SUFFIX
    there = postgres.fetch(here.conn, "select from pg_database where datname = %s", name)
    if there and not marker.is_plans_only(here.conn, name):
        raise Refused(
            f"{name} was not made by inv, which would replace it: give it another name (alter database … rename to …), then run this again"
        )


def sweep(here: OpenTarget) -> None:
    """Remove what a run that was cut off has left."""
    for suffix in (marker.NEXT, marker.OLD):
        here.conn.execute(swap.removal(here.name + suffix))


def discard(here: OpenTarget) -> None:
    """Remove the unfinished database, over a connection of its own; on failure the next run does it."""
    with contextlib.suppress(Exception), postgres.connect(here.target, task=TASK, dbname="postgres", timeout=5) as conn:
        conn.execute(swap.removal(here.name + marker.NEXT))


def schema_of(there: OpenTarget) -> Script:
    """Return the schema of the source as SQL, without what a planner does not see."""
    made = schema_file.pg_dump(there, *OPTIONS)
    seen = [each for each in schema_file.statements(made) if not is_left_out(each)]
    text = HEAD + nowhere.masked("".join(f"\n{each}\n" for each in seen))
    return checked(Script(f"the schema of {there.target.name}", text.encode()))


def is_left_out(statement: str) -> bool:
    own = statement.removeprefix(f"{schema_file.NO_SECRETS}\n")
    return own.startswith(LEFT_OUT) or own.endswith(ROW_SECURITY)


def read(there: OpenTarget, shown: Shown) -> Statistics:
    """Return what the source's planner knows, read in one read-only transaction; raises `Problem` for what the source refuses."""
    import psycopg

    try:
        with there.connect() as conn:
            conn.read_only = True
            with conn.transaction():  # what is set ends with it: a pooler may give the session to somebody else then
                conn.execute(f"{PATIENCE}; {WRITTEN.replace('set ', 'set local ')}".encode())
                if not there.facts["superuser"] and not reader.lacking(conn):
                    conn.execute(
                        f"set local role {reader.ROLE}".encode()
                    )  # whoever may read a table sees its statistics
                return statistics.read(conn, shown(conn))
    except psycopg.Error as error:  # it is the source's, whichever target it would be told of else
        if problem := outcome.told(error, there, there.target.address, writes=False):
            raise problem from error
        raise


def create(here: OpenTarget, there: OpenTarget) -> None:
    """Create the database, in which texts are sorted as on the source, or as near to it as this machine can."""
    import psycopg
    from psycopg import sql

    statement = sql.SQL("create database {} template template0 encoding 'UTF8'").format(
        sql.Identifier(here.name + marker.NEXT)
    )
    like = there.database() or {}
    if is_by_code(like):
        here.conn.execute(statement)
        return
    for locale in (like["datcollate"], "C.UTF-8"):
        with contextlib.suppress(psycopg.errors.DatabaseError):
            here.conn.execute(sql.SQL("{} locale_provider libc locale {}").format(statement, sql.Literal(locale)))
            if locale != like["datcollate"]:
                say(f"note: this machine lacks the locale {like['datcollate']}: texts are sorted by code point")
            return
    raise Problem(f"this machine has neither the locale {like['datcollate']} nor C.UTF-8: install one")


def is_by_code(like: Mapping[str, Any]) -> bool:
    """Whether a database sorts texts by code point: only then an index serves LIKE 'a%'."""
    return like.get("datlocprovider", "c") == "b" or (
        like.get("datlocprovider", "c") == "c" and like.get("datcollate") in BY_CODE
    )


def fill(
    here: OpenTarget,
    there: OpenTarget,
    data: Path,
    schema: Callable[[], Script],
    known: Callable[[], Statistics],
) -> Made:
    """Fill the new database: schema, sizes, heights, statistics, settings, and what says what it is."""
    with silence.waiting(f"the schema of {there.target.name}"):
        script = load.plan(schema(), {})
    load.check_extensions(here, [script])
    load.check_client([script])
    with here.connect(marker.NEXT) as conn:
        nowhere.seal(conn)
        load.load_file(here, conn, script)
        conn.execute("reset all; reset role")
        nowhere.unseal(conn)
        conn.execute(f"{SETTLED}; {WRITTEN}".encode())
        found = known()
        size = give_sizes(conn, data, found)
        if refused := statistics.write(conn, found, in_order(conn, there, found)):
            say(
                f"note: {refused} statistics were not taken: plans that need them may be others than on {there.target.name}"
            )
        conn.execute(marker.RECORD)
        conn.execute("insert into inv.plans (source) values (%s)", [there.target.name])
    settle(here, there, found)
    if found.unseen:
        say(f"note: this login may not see the statistics of {found.unseen}: plans over it may be others there")
    kinds = [each.kind for each in found.relations]
    return Made(
        here.name + marker.SUFFIX,
        sum(kind in "rm" for kind in kinds),
        kinds.count("i"),
        size,
        found.without_values(),
    )


def give_sizes(conn: Connection[DictRow], data: Path, found: Statistics) -> int:
    """Give each file the size, each B-tree the height that it has on the source; return the bytes in sum."""
    measure = postgres.row(conn, BLOCK)
    block, segment = measure["block"], measure["block"] * measure["segment"]
    paths = {(row["schema"], row["name"]): file_of(data, row["path"]) for row in postgres.fetch(conn, FILES)}
    trees = heights(found)
    with hold_tools(conn):
        for path, pages in tree_pages(conn, {paths[name]: height for name, height in trees.items() if name in paths}):
            sparse.put(path, pages)
    size = 0
    for each in found.relations:
        if each.blocks and (each.schema, each.name) in paths:
            sparse.stretch(paths[each.schema, each.name], each.blocks * block, segment)
            size += each.blocks * block
    return size


def file_of(data: Path, path: str) -> Path:
    """Return a relation's file; raises `Problem` where what the server says of it would lead elsewhere."""
    if not re.fullmatch(r"base/\d+/\d+", path):
        raise Problem(f"{path} is no file of a database in {data}: is a tablespace the default of template0?")
    return own_folder(own_folder(data / "base") / path.split("/")[1]) / path.split("/")[2]


@contextlib.contextmanager
def hold_tools(conn: Connection[DictRow]) -> Iterator[None]:
    """Have the server's tools in the database for as long as they are needed; those that it has itself stay."""
    have = {row["name"] for row in postgres.fetch(conn, THERE, list(TOOLS))}
    mine = [name for name in TOOLS if name not in have]
    for name in mine:
        conn.execute(f"create extension {name}".encode())
    conn.execute(LET_GO)
    yield
    for name in mine:
        conn.execute(f"drop extension {name}".encode())


def heights(found: Statistics) -> dict[tuple[str, str], int]:
    """Return the heights of all B-trees that have any: as the source tells them, else as they follow from size and keys."""
    known = {
        (e["schema"], e["name"], e["column"]): e for e in found.attributes if not e["inherited"] or not e["number"]
    }
    rows = {(each.schema, each.name): each.tuples for each in found.relations}
    made = {}
    for each in found.relations:
        if each.method == "btree" and each.kind == "i" and each.blocks > 3:
            height = each.height or btree.estimated_height(each.blocks, widths(each, known, rows))
            if height:
                made[each.schema, each.name] = height
    return made


def widths(
    index: Relation, known: Mapping[tuple[str, str, str], Mapping[str, Any]], rows: Mapping[tuple[str, str], float]
) -> list[float]:
    """Return the bytes of those leading keys that tell one page from the next: more are not kept above the leaves."""
    found, told = [], 1.0
    for key, length in zip(index.keys, index.lengths, strict=True):
        column = known.get((index.schema, index.table_name or "", key or ""), {})
        found.append(float(length or column.get("avg_width") or 16))
        distinct = column.get("n_distinct") or 0.0
        told *= distinct if distinct > 0 else -distinct * max(1.0, rows.get((index.schema, index.table_name or ""), 1))
        if told >= index.blocks:
            break
    return found


def tree_pages(conn: Connection[DictRow], wanted: Mapping[Path, int]) -> Iterator[tuple[Path, list[bytes]]]:
    """Yield the first pages of each index, with the checksums that the server wants to see; equal ones are summed once."""
    trees = {path: btree.with_height(sparse.first_page(path, btree.PAGE), height) for path, height in wanted.items()}
    pages = sorted({(page, number) for tree in trees.values() for number, page in enumerate(tree)})
    rows = postgres.fetch(conn, SUMS, [page for page, _ in pages], [number for _, number in pages])
    sums = {key: row["sum"] for key, row in zip(pages, rows, strict=True)}
    for path, tree in trees.items():
        yield path, [btree.with_checksum(page, sums[page, number]) for number, page in enumerate(tree)]


def in_order(conn: Connection[DictRow], there: OpenTarget, found: Statistics) -> list[dict[str, Any]] | None:
    """Return the statistics with bounds of texts sorted as they are here, None where they are: the planner takes it for granted."""
    used = postgres.row(
        conn, "select datcollate, datlocprovider::text from pg_database where datname = current_database()"
    )
    like = there.database() or {}
    if is_by_code(like) or (used["datlocprovider"], used["datcollate"]) == ("c", like["datcollate"]):
        return None
    made = []
    for each in found.attributes:
        bounds = each["histogram_bounds"]
        if bounds and each["is_sorted"]:
            bounds = postgres.row(conn, SORTED.format(each["type"]), bounds)["bounds"]
        made.append({**each, "histogram_bounds": bounds})
    return made


def settle(here: OpenTarget, there: OpenTarget, found: Statistics) -> None:
    """Give the database the source's settings of the planner, have it refuse writes, and say in its comment what it is."""
    from psycopg import sql

    name = sql.Identifier(here.name + marker.NEXT)
    own = {row["name"]: row["value"] for row in postgres.fetch(here.conn, statistics.SETTINGS)}
    todo = []
    wanted = {key: value for key, value in found.settings.items() if own.get(key, value) != value}
    for key, value in {**wanted, "default_transaction_read_only": "on"}.items():
        # some are lists, which the server reads best itself; none of these here has a part in what follows
        todo.append(sql.SQL("select set_config({}, {}, false)").format(sql.Literal(key), sql.Literal(value)))
        todo.append(sql.SQL("alter database {} set {} from current").format(name, sql.Identifier(key)))
        todo.append(sql.SQL("reset {}").format(sql.Identifier(key)))
    comment = f"{PLANS} Plans as on {there.target.name}, and no rows: files of its sizes that take no room. inv db.pull --plans makes it anew."
    todo.append(sql.SQL("comment on database {} is {}").format(name, sql.Literal(comment)))
    here.conn.execute(sql.SQL("; ").join(todo))


def take_place(here: OpenTarget) -> None:
    """Put the new database in the place of the one before, in one transaction, and have the server remove that."""
    from psycopg import sql

    from ops.db import sessions

    new, name, old = (here.name + suffix for suffix in (marker.NEXT, marker.SUFFIX, marker.OLD))
    before = bool(postgres.fetch(here.conn, "select from pg_database where datname = %s", name))
    if before:
        sessions.end_sessions(here.conn, sessions.in_the_way(here.conn, [name]))
    sessions.settle(here.conn, [name, new])
    renames = [(name, old)] if before else []
    rename = sql.SQL("alter database {} rename to {}")
    here.conn.execute(sql.SQL("; ").join(rename.format(*map(sql.Identifier, pair)) for pair in [*renames, (new, name)]))
    if before:
        here.conn.execute("set client_connection_check_interval = 0")  # our leaving must not cancel it
        here.conn.pgconn.send_query(swap.removal(old).as_bytes(here.conn))
