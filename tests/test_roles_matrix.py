"""Who may do what: sixty acts by each declared role, on each version, as RDS's master user has made them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests import servers
from tests.fix_roles import Place, placed

SESSIONS = {
    "o": "set session authorization {owner}",
    "M": "set session authorization {migrator}; set role {owner}",
    "m": "set session authorization {migrator}",
    "a": "set session authorization {app}",
    "r": "set session authorization {reader}",
    "l": "set session authorization {lambda_signup}",
}
"""The owner, the migrator once it has become that and before, the app, the reader, and the function."""
ALL = "oMmarl"
USER = "insert into users (display_name, handle, cognito_user_id) values ('a', 'a', 'a')"

SEEN, ENDED = "select * from pg_ls_waldir()", "select pg_cancel_backend({masters_pid})"
LENT = (SEEN, ENDED)
"""What the migrator has before 16 by SET ROLE alone, since it inherits nothing there."""

# What is done, and who may
ACTS = [
    # rows
    ("select * from users", "oMarl"),
    (USER, "oMal"),
    (f"{USER} on conflict do nothing", "oMal"),
    ("update users set email = null", "oMa"),
    ("delete from users", "oMa"),
    ("truncate users", "oM"),
    ("select * from t", "oMar"),
    ("insert into t (x) values (1)", "oMa"),
    ("insert into t (id, x) values (1, 1) on conflict (id) do update set x = 2", "oMa"),
    ("update t set x = 2", "oMa"),
    ("delete from t", "oMa"),
    ("truncate t", "oM"),
    ("merge into t using (select 1 as x) n on t.x = n.x when matched then delete", "oMa"),
    ("select * from t for update", "oMa"),
    ("lock table t in access exclusive mode", "oMa"),
    ("select * from v", "oMar"),
    ("select * from mv", "oMar"),
    ("explain select * from t", "oMar"),
    # what is made after the grants
    ("select * from newer", "oMar"),
    ("insert into newer (x) values (1)", "oMa"),
    ("delete from newer", "oMa"),
    ("truncate newer", "oM"),
    ("select * from newer_view", "oMar"),
    ("select newer_locked()", "oMar"),
    # sequences
    ("select nextval('s')", "oMa"),
    ("select setval('s', 5)", "oM"),
    ("select last_value from s", "oMar"),
    ("select nextval('newer_id_seq')", "oMa"),
    # functions: the server lets everybody run them, unless that is taken away
    ("select f()", ALL),
    ("call p()", ALL),
    ("select locked()", "oMar"),
    # other schemas
    ("select * from other.secret", "oM"),
    ("insert into other.secret values (1)", "oM"),
    ("select * from inv.notes", "oMar"),
    ("insert into inv.notes values (1)", "oM"),
    # making
    ("create table made (x int)", "oM"),
    ("create temporary table made (x int)", ALL),
    ("create schema made", "oM"),
    ("create view made as select 1", "oM"),
    ("create materialized view made as select 1", "oM"),
    ("create sequence made", "oM"),
    ("create function made() returns int language sql as 'select 1'", "oM"),
    ("create type made as (x int)", "oM"),
    ("create index on t (x)", "oM"),
    ("create rule made as on insert to t do also nothing", "oM"),
    ("create policy made on t", "oM"),
    ("create publication made for table t", "oM"),
    ("create role made", ""),
    # changing
    ("alter table t add column y int", "oM"),
    ("alter table t rename to u", "oM"),
    ("alter table t enable row level security", "oM"),
    ("alter type mood add value 'bad'", "oM"),
    ("alter schema other rename to more", "oM"),
    ("comment on table t is 'x'", "oM"),
    ("alter database {name} set work_mem = '1MB'", "oM"),
    ("alter role {app} createdb", ""),
    ("refresh materialized view mv", "oM"),
    ("reindex table t", "oM"),
    # removing
    ("drop table t cascade", "oM"),
    ("drop schema other cascade", "oM"),
    ("drop function f()", "oM"),
    ("drop sequence s", "oM"),
    ("drop role {reader}", ""),
    # giving and becoming
    ("grant usage on schema other to public", "oM"),
    ("grant {app} to {reader}", ""),
    ("set role {owner}", "oMm"),
    ("set role {app}", "a"),
    ("set role {master}", ""),
    # the server
    (SEEN, "mr"),
    ("select * from pg_authid", ""),
    ("select pg_read_file('PG_VERSION')", ""),
    ("set session_replication_role = replica", ""),
    ("alter system set work_mem = '1MB'", ""),
    ("select pg_terminate_backend({pid})", ""),
    (ENDED, "m"),
]


@pytest.fixture(scope="module")
def governed(supplier: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, dict[str, psycopg.Connection[Any]]]]:  # fmt: skip
    """A database with its declared roles, and a session of each."""
    for place in placed(supplier, tmp_path_factory.mktemp("matrix")):
        place.roles()
        with place.connect() as conn:
            conn.execute(place.filled(SESSIONS["M"]).encode())
            conn.execute("create table newer (id serial, x int); create view newer_view as select * from newer")
            conn.execute("create function newer_locked() returns int language sql as 'select 1'")
            conn.execute("revoke execute on function newer_locked() from public")
        sessions = {}
        for letter, text in SESSIONS.items():
            sessions[letter] = place.connect()
            sessions[letter].execute(place.filled(text).encode())
        yield place, sessions
        for conn in sessions.values():
            conn.close()


@pytest.mark.parametrize(("act", "who"), ACTS, ids=[act for act, _ in ACTS])
def test_each_role_may_do_what_is_declared_and_no_more(
    act: str, who: str, governed: tuple[Place, dict[str, psycopg.Connection[Any]]]
) -> None:
    place, sessions = governed
    lent = act in LENT
    masters = place.target().url(show_password=True)
    with place.connect() as other, psycopg.connect(masters) as theirs:
        pids = {"{pid}": other.info.backend_pid, "{masters_pid}": theirs.info.backend_pid}
        for word, pid in pids.items():
            act = act.replace(word, str(pid))
        text = place.filled(act)
        able = "".join(letter for letter, conn in sessions.items() if may(conn, text))
        older = other.info.server_version < 160000
    assert able == (who.replace("m", "") if older and lent else who)


def may(conn: psycopg.Connection[Any], text: str) -> bool:
    """Whether a session may do something; it is undone."""
    conn.execute("begin")
    try:
        conn.execute(text.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.errors.ActiveSqlTransaction:  # what wants no transaction asks that before it asks for rights
        conn.execute("rollback")
        return may_alone(conn, text)
    finally:
        conn.execute("rollback")
    return True


def may_alone(conn: psycopg.Connection[Any], text: str) -> bool:
    try:
        conn.execute(text.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def test_there_are_sixty_acts() -> None:
    assert len(ACTS) >= 60
