"""Every property of a database, and what a swap does with it: the table of docs/database.md, row by row."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from ops.db import build, swap
from ops.errors import NotAllowed, Problem, Refused
from ops.targets import opening
from tests import servers
from tests.fix_cli import SUITE
from tests.fix_suppliers import Database, made, supply

LOGICAL = ("wal_level=logical", "max_replication_slots=10", "max_wal_senders=10")


@pytest.fixture(scope="module", params=["embedded", "debian"])
def logical(request: pytest.FixtureRequest) -> Iterator[servers.Server]:
    """A server that others can read changes from, of the newest and of the oldest version."""
    try:
        yield from supply(request.param, LOGICAL)
    except LookupError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def db(logical: servers.Server, root: Path) -> Iterator[Database]:
    """A database name on it; whatever is bound to it is ended after."""
    for database in made(logical, root):
        yield database
        for suffix in database.names():
            name = database.name + suffix
            database.do(f"alter database {name} is_template false", "postgres")
            database.do(f"alter database {name} allow_connections true", "postgres")
            for row in database.query(
                "select subname from pg_subscription join pg_database d on d.oid = subdbid where datname = current_database()",
                name,
            ):
                for statement in ("disable", "set (slot_name = none)"):
                    database.do(f"alter subscription {row['subname']} {statement}", name)
                database.do(f"drop subscription {row['subname']}", name)


def setup(database: Database, *, force: bool = False, schema: str = "") -> None:
    build.setup(database.settings(), "local", schema, build.DEFAULT, {}, "", force=force)


def act(database: Database, what: Callable[..., bool], *, force: bool = False) -> None:
    with opening.open_target(database.settings(), "local", f"db.{what.__name__}", writes=True) as at:
        what(at, force=force)


def doing(database: Database, what: str) -> Callable[..., None]:
    """Return a task by its name; it takes `force`."""
    if what == "setup":
        return partial(setup, database)
    return partial(act, database, {"drop": swap.drop, "undo": swap.undo}[what])


def refused(database: Database, what: Callable[[], object], *words: str) -> None:
    """See that something is refused by name, and that nothing was done."""
    before = database.query("select oid, datname from pg_database order by 1", "postgres")
    with pytest.raises(Refused, match="nothing was done; --force") as caught:
        what()
    for word in words:
        assert word in str(caught.value)
    assert database.query("select oid, datname from pg_database order by 1", "postgres") == before


def oid(database: Database, suffix: str = "") -> int:
    return int(database.scalar(f"select oid from pg_database where datname = '{database.name}{suffix}'", "postgres"))


# --- the table --------------------------------------------------------------------------------


def table() -> dict[str, str]:
    """Return what docs/database.md says of each property: the first word of its second column."""
    text = (SUITE / "docs" / "database.md").read_text(encoding="utf-8")
    rows = text.partition("| property |")[2].partition("\n\n")[0].splitlines()[2:]
    found = {}
    for row in rows:
        _, names, what, _ = row.split("|")
        for name in re.findall(r"`(\w+)`", names):
            found[name] = what.split()[0].strip(":,")
    return found


def test_the_table_has_every_property(logical: servers.Server) -> None:
    """What a new version of Postgres brings fails here, until it is known what a swap does with it."""
    database = Database(logical, "postgres", SUITE)
    columns = "select attname from pg_attribute where attrelid = 'pg_database'::regclass and attnum > 0"
    shared = (
        "select fktable::regclass::text as attname from pg_get_catalog_foreign_keys() where pktable = 'pg_database'::regclass"
        " union select relname from pg_class c join pg_attribute a on attrelid = c.oid"
        " where relisshared and relkind = 'r' and attname in ('classid', 'classoid')"
    )
    there = {row["attname"] for query in (columns, shared) for row in database.query(query)}
    there |= {"pg_replication_slots", "pg_publication", "pg_prepared_xacts"}
    assert there <= set(table())
    assert {name for name, what in table().items() if what == "carried"} == set(CARRIED)
    assert {name for name, what in table().items() if what == "named"} == set(NAMED)
    assert {name for name, what in table().items() if what not in ("carried", "named")} == OWN


OWN = {
    "oid",
    "datname",
    "datfrozenxid",
    "datminmxid",
    "datcollversion",
    "dathasloginevt",
    "pg_shdepend",
    "pg_prepared_xacts",
}
"""What the server numbers itself, what is content, and what stands in the way of any swap (tests/test_setup.py)."""


class Row(NamedTuple):
    """How a property is made unusual: options of CREATE DATABASE, or a statement after it; and what to compare."""

    options: str = ""
    statement: str = ""
    value: str = ""
    since: int = 0
    until: int = 99


BUILTIN = "template template0 locale_provider builtin builtin_locale 'C.UTF-8' lc_collate 'C' lc_ctype 'C'"
ICU = "template template0 encoding 'UTF8' locale_provider icu icu_locale 'de'"
CARRIED = {
    "datdba": Row(statement="alter database {db} owner to {db}_r", value="pg_get_userbyid(datdba)"),
    "encoding": Row("template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'"),
    "datcollate": Row("template template0 lc_collate 'C'"),
    "datctype": Row("template template0 lc_ctype 'C'"),
    "datlocprovider": Row(BUILTIN, since=17),
    "datlocale": Row(BUILTIN, since=17),
    "daticulocale": Row(ICU, since=15, until=16),
    "daticurules": Row(f"{ICU} icu_rules '&a < g'", since=16),
    "dattablespace": Row("tablespace {db}_t"),
    "datistemplate": Row(statement="alter database {db} is_template true"),
    "datconnlimit": Row(statement="alter database {db} connection limit 7"),
    "datacl": Row(statement="revoke all on database {db} from public; grant connect on database {db} to {db}_r"),
    "pg_db_role_setting": Row(
        statement="alter database {db} set work_mem to '5MB'; alter role {db}_r in database {db} set timezone to 'Asia/Tokyo'",
        value="(select array_agg((setrole, setconfig)::text order by 1) from pg_db_role_setting where setdatabase = d.oid)",
    ),
    "pg_shdescription": Row(
        statement="comment on database {db} is 'it''s ours'", value="shobj_description(d.oid, 'pg_database')"
    ),
}


@pytest.mark.parametrize("name", CARRIED)
def test_what_is_carried_over(db: Database, name: str) -> None:
    row = CARRIED[name]
    version = db.scalar("select current_setting('server_version_num')::int / 10000", "postgres")
    if not row.since <= version <= row.until:
        pytest.skip(f"PostgreSQL {version} has no such column")
    with db.connect("postgres") as conn:
        conn.execute(f"create role {db.name}_r".encode())
        conn.execute("set allow_in_place_tablespaces = on")
        conn.execute(f"create tablespace {db.name}_t location ''".encode())
        try:
            conn.execute(f"create database {db.name} {row.options.format(db=db.name)}".encode())
        except psycopg.errors.FeatureNotSupported as error:
            pytest.skip(str(error))
    value = f"select ({row.value or name})::text as value from pg_database d where datname = '{db.name}'"
    empty = str(db.sql("select 1;"))
    try:
        usual = db.scalar(value, "postgres")
        if row.statement:
            db.do(row.statement.format(db=db.name), "postgres")
            assert db.scalar(value, "postgres") != usual
        before = db.scalar(value, "postgres"), oid(db)
        for _ in range(3):  # the third removes one that has it
            build.setup(db.settings(), "local", empty, "", {}, "", force=False)
            assert db.scalar(value, "postgres") == before[0]
        assert oid(db) != before[1]
        assert db.names() == {"", "__prev"}
    finally:
        for suffix in db.names():
            db.do(f"alter database {db.name}{suffix} is_template false", "postgres")
            db.do(f"drop database {db.name}{suffix} with (force)", "postgres")
        db.do(f"drop tablespace {db.name}_t", "postgres")
        db.do(f"drop role {db.name}_r", "postgres")


# --- what is named, and wants --force ---------------------------------------------------------


def closed(db: Database, suffix: str = "") -> None:
    db.do(f"alter database {db.name}{suffix} allow_connections false", "postgres")


def label(db: Database, suffix: str = "") -> None:
    # what a module of the server's would do for SECURITY LABEL
    db.do(
        f"insert into pg_shseclabel values ({oid(db, suffix)}, 'pg_database'::regclass, 'selinux', 'it''s')", "postgres"
    )


def subscription(db: Database, suffix: str = "") -> None:
    """Have a database filled from elsewhere: here from nobody, since no worker is wanted."""
    options = "connect = false, slot_name = 'far_away'"
    db.do(
        f"create subscription s_{db.name} connection 'host=127.0.0.1 port=1' publication p with ({options})",
        db.name + suffix,
    )


def slot(db: Database, suffix: str = "") -> None:
    db.do(f"select pg_create_logical_replication_slot('feed_{db.name}', 'pgoutput')", db.name + suffix)


def publication(db: Database, suffix: str = "") -> None:
    db.do("create publication p for table users", db.name + suffix)


NAMED: dict[str, tuple[Callable[..., None], str]] = {
    "datallowconn": (closed, "{db} allows no connections: the new database will"),
    "pg_shseclabel": (label, "security label for selinux on database {db} is 'it''s'"),
    "pg_subscription": (subscription, "the subscription s_{db} fills {db} and stays with it"),
    "pg_replication_slots": (slot, "the replication slot feed_{db} (pgoutput) reads {db} and stays with it"),
    "pg_publication": (publication, "the publication p is in {db}, and the files make none"),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_and_wants_force(db: Database, capsys: pytest.CaptureFixture[str], name: str) -> None:
    make, words = NAMED[name]
    setup(db)
    make(db)
    live = oid(db)
    try:
        refused(db, lambda: setup(db), words.format(db=db.name))
        setup(db, force=True)
        assert words.format(db=db.name) in capsys.readouterr().err
        assert oid(db) != live
        assert oid(db, "__prev") == live
        assert db.scalar("select count(*) from users") == 5
    finally:
        if name == "pg_shseclabel":
            db.do("delete from pg_shseclabel", "postgres")


def test_a_publication_that_the_files_make_is_not_missing(db: Database) -> None:
    schema = str(db.sql((db.root / "sql/schema.sql").read_text() + "create publication p for table users;\n"))
    for _ in range(2):
        setup(db, schema=schema)
    assert db.scalar("select count(*) from pg_publication") == 1


@pytest.mark.parametrize("what", [swap.drop, swap.undo])
@pytest.mark.parametrize("make", [slot, subscription])
def test_drop_and_undo_name_what_stays_behind(
    db: Database, make: Callable[..., None], what: Callable[..., bool]
) -> None:
    setup(db)
    setup(db)
    make(db)
    live = oid(db)
    refused(db, lambda: act(db, what), "stays with it when it becomes")
    act(db, what, force=True)
    assert oid(db, "__prev") == live
    act(db, swap.undo, force=True)
    assert oid(db) == live


# --- leftovers, and the command that ends each --------------------------------------------------


@pytest.mark.parametrize("make", [slot, subscription])
@pytest.mark.parametrize("what", ["setup", "drop"])
def test_what_goes_with_the_one_that_is_removed(
    db: Database, capsys: pytest.CaptureFixture[str], what: str, make: Callable[..., None]
) -> None:
    setup(db)
    setup(db)
    make(db, "__prev")
    do = doing(db, what)
    refused(db, do, f"goes with {db.name}__prev, which is removed")
    do(force=True)
    if make is subscription:
        assert "there, select pg_drop_replication_slot('far_away')" in capsys.readouterr().err
    assert db.names() == ({"", "__prev"} if what == "setup" else {"__prev"})
    assert not db.query("select from pg_subscription", "postgres")
    assert not db.query(f"select from pg_replication_slots where slot_name = 'feed_{db.name}'", "postgres")


@pytest.mark.parametrize("what", ["setup", "drop", "undo"])
def test_each_leftover_is_ended_by_a_command(db: Database, what: str) -> None:
    """One that a subscription, a template's mark and a closed door hold, all at once."""
    setup(db)
    setup(db)
    db.do(f"create database {db.name}__old", "postgres")
    db.do(f"comment on database {db.name}__old is '[inv: kept]'", "postgres")
    subscription(db, "__old")
    slot(db, "__old")
    db.do(f"alter database {db.name}__old is_template true", "postgres")
    closed(db, "__old")
    do = doing(db, what)
    refused(db, do, "the subscription", "the replication slot", "is marked as a template, and is removed")
    do(force=True)
    assert db.names() == ({"__prev"} if what == "drop" else {"", "__prev"})


def test_a_slot_that_is_being_read_does_not_hold_a_leftover(db: Database) -> None:
    setup(db)
    db.do(f"create database {db.name}__next", "postgres")
    slot(db, "__next")
    params: dict[str, Any] = {**db.server.params, "dbname": f"{db.name}__next", "replication": "database"}
    with contextlib.closing(psycopg.connect(**params, autocommit=True)) as reader:
        reader.pgconn.send_query(
            f"START_REPLICATION SLOT feed_{db.name} LOGICAL 0/0 (proto_version '1', publication_names 'p')".encode()
        )
        while not db.query("select from pg_replication_slots where active", "postgres"):
            pass
        refused(db, lambda: setup(db), "the replication slot")
        setup(db, force=True)
        assert db.names() == {"", "__prev"}


def test_undo_opens_a_closed_one_and_says_so(db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    setup(db)
    setup(db)
    closed(db, "__prev")
    refused(db, lambda: act(db, swap.undo), f"{db.name}__prev allows no connections: under the name it will")
    act(db, swap.undo, force=True)
    assert "under the name it will" in capsys.readouterr().err
    assert db.scalar("select count(*) from users") == 5


def test_a_closed_one_that_was_dropped_comes_back_open(db: Database) -> None:
    setup(db)
    closed(db)
    with (
        opening.open_target(db.settings(), "local", "db.seed") as at,
        pytest.raises(NotAllowed, match="allow_connections true"),
    ):
        at.connect()
    act(db, swap.drop)
    refused(db, lambda: act(db, swap.undo), "allows no connections")
    act(db, swap.undo, force=True)
    assert db.scalar("select count(*) from users") == 5


def test_one_whose_removal_was_broken_off_is_not_brought_back(db: Database) -> None:
    setup(db)
    setup(db)
    db.do(f"update pg_database set datconnlimit = -2 where datname = '{db.name}__prev'", "postgres")
    with pytest.raises(Problem, match=rf'broken off.*nothing was done; drop database "{db.name}__prev" ends it'):
        act(db, swap.undo, force=True)
    setup(db)
    assert db.names() == {"", "__prev"}


def test_a_setting_that_this_user_may_not_give_is_named(db: Database) -> None:
    role = f"{db.name}_o"
    db.do(f"create role {role} login createdb password 'x'; grant pg_signal_backend to {role}", "postgres")
    owner = Database(servers.Server("own", {**db.server.params, "user": role, "password": "x"}), db.name, db.root)
    try:
        setup(owner)
        db.do(f"alter database {db.name} set log_min_duration_statement to '7s'", "postgres")
        refused(
            db,
            lambda: setup(owner),
            f'ALTER DATABASE "{db.name}" SET'.lower(),
            "log_min_duration_statement",
            "permission denied",
        )
        setup(owner, force=True)
        assert db.scalar("show log_min_duration_statement") == "-1"
    finally:
        for suffix in db.names():
            db.do(f"drop database {db.name}{suffix} with (force)", "postgres")
        db.do(f"drop role {role}", "postgres")


def test_a_connection_limit_does_not_hold_up_the_load(db: Database) -> None:
    """Nor does it hold off its owner, who is no superuser and loads over two connections."""
    role = f"{db.name}_o"
    db.do(f"create role {role} login createdb password 'x'; grant pg_signal_backend to {role}", "postgres")
    owner = Database(servers.Server("own", {**db.server.params, "user": role, "password": "x"}), db.name, db.root)
    try:
        setup(owner)
        db.do(f"alter database {db.name} connection limit 0", "postgres")
        setup(owner)
        assert db.scalar("select datconnlimit from pg_database where datname = current_database()") == 0
        assert db.scalar("select count(*) from users") == 5
    finally:
        for suffix in db.names():
            db.do(f"drop database {db.name}{suffix} with (force)", "postgres")
        db.do(f"drop role {role}", "postgres")


def test_the_question_on_production_names_them(db: Database) -> None:
    from ops.targets import production_guard

    setup(db)
    slot(db)
    subscription(db)
    with opening.open_target(db.settings(), "local", "db.setup", writes=True) as at:
        said = production_guard.stake(at, "setup")
    assert f"bound to it: replication slot feed_{db.name} of {db.name}, subscription s_{db.name} of {db.name}" in said
