"""The faults that people meet most, in words, each as what to do next."""

from __future__ import annotations

import re
from typing import Any

from ops import row_values
from ops.console import option

# Types and functions whose extension a schema forgot
_BRINGS = {
    "citext": "citext",
    "hstore": "hstore",
    "vector": "vector",
    "geometry": "postgis",
    "geography": "postgis",
    "uuid_generate_v4": "uuid-ossp",
    "uuid_generate_v1": "uuid-ossp",
    "crypt": "pgcrypto",
    "gen_salt": "pgcrypto",
    "digest": "pgcrypto",
}

# Extensions that the embedded server lacks, and what does the same
_INSTEAD = {
    "uuid-ossp": "use gen_random_uuid(), built in since PostgreSQL 13, and remove this line",
    "pgcrypto": "for uuids use gen_random_uuid(), built in since PostgreSQL 13; for more use -t docker or a local Postgres",
    "postgis": "use a Postgres that has PostGIS, by CONNECTION_URL or -t docker",
}


def extension(name: str) -> str:
    """Return what to do about an extension that the server does not have."""
    return _INSTEAD.get(name, "install it on the server, or use a server that has it (CONNECTION_URL, -t docker)")


def failure(diag: Any, statement: str) -> str:
    """Return advice for an error of a script, or nothing.

    `diag` has psycopg's diagnostic fields, `statement` the text that failed.
    """
    state, message = diag.sqlstate or "", row_values.words(diag)
    match state:
        case "23502":  # not_null_violation
            return not_null(diag, statement)
        case "42703":  # undefined_column
            return "the schema has no such column: add it to the schema (then inv db.setup), or take it out of this statement"
        case "42P01":  # undefined_table
            return "the table is not there: load the schema first (inv db.schema-load), or correct the name"
        case "3F000":  # invalid_schema_name
            return "the schema (namespace) is not there: write CREATE SCHEMA above"
        case "42704" if "role" in message:  # undefined_object
            if "rds_" in message:
                return "this role exists on RDS only: keep the line out of the schema, or guard it with a DO block that looks into pg_roles"
            return "roles belong to the server, not the database: create it there first, or remove the line"
        case "42704" if "configuration parameter" in message:
            return "this server does not know the setting (a newer pg_dump writes such lines): remove the line"
        case "42704" | "42883" if found := re.search(r'(?:type|function) "?([a-z_0-9]+)', message):
            name = _BRINGS.get(found[1], "")
            instead = f", or {_INSTEAD[name]}" if name == "uuid-ossp" else ""
            return f'it comes with an extension: write CREATE EXTENSION "{name}" above{instead}' if name else ""
        case "55P04":  # unsafe_new_enum_value_usage
            return "a value that ALTER TYPE adds can be used after the load only: put the rows into the seed, or the value into CREATE TYPE"
        case "55006" if "pending trigger events" in message:  # object_in_use
            return "constraints wait for the end of the load: write SET CONSTRAINTS ALL IMMEDIATE above this line"
        case "2D000" if "transaction termination" in message:
            return "the file is one transaction: take COMMIT and ROLLBACK out of the procedure or DO block"
        case "23505":  # unique_violation
            return "such a row is there already: inv db.setup starts afresh, or write ON CONFLICT DO NOTHING"
        case "23503":  # foreign_key_violation
            return "the row it points to is not there: insert that one first"
        case "42P07" | "42710" | "42723" | "42P06":  # duplicate table, object, function, schema
            return "it is there already: inv db.setup rebuilds from nothing, or write IF NOT EXISTS / DROP … IF EXISTS"
        case "2BP01":  # dependent_objects_still_exist
            return "drop what depends on it first, or write CASCADE; inv db.setup needs no DROP at all"
        case "42501" if "of extension" in message:  # insufficient_privilege; pg_dump writes a comment for plpgsql
            return "the extension belongs to whoever set up the server, and so does its comment: take this line out"
        case "42501":
            return "this user may not do that: connect as the owner"
        case "0A000" | "58P01" if "extension" in message:
            found = re.search(r'extension "([^"]+)"', message)
            return extension(found[1]) if found else ""
        case "42601" if "more expressions than target columns" in message:
            return "the row has more values than the column list has names"
        case "42601" if "more target columns than expressions" in message:
            return "the column list has more names than the row has values"
        case "42601" if 'near ":"' in message:
            how = option("var", "give it with --var NAME=VALUE", "write \\set NAME VALUE above it")
            return f"a psql variable stands here: {how}"
    return ""


def not_null(diag: Any, statement: str) -> str:
    """Return advice for an empty NOT NULL column: a look-up that found nobody, or a column left out."""
    column = diag.column_name or "this column"
    lookup = re.search(r"\(\s*select\b[^()]*\bfrom\s+[\w.\"]*users\b[^()]*?'([^']+)'[^()]*\)", statement, re.IGNORECASE)
    if lookup and column.endswith(("user_uuid", "user_id")):
        return f"no user {lookup[1]!r} is there to look up: seed that user first, or correct the handle"
    table = f" of {diag.table_name}" if diag.table_name else ""
    return f"{column}{table} is NOT NULL and this statement gives it nothing: name it with a value, or make it nullable in the schema"
