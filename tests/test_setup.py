"""db.setup, db.drop, db.undo and db.create on every supplier."""

from __future__ import annotations

import contextlib
import time

import psycopg
import pytest

from ops.db import build, swap
from ops.errors import Misconfigured, Problem, Refused
from ops.targets import identity, opening
from tests.fix_cli import Cli
from tests.fix_suppliers import Database


def setup(
    database: Database, *, force: bool = False, schema: str = "", seed: str = build.DEFAULT, confirm: str = ""
) -> None:
    build.setup(database.settings(), "local", schema, seed, {}, confirm, force=force)


def drop(database: Database, *, force: bool = False) -> bool:
    with opening.open_target(database.settings(), "local", "db.drop", writes=True) as at:
        return swap.drop(at, force=force)


def undo(database: Database) -> None:
    with opening.open_target(database.settings(), "local", "db.undo", writes=True) as at:
        swap.undo(at, force=False)


@pytest.mark.quick
@pytest.mark.every_server
def test_makes_the_tables_and_the_rows(database: Database) -> None:
    setup(database)
    assert database.scalar("select count(*) from public.users") == 5
    assert database.scalar("select count(*) from public.activities") == 9
    assert database.scalar("select count(*) from activities where expires_at < now()") == 2
    assert database.scalar("select sum(replies_count) from activities") == 2
    assert database.names() == {""}


@pytest.mark.quick
@pytest.mark.every_server
def test_does_the_same_again_and_keeps_the_one_before(database: Database) -> None:
    setup(database)
    database.query("insert into users (display_name, handle, cognito_user_id) values ('x', 'x', 'x') returning 1")
    setup(database)
    assert database.scalar("select count(*) from public.users") == 5
    assert database.scalar("select count(*) from users", database.name + "__prev") == 6
    setup(database)
    assert database.names() == {"", "__prev"}


@pytest.mark.quick
def test_undo_swaps_back_and_forth(database: Database) -> None:
    setup(database)
    database.query("delete from users returning 1")
    setup(database)
    undo(database)
    assert database.scalar("select count(*) from users") == 0
    undo(database)
    assert database.scalar("select count(*) from users") == 5


def test_drop_is_a_rename_that_undo_reverts(database: Database) -> None:
    setup(database)
    assert drop(database)
    assert database.names() == {"__prev"}
    assert not drop(database)
    undo(database)
    assert database.names() == {""}
    assert database.scalar("select count(*) from users") == 5


def test_what_is_said_after_a_drop_is_what_is_there(inv: Cli) -> None:
    inv.ok("db.setup")
    inv.ok("db.drop")
    assert "was dropped: inv db.undo -t local brings it back" in inv.ok("db.status")
    assert "was dropped: inv db.undo" in inv("db.query", "home").stderr
    assert "the previous one is kept as cruddur__prev" in inv("db.setup").stderr
    assert "inv db.undo swaps back" in inv("db.undo").stderr
    inv.ok("db.drop")
    inv.ok("db.drop")
    assert "swaps back" not in inv("db.undo").stderr


def test_undo_with_nothing_kept_says_so(database: Database) -> None:
    setup(database)
    with pytest.raises(Problem, match=r"there is no .*__prev to bring back"):
        undo(database)


def test_create_is_repeatable(database: Database) -> None:
    for expected in (True, False):
        with opening.open_target(database.settings(), "local", "db.create", writes=True) as at:
            assert swap.create(at) is expected


@pytest.mark.quick
def test_an_error_in_the_last_line_leaves_the_live_database_untouched(database: Database) -> None:
    setup(database)
    oid = database.scalar("select oid from pg_database where datname = current_database()")
    with database.connect() as open_session:
        bad = database.sql((database.root / "sql/schema.sql").read_text() + "\ncreate table t (x intt);\n")
        with pytest.raises(Problem, match=r'test\.sql:\d+:19: type "intt" does not exist \(42704\)') as caught:
            setup(database, schema=str(bad))
        assert "^" in str(caught.value)
        assert open_session.execute("select count(*) as n from users").fetchone() == {"n": 5}
    assert database.scalar("select oid from pg_database where datname = current_database()") == oid
    assert database.names() == {""}


@pytest.mark.quick
@pytest.mark.every_server
def test_carries_owner_settings_grants_and_comment_over(database: Database) -> None:
    setup(database)
    name = database.name
    with database.connect("postgres") as conn:
        for statement in (
            f"create role {name}_owner",
            f"create role {name}_reader login",
            f"alter database {name} set timezone to 'Asia/Tokyo'",
            f'alter database {name} set search_path to "$user", public, inv',
            f"alter role {name}_reader in database {name} set statement_timeout to '7s'",
            f"alter database {name} owner to {name}_owner",
            f"alter database {name} connection limit 42",
            f"revoke all on database {name} from public",
            f"grant connect on database {name} to {name}_reader with grant option",
            f"comment on database {name} is 'it''s ours'",
        ):
            conn.execute(statement.encode())
    try:
        before = described(database)
        setup(database)
        assert described(database) == before
        assert database.scalar("show timezone") == "Asia/Tokyo"
        assert database.scalar("show search_path") == '"$user", public, inv'
    finally:
        drop(database)
        with database.connect("postgres") as conn:
            database.names()  # awaits a removal
            conn.execute(f"drop database if exists {name}__prev".encode())
            conn.execute(f"drop role {name}_owner, {name}_reader".encode())


def described(database: Database) -> list[dict[str, object]]:
    return database.query(
        f"""select pg_get_userbyid(datdba) as owner, datconnlimit, datcollate, datctype, encoding,
        (select array_agg(a::text order by a::text) from unnest(datacl) a) as acl,
        shobj_description(oid, 'pg_database') as comment,
        (select array_agg(setrole::text || setconfig::text order by setrole) from pg_db_role_setting
          where setdatabase = d.oid) as settings
        from pg_database d where datname = '{database.name}'"""
    )


def test_a_database_of_another_encoding_keeps_it(database: Database) -> None:
    with database.connect("postgres") as conn:
        conn.execute(
            f"create database {database.name} encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0".encode()
        )
    bad = database.sql("create table t (x text default '\u00e9');", "s.sql")
    setup(database, schema=str(bad), seed="")
    assert (
        database.scalar("select pg_encoding_to_char(encoding) from pg_database where datname = current_database()")
        == "LATIN1"
    )


def test_idle_sessions_are_ended_locally(database: Database) -> None:
    setup(database)
    with database.connect() as idle:
        idle.execute("select 1")
        setup(database)
        with pytest.raises(psycopg.OperationalError):
            idle.execute("select 1")


def test_a_session_at_work_is_named_at_once_and_force_ends_it(database: Database) -> None:
    setup(database)
    with contextlib.suppress(psycopg.OperationalError), database.connect() as busy:
        busy.execute("begin; select 1")
        begun = time.monotonic()
        with pytest.raises(Refused, match=rf"in use by pid {busy.info.backend_pid}.*--force"):
            drop(database)
        with pytest.raises(Refused, match="--force"):
            setup(database)
        assert time.monotonic() - begun < 2
        assert database.names() == {""}
        assert drop(database, force=True)
    assert database.names() == {"__prev"}


def test_a_prepared_transaction_is_named(database: Database) -> None:
    if database.server.label in {"container", "url"}:
        pytest.skip("this server is not configured for prepared transactions")
    setup(database)
    with database.connect() as conn:
        conn.execute("begin; delete from activities; prepare transaction 'held'")
        with pytest.raises(Problem, match="prepared transaction held"):
            drop(database)
        conn.execute("rollback prepared 'held'")


def test_leftovers_of_a_killed_run_are_swept(database: Database) -> None:
    setup(database)
    with database.connect("postgres") as conn:
        conn.execute(f"create database {database.name}__next".encode())
        conn.execute(f"create database {database.name}__old".encode())
        conn.execute(f"comment on database {database.name}__old is '{identity.KEPT}'".encode())
    setup(database)
    assert database.names() == {"", "__prev"}


def test_no_seed_leaves_the_tables_empty(database: Database) -> None:
    setup(database, seed="")
    assert database.scalar("select count(*) from users") == 0


@pytest.mark.parametrize(
    "line",
    [
        "alter database {name} set timezone to 'UTC';",
        'ALTER DATABASE "{name}" SET x.y = 1;',
        "comment on database {name} is 'x';",
        "alter role postgres in database {name} set timezone to 'UTC';",
        "grant all on database {name} to public;",
        "\\c {name}",
        "\\connect {name}",
    ],
)
def test_a_schema_that_names_its_own_database_is_found_before_loading(database: Database, line: str) -> None:
    setup(database)
    before = described(database)
    bad = database.sql("-- x\ncreate table t (x int);\n" + line.format(name=database.name) + "\n")
    with pytest.raises(Misconfigured, match=r"test\.sql:3:1"):
        setup(database, schema=str(bad))
    assert described(database) == before
    assert database.names() == {""}


def test_a_name_without_room_for_the_suffix_is_refused(one: Database) -> None:
    one.name = "n" * 58
    with pytest.raises(Misconfigured, match="no room"):
        setup(one)


@pytest.mark.every_server
def test_an_owner_without_superuser_rights_can_do_it_all(database: Database) -> None:
    """As on RDS: CREATEDB and pg_signal_backend, no more."""
    role = f"{database.name}_master"
    with database.connect("postgres") as conn:
        conn.execute(f"create role {role} login createdb password 'x'; grant pg_signal_backend to {role}".encode())
    admin = dict(database.server.params)
    try:
        database.server.params.update(user=role, password="x")
        setup(database)
        with database.connect():
            setup(database)
        drop(database)
        undo(database)
        assert database.scalar("select count(*) from users") == 5
    finally:
        database.server.params.update(admin)
        with database.connect("postgres") as conn:
            for suffix in database.names():
                conn.execute(f'drop database "{database.name}{suffix}"'.encode())
            conn.execute(f"drop role {role}".encode())


@pytest.mark.parametrize("suffix", ["__old", "__prev"])
def test_a_database_that_somebody_else_put_beside_is_never_removed(database: Database, suffix: str) -> None:
    setup(database)
    backup = database.name + suffix
    with database.connect("postgres") as conn:
        conn.execute(f"create database {backup}".encode())
    for act in (setup, drop):
        with pytest.raises(Refused, match=f"{backup} was not put there by inv"):
            act(database)
    assert database.names() == {"", suffix}


def test_what_is_kept_is_marked_and_what_comes_back_is_not(database: Database) -> None:
    def comments() -> dict[str, str | None]:
        database.names()  # awaits a removal
        rows = database.query(
            "select datname, shobj_description(oid, 'pg_database') as c from pg_database"
            f" where datname like '{database.name}%'",
            "postgres",
        )
        return {row["datname"].removeprefix(database.name): identity.SINCE.sub("[since]", row["c"]) for row in rows}

    setup(database)
    database.do(f"comment on database {database.name} is 'ours'")
    setup(database)
    assert comments() == {"": "ours", "__prev": "ours [inv: kept] [since]"}
    undo(database)
    assert comments() == {"": "ours", "__prev": "ours [inv: kept] [since]"}
    drop(database)
    assert comments() == {"__prev": "ours [inv: kept] [since]"}
    undo(database)
    assert comments() == {"": "ours"}


def test_timeouts_of_the_database_do_not_stop_a_setup(database: Database) -> None:
    setup(database)
    for setting in ("statement_timeout to '50ms'", "idle_in_transaction_session_timeout to '50ms'"):
        database.do(f"alter database {database.name} set {setting}")
    slow = database.sql("create table t (x int); select pg_sleep(0.2);")
    setup(database, schema=str(slow), seed="")
    assert database.scalar("show statement_timeout") == "50ms"


def test_a_role_with_odd_signs_in_its_name_keeps_its_grants(database: Database) -> None:
    setup(database)
    role = f'{database.name}{{b}} "x'
    quoted = '"' + role.replace('"', '""') + '"'
    with database.connect("postgres") as conn:
        conn.execute(f"create role {quoted}".encode())
        conn.execute(f"grant connect on database {database.name} to {quoted}".encode())
    try:
        before = described(database)
        setup(database)
        assert described(database) == before
    finally:
        for suffix in ("", "__prev"):
            database.do(f"revoke all on database {database.name}{suffix} from {quoted}", "postgres")
        database.do(f"drop role {quoted}", "postgres")
