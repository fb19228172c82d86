"""What other tools keep in a database of the migrations that have run there.

Where each is described: alembic's `alembic_version` (its head revisions), Flyway's `flyway_schema_history`
(https://documentation.red-gate.com/flyway, "Flyway schema history table"), golang-migrate's `schema_migrations` (its one number and
whether that was broken off), `django_migrations`, goose's `goose_db_version`, sqlx's `_sqlx_migrations`, and a one-row
`schema_information` with `last_successful_run`, the highest number that a hand-made runner has run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops import postgres
from ops.console import few
from ops.db.migrations.importing import pairs, stamps
from ops.db.migrations.importing.originals import Collection, Original
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

SET_ASIDE = "schema_migrations_of_golang_migrate"
"""The name that golang-migrate's table gets, since ours has the same one."""

FIND = """
select n.nspname as schema, c.relname as name, array_agg(a.attname::text) as columns, pg_table_is_visible(c.oid) as visible
from pg_class c join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relname = any(%s) and c.relkind in ('r', 'p') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
group by n.nspname, c.relname, c.oid order by visible desc, schema, name
"""


@dataclass
class Standing:
    """Which originals have run in a database."""

    schema: str
    table: str
    ran: set[str] = field(default_factory=set)
    """By their keys."""
    unsure: dict[str, str] = field(default_factory=dict)
    """Those of which the table does not tell, with the reason."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Book:
    """One tool's table."""

    tables: tuple[str, ...]
    columns: frozenset[str]
    read: Callable[[Sequence[DictRow], Collection, Standing], None]
    order: str = ""
    """The column that the rows are read in the order of."""
    only: bool = False
    """Whether a table with more columns is another tool's."""


def of_runner(rows: Sequence[DictRow], here: Collection, found: Standing) -> None:
    """Read the one row of a runner that takes what has a higher number than the last one, compared as plain numbers.

    It takes files in no order, so where number and time disagree the row does not tell.
    """
    text = str(next((row["last_successful_run"] for row in rows if row.get("id", 1) == 1), None) or "0").strip()
    if not text.isdecimal() or not text.isascii():
        raise Misconfigured(f"{found.table}: last_successful_run is {text!r}, which is no number: correct that row")
    if int(text) == 0:
        return
    last = stamps.order(text)
    for each in here.originals:
        higher, younger = int(each.digits) > int(text), each.order > last
        if higher and not younger:
            found.unsure[each.key] = (
                f"is older than {text}, and a higher number: the runner may have run it before or not yet"
            )
        elif younger and not higher:
            found.unsure[each.key] = f"is younger than {text}, and a lower number: the runner may have passed over it"
        elif not higher:
            found.ran.add(each.key)


def of_golang(rows: Sequence[DictRow], here: Collection, found: Standing) -> None:
    """Read golang-migrate's one row."""
    if not rows:
        return
    version, dirty = int(rows[0]["version"]), rows[0]["dirty"]
    if dirty:
        raise Misconfigured(
            f"{found.table}: version {version} was broken off (dirty): bring the database to a version, migrate force VERSION, then run this again"
        )
    if version >= 0 and version not in {int(each.digits) for each in here.originals}:
        raise lacking(found, str(version))
    found.ran |= {each.key for each in here.originals if int(each.digits) <= version}


def of_sqlx(rows: Sequence[DictRow], here: Collection, found: Standing) -> None:
    """Read a row for each version."""
    check_ended(found, [str(row["version"]) for row in rows if not row["success"]])
    by_number(found, here, {int(row["version"]) for row in rows})


def of_goose(rows: Sequence[DictRow], here: Collection, found: Standing) -> None:
    """Read goose's journal: the last row of a version says whether it is applied."""
    last = {int(row["version_id"]): row["is_applied"] for row in rows}
    by_number(found, here, {version for version, applied in last.items() if applied and version})


def by_number(found: Standing, here: Collection, versions: set[int]) -> None:
    """Note the originals that have these numbers; raises `Misconfigured` for a number without one."""
    known = {int(each.digits): each.key for each in here.originals}
    if strange := sorted(versions - known.keys()):
        raise lacking(found, str(strange[0]))
    found.ran |= {known[version] for version in versions}


def of_alembic(rows: Sequence[DictRow], here: Collection, found: Standing) -> None:
    """Read alembic's heads: they, and all that they build on, have run."""
    after = {each.key: each.after for each in here.originals}
    pending = [str(row["version_num"]) for row in rows]
    while pending:
        key = pending.pop()
        if key not in after:
            raise lacking(found, key)
        if key not in found.ran:
            found.ran.add(key)
            pending.extend(after[key])


def of_django(rows: Sequence[DictRow], here: Collection, found: Standing) -> None:
    """Read a row for each migration of each app; those of apps that are not in the folder are told."""
    there = {f"{row['app']}.{row['name']}" for row in rows}
    keys = {each.key for each in here.originals}
    found.ran |= there & keys
    if others := sorted(there - keys):
        found.notes.append(f"{found.table} also names {few(others, 5)}, not in the folder: taken for past")


def of_flyway(rows: Sequence[DictRow], here: Collection, found: Standing) -> None:
    """Read Flyway's journal: what has run, was taken back, or stood before Flyway came."""
    versions = {pairs.version_of(each.key): each.key for each in here.originals if not each.key.startswith("R__")}
    repeated = {each.path.name: each.key for each in here.originals if each.key.startswith("R__")}
    check_ended(found, [str(row["version"] or row["script"]) for row in rows if not row["success"]])
    ran: set[tuple[int, ...]] = set()
    for row in rows:
        if row["version"] is None:
            name = str(row["script"]).rpartition("/")[2]
            found.ran |= {repeated[name]} if name in repeated else set()
            continue
        version = pairs.version_of(str(row["version"]))
        if row["type"] in ("UNDO_SQL", "UNDO_SCRIPT", "DELETE"):
            ran.discard(version)
        elif row["type"] == "BASELINE":
            ran |= {each for each in versions if each <= version}
        else:
            ran.add(version)
    if strange := sorted(ran - versions.keys()):
        raise lacking(found, ".".join(map(str, strange[0])))
    found.ran |= {versions[each] for each in ran}


def of_rails(rows: Sequence[DictRow], here: Collection, found: Standing) -> None:
    """Read the versions that a structure was made by: all of them have run, or what it holds is not what is there."""
    there = {str(row["version"]) for row in rows}
    if not here.whole:
        found.ran |= there & {each.key for each in here.originals}
        return
    if not there:
        return
    for some, where in (
        (
            set(here.versions) - there,
            "have not run there: rails db:migrate brings the database to where the structure is",
        ),
        (there - set(here.versions), "are not in the structure: rails db:schema:dump writes it anew"),
    ):
        if some:
            raise Misconfigured(
                f"{found.schema}.{found.table}: {few(sorted(some, key=int), 5)} {where}; then run this again"
            )
    found.ran |= {each.key for each in here.originals}


def lacking(found: Standing, key: str) -> Misconfigured:
    return Misconfigured(
        f"{found.schema}.{found.table}: {key} has run there and is not in the folder: bring that file, then run this again"
    )


def check_ended(found: Standing, broken: Sequence[str]) -> None:
    """Raise `Misconfigured` where a migration was broken off."""
    if broken:
        raise Misconfigured(
            f"{found.schema}.{found.table}: {broken[0]} has failed there: mend that by its own tool, then run this again"
        )


GOLANG = Book(("schema_migrations", SET_ASIDE), frozenset({"version", "dirty"}), of_golang)
SQLX = Book(("_sqlx_migrations",), frozenset({"version", "success"}), of_sqlx)
VERSIONS = Book(("schema_migrations",), frozenset({"version"}), of_rails, only=True)
BOOKS: dict[str, tuple[Book, ...]] = {
    "modules": (Book(("schema_information",), frozenset({"last_successful_run"}), of_runner),),
    "numbered": (GOLANG, SQLX),
    "django": (Book(("django_migrations",), frozenset({"app", "name"}), of_django),),
    "alembic": (Book(("alembic_version",), frozenset({"version_num"}), of_alembic),),
    "flyway": (
        Book(
            ("flyway_schema_history",),
            frozenset({"installed_rank", "version", "type", "script", "success"}),
            of_flyway,
            order="installed_rank",
        ),
    ),
    "goose": (Book(("goose_db_version",), frozenset({"id", "version_id", "is_applied"}), of_goose, order="id"),),
    "rails": (VERSIONS,),
    "dbmate": (VERSIONS,),
}


def read(conn: Connection[DictRow], here: Collection) -> Standing:
    """Return what has run in a session's database; raises `Misconfigured` where no table tells, or what it tells does not fit."""
    from psycopg import sql

    books = BOOKS[here.tool]
    names = [name for book in books for name in book.tables]
    tables = postgres.fetch(conn, FIND, names)
    for book in books:
        fitting = [table for table in tables if fits(book, table)]
        if not fitting:
            continue
        if len(fitting) > 1 and not fitting[0]["visible"]:
            raise Misconfigured(
                f"{' and '.join(table['schema'] + '.' + table['name'] for table in fitting)} both tell what has run: "
                "rename the one that is not in use, then run this again"
            )
        found = Standing(fitting[0]["schema"], fitting[0]["name"])
        order = sql.SQL(" order by {}").format(sql.Identifier(book.order)) if book.order else sql.SQL("")
        query = sql.SQL("select * from {}{}").format(sql.Identifier(found.schema, found.table), order)
        book.read(conn.execute(query).fetchall(), here, found)
        return found
    raise Misconfigured(
        f"{conn.info.dbname} has no {' or '.join(dict.fromkeys(names))}, which would tell what has run there: "
        "leave -t out where nothing has: inv db.migrate runs all of it"
    )


def fits(book: Book, table: dict[str, Any]) -> bool:
    """Whether a table is one of a book's."""
    columns = set(table["columns"])
    return table["name"] in book.tables and (book.columns == columns if book.only else book.columns <= columns)


def decided(found: Standing, originals: Sequence[Original], ran: Sequence[str], pending: Sequence[str]) -> None:
    """Let a person's word count for what they name; raises `Misconfigured` for what is still not known."""
    keys = {each.key for each in originals} | {each.path.name for each in originals}
    names = {each.path.name: each.key for each in originals}
    for option, given in (("--ran", ran), ("--pending", pending)):
        for word in given:
            if word not in keys:
                raise Misconfigured(f"{option} {word}: the folder has no migration of that name or number")
            key = names.get(word, word)
            found.unsure.pop(key, None)
            (found.ran.add if option == "--ran" else found.ran.discard)(key)
    if found.unsure:
        key, why = next(iter(found.unsure.items()))
        more = f" ({len(found.unsure) - 1} more like it)" if found.unsure.keys() - {key} else ""
        raise Misconfigured(
            f"{found.schema}.{found.table} does not tell whether {key} has run: it {why}{more}: "
            f"look for what it makes, then add --ran {key} or --pending {key}"
        )
