"""Production is known by what it is, and nothing dangerous happens there unconfirmed."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import time
from collections.abc import Callable, Iterator

import pytest

from config.settings import Settings, load
from ops import console
from ops.db import build, sessions, swap
from ops.errors import Cancelled, Misconfigured, Problem, Refused
from ops.targets import identity, opening, production_guard
from tests.fix_cli import lines_of
from tests.fix_suppliers import Database
from tests.tcp_relay import Relay

Act = Callable[[Settings, str, str], None]


def setup(settings: Settings, target: str, confirm: str) -> None:
    build.setup(settings, target, "", build.DEFAULT, {}, confirm, force=True)


def drop(settings: Settings, target: str, confirm: str) -> None:
    with opening.open_target(settings, target, "db.drop", writes=True) as at:
        production_guard.confirm(at, "drop", confirm)
        swap.drop(at, force=True)


def undo(settings: Settings, target: str, confirm: str) -> None:
    with opening.open_target(settings, target, "db.undo", writes=True) as at:
        production_guard.confirm(at, "undo", confirm)
        swap.undo(at, force=True)


def schema_load(settings: Settings, target: str, confirm: str) -> None:
    build.schema_load(settings, target, "", {}, confirm)


def seed(settings: Settings, target: str, confirm: str) -> None:
    build.seed_load(settings, target, "", {}, confirm, again=True)


def kill_sessions(settings: Settings, target: str, confirm: str) -> None:
    with opening.open_target(settings, target, "db.kill-sessions", writes=True) as at:
        production_guard.confirm(at, "kill-sessions", confirm)
        sessions.end_sessions(at.conn, sessions.in_the_way(at.conn, [at.name]))


ACTS = [setup, drop, undo, schema_load, seed, kill_sessions]


@pytest.fixture
def prod(one: Database) -> Database:
    """A production database with a customer in it, and one kept beside it."""
    setup(one.settings(), "local", "")
    setup(one.settings(), "local", "")
    one.do("insert into users (display_name, handle, cognito_user_id) values ('c', 'customer', 'c')")
    return one


def as_prod(database: Database, **environ: str) -> Settings:
    return load({}, {"PROD_CONNECTION_URL": database.url, **environ}, database.root)


def untouched(database: Database) -> bool:
    """Whether the customer is still there, and the session that asks was let in."""
    return bool(database.scalar("select count(*) = 1 from users where handle = 'customer'"))


@pytest.mark.parametrize("act", ACTS)
def test_without_confirmation_nothing_happens_on_prod(prod: Database, act: Act) -> None:
    before = prod.query("select oid, datname from pg_database order by 1", "postgres")
    with prod.connect() as customer:
        with pytest.raises(Refused, match=f"production.*--confirm {prod.name}"):
            act(as_prod(prod), "prod", "")
        assert customer.execute("select 1 as n").fetchone() == {"n": 1}
    assert prod.query("select oid, datname from pg_database order by 1", "postgres") == before
    assert untouched(prod)


@pytest.mark.quick
@pytest.mark.parametrize("act", ACTS)
def test_a_wrong_name_confirms_nothing_on_any_target(prod: Database, act: Act) -> None:
    with pytest.raises(Refused, match="is not the name of this database"):
        act(as_prod(prod), "prod", "cruddurr")
    (prod.root / ".local" / "prod.json").unlink()  # else it were production on the other target, too
    with pytest.raises(Refused, match="is not the name of this database"):
        act(prod.settings(), "local", "other")
    assert untouched(prod)


@pytest.mark.quick
@pytest.mark.parametrize("act", ACTS)
def test_prod_pasted_into_the_local_variable_is_still_prod(prod: Database, act: Act) -> None:
    with pytest.raises(Refused, match="PROD_CONNECTION_URL names the same database"):
        act(as_prod(prod, CONNECTION_URL=prod.url), "local", "")
    assert untouched(prod)


@pytest.mark.quick
def test_the_confirmed_act_goes_through_and_stamps(prod: Database) -> None:
    setup(as_prod(prod), "prod", prod.name)
    assert prod.scalar("select count(*) from users") == 5
    assert comment(prod) == identity.STAMP
    # from now on it is known without any variable that names prod, in a clone that never saw it
    (prod.root / ".local" / "prod.json").unlink()
    with pytest.raises(Refused, match="carries the stamp"):
        setup(prod.settings(), "local", "")


def test_an_idle_session_on_prod_stays_unless_force_says_so(prod: Database) -> None:
    with prod.connect() as customer:
        with pytest.raises(Refused, match=rf"in use by pid {customer.info.backend_pid}.*--force"):
            build.setup(as_prod(prod), "prod", "", build.DEFAULT, {}, prod.name, force=False)
        assert customer.execute("select 1 as n").fetchone() == {"n": 1}
    assert untouched(prod)


def test_the_stamp_keeps_the_comment_and_is_set_once(prod: Database) -> None:
    prod.do(f"comment on database {prod.name} is 'our shop'")
    for _ in range(2):
        schema = prod.sql("create table if not exists t (x int)")
        build.schema_load(as_prod(prod), "prod", str(schema), {}, prod.name)
    assert comment(prod) == f"our shop {identity.STAMP}"


def comment(database: Database) -> str:
    sql = "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
    return str(database.scalar(sql))


def test_the_stamp_outlives_setup_drop_and_undo(prod: Database) -> None:
    setup(as_prod(prod), "prod", prod.name)
    setup(as_prod(prod), "prod", prod.name)
    undo(as_prod(prod), "prod", prod.name)
    assert comment(prod) == identity.STAMP
    prod.do(f"comment on database {prod.name} is 'mine'")
    setup(as_prod(prod), "prod", prod.name)
    assert comment(prod) == f"mine {identity.STAMP}"
    drop(as_prod(prod), "prod", prod.name)
    with pytest.raises(Refused, match="carries the stamp"):  # what is kept of it is production too
        setup(prod.settings(), "local", "")


@pytest.mark.parametrize("second", ["localhost", "127.0.0.1", "127.0.0.2"])
def test_a_second_name_of_the_server_is_prod(prod: Database, second: str) -> None:
    settings = as_prod(prod, CONNECTION_URL=prod.target(host=second).url(show_password=True))
    expected = "nothing answers" if second == "127.0.0.2" else "names the same database"
    with pytest.raises(Problem, match=expected):
        setup(settings, "local", "")
    assert untouched(prod)


@pytest.fixture
def tunnel(prod: Database) -> Iterator[int]:
    """A second port that leads to the same server, as an SSH tunnel does."""
    with Relay(prod.server.port) as relay:
        yield relay.port


@pytest.mark.parametrize("seen_before", [True, False])
@pytest.mark.parametrize("act", ACTS)
def test_a_tunnel_to_prod_is_prod(prod: Database, tunnel: int, act: Act, seen_before: bool) -> None:
    url = prod.target(host="localhost", port=str(tunnel)).url(show_password=True)
    if seen_before:
        with pytest.raises(Refused):
            act(as_prod(prod), "prod", "")
        settings = load({}, {"CONNECTION_URL": url}, prod.root)
    else:
        settings = as_prod(prod, CONNECTION_URL=url)
    with pytest.raises(Refused, match="seen as prod before"):
        act(settings, "local", "")
    assert untouched(prod)


def test_another_database_on_the_same_server_is_not_prod(prod: Database) -> None:
    with pytest.raises(Refused):
        setup(as_prod(prod), "prod", "")
    neighbour = prod.target(dbname=prod.name + "_dev").url(show_password=True)
    setup(as_prod(prod, CONNECTION_URL=neighbour), "local", "")
    assert prod.scalar("select count(*) from users", prod.name + "_dev") == 5


def test_a_prod_that_is_away_does_not_hold_up_a_local_act(one: Database) -> None:
    """Nothing answers at the documentation network; the wait for it is bounded."""
    setup(one.settings(), "local", "")
    away = "postgresql://u:p@192.0.2.1:5432/cruddur"
    begun = time.monotonic()
    setup(one.settings(), "local", "")
    without = time.monotonic() - begun
    begun = time.monotonic()
    setup(one.settings(PROD_CONNECTION_URL=away), "local", "")
    assert time.monotonic() - begun < without + identity.UNSEEN + 3  # of the ten seconds that a connection may take


def test_an_rds_host_is_prod_whatever_the_variable(one: Database) -> None:
    host = "cruddur.abc123.ca-central-1.rds.amazonaws.com"
    params = {"host": host, "hostaddr": "127.0.0.1", "sslmode": "disable"}
    url = one.target(**params).url(show_password=True)
    absent = one.target(**params, dbname=f"{one.name}_other").url(show_password=True)
    with opening.open_target(load({}, {"CONNECTION_URL": absent}, one.root), "local", "db.create", writes=True) as at:
        assert at.database() is None  # and so nothing to mark
    setup(one.settings(), "local", "")
    with pytest.raises(Refused, match="RDS host"):
        setup(load({}, {"CONNECTION_URL": url}, one.root), "local", "")
    assert comment(one) == identity.STAMP, "so that any clone knows it, before anything was done"
    one.do(f"comment on database {one.name} is null")
    reads = one.target(**params, options="-c default_transaction_read_only=on").url(show_password=True)
    with opening.open_target(load({}, {"CONNECTION_URL": reads}, one.root), "local", "db.setup", writes=True) as at:
        assert at.prod  # as on a replica, where nothing can be written
    assert comment(one) == "None"
    upper = url.replace(host, host.upper())
    with pytest.raises(Refused, match="RDS host"):
        drop(load({}, {"CONNECTION_URL": upper}, one.root), "local", "")


def test_the_parts_of_prod_are_checked_and_encoded(one: Database) -> None:
    parts = {
        "PROD_DB_ENDPOINT": one.server.params["host"],
        "POSTGRES_MASTER_USERNAME": one.server.params["user"],
        "POSTGRES_MASTER_PASSWORD": one.server.params["password"],
        "POSTGRES_PORT": one.server.params["port"],
    }
    config = {"db": {"name": one.name}}
    setup(load(config, parts, one.root), "prod", one.name)
    assert one.scalar("select count(*) from users") == 5
    for name in ("POSTGRES_MASTER_USERNAME", "POSTGRES_MASTER_PASSWORD"):
        fewer = {k: v for k, v in parts.items() if k != name}
        with pytest.raises(Misconfigured, match=name):
            setup(load(config, fewer, one.root), "prod", one.name)
    with pytest.raises(Misconfigured, match="prod is not configured"):
        setup(load(config, {}, one.root), "prod", one.name)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "outcome"), [("yes\n", Refused), ("\n", Refused), ("", Cancelled)])
def test_anything_but_the_name_at_the_prompt_is_no(
    prod: Database, monkeypatch: pytest.MonkeyPatch, typed: str, outcome: type[Problem]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    monkeypatch.setattr("sys.stderr", Terminal())
    with pytest.raises(outcome):
        drop(as_prod(prod), "prod", "")
    assert untouched(prod)


def test_the_name_typed_at_the_prompt_confirms(prod: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(f"{prod.name}\n"))
    monkeypatch.setattr("sys.stderr", screen)
    assert console.interactive()
    drop(as_prod(prod), "prod", "")
    assert prod.names() == {"__prev"}
    assert f"drop on PRODUCTION ({prod.target().address}" in screen.getvalue()
    assert prod.server.params["password"] not in screen.getvalue()


def test_the_target_is_shown_before_anything_is_done(prod: Database, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    with pytest.raises(Refused):
        drop(as_prod(prod), "prod", "")
    first = lines_of(capsys.readouterr().err)[0]
    assert first.startswith(f"prod: {prod.target().address} (PostgreSQL 18")
    assert "PRODUCTION" in first


def test_what_was_seen_is_kept_by_identity_not_by_secret(prod: Database) -> None:
    with pytest.raises(Refused):
        drop(as_prod(prod), "prod", "")
    text = (prod.root / ".local" / "prod.json").read_text()
    [entry] = json.loads(text)
    assert entry["system_id"] == prod.scalar("select system_identifier::text from pg_control_system()")
    assert prod.server.params["password"] not in text
    assert (prod.root / ".local" / ".gitignore").read_text() == "*\n"


def test_a_damaged_memory_is_one_line(prod: Database) -> None:
    (prod.root / ".local").mkdir(exist_ok=True)
    (prod.root / ".local" / "prod.json").write_text("{")
    with pytest.raises(Problem, match=r"prod\.json is damaged"):
        drop(prod.settings(), "local", "")


@pytest.mark.quick
def test_the_old_accident(prod: Database, one: Database) -> None:
    """`setup prod` rebuilt the local database and loaded the schema over production."""
    local = prod.target(dbname=prod.name + "_local")
    both = as_prod(prod, CONNECTION_URL=local.url(show_password=True))
    setup(both, "local", "")
    prod.do("delete from activities returning 1", local.dbname)
    with pytest.raises(Refused):
        setup(both, "prod", "")
    assert untouched(prod)
    assert prod.scalar("select count(*) from activities", local.dbname) == 0


def test_production_made_anew_behind_its_address_is_known_by_its_new_identity(prod: Database, tunnel: int) -> None:
    """The entry that was remembered is of a server that is no more."""
    with pytest.raises(Refused):
        drop(as_prod(prod), "prod", "")
    memory = prod.root / ".local" / "prod.json"
    [entry] = json.loads(memory.read_text())
    memory.write_text(json.dumps([{**entry, "system_id": "1"}]))
    url = prod.target(host="localhost", port=str(tunnel)).url(show_password=True)
    with pytest.raises(Refused, match="seen as prod before"):
        drop(as_prod(prod, CONNECTION_URL=url), "local", "")
    assert entry in json.loads(memory.read_text())
    assert '"1"' not in memory.read_text()


def test_it_is_said_when_prod_does_not_answer(one: Database, capsys: pytest.CaptureFixture[str]) -> None:
    setup(one.settings(PROD_CONNECTION_URL="postgresql://u:p@192.0.2.1:5432/cruddur"), "local", "")
    assert "note: prod (u@192.0.2.1:5432/cruddur) does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["db.example.com", "8.8.4.4", "2606:4700::1"])
def test_a_server_out_on_the_network_wants_the_name_too(one: Database, host: str) -> None:
    setup(one.settings(), "local", "")
    with opening.open_target(one.settings(), "local", "db.drop") as at:
        there = dataclasses.replace(at, target=at.target.on(host=host))
        assert production_guard.is_elsewhere(there.target)
        with pytest.raises(Refused, match=rf"drop on another machine .*--confirm {one.name}"):
            production_guard.confirm(there, "drop", "")
        for near in ("db", "localhost", "192.168.1.7", "/tmp"):
            production_guard.confirm(dataclasses.replace(at, target=at.target.on(host=near)), "drop", "")


@pytest.mark.parametrize("act", ["undo", "seed", "schema-load", "kill-sessions"])
def test_what_leaves_the_previous_one_alone_does_not_say_that_it_goes(prod: Database, act: str) -> None:
    with opening.open_target(as_prod(prod), "prod", f"db.{act}", writes=True) as at, pytest.raises(Refused) as refusal:
        production_guard.confirm(at, act, "")
    assert "holds 2 tables" in str(refusal.value)
    assert "goes for good" not in str(refusal.value)


def test_the_refusal_says_what_is_at_stake(prod: Database) -> None:
    with pytest.raises(Refused, match=r"holds 2 tables, about \d+ rows, \d+ kB; \w+__prev, kept .* goes for good"):
        setup(as_prod(prod), "prod", "")


def test_what_is_at_stake_is_told_to_the_letter(prod: Database) -> None:
    name = prod.name
    prod.do(
        f"create subscription s_{name} connection '' publication p with (connect = false, slot_name = none, enabled = false)"
    )
    holds = r", which holds 2 tables, about \d+ rows, \d+ kB"
    goes, bound = (
        f"; {name}__prev, kept from the run before, goes for good",
        f"; bound to it: subscription s_{name} of {name}",
    )
    try:
        with opening.open_target(as_prod(prod), "prod", "db.setup", writes=True) as at:
            for act, more in {"setup": goes + bound, "drop": goes + bound, "undo": bound, "seed": ""}.items():
                assert re.fullmatch(holds + re.escape(more), production_guard.stake(at, act)), act
            prod.do(f"drop database {name}__prev", "postgres")
            at.look_again()
            assert re.fullmatch(holds + re.escape(bound), production_guard.stake(at, "setup"))
    finally:
        prod.do(f"drop subscription s_{name}")
    with opening.open_target(as_prod(prod), "prod", "db.setup", writes=True) as at:
        assert re.fullmatch(holds, production_guard.stake(at, "drop"))
        at.facts["databases"].clear()
        assert production_guard.stake(at, "drop") == ""


def test_a_mark_is_made_by_the_role_that_sessions_begin_as(prod: Database) -> None:
    owner, login = f"owner_{prod.name}", f"login_{prod.name}"
    prod.do(f"create role {owner}; create role {login} login password 'pw' noinherit in role {owner}", "postgres")
    prod.do(f"alter database {prod.name} owner to {owner}", "postgres")
    url = prod.target(user=login, password="pw").url(show_password=True)
    try:
        with opening.open_target(
            load({}, {"PROD_CONNECTION_URL": url}, prod.root), "prod", "db.mark", writes=True
        ) as at:
            production_guard.stamp(at)  # only says that it may not
            assert identity.STAMP not in comment(prod)
            production_guard.stamp(dataclasses.replace(at, role=owner))
        assert identity.STAMP in comment(prod)
    finally:
        prod.do(f"alter database {prod.name} owner to postgres; drop role {login}; drop role {owner}", "postgres")


def test_a_stamp_that_the_load_took_away_is_set_again(prod: Database) -> None:
    schema = prod.sql(f"comment on database {prod.name} is 'mine'")
    build.schema_load(as_prod(prod), "prod", str(schema), {}, prod.name)
    assert comment(prod) == f"mine {identity.STAMP}"


def test_a_pooler_is_refused_where_a_lock_is_wanted(one: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "facts", lambda *args: {**identity.facts(*args), "pid": 1})
    with pytest.raises(Misconfigured, match="a pooler stands before this server"):
        setup(one.settings(), "local", "")


def test_db_name_is_checked_as_a_url_is(one: Database) -> None:
    parts = {
        "PROD_DB_ENDPOINT": one.server.params["host"],
        "POSTGRES_MASTER_USERNAME": one.server.params["user"],
        "POSTGRES_MASTER_PASSWORD": one.server.params["password"],
        "POSTGRES_PORT": one.server.params["port"],
    }
    with pytest.raises(Misconfigured, match="belongs to the server itself"):
        schema_load(load({"db": {"name": "postgres"}}, parts, one.root), "prod", "postgres")
