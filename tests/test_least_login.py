"""Which login a task takes: where db.roles has made one that does, that one, else the target's own user, who says so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from config.settings import Settings
from ops import postgres as connections
from ops.db import build, lifecycle, query, reader
from ops.db import sessions as all_sessions
from ops.db.access import grant
from ops.db.migrations import apply, listing, patience, watch
from ops.db.migrations.patience import Limits
from ops.errors import Problem
from ops.targets import last_look, least_login, opening
from ops.targets.roles import acting
from tests.fix_access import MASTER, WORDS, Team
from tests.fix_cli import Cli
from tests.fix_suppliers import Database

pytestmark = pytest.mark.every_server

WHO = "select session_user::text as login, current_user::text as role"
NOTE = "since no password of {login} is known here (LOCAL_READER_PASSWORD; inv db.roles makes one)"


def asked(settings: Settings, capsys: pytest.CaptureFixture[str], sql: str = WHO) -> tuple[Any, str]:
    """Return what a query gives, and what is said beside."""
    settings.queries.mkdir(parents=True, exist_ok=True)
    (settings.queries / "who.sql").write_text(sql, encoding="utf-8")
    query.show(settings, "who", "local", "20", {}, json=True)
    done = capsys.readouterr()
    return json.loads(done.out)[0], done.err


def test_a_query_is_the_readers(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    login = team.login("reader")
    found, said = asked(team.knowing(), capsys)
    assert found == {"login": login, "role": login}
    assert f"local: {login}@" in said
    assert "note:" not in said
    with opening.open_target(team.knowing(), "local", "db.status", login="reader") as at:
        assert at.own
        assert (at.target.params["user"], at.own.params["user"]) == (login, MASTER)


@pytest.mark.parametrize("task", ["seed", "schema-load", "migrate"])
def test_what_changes_a_database_is_the_migrators_and_the_owners(
    team: Team, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = team.knowing()
    text = f"create table made (login name default session_user); insert into made default values; grant select on made to {team.name}_reader;"  # fmt: skip
    path = str(team.sql(text, "x.sql"))
    if task == "seed":
        build.seed_load(settings, "local", path, {}, "", again=False)
    elif task == "schema-load":
        build.schema_load(settings, "local", path, {}, "")
    else:
        settings.migrations.mkdir(parents=True)
        (settings.migrations / "20260101000000_x.sql").write_text(
            f"-- migrate:up\n{text}\n-- migrate:down\ndrop table made;\n"
        )
        apply.migrate(settings, "local", "", "")
    assert "note:" not in capsys.readouterr().err
    owners = team.query("select distinct tableowner from pg_tables where schemaname in ('public', 'inv')")
    assert owners == [{"tableowner": f"{team.name}_owner"}]
    assert team.query("select login from made") == [{"login": f"{team.name}_migrator"}]
    if task == "migrate":
        listing.show(settings, "local", check=True, json=False)  # the reader's
        assert f"local: {team.name}_reader@" in capsys.readouterr().err
        apply.rollback(settings, "local", "", "")
        assert team.scalar("select to_regclass('made')") is None


def test_the_migrator_sees_and_ends_the_sessions_in_its_way(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of others, whom the owner's rights alone would not let it see; the user of that session is no superuser."""
    params: dict[str, Any] = {**team.target().params, "application_name": "feed"}
    limits = Limits(patience=10.0, ends_stall=True, stall=0.3, end_idle=True)
    with psycopg.connect(**params) as other:
        other.execute("lock table t in access share mode")
        with opening.open_target(team.knowing(), "local", "db.migrate", writes=True, login="migrator") as opened:
            time.sleep(1.1)
            [line] = watch.in_the_way(opened)
            assert f"({MASTER}, feed), idle in transaction" in line
            at = acting.as_owner(opened)
            patience.run_patiently(
                at, lambda conn: conn.execute("alter table t add column more int"), what="x", limits=limits
            )
            assert f"ended pid {other.info.backend_pid} ({MASTER}, feed)" in capsys.readouterr().err
            with pytest.raises(Problem, match="stall"):  # its own are broken off, too
                patience.run_patiently(at, held_for_long, what="x", limits=limits)
        with pytest.raises(psycopg.OperationalError):
            other.execute("select 1")


def held_for_long(conn: Any) -> None:
    conn.execute("lock table t in access exclusive mode")
    conn.execute("select pg_sleep(5)")


def test_a_reset_in_a_file_goes_back_to_the_owner(band: Team) -> None:
    build.schema_load(band.knowing(), "local", str(band.sql("reset role; create table made ();")), {}, "")
    assert band.scalar("select tableowner from pg_tables where tablename = 'made'") == f"{band.name}_owner"


def test_what_makes_a_database_is_its_own_users(band: Team, capsys: pytest.CaptureFixture[str]) -> None:
    with opening.open_target(band.knowing(), "local", "db.setup", writes=True) as at:
        assert at.target is at.own
        assert at.target.params["user"] == MASTER
    assert "note:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("known", "yes", "login", "said"),
    [
        ({}, "yes", MASTER, NOTE),
        ({"LOCAL_READER_PASSWORD": "not it"}, "yes", MASTER, "since the server does not let {login} in"),
        ({"LOCAL_READER_PASSWORD": WORDS["reader"]}, "yes", "reader", ""),
        ({"LOCAL_READER_PASSWORD": WORDS["reader"]}, "no", MASTER, ""),
    ],
)
def test_without_its_password_the_own_user_goes_on_and_says_so_once(
    band: Team, known: dict[str, str], yes: str, login: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(band.settings(**known), least_login=yes == "yes")
    found, err = asked(settings, capsys, "select session_user::text as login")
    assert found["login"] == (MASTER if login == MASTER else band.login(login))
    assert err.count("note:") == bool(said)
    assert said.format(login=band.login("reader")) in err


def test_a_persons_login_is_taken_as_it_is(band: Team, capsys: pytest.CaptureFixture[str]) -> None:
    grant.grant(band.settings(), "local", "anna", "reader", "8h", "", show_password=True)
    url = capsys.readouterr().out.strip()
    settings = band.knowing()
    settings = replace(settings, vars=replace(settings.vars, environ={**settings.vars.environ, "CONNECTION_URL": url}))
    row, told = asked(settings, capsys)
    assert (row["login"], "note:" in told) == (band.login(), False)


def test_a_database_without_roles_is_opened_as_before(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    one.do(f"create database {one.name}", "postgres")
    found, said = asked(one.settings(), capsys, "select session_user::text as login")
    assert found["login"] == "postgres"
    assert "note:" not in said


@pytest.mark.parametrize("words", [False, True])
def test_no_round_trip_is_added(band: Team, words: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    usual = connections.connect

    def counted(target: Any, **more: Any) -> Any:
        conn = usual(target, **more)
        made.append(target.params["user"])
        return conn

    monkeypatch.setattr(connections, "connect", counted)
    lifecycle.show(band.knowing() if words else band.settings(), "local", json=True)
    assert made == [band.login("reader") if words else MASTER] * 2


def test_a_reader_sees_what_sessions_do_that_are_not_its_own(band: Team, capsys: pytest.CaptureFixture[str]) -> None:
    with band.connect() as busy, opening.open_target(band.knowing(), "local", "db.sessions", login="reader") as at:
        busy.execute("select 'a statement'")
        mine = [each for each in all_sessions.listed(at) if each.pid == busy.info.backend_pid]
        assert [(each.hidden, each.state) for each in mine] == [(False, "idle")]


# --- production ---------------------------------------------------------------------------


@pytest.fixture
def prod(band: Team, inv: Cli) -> Callable[..., Any]:
    """`inv db.connect -t prod`, given a statement."""
    env = {"PROD_CONNECTION_URL": band.url, "PROD_READER_PASSWORD": WORDS["reader"]}

    def connect(sql: str, *more: str) -> Any:
        return inv("db.connect", "-t", "prod", *more, env=env, stdin=sql)

    return connect


def test_a_client_on_production_is_the_reader_unless_it_is_to_write(band: Team, prod: Callable[..., Any]) -> None:
    done = prod("select session_user, 7 * 6 as got;\n")
    assert done.returncode == 0, done.stderr
    assert band.login("reader") in done.stdout
    assert "switch off" not in done.stderr
    done = prod("set default_transaction_read_only = off; set transaction_read_only = off; delete from t;\n")
    assert done.returncode == 3
    assert "permission denied for table t" in done.stderr
    done = prod("select session_user;\n", "--write")
    assert done.returncode == 0, done.stderr
    assert MASTER in done.stdout


def test_a_server_that_turns_out_to_be_production_is_read_as_the_reader(band: Team) -> None:
    settings = band.knowing()
    with opening.open_target(settings, "local", "db.connect", writes=True) as at:
        way, options = reader.way(at)
        assert way.params["user"] == band.login("reader")
        assert options == reader.READ_ONLY


# --- what is remembered -------------------------------------------------------------------


def test_the_roles_that_were_seen_are_remembered_for_a_login_by_token(band: Team) -> None:
    settings = band.settings()
    with opening.open_target(settings, "local", "db.query", login="reader") as at:
        assert at.own
        assert least_login.seen(settings, at.own) == ["app", "migrator", "owner", "reader"]
        assert last_look.recalled(settings)["local"].address == at.own.address
        elsewhere = at.own.on(host="127.0.0.2")
        assert least_login.seen(settings, elsewhere) == []
        instance = at.own.on(host="db.abc.eu-central-1.rds.amazonaws.com", password="")
        assert least_login.least(settings, instance, "reader") is None, "not seen there"
        last_look.remember(settings, instance, there=True, kept=False, roles=["reader"])
        token = least_login.least(settings, instance, "reader")
        assert token
        assert (token.params["user"], token.params["password"]) == (band.login("reader"), "")


def test_the_embedded_server_is_known_to_be_ours_by_a_reader(inv: Cli) -> None:
    inv.ok("db.setup")
    url = inv.ok("db.url", "--show-password").strip()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create role cruddur_reader login password 'word'; grant pg_read_all_data to cruddur_reader")
        conn.execute("comment on role cruddur_reader is '[inv: role reader of cruddur]'")
    env = {"LOCAL_READER_PASSWORD": "word"}
    shown = json.loads(inv.ok("db.status", "--json", env=env))
    assert shown["user"] == "cruddur_reader"
    inv.ok("db.down")
    found = inv("db.query", "users", env=env)
    assert found.returncode == 0, found.stderr
    assert "cruddur_reader@" in found.stderr
