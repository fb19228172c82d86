"""What AWS does to the databases of a blue/green deployment, and moto leaves out.

moto makes an empty instance and exchanges names. By the RDS User Guide ("PostgreSQL replication methods for blue/green deployments",
"Switching a blue/green deployment in Amazon RDS") the green instance has the data of the blue one and follows it. A switchover stops writes,
ends sessions, waits until the green one has it all, sequences too, and exchanges the names; the blue one takes no writes any more.

Here it follows by logical replication where the blue server writes enough for that, as by `rds.logical_replication`, else as a replica does.
AWS decides by the versions, which servers of the sandbox have in name alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ops import postgres
from ops.errors import Problem
from ops.targets.embedded import state as kept

NAME = "inv_blue_green"
"""Of publications, subscriptions and, with the database's id behind it, slots."""
DATABASES = (
    "select oid::bigint as id, datname as name from pg_database where datallowconn and not datistemplate order by 1"
)
TABLES = r"""
select from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' limit 1
"""
SEQUENCES = """
select format('select setval(%L, %s)', format('%I.%I', schemaname, sequencename), last_value) as statement
from pg_sequences where last_value is not null
"""
PATIENCE = 60.0
"""Seconds for which a switchover waits, until it is given up and all is as before."""


def deployments() -> list[Any]:
    """Return moto's deployments, in all regions."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.rds.models import rds_backends

    backends: Iterable[Any] = list(rds_backends[DEFAULT_ACCOUNT_ID].values())
    return [one for backend in backends for one in list(backend.blue_green_deployments.values())]


def named(deployment: Any, arn: str) -> Any:
    """Return moto's object of an instance of a deployment, or None where that has gone."""
    every = list(deployment.backend.databases.values())
    return next((one for one in every if one.db_instance_arn == arn), None)


def source_of(one: Any) -> Any:
    """Return moto's object of the blue instance that a green one follows; None once it is switched over to, and for any other."""
    for each in deployments():
        if each.status != "SWITCHOVER_COMPLETED" and named(each, each.target) is one:
            return named(each, each.source)
    return None


def waiting(identifier: str) -> tuple[Any, Any] | None:
    """Return moto's objects of both instances of a deployment that can be switched over."""
    for each in deployments():
        if each.blue_green_deployment_identifier == identifier and each.status == "AVAILABLE":
            return named(each, each.source), named(each, each.target)
    return None


def forget(one: Any) -> None:
    """Take the deployment of a green instance away, which could not be made."""
    for each in deployments():
        if named(each, each.target) is one:
            del each.backend.blue_green_deployments[each.blue_green_deployment_identifier]


def asks_for_logical(one: Any) -> bool:
    """Whether an instance's parameter group has its server write what logical replication needs."""
    group = one.backend.db_parameter_groups.get(getattr(one, "db_parameter_group_name", None) or "")
    held = group.parameters.get("rds.logical_replication", {}) if group else {}
    return str(held.get("ParameterValue", "")) == "1"


# --- the databases ------------------------------------------------------------------------


@contextlib.contextmanager
def connect(of: kept.Server, database: str = "postgres") -> Iterator[Any]:
    """Open a session in a database; what the server refuses is a `Problem`."""
    import psycopg

    try:
        with postgres.connect(of.target(database), task="sandbox") as conn:
            yield conn
    except psycopg.Error as error:
        raise Problem(" ".join(str(error).split())) from None


def level(of: kept.Server) -> str:
    with connect(of) as conn:
        return str(postgres.row(conn, "select current_setting('wal_level') as level")["level"])


def databases(of: kept.Server) -> list[tuple[int, str]]:
    with connect(of) as conn:
        return [(row["id"], row["name"]) for row in conn.execute(DATABASES)]


def publish(blue: kept.Server) -> None:
    """Have a server keep, from now on, what changes in each of its databases."""
    release(blue)  # what a run that was killed has left
    for number, name in databases(blue):
        with connect(blue, name) as conn:
            if conn.execute(TABLES).fetchone() is not None:  # a server starts few workers that apply
                conn.execute(f"create publication {NAME} for all tables")
                conn.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [f"{NAME}_{number}"])


def subscribe(green: kept.Server, blue: kept.Server, point: str) -> None:
    """Have a copy of a server follow it from the point up to which it was brought."""
    for number, name in databases(green):
        with connect(green, name) as conn:
            if conn.execute("select from pg_publication where pubname = %s", [NAME]).fetchone() is None:
                continue
            where = f"host=127.0.0.1 port={blue.port} user={blue.user} password={blue.passwords[0]} dbname=''{name}''"
            more = f"slot_name = '{NAME}_{number}', create_slot = false, copy_data = false, enabled = false"
            conn.execute(f"drop publication {NAME}")
            conn.execute(f"create subscription {NAME} connection '{where}' publication {NAME} with ({more})")
            began = "select pg_replication_origin_advance('pg_' || oid, %s) from pg_subscription where subname = %s"
            conn.execute(began, [point, NAME])
            conn.execute(f"alter subscription {NAME} enable")


def let_go(green: kept.Server) -> None:
    """Have a server follow no more."""
    for _, name in databases(green):
        with connect(green, name) as conn:
            here = "select from pg_subscription where subname = %s and subdbid = "
            here += "(select oid from pg_database where datname = current_database())"
            if conn.execute(here, [NAME]).fetchone() is not None:
                conn.execute(f"alter subscription {NAME} disable")
                conn.execute(f"alter subscription {NAME} set (slot_name = none)")
                conn.execute(f"drop subscription {NAME}")


def release(blue: kept.Server) -> None:
    """Have a server keep nothing any more for one that followed it."""
    slots = f"from pg_replication_slots where slot_name like '{NAME}%'"
    with connect(blue) as conn:
        conn.execute(f"select pg_terminate_backend(active_pid) {slots} and active")
        until(lambda: conn.execute(f"select {slots} and active").fetchone() is None, "its reader does not end")
        conn.execute(f"select pg_drop_replication_slot(slot_name) {slots}")
    for _, name in databases(blue):
        with connect(blue, name) as conn:
            conn.execute("set default_transaction_read_only = off")
            conn.execute(f"drop publication if exists {NAME}")


def hold(blue: kept.Server) -> None:
    """Have a server take no writes any more, and end all sessions that could."""
    with connect(blue) as conn:
        conn.execute("alter system set default_transaction_read_only = on")
        conn.execute("select pg_reload_conf()")
        until(lambda: reads_only(blue), "it still takes writes")
        at = postgres.row(conn, "select clock_timestamp() as at")["at"]
        others = "from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and backend_start < %s"
        conn.execute(f"select pg_terminate_backend(pid) {others}", [at])
        until(lambda: conn.execute(f"select {others}", [at]).fetchone() is None, "a session does not end")


def resume(blue: kept.Server) -> None:
    """Have a server take writes again, after a switchover that was given up."""
    with connect(blue) as conn:
        conn.execute("alter system reset default_transaction_read_only")
        conn.execute("select pg_reload_conf()")


def reads_only(of: kept.Server) -> bool:
    with connect(of) as conn:
        return bool(postgres.row(conn, "select current_setting('default_transaction_read_only')::bool as it")["it"])


def catch_up(green: kept.Server, blue: kept.Server, *, physical: bool) -> None:
    """Wait until a copy has all that was written to a server that takes no writes any more, and give it the sequences' values."""
    with connect(blue) as conn, connect(green) as copy:
        end = postgres.row(conn, "select pg_current_wal_insert_lsn()::text as lsn")["lsn"]
        if physical:
            has = "select pg_last_wal_replay_lsn() >= %s::pg_lsn as it"
            until(lambda: bool(postgres.row(copy, has, end)["it"]), "the copy does not catch up")
            return
        has = f"select bool_and(confirmed_flush_lsn >= %s::pg_lsn) is not false as it from pg_replication_slots where slot_name like '{NAME}%%'"
        until(lambda: bool(postgres.row(conn, has, end)["it"]), "the copy does not catch up")
    for _, name in databases(blue):
        with connect(blue, name) as conn, connect(green, name) as copy:
            for row in conn.execute(SEQUENCES).fetchall():
                copy.execute(row["statement"])


def until(there: Callable[[], bool], wrong: str) -> None:
    end = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > end:
            raise Problem(f"the switchover was given up: {wrong}")
        time.sleep(0.02)
