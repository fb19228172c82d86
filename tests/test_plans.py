"""db.pull --plans: the plans of a database with rows, in one that has none and takes no room."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from psycopg.rows import dict_row

from config.settings import Settings, load
from ops.db import query
from ops.db.plans import btree, marker, plans, sparse
from ops.db.pull import statistics
from ops.db.pull.statistics import Column
from ops.errors import Misconfigured, Problem, Refused
from ops.targets.embedded import postmaster, server, state
from ops.yaml_file import compose
from tests import fix_plans
from tests.fix_cli import SUITE, without_coverage
from tests.fix_plans import SCHEMAS
from tests.fix_suppliers import Database
from tests.tcp_relay import Tap

NAME = "app"
BEYOND = 10_000_000
"""Bytes on the disk that it may take, over an empty database."""

pytestmark = pytest.mark.xdist_group("plans")  # one server for all of them, and one after the other


@dataclass
class Home:
    """A repository with its embedded server, on which both the sources and the target lie."""

    root: Path
    made: state.Server

    def url(self, name: str, port: int = 0) -> str:
        return self.made.target(name).on(port=str(port or self.made.port)).url(show_password=True)

    def settings(self, source: str, port: int = 0, target: str = NAME) -> Settings:
        urls = {"CONNECTION_URL": self.url(target), "PROD_CONNECTION_URL": self.url(source, port)}
        return load({}, urls, self.root)

    def connect(self, name: str) -> psycopg.Connection[dict[str, Any]]:
        params: dict[str, Any] = {**self.made.target(name).params}
        return psycopg.Connection[Any].connect(autocommit=True, row_factory=dict_row, **params)

    def do(self, name: str, *statements: str) -> None:
        with self.connect(name) as conn:
            for each in statements:
                conn.execute(each.encode())

    def fill(self, name: str, sql: str) -> None:
        self.do("postgres", f"drop database if exists {name} with (force)", f"create database {name}")
        self.do(name, f"set session_replication_role = replica; {sql}", "vacuum analyze")  # keys need no look

    def names(self) -> set[str]:
        """Return the databases that belong to ours; a removal on its way is awaited."""
        patience = time.monotonic() + 30
        while True:
            with self.connect("postgres") as conn:
                rows = conn.execute("select datname from pg_database where datname like 'app%'").fetchall()
            found = {row["datname"] for row in rows}
            if NAME + marker.OLD not in found or time.monotonic() > patience:
                return found
            time.sleep(0.05)

    def plan(self, name: str, sql: str) -> str:
        with self.connect(name) as conn:
            return "\n".join(row["QUERY PLAN"] for row in conn.execute(f"explain (costs off) {sql}".encode()))

    def room(self, name: str) -> int:
        """Return the bytes that a database takes on the disk."""
        with self.connect("postgres") as conn:
            conn.execute("checkpoint")  # what has not been written yet takes none
            row = conn.execute("select oid from pg_database where datname = %s", [name]).fetchone()
        assert row
        folder = self.made.data / "base" / str(row["oid"])
        room = 0
        for each in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # a checkpoint removes those of what was dropped
                room += each.stat().st_blocks * 512
        return room


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root = tmp_path_factory.mktemp("plans")
    here = Home(root, server.start_server(root, server.Login(postmaster.free_port(), "postgres", "secret")))
    here.do("postgres", "alter system set fsync = off", "select pg_reload_conf()")
    here.do("postgres", f"create database {NAME}", "create database bare template template0")
    yield here
    server.remove_data(root)


def only(*names: str) -> plans.Shown:
    return lambda _: {Column("public", *each.split(".")) for each in names}


SMALL = """
create table things (id int primary key, name text, at timestamptz);
insert into things select i, 'n' || i, timestamptz '2026-01-01' - i * interval '1 min' from generate_series(1, 30000) i;
create index on things (at);
"""


@pytest.fixture(scope="module")
def small(home: Home) -> Home:
    home.fill("small", SMALL)
    return home


# --- the goal -----------------------------------------------------------------------------


@pytest.mark.slow
def test_95_of_100_queries_have_the_same_plan(home: Home) -> None:
    same, others, most = 0, list[str](), 0
    for name, schema in SCHEMAS.items():
        home.fill(name, schema.sql)
        for more in ("min_parallel_table_scan_size = '1MB'", "parallel_setup_cost = 10"):
            home.do("postgres", f"alter database {name} set {more}")
        made = plans.make(home.settings(name), "prod", "local", lambda _, schema=schema: schema.columns())  # type: ignore[misc]
        most = max(most, home.room(made.database) - home.room("bare"))
        for each in filter(None, map(str.strip, schema.queries.splitlines())):
            there, here = home.plan(name, each), home.plan(made.database, each)
            same += there == here
            others += [each] if there != here else []
        home.do("postgres", f"drop database {name}")
    assert same >= 95, others
    assert same + len(others) == 100
    assert 0 < most < BEYOND


def test_no_values_at_all_still_make_most_plans(small: Home) -> None:
    made = plans.make(small.settings("small"), "prod", "local", only())
    for each in ("select * from things where id = 5", "select max(at) from things", "select count(*) from things"):
        assert small.plan(made.database, each) == small.plan("small", each)
    with small.connect(made.database) as conn:
        found = conn.execute("select most_common_vals, histogram_bounds, null_frac, n_distinct from pg_stats where tablename = 'things'").fetchall()  # fmt: skip
        assert conn.execute("select count(*) as rows from things").fetchone() == {"rows": 0}
    assert [(each["most_common_vals"], each["histogram_bounds"]) for each in found] == [(None, None)] * 3
    assert {each["n_distinct"] for each in found} == {-1.0}
    assert made.left == 3


# --- what it says it is -------------------------------------------------------------------


def test_it_says_what_it_is_and_takes_no_writes(small: Home) -> None:
    plans.make(small.settings("small"), "prod", "local")
    assert small.names() == {"app", "app__plans"}
    with small.connect("app__plans") as conn, small.connect("small") as source:
        assert marker.is_plans_only(conn)
        assert marker.is_plans_only(source, "app__plans")
        assert not marker.is_plans_only(source)
        with pytest.raises(Refused, match="app__plans holds plans and no rows"):
            marker.require_rows(conn)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("insert into things values (0)")
        assert conn.execute("select distinct reloptions from pg_class where relkind = 'r' and relname = 'things'").fetchone() == {
            "reloptions": ["autovacuum_enabled=off"]
        }  # fmt: skip
    with pytest.raises(Refused, match="holds plans and no rows"):
        plans.make(small.settings("app__plans"), "prod", "local")


def test_the_planners_settings_come_along(small: Home) -> None:
    small.do(
        "postgres",
        "alter database small set random_page_cost = 1.1",
        "alter database small set datestyle = 'SQL, DMY'",
        "alter database small set search_path = public, pg_catalog",
    )
    plans.make(small.settings("small"), "prod", "local", only("things.at"))
    small.do("postgres", "alter database small reset all")
    bounds = "select histogram_bounds::text from pg_stats where tablename = 'things' and attname = 'at'"
    with small.connect("app__plans") as conn, small.connect("small") as source:
        assert conn.execute(bounds.encode()).fetchone() == source.execute(bounds.encode()).fetchone()
        row = conn.execute(
            "select current_setting('random_page_cost') as cost, current_setting('search_path') as path"
        ).fetchone()
    assert row == {"cost": "1.1", "path": "public, pg_catalog"}


def test_roles_rights_and_strangers_stay_away(home: Home) -> None:
    """What names roles of the source, guards rows there, or leads to other servers."""
    home.do("postgres", "drop role if exists clerk", "create role clerk")
    home.fill(
        "strange",
        """
        create extension postgres_fdw; create server far foreign data wrapper postgres_fdw options (host 'db.example.org');
        create user mapping for current_user server far options (user 'u', password 'geheim');
        create foreign table afar (n int) server far;
        create table "Mixed Case" (id serial primary key, "when" date); alter table "Mixed Case" enable row level security;
        create policy mine on "Mixed Case" to clerk using (true); grant select on "Mixed Case" to clerk;
        insert into "Mixed Case" ("when") select date '2026-01-01' from generate_series(1, 20000);
        comment on table "Mixed Case" is 'of alice@example.org';
        create function touched() returns trigger language plpgsql as $$ begin return new; end $$;
        create trigger touched before update on "Mixed Case" for each row execute function touched();
        """,
    )
    made = plans.make(home.settings("strange"), "prod", "local")
    with home.connect(made.database) as conn:
        rows = conn.execute("select relrowsecurity, relhastriggers, obj_description(oid) as comment from pg_class where relname = 'Mixed Case'").fetchall()  # fmt: skip
        assert rows == [{"relrowsecurity": False, "relhastriggers": False, "comment": None}]
        assert conn.execute("select from pg_user_mapping").fetchall() == []
        found = conn.execute("select srvoptions from pg_foreign_server").fetchone()
    assert "example.org" not in str(found)
    wanted = 'select * from "Mixed Case" where id = 7'
    assert home.plan(made.database, wanted) == home.plan("strange", wanted)
    home.do("postgres", "drop database strange", "drop role clerk")


# --- refused ------------------------------------------------------------------------------


def test_only_the_embedded_server(one: Database, small: Home) -> None:
    one.do(f"create database {one.name}", "postgres")
    with pytest.raises(Misconfigured, match="is not the embedded server of PostgreSQL 18"):
        plans.make(
            load({}, {"CONNECTION_URL": one.url, "PROD_CONNECTION_URL": small.url("small")}, small.root),
            "prod",
            "local",
        )


def test_no_protected_target_and_nobody_elses_database(small: Home) -> None:
    with pytest.raises(Refused, match="is production"):
        plans.make(small.settings("small"), "prod", "prod")
    small.do("postgres", "create database other", "create database other__plans")
    with pytest.raises(Refused, match="other__plans was not made by inv"):
        plans.make(small.settings("small", target="other"), "prod", "local")
    small.do("postgres", "drop database other", "drop database other__plans")
    with pytest.raises(Misconfigured, match="leaves no room"):
        plans.make(small.settings("small", target="x" * 60), "prod", "local")


def test_what_the_source_refuses_is_told_of_the_source(small: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "PATIENCE", "set local lock_timeout = '50ms'; set local statement_timeout = '60s'")
    monkeypatch.setattr(plans, "OPTIONS", (*plans.OPTIONS[:-1], "--lock-wait-timeout=100ms"))
    with small.connect("small") as conn, conn.transaction():
        conn.execute("lock table things in access exclusive mode")
        with pytest.raises(Problem, match=r"small.*(another session holds|canceling statement due to)"):
            plans.make(small.settings("small"), "prod", "local")
    with pytest.raises(Problem, match="is no file of a database"):
        plans.file_of(small.root, "../etc/passwd")
    assert small.names() <= {"app", "app__plans"}


# --- files --------------------------------------------------------------------------------


def test_more_than_a_segment_and_pages_that_the_server_accepts(home: Home) -> None:
    """A table of 2.5 GB whose index is three levels high: no room on the disk, whole for amcheck, checksums right, EXPLAIN and scans work."""
    home.fill(
        "large",
        "create table big (id int8 primary key, name text); create index on big (name); insert into big values (1, 'a')",
    )
    with home.connect("large") as conn:
        rows = conn.execute(
            "select relname, pg_relation_filepath(oid) as path from pg_class where relname ~ '^big'"
        ).fetchall()
        conn.execute("checkpoint")
        paths = {row["relname"]: home.made.data / row["path"] for row in rows}
        sparse.stretch(paths["big"], 2_500_001_792, 1 << 30)
        sparse.stretch(paths["big_pkey"], 900_005_888, 1 << 30)
        blocks = 2_500_001_792 // 8192
        conn.execute(
            "select pg_restore_relation_stats('schemaname', 'public', 'relname', 'big', 'relpages', %s::int, 'reltuples', 4e7::real)",
            [blocks],
        )
    made = plans.make(home.settings("large"), "prod", "local")
    assert made.bytes > 3_400_000_000
    assert home.room(made.database) - home.room("bare") < BEYOND
    with home.connect(made.database) as conn:
        conn.execute("set default_transaction_read_only = off")
        found = conn.execute("select pg_relation_size('big') as size, pg_relation_filepath('big') as path").fetchone()
        assert found
        assert found["size"] == 2_500_001_792
        sizes = [(home.made.data / (found["path"] + end)).stat().st_size for end in ("", ".1", ".2")]
        assert sizes == [1 << 30, 1 << 30, 2_500_001_792 - (2 << 30)]
        conn.execute("create extension amcheck; create extension pageinspect")
        assert conn.execute("select level, fastlevel from bt_metap('big_pkey')").fetchone() == {
            "level": 3,
            "fastlevel": 3,
        }
        for check in ("bt_index_check", "bt_index_parent_check"):
            conn.execute(f"select {check}('big_pkey')".encode())
        assert conn.execute("show data_checksums").fetchone() == {"data_checksums": "on"}
        conn.execute("set enable_seqscan = off")
        for ask in (
            "select * from big where id = 3",
            "select max(id), min(id) from big",
            "select * from big where id > 5 order by id desc",
        ):
            conn.execute(ask.encode())
        assert conn.execute(
            "select checksum_failures as failures from pg_stat_database where datname = current_database()"
        ).fetchone() == {"failures": 0}
    home.do("postgres", "drop database large")


def test_a_file_system_that_gives_room_to_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "1"
    path.touch()
    real = os.ftruncate

    def filled(fd: int, size: int) -> None:
        real(fd, 0)
        os.pwrite(fd, b"x" * size, 0)

    monkeypatch.setattr(os, "ftruncate", filled)
    with pytest.raises(Problem, match="gives every file its whole room"):
        sparse.stretch(path, 5 << 20, 1 << 30)
    monkeypatch.undo()
    (tmp_path / "2").symlink_to(path)
    with pytest.raises(Problem, match="is a link"):
        sparse.stretch(tmp_path / "2", 8192, 1 << 30)


@pytest.mark.parametrize(
    ("rows", "column", "widths"),
    [(300, "i", [8.0]), (100_000, "i", [8.0]), (100_000, "md5(i::text)", [33.0]), (400_000, "i % 10, i", [8.0, 8.0])],
)
def test_the_height_follows_from_the_size(small: Home, rows: int, column: str, widths: list[float]) -> None:
    with small.connect("small") as conn:
        conn.execute("create extension if not exists pageinspect")
        names = "a, b" if len(widths) > 1 else "a"
        conn.execute(
            f"create temp table t as select * from (select {column} from generate_series(1, {rows}) i) t ({names})".encode()
        )
        conn.execute(f"create index t_index on t ({names})".encode())
        found = conn.execute(
            "select level, pg_relation_size('t_index') / 8192 as blocks from bt_metap('t_index')"
        ).fetchone()
    assert found
    assert btree.estimated_height(found["blocks"], widths) == found["level"]


# --- values -------------------------------------------------------------------------------


def has(raw: bytes, word: str) -> bool:
    forms = (word.encode(), word.encode().hex().encode(), base64.b64encode(word.encode())[:-4], word[::-1].encode())
    return any(form in raw for form in forms)


WORDS = [f"canary{n}zq" for n in range(8)]
PERSONAL = f"""
create table folk (id int primary key, name text, nicks text[], more jsonb, born daterange, made text generated always as (upper(name)) stored);
create table parts (id int, who text) partition by range (id);
create table parts_one partition of parts for values from (0) to (100000);
insert into folk (id, name, nicks, more, born) select i, '{WORDS[0]}', array['{WORDS[1]}'], '{{"x": "{WORDS[2]}"}}', '[2001-01-01,2002-02-02]' from generate_series(1, 3000) i;
insert into parts select i, '{WORDS[3]}' from generate_series(1, 3000) i;
create index on folk (lower(name || '{""}'));
create index on folk ((more ->> 'x'));
create materialized view seen as select name, '{WORDS[4]}' || id % 3 as shown from folk;
"""


def heard(home: Home, shown: plans.Shown) -> Collection[str]:
    with Tap(home.made.port) as tap:
        plans.make(home.settings("personal", tap.port), "prod", "local", shown)
    return [each for each in [*WORDS[:4], WORDS[0].upper()] if has(bytes(tap.bytes), each)]


def test_no_value_of_a_column_without_leave_crosses_the_wire(home: Home) -> None:
    home.fill("personal", PERSONAL)
    assert heard(home, only("folk.id")) == []
    with home.connect("app__plans") as conn:
        told = str(conn.execute("select * from pg_stats where schemaname = 'public'").fetchall())
    assert not [word for word in WORDS if word in told.lower()]
    # those that may, do: of a partition what its table may, of an index what its columns may
    every = ("name", "nicks", "more", "made")
    assert heard(home, only(*(f"folk.{each}" for each in every), "parts.who")) == [*WORDS[:4], WORDS[0].upper()]
    with home.connect("app__plans") as conn:
        row = conn.execute(
            "select count(*) as n from pg_stats where tablename = 'folk_lower_idx' and most_common_vals is not null"
        ).fetchone()
    assert row == {"n": 1}
    home.do("postgres", "drop database personal")


def test_the_masks_file_says_whose_values_come_along(home: Home) -> None:
    """What is kept does, what is masked or computed does not; a column that it leaves undecided stops it."""
    home.fill(
        "ruled",
        """create table folk (id serial primary key, mail text, state text, upper text generated always as (upper(state)) stored);
        insert into folk (mail, state) select 'm' || i % 9, 's' || i % 3 from generate_series(1, 3000) i""",
    )
    (home.root / "sql").mkdir(exist_ok=True)
    path = home.root / "sql" / "masks.yaml"
    path.write_text("tables:\n  folk:\n    columns:\n      mail: {fake: email}\n      state: keep\n")
    settings = home.settings("ruled")
    plans.show(settings, compose, "prod", "local")
    values = "select attname from pg_stats where tablename = 'folk' and most_common_vals is not null"
    with home.connect("app__plans") as conn:
        found = {row["attname"] for row in conn.execute(values.encode())}
    assert found == {"state"}
    path.write_text("tables:\n  folk:\n    columns:\n      state: keep\n")
    with pytest.raises(Misconfigured, match="mail"):
        plans.show(settings, compose, "prod", "local")
    path.unlink()
    home.do("postgres", "drop database ruled")


def test_what_tells_of_nobody_needs_no_leave(home: Home) -> None:
    home.fill(
        "safe",
        """create table a (id bigint generated always as identity primary key, ok bool, ssn int unique);
        create table b (n serial primary key, a_id bigint references a, ssn int references a (ssn), own int primary key default 1 );
        """.replace(", own int primary key default 1 ", ""),
    )
    with home.connect("safe") as conn:
        found = {f"{each.table}.{each.column}" for each in statistics.safe_columns(conn)}
    assert found == {"a.id", "a.ok", "b.n", "b.a_id"}


# --- servers ------------------------------------------------------------------------------


def test_from_any_server(database: Database, home: Home) -> None:
    """PostgreSQL 15 to 18, also as one who may read and is no superuser."""
    database.do(f"create database {database.name}", "postgres")
    database.do(SMALL)
    database.do("vacuum analyze things")
    role, names = f"r{database.name}", "id name at"
    database.do(f"create role {role} login password 'secret' in role pg_read_all_data")
    try:
        for more in ({}, {"user": role, "password": "secret"}):
            url = database.target(**more).url(show_password=True)
            settings = load({}, {"CONNECTION_URL": home.url(NAME), "PROD_CONNECTION_URL": url}, home.root)
            made = plans.make(settings, "prod", "local", only(*(f"things.{each}" for each in names.split())))
            assert (made.tables, made.indexes, made.left) == (1, 2, 0)
            for ask in (
                "where id = 5",
                "where at > timestamptz '2026-01-01' - interval '1 hour'",
                "where name = 'n7'",
                "order by at limit 3",
            ):
                sql = f"select * from things {ask}"
                there = "\n".join(row["QUERY PLAN"] for row in database.query(f"explain (costs off) {sql}"))
                assert home.plan(made.database, sql) == there
            kept = "select relpages, reltuples, relallvisible from pg_class where relname in ('things', 'things_pkey') order by relname"
            with home.connect(made.database) as conn:
                assert conn.execute(kept.encode()).fetchall() == database.query(kept)
    finally:
        database.do(f"drop role {role}")


# --- cut off ------------------------------------------------------------------------------

STEPS = (
    "create",
    "schema_of",
    "load.load_file",
    "give_sizes",
    "sparse.put",
    "sparse.stretch",
    "statistics.write",
    "settle",
    "take_place",
)


@pytest.mark.spread
@pytest.mark.parametrize(
    ("step", "after"),
    [*((step, False) for step in STEPS), ("sparse.stretch", True), ("settle", True), ("take_place", True)],
)
def test_killed_at_each_step(small: Home, step: str, after: bool) -> None:
    """The old or the new one is there, and the next run leaves nothing else."""
    plans.make(small.settings("small"), "prod", "local")  # another test's may be that of another source
    code = f"""
        import os, signal
        from pathlib import Path
        from config.settings import load
        from ops.db.plans import plans
        place, _, name = "{step}".rpartition(".")
        module = getattr(plans, place) if place else plans
        real = getattr(module, name)
        def cut(*args, **more):
            if {after}:
                real(*args, **more)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(module, name, cut)
        settings = load({{}}, {{"CONNECTION_URL": {small.url(NAME)!r}, "PROD_CONNECTION_URL": {small.url("small")!r}}}, Path({str(small.root)!r}))
        plans.make(settings, "prod", "local")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=SUITE, env=without_coverage(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert marked(small)
    assert small.plan("app__plans", "select * from things where id = 5").startswith("Index Scan using things_pkey")


def marked(home: Home) -> bool:
    with home.connect("postgres") as conn:
        return marker.is_plans_only(conn, "app__plans")


def test_the_next_run_removes_what_is_left(small: Home) -> None:
    small.do("postgres", "drop database if exists app__plans_new")  # a killed run's
    small.do("postgres", "create database app__plans_new")
    plans.make(small.settings("small"), "prod", "local")
    plans.make(small.settings("small"), "prod", "local")
    assert small.names() == {"app", "app__plans"}


# --- shown --------------------------------------------------------------------------------


def test_a_query_is_explained_on_it(small: Home, capsys: pytest.CaptureFixture[str]) -> None:
    settings = small.settings("small")
    (small.root / "sql" / "queries").mkdir(parents=True, exist_ok=True)
    folder = settings.queries
    (folder / "thing.sql").write_text("select * from things where id = %(id)s and name like 'n%%' limit %(limit)s\n")
    (folder / "two.sql").write_text("select 1; commit; select %(id)s")
    (folder / "bad.sql").write_text("select *\nfrom nothing where id = %(id)s")
    small.do("postgres", "drop database if exists app__plans")
    small.do(NAME, "create table if not exists things (id int primary key, name text, at timestamptz)")

    def shown(name: str, *, json: bool = False, **variables: str) -> str:
        capsys.readouterr()
        query.show(settings, name, "local", "20", variables, json=json, explain=True)
        out = capsys.readouterr()
        assert ("plan as on prod" in out.err) == marked(small)
        return out.out

    assert "things" in shown("thing")  # as the target itself would
    plans.make(settings, "prod", "local")
    assert "Index Scan using things_pkey on things" in shown("thing")
    assert "(id = $1)" in shown("thing")
    assert "(id = 5)" in shown("thing", id="5")
    assert '"Node Type": "Limit"' in shown("thing", json=True)
    with pytest.raises(Problem, match="cannot insert multiple commands"):
        shown("two")
    with pytest.raises(Problem, match=r"bad\.sql:2:6: relation \"nothing\" does not exist"):
        shown("bad")


def test_after_a_crash_it_is_made_anew(home: Home) -> None:
    """What went past the server's log may be gone then: it is said, not shown."""
    home.fill("small", SMALL)
    settings = home.settings("small")
    plans.make(settings, "prod", "local")
    pid = postmaster.running_pid(home.made)
    assert pid
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    server.start_server(home.root)
    with home.connect("app__plans") as conn, pytest.raises(Problem, match=r"has crashed since .* inv db.pull --plans"):
        marker.record(cast("Any", conn))
    plans.make(settings, "prod", "local")
    with home.connect("app__plans") as conn:
        assert marker.record(cast("Any", conn))["source"] == "prod"


def test_each_schema_has_twenty_queries() -> None:
    for schema in fix_plans.SCHEMAS.values():
        assert len([each for each in schema.queries.splitlines() if each.strip()]) == 20
