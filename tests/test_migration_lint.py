"""db.migration-lint: typical migrations, what squawk says of them alone, and what we say; held against what servers really do."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.db.migrations import apply, files, lint, lint_report, live_tables, squawk, statements
from ops.db.migrations.lint import Lint
from ops.errors import Differs, Misconfigured, Problem, Refused
from ops.targets import last_look
from tests import servers
from tests.fix_cli import Cli
from tests.fix_suppliers import Database, made
from tests.test_json import check

TABLES = """
create table small (id bigint primary key, x text, y bigint check (y > 0), gone text);
insert into small select i, 'x', i, '' from generate_series(1, 100) i;
create table big (id bigint primary key, a text, b bigint, c varchar(10), d numeric(6, 2), e text, f text,
  constraint f_there check (f is not null));
insert into big select i, repeat('a', 120), i, 'c', 1.5, 'e', 'f' from generate_series(1, 60000) i;
create index big_b on big (b);
create unique index big_a_b on big (b, a);
create view v as select id, a from big;
create table child (id bigint primary key, big_id bigint references big (id));
create function counts() returns bigint language plpgsql as $$ begin return (select sum(b) from big); end $$;
create function sums() returns bigint begin atomic select sum(small.y)::bigint from small; end;
create type mood as enum ('well');
create table parts (id bigint, at date) partition by range (at);
create table parts_1 partition of parts for values from ('2026-01-01') to ('2027-01-01');
create materialized view m as select count(*) as n from big;
analyze;
"""


def folder(root: Path, *ups: str, options: str = "", down: str = "select 1;") -> list[files.Migration]:
    """Write migrations with these up parts, and read them."""
    home = root / "migrations"
    home.mkdir(exist_ok=True)
    for number, up in enumerate(ups, 1):
        text = f"-- migrate:up{options}\n{up}\n\n-- migrate:down\n{down}\n"
        (home / f"2026010100000{number}_m.sql").write_bytes(text.encode())
    return files.read_folder(home)


def alone(path: Path, root: Path) -> set[str]:
    """Return the rules that squawk names of a whole file by itself."""
    program = squawk.program()
    assert program
    argv = [program, "--reporter", "json", "--assume-in-transaction", "--pg-version", "18.0", str(path)]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
    return {each["rule_name"] for each in json.loads(done.stdout or "[]")}


@pytest.fixture(scope="module")
def filled(postgres: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    for database in made(postgres, tmp_path_factory.mktemp("lint")):
        database.do(f'create database "{database.name}"', "postgres")
        database.do(TABLES)
        yield database


def linted(database: Database, migrations: list[files.Migration], *allow: str) -> Lint:
    with database.connect() as conn:
        return lint.lint(migrations, allow, "local", 18, database.root, conn)


def told(done: Lint) -> dict[str, str]:
    return {each.rule: "allowed" if each.allowed else each.level for each in done.findings}


NOISE = {"require-lock-timeout", "require-statement-timeout", "prefer-robust-stmts"}
"""What squawk says of nearly every statement, and db.migrate sees to itself."""
DROPS, WIDENS = "ban-drop-column", "changing-column-type"

# what it is; the up part; squawk alone; ours, with the levels: E error, W warning
CASES: list[tuple[str, str, str, str]] = [
    ("add a column", "alter table big add n text;", "", ""),
    ("add one that must have a value", "alter table big add n text not null;", "adding-required-field", "E adding-required-field"),
    ("add one with a constant", "alter table big add n bigint not null default 5;", "", ""),
    ("add one with a volatile default", "alter table big add n uuid default gen_random_uuid();", "adding-field-with-default", "E adding-field-with-default"),
    ("add one that numbers", "alter table big add n bigserial;", "prefer-identity", "E rewrites-table W prefer-identity"),
    ("add a virtual one", "alter table big add n bigint generated always as (b + 1) virtual;", "adding-field-with-default", ""),
    ("add one with a check", "alter table big add n bigint default 1 check (n > 0);", "", "E constraint-missing-not-valid"),
    ("drop a column", "alter table small drop gone;", DROPS, "E ban-drop-column"),
    ("drop one with an index", "alter table big drop b;", DROPS, "E ban-drop-column W goes-with-column W named-in-function"),
    ("drop one that a view shows", "alter table big drop a;", DROPS, "E ban-drop-column E column-in-use W goes-with-column"),
    ("drop it with the view", "alter table big drop a cascade;", DROPS, "E ban-drop-column E column-in-use W goes-with-column"),
    (
        "drop it behind the view",
        "drop view v;\nalter table big drop a;\ncreate view v as select id from big;",
        "ban-drop-column ban-drop-view",
        "E ban-drop-column W goes-with-column",
    ),
    ("rename a column", "alter table big rename b to bb;", "renaming-column", "E renaming-column W named-in-function"),
    ("widen a varchar", "alter table big alter c type varchar(40);", "changing-column-type prefer-text-field", "W changing-column-type"),
    ("narrow a varchar", "alter table big alter c type varchar(5);", "changing-column-type prefer-text-field", "E changing-column-type"),
    ("retype what a view shows", "alter table big alter a type bytea using ''::bytea;", WIDENS, "E changing-column-type E column-in-use"),
    ("set not null", "alter table big alter a set not null;", "adding-not-nullable-field", "E adding-not-nullable-field"),
    ("set it behind a check", "alter table big alter f set not null;", "adding-not-nullable-field", "W adding-not-nullable-field"),
    ("index a large table", "create index on big (c);", "require-concurrent-index-creation", "E require-concurrent-index-creation"),
    ("index a small table", "create index on small (x);", "require-concurrent-index-creation", "W require-concurrent-index-creation"),
    ("drop an index", "drop index big_b;", "require-concurrent-index-deletion", "W require-concurrent-index-deletion"),
    (
        "a foreign key of a small table",
        "alter table child add foreign key (id) references big (id);",
        "adding-foreign-key-constraint constraint-missing-not-valid",
        "W adding-foreign-key-constraint",
    ),
    (
        "a foreign key of a large one",
        "alter table big add foreign key (b) references small (id);",
        "adding-foreign-key-constraint constraint-missing-not-valid",
        "E adding-foreign-key-constraint",
    ),
    ("unique", "alter table big add unique (e);", "constraint-missing-not-valid disallowed-unique-constraint", "E disallowed-unique-constraint"),
    (
        "a constraint, validated at once",
        "alter table big add constraint k check (b > 0) not valid;\nalter table big validate constraint k;",
        "constraint-missing-not-valid",
        "E validates-under-lock",
    ),
    (
        "validated behind another lock",
        "alter table small add n text;\nalter table big validate constraint f_there;",
        "",
        "E validates-under-lock",
    ),
    ("validated by itself", "alter table big validate constraint f_there;", "", ""),
    ("two tables", "alter table big add n text;\nalter table small add n text;", "", "W locks-several-tables"),
    ("a plain detach", "alter table parts detach partition parts_1;", "require-concurrent-partition-detach", "E require-concurrent-partition-detach"),
    ("fill a column", "update big set e = 'x';", "", "E writes-all-rows"),
    ("fill that of a small table", "update small set x = 'x';", "", "W writes-all-rows"),
    ("some of its rows", "update big set e = 'x' where id < 100;", "", ""),
    ("truncate", "truncate small;", "", "E empties-table"),
    ("drop a table that is used", "drop table big;", "ban-drop-table", "E ban-drop-table E table-in-use W named-in-function"),
    ("rename a table", "alter table big rename to bigger;", "renaming-table", "E renaming-table W named-in-function"),
    (
        "a value of an enum, used",
        "alter type mood add value 'ill';\ninsert into small (id, x) values (0, 'ill'::mood::text);",
        "require-enum-value-ordering",
        "E enum-value-in-same-transaction",
    ),
    ("a block", "do $$ begin execute 'drop table big'; end $$;", "", "W not-seen"),
    ("refresh", "refresh materialized view m;", "", "E refresh-locks"),
    ("unlogged", "alter table big set unlogged;", "", "E rewrites-table"),
    ("what is not there", "alter table bigg add n text;", "", "W no-such-table"),
    ("a column that is not there", "alter table big drop zz;", DROPS, "E ban-drop-column W no-such-column"),
    (
        "a new table",
        "create table t (id bigint primary key, a text);\ncreate index on t (a);\nalter table t add b bigserial;\nupdate t set a = '';\ndrop table t;",
        "ban-drop-table prefer-identity",
        "W prefer-identity",
    ),
    ("no SQL", "alter table big ad n text;", "syntax-error", "E syntax-error"),
    ("an older habit", "create table t (id int, at timestamp);", "prefer-bigint-over-int prefer-timestamp-tz", "W prefer-bigint-over-int W prefer-timestamp-tz"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "up", "theirs", "ours"), CASES, ids=[case[0] for case in CASES])
def test_what_squawk_says_alone_and_what_we_say(
    filled: Database, tmp_path: Path, name: str, up: str, theirs: str, ours: str
) -> None:
    [migration] = folder(tmp_path, up)
    assert " ".join(sorted(alone(migration.path, tmp_path) - NOISE)) == theirs
    found = told(linted(filled, [migration]))
    assert " ".join(f"{found[rule][0].upper()} {rule}" for rule in sorted(found, key=lambda r: (found[r], r))) == ours


def test_without_the_database_each_table_counts_as_large(tmp_path: Path) -> None:
    migrations = folder(tmp_path, "create index on small (x);\nalter table big drop a cascade;")
    done = lint.lint(migrations, (), "local", 18, tmp_path, None)
    assert told(done) == {
        "require-concurrent-index-creation": "error",
        "ban-drop-column": "error",
        "drop-cascade": "warning",
    }
    assert (done.live, done.tables) == (False, [])


# --- held against what servers of each version do ------------------------------------------


@pytest.fixture
def tried(database: Database) -> Database:
    database.do(f'create database "{database.name}"', "postgres")
    database.do(TABLES)
    return database


def undone(database: Database, sql: str, after: str) -> tuple[str | None, list[dict[str, Any]]]:
    """Run statements and then a query in a transaction that is rolled back; return the SQLSTATE, or the query's rows."""
    with database.connect() as conn, conn.transaction(force_rollback=True):
        try:
            conn.execute(sql.encode())
        except psycopg.Error as error:
            return error.sqlstate, []
        return None, conn.execute(after.encode()).fetchall()


USED = """
create table target (id bigint primary key, plain text, indexed text, keyed bigint unique, viewed text, ruled text, checked text check (checked > ''),
  made text, source text, policied text, triggered text, body text, stats1 text, stats2 text, "Odd Name" text, own bigserial, quiet text default 'x' not null);
create index on target (indexed);
create table other (keyed bigint references target (keyed));
create view target_view as select viewed from target;
create rule target_rule as on delete to target where old.ruled = 'x' do instead nothing;
alter table target add generated_one text generated always as (source || 'x') stored;
create policy target_policy on target using (policied = 'x');
create function target_trigger() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger target_trigger before update of triggered on target for each row execute function target_trigger();
create function target_body() returns text begin atomic select max(body) from target; end;
create statistics target_statistics on stats1, stats2 from target;
create index odd on target ("Odd Name");
"""


def test_what_uses_a_column_is_what_the_server_says_when_it_is_dropped(tried: Database) -> None:
    tried.do(USED)
    gone = """select coalesce(array_agg(what order by what), '{}') as gone from (
      select conname::text as what from pg_constraint where contype <> 'n' union all select relname from pg_class where relkind in ('i', 'v')
      union all select tgname from pg_trigger where not tgisinternal union all select stxname from pg_statistic_ext) as there (what)"""
    [before] = tried.query(gone)
    columns = [
        row["attname"]
        for row in tried.query("select attname from pg_attribute where attrelid = 'target'::regclass and attnum > 0")
    ]
    seen = set()
    for column in columns:
        [migration] = folder(tried.root, f'alter table target drop column "{column}";')
        found = {each.rule: each for each in linted(tried, [migration]).findings}
        state, after = undone(tried, migration.up.sql, gone)
        assert ("column-in-use" in found) == (state == "2BP01"), (column, state, found)
        lost = set(before["gone"]) - set(after[0]["gone"]) if after else set()
        told = found["goes-with-column"].message if "goes-with-column" in found else ""
        if not state:
            assert bool(lost) == bool(told), (column, lost, told)
            named = {name for name in lost if name in told}
            assert named or not lost, (column, lost, told)
        seen |= {each.rule for each in found.values()}
        [migration] = folder(tried.root, f'alter table target alter column "{column}" type bytea using null;')
        refused = "column-in-use" in told_of(linted(tried, [migration]))
        state, _ = undone(tried, migration.up.sql, "select 1")
        if refused:
            assert state in ("0A000", "XX000"), (
                column,
                state,
            )  # the second: of a function, where the server is an older one
        else:
            assert state != "0A000", column
    assert {"column-in-use", "goes-with-column", "ban-drop-column"} <= seen


def told_of(done: Lint) -> set[str]:
    return {each.rule for each in done.findings}


FORMS = """
add n text | alter a set default 'x' | alter a drop default | alter a set not null | alter f drop not null | alter c type varchar(5)
alter a set statistics 100 | alter b set (n_distinct = 5) | alter b reset (n_distinct) | alter a set storage external
alter a set compression pglz | drop e | add check (b > 0) | add check (b > 0) not valid | add foreign key (b) references big (id)
add foreign key (b) references big (id) not valid | add unique (e, id) | validate constraint f_there | drop constraint f_there
disable trigger all | disable trigger user | enable trigger all | enable row level security | cluster on big_b | set without cluster
set logged | set unlogged | set (fillfactor = 90) | set (autovacuum_enabled = off) | reset (fillfactor) | owner to current_user
replica identity full | set access method heap | set tablespace pg_default | rename b to bb | rename to bigger | add n bigserial
add n bigint generated always as identity | add n bigint default 5 | add n bigint check (n > 0)
"""


def test_which_forms_lock_everybody_out_and_write_the_table_anew_is_what_the_server_does(tried: Database) -> None:
    after = """select exists (select from pg_locks where pid = pg_backend_pid() and mode = 'AccessExclusiveLock'
      and relation = (select oid from pg_class where oid = %s)) as locked, pg_relation_filenode(%s) as file"""
    tried.do("drop table child")  # what has a foreign key cannot become unlogged
    oid = tried.scalar("select 'big'::regclass::oid::int")
    file = tried.scalar("select pg_relation_filenode('big')")
    for form in (each.strip() for each in FORMS.strip().replace("\n", "|").split("|")):
        [statement] = statements.read(f"alter table big {form}".encode())
        state, rows = undone(tried, f"alter table big {form}", after.replace("%s", str(oid)))
        assert state is None, (form, state)
        assert rows[0]["locked"] == bool(statement.locks), form
        # SET TABLESPACE, LOGGED and ACCESS METHOD of what is so already do nothing
        if not re.search(r"tablespace|set logged|access method|identity$|type varchar", form):
            assert (rows[0]["file"] != file) == any(act.what == "rewrite" for act in statement.acts), form


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (old, new)
        for olds, news in [
            (
                ["varchar(10)", "varchar", "text"],
                ["varchar(5)", "varchar(10)", "varchar(40)", "varchar", "text", "bytea"],
            ),
            (
                ["numeric(6,2)", "numeric"],
                ["numeric(6,2)", "numeric(8,2)", "numeric(8,3)", "numeric(5,2)", "numeric(6)", "numeric"],
            ),
            (["varbit(5)"], ["varbit(4)", "varbit(9)", "varbit"]),
            (["bigint", "integer"], ["bigint", "integer"]),
            (["timestamptz(3)"], ["timestamptz(3)", "timestamptz(6)", "timestamptz"]),
            (["char(3)"], ["char(5)", "text"]),
            (["text[]"], ["text[]", "varchar[]"]),
        ]
        for old in olds
        for new in news
    ],
)
def test_a_type_that_is_said_to_be_wider_writes_nothing(filled: Database, old: str, new: str) -> None:
    with filled.connect() as conn, conn.transaction(force_rollback=True):
        conn.execute(f"create table w (x {old})".encode())
        conn.execute("create index on w (x)")
        [statement] = statements.read(f"alter table w alter x type {new}".encode())
        [act] = statement.acts
        wider = live_tables.is_wider(live_tables.tables(conn, [act.table])[act.table], "x", act.type)
        before = conn.execute("select pg_relation_filenode('w') as file").fetchone()
        try:
            conn.execute(
                f"alter table w alter x type {new} using null".encode()
                if new == "bytea"
                else f"alter table w alter x type {new}".encode()
            )
        except psycopg.errors.InvalidParameterValue:
            return
        same = conn.execute("select pg_relation_filenode('w') as file").fetchone() == before
        assert same or not wider
        if wider != same:  # what is not said is on the careful side
            assert old == "text[]"


def hear(heard: list[str], said: psycopg.errors.Diagnostic) -> None:
    heard.append(said.message_primary or "")


def test_a_check_that_is_said_to_spare_the_look_at_all_rows_does(tried: Database) -> None:
    tried.do(
        'alter table big add "Odd" text default 1 check ("Odd" is not null), add constraint later check (e is not null) not valid'
    )
    with tried.connect() as conn:
        known = live_tables.tables(conn, [statements.Name("", "big")])[statements.Name("", "big")]
        conn.execute("set client_min_messages = debug1")
        for column in ("f", "Odd", "e", "a"):
            heard: list[str] = []
            conn.add_notice_handler(partial(hear, heard))
            with conn.transaction(force_rollback=True):
                conn.execute(f'alter table big alter column "{column}" set not null'.encode())
            proven = any("sufficient to prove" in line for line in heard)
            assert live_tables.is_checked(known, column) == proven == (column in ("f", "Odd")), column


# --- the file, its lines, what it allows ---------------------------------------------------


def text_alone(root: Path, up: str, *allow: str, options: str = "", down: str = "select 1;") -> Lint:
    return lint.lint(folder(root, up, options=options, down=down), allow, "local", 18, root, None)


def test_lines_and_columns_are_the_files_own_and_the_down_part_is_not_run(tmp_path: Path) -> None:
    home = tmp_path / "migrations"
    home.mkdir()
    lines = [
        "-- what it does",
        "",
        "-- migrate:up",
        "-- é",
        "alter table é add ü text;  alter table",
        "  z drop column y;",
        "-- migrate:down",
        "drop table q;",
        "",
    ]
    for number, (mark, end) in enumerate([("", "\n"), ("\ufeff", "\r\n")], 1):
        (home / f"2026010100000{number}_m.sql").write_bytes((mark + end.join(lines)).encode())
    done = lint.lint(files.read_folder(home), (), "local", 18, tmp_path, None)
    places = [(each.rule, each.line, each.column) for each in done.findings]
    assert places == 2 * [("locks-several-tables", 5, 28), ("ban-drop-column", 6, 5)]


def test_a_rule_is_allowed_by_the_file_with_its_reason_or_once_by_the_command(tmp_path: Path) -> None:
    drop = "alter table a drop column b;"
    [finding] = text_alone(tmp_path, drop, options=" allow:ban-drop-column -- read by none since May").findings
    assert (finding.allowed, finding.stops) == ("read by none since May", False)
    found = text_alone(tmp_path, drop, options=" allow:ban-drop-column").findings
    assert {(each.rule, each.line, each.stops) for each in found} == {
        ("reason-missing", 1, True),
        ("ban-drop-column", 2, True),
    }
    [finding] = text_alone(tmp_path, drop, "ban-drop-column").findings
    assert (finding.allowed, finding.stops) == ("--allow", False)
    [finding] = text_alone(tmp_path, drop, "renaming-column", "prefer-repack").findings
    assert finding.stops
    with pytest.raises(Misconfigured, match=r"--allow ban-drop-colum: there is no such rule"):
        text_alone(tmp_path, drop, "ban-drop-colum")
    [finding] = text_alone(tmp_path, f"-- squawk-ignore ban-drop-column\n{drop}\ndrop table c;").findings[:1]
    assert finding.rule != "ban-drop-column"


def test_what_is_about_the_file_as_a_whole(tmp_path: Path) -> None:
    assert told(text_alone(tmp_path, "select 1;", down="-- nothing")) == {"missing-down": "warning"}
    psql = text_alone(tmp_path, "\\set x 1\nselect :x;", options=" allow:psql -- rows by COPY")
    assert told(psql) == {"not-read": "error"}
    [migration] = folder(tmp_path, "analyze a;\nanalyze b;", options=" transaction:false allow:psql")
    assert told(lint.lint([migration], (), "local", 18, tmp_path, None)) == {"several-statements": "error"}
    large = "insert into a values ('" + "x" * (9 << 20) + "');"
    assert told(text_alone(tmp_path, large)) == {"not-read": "error"}


def test_a_comment_has_room_for_what_stops(tmp_path: Path) -> None:
    up = "\n".join(f"create table t{i} (a_b int);" for i in range(150)) + "\nalter table x drop column y;"
    shown = lint_report.as_markdown(text_alone(tmp_path, up))
    assert len(shown) < 65536
    assert shown.count("\n| warning |") == 99
    assert "\n| **error** | " in shown
    assert shown.endswith("And 51 findings more: `inv db.migration-lint` shows all.")
    assert "\\<b>" not in lint_report.cell("<b> a|b_c @all") == "&lt;b> a\\|b\\_c @\u200ball"


def test_migrations_know_those_before_them(filled: Database, tmp_path: Path) -> None:
    ups = [
        "create table n (id bigint primary key);\ndrop view v;",
        "create index on n (id);\nalter table n drop column id;",
        "alter table big drop column a;",
    ]
    done = linted(filled, folder(tmp_path, *ups))
    assert {(each.rule, each.level, each.file[-7]) for each in done.findings} == {
        ("ban-drop-view", "error", "1"),
        ("ban-drop-column", "error", "3"),
        ("goes-with-column", "warning", "3"),
    }


def test_squawks_own_settings_hold_and_a_fault_in_them_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".squawk.toml").write_text(
        'excluded_rules = ["ban-drop-column"]\npg_version = "9.6"\n', encoding="utf-8"
    )
    assert told(text_alone(tmp_path, "alter table a drop column b, add c int default 1;")) == {
        "prefer-bigint-over-int": "warning"
    }
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["nope"]\n', encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"\.squawk\.toml: .*nope.*: correct it"):
        text_alone(tmp_path, "select 1;")
    (tmp_path / ".squawk.toml").unlink()
    monkeypatch.setattr(squawk, "program", lambda: None)
    assert told(text_alone(tmp_path, "vacuum full a;", options=" transaction:false")) == {
        "squawk-missing": "error",
        "rewrites-table": "error",
    }
    assert told(text_alone(tmp_path, "select 1;", "squawk-missing")) == {"squawk-missing": "allowed"}
    monkeypatch.setattr(squawk, "program", lambda: str(tmp_path))
    with pytest.raises(Problem, match="cannot be run"):
        text_alone(tmp_path, "select 1;")


def test_the_version_of_the_server_counts(tmp_path: Path) -> None:
    migrations = folder(tmp_path, "alter table a add b bigint not null default 5;")
    found = {major: told(lint.lint(migrations, (), "local", major, tmp_path, None)) for major in (10, 11)}
    assert found == {10: {"adding-field-with-default": "error"}, 11: {}}


# --- the target ----------------------------------------------------------------------------


def test_on_its_way_to_production_an_error_stops_it(tried: Database, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tried.root, "create index on big (c);", "create index on small (x);")
    settings = replace(tried.settings(), migrations=tried.root / "migrations")
    tried.do(f"comment on database \"{tried.name}\" is '[inv: prod]'")
    rule = "require-concurrent-index-creation"
    apply.migrate(settings, "local", "", tried.name, dry_run=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if rule in line]
    assert [re.sub(r".*m.sql:2:1: (\w+): .*", r"\1", line) for line in lines] == ["error", "warning"]
    with pytest.raises(Refused, match=f"{rule}: nothing was applied to {tried.name}: "):
        apply.migrate(settings, "local", "", tried.name)
    assert tried.scalar("select to_regclass('schema_migrations') is null")
    assert len(apply.migrate(settings, "local", "", tried.name, apply.Care([rule]))) == 2
    assert last_look.recalled(settings)["local"].major == int(tried.scalar("show server_version_num")) // 10000


def test_sizes_and_traffic_are_the_servers(tried: Database) -> None:
    tried.do(
        "select count(*) from parts; select count(*) from small; insert into parts select i, '2026-05-05' from generate_series(1, 9) i; analyze parts_1"
    )
    names = [statements.Name("", "parts"), statements.Name("public", "small"), statements.Name("", "nope")]
    with tried.connect() as conn:
        conn.execute("select pg_stat_force_next_flush()" if conn.info.server_version >= 150000 else "select 1")
        found = {name.name: each for name, each in live_tables.tables(conn, names).items()}
    assert {name: each.rows for name, each in found.items()} == {"parts": 9, "small": 100}
    assert found["parts"].size_bytes == tried.scalar("select pg_total_relation_size('parts_1')")
    assert found["small"].shown == "public.small"
    assert found["small"].columns.keys() == {"id", "x", "y", "gone"}


def test_a_lock_that_another_session_holds_is_not_waited_for(tried: Database) -> None:
    [migration] = folder(tried.root, "create index on big (c);\nalter table big drop a;")
    with tried.connect() as other, other.transaction():
        other.execute("lock table big")
        begun = time.monotonic()
        done = linted(tried, [migration])
        assert time.monotonic() - begun < 5
    assert {"column-in-use": "error", "require-concurrent-index-creation": "error"}.items() <= told(done).items()
    assert done.tables[0].size_bytes > live_tables.SMALL


def test_a_login_that_may_read_nothing_still_learns_what_is_there(tried: Database) -> None:
    role = f"reader_{tried.name}"
    tried.do(
        f"create schema closed; create table closed.t (id bigint); revoke all on schema public from public; create role {role}"
    )
    [migration] = folder(tried.root, "create index on public.big (c);\nalter table closed.t drop column id;")
    try:
        with tried.connect() as conn:
            conn.execute(f"set role {role}".encode())
            done = lint.lint([migration], (), "local", 18, tried.root, conn)
    finally:
        tried.do(f"drop role {role}")
    assert [table.name for table in done.tables] == ["public.big", "closed.t"]
    assert told(done) == {"require-concurrent-index-creation": "error", "ban-drop-column": "error"}


def test_only_what_the_target_lacks_is_looked_at(tried: Database, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tried.root, "drop table small;", "drop table big;")
    tried.do(
        "create table schema_migrations (version varchar not null primary key); insert into schema_migrations values ('20260101000001')"
    )
    settings = replace(tried.settings(), migrations=tried.root / "migrations")
    with pytest.raises(Differs, match=r"ban-drop-table, table-in-use"):
        lint_report.show(settings, "local", (), (), json=True, markdown=False)
    answer = json.loads(capsys.readouterr().out)
    assert [Path(file).name for file in answer["files"]] == ["20260101000002_m.sql"]
    assert answer["live"]
    assert [table["name"] for table in answer["tables"]] == ["public.big"]
    with pytest.raises(Differs, match=r"ban-drop-table"):
        lint_report.show(settings, "local", [answer["files"][0].replace("2_m", "1_m")], (), json=False, markdown=True)
    shown = capsys.readouterr().out
    assert shown.startswith(lint_report.MARK)
    assert "20260101000001_m.sql:2` | ban-drop-table |" in shown
    assert "| `public.small` | 100 |" in shown


def test_the_task_without_a_server_and_with_one_that_does_not_answer(inv: Cli) -> None:
    home = inv.root / "sql" / "migrations"
    home.mkdir(exist_ok=True)
    for old in home.iterdir():
        old.unlink()
    (home / "20260101000000_m.sql").write_text("-- migrate:up\ndrop table users;\n-- migrate:down\n", encoding="utf-8")
    done = inv("db.migration-lint")
    assert (done.returncode, done.stdout.count("\n")) == (4, 2)
    assert "sql/migrations/20260101000000_m.sql:2:1: error: ban-drop-table: " in done.stdout
    assert (
        done.stderr.splitlines()[0] == "note: local is not asked: the embedded server is stopped (inv db.up starts it)"
    )
    assert done.stderr.splitlines()[-1].startswith(
        "1 error (ban-drop-table): mend them, or allow a rule with its reason"
    )
    assert not (inv.root / ".local").exists()
    away = {"CONNECTION_URL": "postgresql://u:hushhush@127.0.0.1:1/db"}
    done = inv("db.migration-lint", "--allow", "ban-drop-table", "--json", env=away)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["live"], answer["server_major"]) == (0, False, 18)
    assert "note: local is not asked: nothing answers at u@127.0.0.1:1/db" in done.stderr
    for line, code, said in [
        ("--file nowhere.sql", 2, "--file nowhere.sql: no such file"),
        ("--json --markdown", 2, "give one of --json, --markdown"),
        ("--allow nonsense", 2, "--allow nonsense: there is no such rule"),
        ("-t staging", 2, "there is no target"),
        ("-t prod", 2, "PROD_CONNECTION_URL"),
    ]:
        done = inv("db.migration-lint", *line.split())
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert said in done.stderr.splitlines()[-1]
    (home / "20260101000001_n.sql").write_text("drop table users;\n", encoding="utf-8")
    done = inv("db.migration-lint")
    assert done.returncode == 2
    assert "20260101000001_n.sql:1: " in done.stderr


def test_the_answer_in_json(tried: Database, capsys: pytest.CaptureFixture[str]) -> None:
    up = "alter table small add n bigserial;\nalter table small drop gone;\nalter table child drop big_id;"
    folder(tried.root, up, options=" allow:ban-drop-column -- read by none")
    settings = replace(tried.settings(), migrations=tried.root / "migrations")
    lint_report.show(settings, "local", (), (), json=True, markdown=False)
    answer = json.loads(capsys.readouterr().out)
    for table in answer["tables"]:  # what the server counts is another each time
        assert table["scans"] >= 0
        table |= {"scans": 1, "rows_written": 100}
    answer["server_major"] = 18
    check("db.migration-lint", json.dumps(answer), root=str(tried.root))
