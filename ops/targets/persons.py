"""The logins of people, which end at a time: how one is known as ours, and how one that has ended is shut.

VALID UNTIL bounds a stored password alone (https://www.postgresql.org/docs/current/sql-createrole.html): it ends no open session,
and means nothing where one logs in by a token or a certificate. So a person's rights hang on a membership that is taken
away at the end, the login may not log in any more, and its open sessions are ended: by whatever of ours opens the target
next, and each minute by pg_cron where there is one (ops/db/access/schedule.py).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from ops import postgres, row_values
from ops.console import say
from ops.errors import Problem
from ops.targets.roles import names

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.errors import Diagnostic
    from psycopg.rows import DictRow

    from ops.targets.open_target import OpenTarget

WHEN = "%Y-%m-%dT%H:%M:%SZ"
"""How the end stands in the mark: in UTC, so that the order of the texts is that of the times."""
GONE = 2.0
"""Seconds that a session has to end after it was told to."""


MARK = r"\[inv: login (\S+) of (.*) until (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\]"


class Access(NamedTuple):
    """What the mark of a login says."""

    role: str
    """Which declared role it has, by its key in sql/roles.yaml."""
    until: datetime


def mark(database: str, role: str, until: datetime) -> str:
    """Return what the comment on a login holds that is a person's, for a database, until a time."""
    return f"[inv: login {role} of {database} until {until.astimezone(timezone.utc):{WHEN}}]"


def read_mark(comment: str | None, database: str) -> Access | None:
    """Return what a mark of ours for this database says; None where there is none."""
    found = re.search(MARK, comment or "")
    with suppress(ValueError):
        if found and found[2] == database:
            return Access(found[1], datetime.strptime(found[3], WHEN).replace(tzinfo=timezone.utc))
    return None


# An end that is none must not be a fault of a query which each task sends: the texts are compared, none is read as a time
LOGINS = r"""
(select objoid, pg_catalog.substring(description, '\[inv: login \S+ of .* until \d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\]') as mark
 from pg_catalog.pg_shdescription where classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass) d
join pg_catalog.pg_roles r on r.oid = d.objoid
"""
OURS = """
  d.mark = '[inv: login ' || pg_catalog.split_part(d.mark, ' ', 3) || ' of ' || {database} || ' until ' || pg_catalog.right(d.mark, 21)
"""
UNTIL = "pg_catalog.left(pg_catalog.right(d.mark, 21), 20)"
HAS_ENDED = f"""
  {UNTIL} collate "C" <= pg_catalog.to_char(pg_catalog.clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
"""
IS_OPEN = """
  (r.rolcanlogin or exists (select from pg_catalog.pg_auth_members m where m.member = r.oid)
   or exists (select from pg_catalog.pg_stat_activity a where a.usesysid = r.oid))
"""
ENDED = f"""
select pg_catalog.array_agg(r.rolname::text || ', ' || {UNTIL} order by r.rolname)
from {LOGINS} where {OURS.replace("{database}", "%s")} and {HAS_ENDED} and {IS_OPEN}
"""
"""The logins that have ended and are not shut, each with its end; null for none. It takes the database."""

# One login that cannot be shut must not keep the others open, nor one step the next: each has a block of its own.
# A session is ended by a superuser, by pg_signal_backend, or by whoever has the rights of its role
# (https://www.postgresql.org/docs/current/functions-admin.html): that, whoever made it can give himself. Who
# is at it already holds the lock.
SHUT = r"""
declare
  person record;
  held record;
  newer constant boolean := pg_catalog.current_setting('server_version_num')::int >= 160000;
begin
  if not pg_catalog.pg_try_advisory_xact_lock({key}) then
    return;
  end if;
  for person in
    select r.oid, r.rolname, r.rolcanlogin from {logins} where {ours} and {has_ended} and {is_open}
  loop
    begin
      if person.rolcanlogin then
        execute pg_catalog.format('alter role %I nologin', person.rolname);
      end if;
    exception when others then
      raise warning '%: %', person.rolname, sqlerrm;
    end;
    for held in
      select pg_catalog.pg_get_userbyid(m.roleid) as role, pg_catalog.pg_get_userbyid(m.grantor) as grantor
      from pg_catalog.pg_auth_members m where m.member = person.oid
    loop
      begin
        execute pg_catalog.format('revoke %I from %I', held.role, person.rolname)
          || case when newer then pg_catalog.format(' granted by %I', held.grantor) else '' end;
      exception when others then
        raise warning '%: %', person.rolname, sqlerrm;
      end;
    end loop;
    begin
      if exists (select from pg_catalog.pg_stat_activity a where a.usesysid = person.oid) then
        if not pg_catalog.pg_has_role('pg_signal_backend', 'usage') and not pg_catalog.pg_has_role(person.oid, 'usage') then
          execute pg_catalog.format('grant %I to %I', person.rolname, current_user)
            || case when newer then ' with inherit true, set false' else '' end;
        end if;
        perform pg_catalog.pg_terminate_backend(a.pid) from pg_catalog.pg_stat_activity a where a.usesysid = person.oid;
      end if;
    exception when others then
      raise warning '%: %', person.rolname, sqlerrm;
    end;
  end loop;
{more}
end
"""
KEY = "pg_catalog.hashtextextended('inv access:' || {database}, 0)"
"""The advisory lock of whoever changes the logins of a database's people; on the maintenance database, as ops/db/lock.py's."""


def lock_key(database: str) -> str:
    """Return the expression of the lock's number."""
    from psycopg import sql

    return KEY.replace("{database}", sql.Literal(database).as_string())


def shutting(database: str, more: str = "") -> str:
    """Return the statement that shuts all logins of a database's people that have ended; `more` is done after, in PL/pgSQL."""
    from psycopg import sql

    words = {
        "logins": LOGINS,
        "ours": OURS.replace("{database}", sql.Literal(database).as_string()),
        "key": lock_key(database),
        "has_ended": HAS_ENDED,
        "is_open": IS_OPEN,
        "more": more,
    }
    body = SHUT
    for word, meaning in words.items():
        body = body.replace(f"{{{word}}}", meaning)
    return sql.SQL("do {}").format(sql.Literal(body)).as_string()


def ended(conn: Connection[DictRow], database: str) -> list[str]:
    """Return the logins that have ended and are not shut, each as `name, end`."""
    found = conn.execute(f"select ({ENDED}) as ended".encode(), [database]).fetchone()
    return (found["ended"] if found else None) or []


def shut(conn: Connection[DictRow], database: str) -> tuple[list[str], list[str]]:
    """Shut the logins that have ended; return those that are open all the same, and what the server said of some: `name: why`.

    Raises psycopg's errors.
    """
    said: list[str] = []

    def heard(diag: Diagnostic) -> None:
        said.append(row_values.words(diag))

    conn.add_notice_handler(heard)
    try:
        conn.execute(shutting(database).encode())
    finally:
        conn.remove_notice_handler(heard)
    deadline = time.monotonic() + GONE
    while True:
        left = ended(conn, database)
        leaving = [one for one in left if not about(one, said)]  # a session ends a moment after it was told to
        if not leaving or time.monotonic() > deadline:
            return left, said
        time.sleep(0.01)


def about(one: str, said: list[str]) -> list[str]:
    """Return what the server has said of a login that `ended` names."""
    login = one.rpartition(", ")[0]
    return [line for line in said if line.startswith(f"{login}: ")]


def shut_ended(place: OpenTarget, as_own_user: Callable[[], Connection[DictRow]] | None) -> None:
    """Shut the logins that the facts of a target name as ended, and say so; `as_own_user` logs in with the rights to.

    A task does what it is for, whether that can be done or not; what is in the way is said, with the next step.
    """
    import psycopg

    from ops.targets.outcome import is_lost

    had = place.facts["ended"]
    if not had:
        return
    left, said = had, list[str]()
    try:
        with as_own_user() if as_own_user else nullcontext(place.conn) as conn:
            left, said = shut(conn, names.database_of(place.target))
    except Problem as error:
        said = [str(error.args[0])]
    except psycopg.Error as error:
        if is_lost(error) and not as_own_user:
            raise
        said = [row_values.message(error.diag) or " ".join(str(error).split())]
    if done := [one for one in had if one not in left]:
        say(f"ended, as db.grant-access has set it: {'; '.join(done)}")
    if left:
        say(
            f"note: to be ended, and still open: {'; '.join(left)} ({'; '.join(said) or 'its sessions do not end'}): "
            "inv db.revoke-access as a superuser, or as the user who has given it"
        )


def lock(conn: Connection[DictRow], database: str) -> None:
    """Wait for others who change the logins of a database's people, until the end of the transaction."""
    conn.execute(f"select pg_catalog.pg_advisory_xact_lock({lock_key(database)})".encode())


def server_time(conn: Connection[DictRow]) -> datetime:
    """Return the time by the server's clock, in whole seconds."""
    now = postgres.row(conn, "select pg_catalog.date_trunc('second', pg_catalog.clock_timestamp()) as now")["now"]
    assert isinstance(now, datetime)
    return now
