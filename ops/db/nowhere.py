"""What SQL would reach on other servers, cut off: foreign tables and subscriptions.

What is run only to see what it does must not do it elsewhere, too: an UPDATE of a foreign table changes rows on another server.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from ops.db.sql_file.script import Script

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

MASK = "nowhere"
"""Stands where an address or a password stood."""
NO_HANDLER = "has no handler"
"""Words of Postgres for a statement on a foreign table that leads nowhere."""
NOT_RUN = "statements on foreign tables are not run here, since they would reach another server"
_CONNECTS = re.compile(r"CREATE (SERVER|USER MAPPING|FOREIGN DATA WRAPPER) ")
_OPTION = re.compile(r"(?P<name>\"(?:[^\"]|\"\")+\"|[\w$]+) E?'(?P<value>(?:[^']|'')*)'")
_SECRET = re.compile(r"pass|secret|key|token|host|user", re.IGNORECASE)
_PLAIN = re.compile(r"true|false|on|off|\d{1,5}(\.\d+)?")
"""Values that lead nowhere by themselves, and that a wrapper may insist on."""

# Without its handler a wrapper has no code that could connect; the options of servers and mappings stay as they are given
SEAL = """
create schema inv_sealed;
create function inv_sealed.take_handlers() returns event_trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set client_min_messages = error as $$
declare one record;
begin
  for one in select fdwname, fdwhandler from pg_foreign_data_wrapper where fdwhandler <> 0 loop
    execute format('alter foreign data wrapper %I no handler', one.fdwname);
    -- how it was, for who takes the seal off: a table would be one more to be tried by readers and writers
    execute format('comment on schema inv_sealed is %L', concat_ws(E'\\n', obj_description('inv_sealed'::regnamespace, 'pg_namespace'),
      format('alter foreign data wrapper %I handler %s', one.fdwname, one.fdwhandler::regproc)));
  end loop;
end $$;
create event trigger inv_sealed_wrappers on ddl_command_end
when tag in ('CREATE EXTENSION', 'ALTER EXTENSION', 'CREATE FOREIGN DATA WRAPPER', 'ALTER FOREIGN DATA WRAPPER')
execute function inv_sealed.take_handlers();
create function inv_sealed.refuse() returns event_trigger language plpgsql as $$
begin
  raise exception 'a subscription would write on the server that it names, so none is made here: make it by hand where it belongs (inv db.connect --write)';
end $$;
create event trigger inv_sealed_subscriptions on ddl_command_start
when tag in ('CREATE SUBSCRIPTION', 'ALTER SUBSCRIPTION') execute function inv_sealed.refuse();
"""
UNSEAL = """
set client_min_messages = error;
drop event trigger if exists inv_sealed_wrappers;
drop event trigger if exists inv_sealed_subscriptions;
do $$
declare one text;
begin
  foreach one in array coalesce(string_to_array(obj_description('inv_sealed'::regnamespace, 'pg_namespace'), E'\\n'), '{}') loop
    begin
      execute one;
    exception when undefined_object or undefined_function then null;  -- dropped since
    end;
  end loop;
end $$;
drop schema inv_sealed cascade;
reset client_min_messages
"""


def seal(conn: Connection[DictRow]) -> None:
    """Have nothing that is made in this database from here on connect to another server by itself."""
    conn.execute(SEAL.encode())


def unseal(conn: Connection[DictRow]) -> None:
    """Leave the database as if it had never been sealed, once all that was to be run has run."""
    conn.execute(UNSEAL.encode())


def masked(schema: str) -> str:
    """Return a dump without addresses, logins and passwords of other servers; the options keep their names, for who alters them."""
    data = schema.encode()
    starts = [0, *Script("a dump", data).contents.statements, len(data)]
    return "".join(without_values(data[start:end].decode()) for start, end in itertools.pairwise(starts))


def without_values(statement: str) -> str:
    if not _CONNECTS.match(statement):
        return statement
    head, options, values = statement.partition(" OPTIONS (")
    return head + options + _OPTION.sub(mask, values)


def mask(option: re.Match[str]) -> str:
    plain = _PLAIN.fullmatch(option["value"]) and not _SECRET.search(option["name"])
    return option[0] if plain else f"{option['name']} '{MASK}'"
