"""The only place that opens a connection to Postgres."""

from __future__ import annotations

import functools
import getpass
import re
import socket
from typing import TYPE_CHECKING, Any

from config.targets import Target
from ops import own_files, silence
from ops.errors import Misconfigured, Problem

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from typing_extensions import LiteralString

# Timeouts are set for people and applications. A long load must outlive them, and so must the
# session that holds the lock beside it. Which there are, the server knows: each version has more.
# The two that are left out end no work, they tell a peer that is gone from one that is silent.
# The session of a pooler is another one's in a moment, so nothing of it is changed: its pid is not the one that we were given
TIMEOUTS_OFF = r"""
select name, pg_catalog.pg_backend_pid() as pid,
  case when pg_catalog.pg_backend_pid() = {pid} then pg_catalog.set_config(name, '0', false) end as off
from pg_catalog.pg_settings
where context = 'user' and unit = 'ms' and name like '%\_timeout' and min_val::numeric <= 0
  and name not in ('tcp_user_timeout', 'wal_sender_timeout')
"""
_timeouts: dict[tuple[str, str], str] = {}
"""By host and port: the options that lift them from the start on, once a session there has told their names.

A RESET in a file goes back to what a session started with: there they must be off, too.
"""

# What a session does, by the server's account of it
ACCOUNT = """
select state, wait_event_type as waits,
  (select pg_catalog.format('pid %%s (%%s)', b.pid, pg_catalog.concat_ws(', ', nullif(b.application_name, ''), b.usename, b.state))
   from unnest(pg_catalog.pg_blocking_pids(a.pid)) as p join pg_catalog.pg_stat_activity b on b.pid = p limit 1) as holder
from pg_catalog.pg_stat_activity a where pid = %s
"""
OF_CHILD = """
select max(pid) as pid from pg_catalog.pg_stat_activity where application_name = %s and datname = %s and pid <> all(%s)
"""
"""The session of a program of ours; nothing where a pooler gives it another name."""

# libpq parameter -> the variable by which psql and pgcli take it
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "application_name": "PGAPPNAME",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "options": "PGOPTIONS",
    "client_encoding": "PGCLIENTENCODING",
    "require_auth": "PGREQUIREAUTH",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "passfile": "PGPASSFILE",
}


@functools.cache
def whoami() -> str:
    """Return user@host of this workspace, the face of our sessions and locks."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def application(task: str) -> str:
    """Return the application name of a session, which Postgres cuts at 63 bytes."""
    return f"inv {task} {whoami()}".encode()[:63].decode(errors="ignore")


def environment(
    target: Target, *, task: str, options: str = "", untimed: bool = False, of: Target | None = None
) -> dict[str, str]:
    """Return the libpq variables by which a child program reaches `target`.

    The password, or a token for a login just now, travels here and never on a command line. `untimed` lifts the timeouts of role and database, as for a
    session of ours on the same server; `options` come after that, and the target's own first. `of` is the target itself,
    where `target` is another way to it.
    """
    params = {**target.direct().params, **secret(target), "application_name": application(task)}
    off = _timeouts.get(server_of(of or target), "") if untimed else ""
    if more := " ".join(filter(None, (params.get("options", ""), off, options))):
        params["options"] = more
    unknown = [name for name in params if name not in _VARIABLES]
    if unknown:
        raise Misconfigured(f"{target.source}: psql cannot be given {', '.join(unknown)} here, leave it out of the URL")
    return {_VARIABLES[name]: value for name, value in params.items() if value}


def secret(target: Target) -> dict[str, str]:
    """Return the token for a login just now, by libpq's name for a password; nothing for a login by password."""
    return {"password": target.token(target)} if target.token else {}


def server_of(target: Target) -> tuple[str, str]:
    """Return what tells one server from another, as far as a target says."""
    return target.params.get("hostaddr") or target.host, str(target.port)


def as_role(role: str) -> str:
    """Return libpq's option by which a session begins as a role, and goes back to it by RESET ROLE; empty for none.

    Spaces and backslashes are escaped: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS.
    """
    return "-c role=" + role.replace("\\", "\\\\").replace(" ", "\\ ") if role else ""


def connect(
    target: Target, *, task: str, dbname: str | None = None, timeout: int = 10, options: str = "", role: str = ""
) -> Connection[DictRow]:
    """Open a connection in autocommit mode, rows as dictionaries.

    `timeout` is in seconds; `options` are settings of the session, over the target's own and ours, `role` is what it is to be over
    its login. Raises `NothingAnswers`, `Unreachable`, `LoginFailed` or `NoDatabase`, each worded as the next step, and what keeps
    a token from being signed.
    """
    import logging

    import psycopg
    from psycopg.rows import dict_row

    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what it has to say, it raises
    look_up(target, timeout)
    params: dict[str, Any] = {
        "connect_timeout": timeout,
        "hostaddr": "",  # keeps PGHOSTADDR from leading elsewhere than the URL says
        "keepalives_idle": 30,  # a gateway on the way forgets a silent connection within minutes
        "tcp_user_timeout": round(silence.limit * 1000),  # what we send and nobody takes: libpq's own, in milliseconds
        **target.direct().params,
        "dbname": dbname or target.dbname,
        "application_name": application(task),
        "client_encoding": "UTF8",
    }
    known = _timeouts.get(server_of(target))
    if more := " ".join(filter(None, (params.get("options", ""), known, options))):
        params["options"] = more
    login = {**params, **secret(target)}
    if role:  # the other session that asks for a sign of life looks on as the login, which sees its own sessions
        login["options"] = " ".join(filter(None, (params.get("options", ""), as_role(role))))
    try:
        with silence.waiting(f"{target.address} ({target.name}) to let us in"):
            conn: Any = silence.session_class().connect(autocommit=True, row_factory=dict_row, **login)
    except psycopg.Error as error:
        from ops.postgres_errors import refusal

        through = target.way.fault(str(error)) if target.way else None
        raise through or refusal(target, str(error)) from None
    except (UnicodeError, ValueError):
        raise Misconfigured(f"{target.source}: the host name is not one, check the URL") from None
    conn.what = f"{target.address} ({target.name})"
    conn.others = functools.partial(sign_of_life, target, params, 0)  # of a program of ours, too: child=
    pid = conn.info.backend_pid  # now: who asks does so beside, when the session may be closed
    # a pooler's pids are its own
    conn.ask = lambda: sign_of_life(target, params, pid if server_of(target) in _timeouts else 0)
    try:
        if not known:
            lift_timeouts(conn, target)
    except BaseException:
        conn.close()
        raise
    made: Connection[DictRow] = conn
    return made


def look_up(target: Target, seconds: float) -> None:
    """See that the name of a target's host is answered for in time; raises `Unreachable`."""
    host = target.params.get("host", "")
    if host and not target.params.get("hostaddr") and not target.via and not target.loopback and "/" not in host:
        silence.resolves(host, seconds)


def sign_of_life(
    target: Target, params: dict[str, Any], pid: int, child: tuple[str, str, list[int]] | None = None
) -> str | None:
    """Ask the server, by another connection, what a session does, or with `pid` 0 only whether it answers.

    `child` tells the session of a program of ours: its application name, its database, and the sessions that are not it.

    Returns None where there is no sign that it goes on: the server does not answer, the session is not
    there, or waits for its client, which has not heard (pg_stat_activity: state, wait_event_type). Else
    a text that says who holds what it waits for, or an empty one.
    """
    import psycopg

    try:
        login = {**params, **secret(target), "connect_timeout": max(2, round(silence.limit))}
        with psycopg.connect(autocommit=True, **login) as other:
            if child:
                pid = (other.execute(OF_CHILD, child).fetchone() or (0,))[0] or 0
            row = other.execute(ACCOUNT, [pid]).fetchone() if pid else ("active", None, None)
    except Problem:  # no token for another login: then nothing is known of the session
        return ""
    except psycopg.Error as error:  # a server that says no is one that speaks
        return "" if error.sqlstate or re.search("FATAL|too many|slots", str(error)) else None
    if row is None or row[0] not in ("active", "fastpath function call") or row[1] == "Client":
        return None
    return f"a lock held by {row[2]}" if row[2] else ""


def lift_timeouts(conn: Connection[DictRow], target: Target) -> None:
    """Switch the timeouts of role and database off in a session of our own, and remember their names for the next one."""
    pid = conn.info.backend_pid
    rows = conn.execute(TIMEOUTS_OFF.replace("{pid}", str(pid)).encode()).fetchall()
    if any(row["pid"] != pid for row in rows):
        conn.prepare_threshold = None  # what a pooler's session keeps is in the way of the next one
    else:  # a pooler takes no options
        _timeouts[server_of(target)] = " ".join(f"-c {row['name']}=0" for row in rows)


def fetch(conn: Connection[DictRow], query: LiteralString, *params: Any) -> list[DictRow]:
    """Return all rows of a query."""
    return conn.execute(query, params or None).fetchall()


def fetch_briefly(conn: Connection[DictRow], query: str, patience: str) -> list[DictRow]:
    """Return all rows of a query that waits no longer for a lock than `patience`, as Postgres writes it; empty: as long as is set there.

    Raises psycopg's `LockNotAvailable`. Both statements are one message, and so one transaction, which holds the lock no longer than the
    query takes (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT); a limit of the session would
    be whoever's is next behind a pooler.
    """
    if not patience:
        return conn.execute(query.encode()).fetchall()
    found = conn.execute(f"set local lock_timeout = '{patience}'; {query}".encode(), prepare=False)
    found.nextset()
    return found.fetchall()


def shaped(conn: Connection[Any], found: Any, shape: Any) -> Any:
    """Return what the server has put together; raises `Problem` where it does not look as `own_files.is_shaped` is told: no PostgreSQL's does otherwise."""
    if not own_files.is_shaped(found, shape):
        raise Problem(f"{conn.info.host}:{conn.info.port} {silence.NO_POSTGRES}")
    return found


def row(conn: Connection[DictRow], query: LiteralString, *params: Any) -> DictRow:
    """Return the single row of a query."""
    found = conn.execute(query, params or None).fetchone()
    assert found is not None
    return found
