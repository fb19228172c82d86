"""Pending migrations, tried on a database of the target's shape."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import load
from ops.db import nowhere, shown
from ops.db.diagnose import report as diagnose
from ops.db.rehearsal import queries, rehearse, remembered, report, trial, work
from ops.db.rehearsal.report import Rehearsal, Rehearsed
from ops.db.rehearsal.traffic import Traffic
from ops.db.rehearsal.trial import Trial
from ops.db.rehearsal.verdict import Release
from ops.db.rehearsal.work import Failed, Part, Statement
from ops.errors import Misconfigured
from ops.look import panels
from ops.targets import opening
from ops.targets.embedded import server
from tests.fix_cli import Cli
from tests.fix_suppliers import Database, supply
from tests.servers import Server

SCHEMA = """
create role rehearsal_reader;
create table people (id int primary key, name text not null, mail text);
create table posts (id int primary key, person_id int not null references people (id), body text not null, price int);
insert into people select n, 'p' || n, 'canary' || n || '@example.org' from generate_series(1, 3000) n;
insert into posts select n, n % 3000 + 1, 'b' || n % 7, n from generate_series(1, 30000) n;
grant select on people to rehearsal_reader;
analyze
"""


def part(*statements: str, transaction: bool = True) -> Part:
    return Part(tuple(Statement(sql, line) for line, sql in enumerate(statements, 2)), transaction)


TRIALS = [
    Trial("1", "add", part("alter table people add extra int", "comment on column people.extra is 'More.'"), part("alter table people drop extra")),
    Trial("2", "widen", part("alter table posts alter price type bigint"), part("alter table posts alter price type int")),
    Trial("3", "index", part("create index concurrently posts_price on posts (price)", transaction=False), part("drop index posts_price")),
    Trial("4", "changed", part("update posts set price = 1"), part("update posts set price = 2")),
    Trial("5", "lossy", part("alter table people drop mail"), part("alter table people add mail varchar(9)")),
    Trial("6", "strict", part("alter table posts add check (body like 'b%')"), None),
    Trial("7", "key", part("alter table posts add foreign key (price) references people (id)"), None),
    Trial("8", "unique", part("create unique index concurrently odd on people (length(name))", transaction=False), None),
    Trial("9", "broken", part("select 1", "alter table nothing add x int"), None),
    Trial("10", "behind", part("select 1"), None),
]  # fmt: skip
QUERIES = {
    "all.sql": "select * from people where id = %(id)s",
    "named.sql": "select name from people limit %(limit)s",
    "mails.sql": "select mail from people where mail = 'alice@example.org' -- of Bob",
    "lost.sql": "select * from nowhere",
}


@pytest.fixture(scope="module")
def found(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """What one rehearsal of all of them tells."""
    root = tmp_path_factory.mktemp("repo")
    database = Database(postgres, "rehearsed", root)
    (root / "sql" / "queries").mkdir(parents=True)
    for name, text in QUERIES.items():
        (root / "sql" / "queries" / name).write_text(text, encoding="utf-8")
    database.do(f"create database {database.name}", "postgres")
    database.do(SCHEMA)
    # one who may read, and write nothing
    database.do("create role rehearsal_login login password 'reads' in role pg_read_all_data")
    login = database.target(user="rehearsal_login", password="reads")
    settings = load({}, {"CONNECTION_URL": login.url(show_password=True)}, root)
    with opening.open_target(settings, "local", "db.rehearse") as at, at.connect() as conn:
        conn.execute("set default_transaction_read_only = on")
        source = rehearse.known(at, conn, needed=True)
    assert "canary" not in repr(source)
    yield rehearse.rehearsed(settings, source, TRIALS, 1.0, 1e9)
    server.remove_data(root / ".local" / "rehearsal")
    database.do(f"drop database {database.name}", "postgres")
    database.do("drop role rehearsal_reader, rehearsal_login", "postgres")


def test_an_advised_index_is_proved_on_the_copy_and_never_made_on_the_target(one: Database) -> None:
    """By the cost of the query, which is the application's own; a second one that no index helps is not advised any."""
    one.do(f'create database "{one.name}"', "postgres")
    one.do(
        """create table people (id int primary key, mail text not null, age int not null);
        insert into people select n, 'canary' || n || '@example.org', n % 50 from generate_series(1, 30000) n"""
    )
    one.do("vacuum analyze")
    folder = one.root / "sql" / "queries"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "by_mail.sql").write_text("select * from people where mail = %(mail)s", encoding="utf-8")
    (folder / "all.sql").write_text("select * from people", encoding="utf-8")
    settings = load({}, {"CONNECTION_URL": one.url}, one.root)
    before = one.scalar("select count(*) from pg_indexes where schemaname = 'public'")
    found = diagnose.look_at(settings, "local", prove=True)
    [line] = [each for each in found.lines if each.proof]
    assert (line.object, line.mend) == ("queries/by_mail.sql", ["create index concurrently on public.people (mail)"])
    assert line.proof
    assert line.proof.used
    assert line.proof.after_cost < line.proof.before_cost / 10
    assert line.proof.rows_ratio == 1
    assert one.scalar("select count(*) from pg_indexes where schemaname = 'public'") == before
    [kept] = panels.advice(settings, "local")
    assert (kept["query"], kept["statement"], kept["after_cost"]) == (line.object, line.mend[0], line.proof.after_cost)
    assert panels.advice(settings, "prod") == []
    assert "canary" not in json.dumps(kept)
    (folder / "by_mail.sql").unlink()
    assert not any(each.proof for each in diagnose.look_at(settings, "local", prove=True).lines)
    assert panels.advice(settings, "local") == []


def one(found: Rehearsal, name: str) -> Rehearsed:
    return next(each for each in found.migrations if each.name == name)


def test_what_a_statement_does_is_told(found: Rehearsal) -> None:
    assert found.rows_ratio == 1.0
    assert found.made_bytes > 3_000_000
    [add, comment] = one(found, "add").statements
    assert [(lock.relation, lock.level) for lock in add.locks] == [("public.people", "access_exclusive")]
    assert (add.rewritten_tables, add.scans, add.estimate.basis, comment.locks) == ([], 0, "constant", [])
    assert add.held_seconds > comment.held_seconds
    [widen] = one(found, "widen").statements
    assert (widen.rewritten_tables, widen.rewritten_rows, widen.built_indexes) == (["public.posts"], 30_000, 1)
    assert widen.wal_bytes > 1_000_000
    assert widen.estimate.least_seconds < widen.estimate.seconds < widen.estimate.most_seconds
    assert widen.stall_seconds > 0.5 * widen.duration_seconds
    [index] = one(found, "index").statements
    assert [(lock.relation, lock.level) for lock in index.locks] == [("public.posts", "share_update_exclusive")]
    assert index.after_bytes > index.before_bytes
    assert one(found, "index").closed_to_writes is None
    [changed] = one(found, "changed").statements
    assert (changed.changed_rows, one(found, "changed").closed_to_reads) == (30_000, None)


def test_whether_the_down_part_restores_the_schema(found: Rehearsal) -> None:
    assert {each.name: each.down for each in found.migrations} == {
        "add": "restored",
        "widen": "restored",
        "index": "restored",
        "changed": "restored",
        "lossy": "differs",
        "strict": "missing",
        "key": "missing",
        "unique": "missing",
        "broken": "not_run",
    }
    assert [(each.name, each.what) for each in one(found, "lossy").differences] == [("public.people.mail", "type")]


def test_whether_the_release_survives(found: Rehearsal) -> None:
    words = {(each.name, v.query.rpartition("/")[2]): v.verdict for each in found.migrations for v in each.verdicts}
    assert words["add", "all.sql"] == "fails_once"
    assert words["add", "named.sql"] == words["widen", "all.sql"] == "survives"
    assert words["lossy", "mails.sql"] == "breaks"
    [verdict] = [v for v in one(found, "lossy").verdicts if v.query.endswith("mails.sql")]
    assert (verdict.open_session_sqlstate, verdict.new_session_sqlstate) == ("42703", "42703")
    assert verdict.text == "select mail from people where mail = ?"
    unprepared = {each.name: each.sqlstate for each in found.unprepared}
    assert unprepared["sql/queries/lost.sql"] == "42P01"
    assert set(unprepared) == {"sql/queries/lost.sql", "the function's look", "the function's insert"}


def test_made_up_rows_that_are_refused_are_no_fault(found: Rehearsal) -> None:
    assert "those of public.posts: whether the target's own rows pass is not known" in one(found, "strict").notes[0]
    assert one(found, "strict").failures == []
    assert one(found, "key").failures == []
    [note] = one(found, "unique").notes
    assert "23505" in note
    assert "without those of public.people" in note
    assert one(found, "unique").failures == []


def test_what_fails_is_told_and_nothing_behind_it_tried(found: Rehearsal) -> None:
    [failure] = one(found, "broken").failures
    assert (failure.direction, failure.line, failure.sqlstate) == ("up", 3, "42P01")
    assert "the 1 behind it were not tried" in found.notes
    assert report.faults(found) == [
        "the down part of 5_lossy does not bring back what was there",
        "5_lossy breaks 1 of the queries that run now (sql/queries/mails.sql)",
        '9_broken:3 fails (42P01: relation "nothing" does not exist)',
    ]


def test_as_markdown(found: Rehearsal) -> None:
    text = report.markdown(found)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert "### 2_widen" in text
    assert any("| rewrites public.posts (30000 rows), builds 1 indexes |" in line for line in tables)
    assert "| sql/queries/mails.sql | breaks | 42703 | 42703 |" in text
    assert "alice@example.org" not in text + repr(found)


def test_what_was_found_is_remembered_by_the_content_of_the_file(found: Rehearsal, tmp_path: Path) -> None:
    for _ in range(2):
        remembered.remember(tmp_path, found, {each.version: f"digest {each.version}" for each in found.migrations})
    assert len(remembered.read(tmp_path)) == len(found.migrations)

    [widened] = [each for each in remembered.read(tmp_path) if each["version"] == "2"]
    [step] = [each for each in widened["steps"] if each["relation"] == "public.posts"]
    assert (step["level"], step["keeps_out"], step["estimate_seconds"] > 0) == (
        "access_exclusive",
        "readers and writers",
        True,
    )

    def told(version: str) -> str:
        return remembered.told(tmp_path, "local", version, f"digest {version}").partition(": ")[2]

    assert told("1").startswith("readers and writers kept out for about")
    assert (told("3"), told("9")) == ("nobody is kept out", "it fails (42P01)")
    assert told("5").endswith("1 queries of the running release break, the down part does not restore the schema")
    assert (
        remembered.told(tmp_path, "local", "1", "another") == remembered.told(tmp_path, "prod", "1", "digest 1") == ""
    )


SECOND = """
-- migrate:up
alter table public.users add nick text;

-- migrate:down
alter table public.users drop nick;
"""


def test_from_the_command_line(inv: Cli) -> None:
    """Rows of none are asked for, nothing is written there, and what breaks is exit 4."""
    folder = inv.root / "sql" / "migrations"
    folder.mkdir(exist_ok=True)
    inv.ok("db.setup")
    assert "nothing is pending" in inv("db.rehearse").stderr
    (folder / "20990101000000_nick.sql").write_text(SECOND, encoding="utf-8")
    before = inv.ok("db.query", "users", "--json")
    done = inv("db.rehearse", "--rows", "50%", "--json", timeout=300)
    assert (done.returncode, done.stderr.count("Error")) == (0, 0), done.stderr
    told = json.loads(done.stdout)
    [migration] = told["migrations"]
    assert (migration["down"], told["rows_ratio"], told["unprepared"]) == ("restored", 0.5, [])
    assert {one["query"]: one["verdict"] for one in migration["verdicts"]} == {
        "sql/queries/home.sql": "survives",
        "sql/queries/users.sql": "survives",
        "the function's look": "survives",
        "the function's insert": "survives",
    }
    assert inv.ok("db.query", "users", "--json") == before
    (folder / "20990101000000_nick.sql").write_text(SECOND.replace("add nick text", "drop email"), encoding="utf-8")
    done = inv("db.rehearse", "--markdown", "--rows", "0%", timeout=300)
    assert done.returncode == 4, done.stderr
    assert "### 20990101000000_nick" in done.stdout
    assert "the function's insert | breaks | 42703 | 42703" in done.stdout
    assert "breaks 2 of the queries that run now" in done.stderr


@pytest.mark.parametrize("text", ["x", "101%", "-1", "5%%"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(Misconfigured, match="--rows"):
        rehearse.share_of(text)


def test_nothing_of_a_target_leads_to_another_server(postgres: Server, tmp_path: Path) -> None:
    """A pending UPDATE of a foreign table changes no row there; addresses and passwords are not even read."""
    far, near = Database(postgres, "far", tmp_path), Database(postgres, "near", tmp_path)
    for each in (far, near):
        each.do(f"create database {each.name}", "postgres")
    far.do("create table t (id int); insert into t values (1)")
    params = far.target().params
    try:
        near.do(
            f"create extension postgres_fdw; create server away foreign data wrapper postgres_fdw options (host '{params['host']}', port '{params['port']}', dbname 'far', fetch_size '50');"
            f" create user mapping for public server away options (user '{params['user']}', password '{params['password']}');"
            " create foreign table t (id int) server away"
        )
        settings = near.settings()
        with opening.open_target(settings, "local", "db.rehearse") as at, at.connect() as conn:
            source = rehearse.known(at, conn, needed=True)
        assert params["password"] not in source.schema
        assert params["host"] not in source.schema
        assert "fetch_size '50'" in source.schema
        rows = Trial("1", "far", part("alter server away options (set host 'x')", "update t set id = 2"), None)
        found = rehearse.rehearsed(settings, source, [rows], 1.0, 1e9)
        assert "statements on foreign tables are not rehearsed: those lead nowhere here" in found.notes
        [failure] = one(found, "far").failures
        assert (failure.line, failure.message) == (3, nowhere.NOT_RUN)
        assert far.query("select id from t") == [{"id": 1}]
    finally:
        for each in (far, near):
            each.do(f"drop database {each.name}", "postgres")


def test_a_query_that_is_not_utf_8_is_named_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes("select 1;\n-- für\n".encode("latin-1"))
    with pytest.raises(Misconfigured, match=r"a\.sql:2: is not UTF-8 here"):
        queries.of_files(tmp_path, tmp_path)


def test_a_target_of_another_version(database: Database) -> None:
    """On each supplier's version, also by TLS: by programs of the same one where they are here, else it is said."""
    database.do(f"create database {database.name}", "postgres")
    database.do("create table t (id int primary key, a text); insert into t values (1, 'x'); analyze")
    settings = database.settings()
    with opening.open_target(settings, "local", "db.rehearse") as at, at.connect() as conn:
        source = rehearse.known(at, conn, needed=True)
    found = rehearse.rehearsed(settings, source, TRIALS[-1:], 1.0, 1e9)
    said = f"there is no PostgreSQL {source.major} here" in " ".join(found.notes)
    assert said is (found.rehearsed_version != str(source.major))
    assert found.migrations[0].failures == []


def test_rows_that_writers_work_on_are_given_others_to_point_to_as_well(database: Database) -> None:
    """A row that a writer holds meanwhile is not passed over."""
    database.do(f"create database {database.name}", "postgres")
    database.do(
        "create table parents (id int primary key); insert into parents select generate_series(1, 50); "
        "create table children (id int primary key, parent_id int); "
        "insert into children select n, n + 1000 from generate_series(1, 100000) n; analyze"
    )
    key = part("alter table children add foreign key (parent_id) references parents (id)")
    traffic = Traffic(database.connect)
    with contextlib.closing(Release(database.connect, shown.without_values)) as release, traffic.running():
        stage = trial.Stage(database.connect, {}, dict, traffic, release, str)
        with pytest.raises(Failed) as caught:
            work.look_at(database.connect, key)
        assert trial.mended(stage, caught.value) == "those of public.children were given others to point to"
    assert work.look_at(database.connect, key)


def test_statements_of_others_are_judged_where_the_target_has_them(tmp_path: Path) -> None:
    """What cannot be prepared is named, utility statements are only counted."""
    for made in supply("embedded", ["shared_preload_libraries=pg_stat_statements"]):
        database = Database(made, "others", tmp_path)
        database.do("create database others", "postgres")
        database.do(
            "create extension pg_stat_statements; create table t (id int, a text); select pg_stat_statements_reset()"
        )
        with database.connect() as conn:
            for text in (
                "select a from t where id = 5",
                "create role carol password 'CANARY2'",
                "select interval '1 day'",
            ):
                conn.execute(text.encode())
            told = queries.of_statistics(conn)
            release = Release(database.connect, shown.without_values)
            release.prepare(told.queries)
        texts = [each.sql for each in told.queries]
        assert "select a from t where id = $1" in texts
        assert told.skipped >= 1
        assert "CANARY2" not in " ".join(texts)
        assert [each.sqlstate for each in release.unprepared] == ["42601"]
        database.do("alter table t drop a")
        assert {each.text: each.verdict for each in release.judge()}["select a from t where id = $1"] == "breaks"
        release.close()
