"""Faults of a database, made on purpose: each in a schema of its own, with the check that is to find it and the object it is to name.

`{s}` is the schema, `{db}` the database, `{user}` who logs in, `{collation}` one that has a version. A statement ends at a `;` at the end
of a line; one that begins with `?` fails, and leaves what it leaves.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Fault(NamedTuple):
    """How it is made, and what is to be found."""

    sql: str
    check: str
    object: str
    mend: str
    """How the first statement of the mend begins."""


ROWS = "insert into {s}.t select n from generate_series(1, 5000) n"
PAIR = "create table {s}.p (id int primary key);\ncreate table {s}.t (id int primary key, a int, b int);\n"
INVALID = "update pg_index set indisvalid = false where indexrelid = '{s}.t_a'::regclass"

FAULTS: dict[str, Fault] = {
    # tables
    "unlogged": Fault("create unlogged table {s}.t (id int primary key)", "unlogged_table", "{s}.t", "alter table {s}.t set logged"),
    "unlogged in quotes": Fault(
        'create unlogged table {s}."T; -- x" (id int primary key)', "unlogged_table", '{s}."T; -- x"', 'alter table {s}."T; -- x" set logged'
    ),
    "no key": Fault("create table {s}.t (a int);\ninsert into {s}.t values (1)", "no_primary_key", "{s}.t", "alter table {s}.t add column id bigint"),
    "no key, the name taken": Fault(
        "create table {s}.t (id int);\ninsert into {s}.t values (1)", "no_primary_key", "{s}.t", "alter table {s}.t add column t_key_id bigint"
    ),
    "no key, an index would do": Fault(
        "create table {s}.t (a int not null);\ncreate unique index t_a on {s}.t (a);\ninsert into {s}.t values (1)",
        "no_primary_key", "{s}.t", "alter table {s}.t add primary key using index t_a",
    ),
    "no key, a constraint would do": Fault(
        "create table {s}.t (a int not null, b int not null, unique (b, a));\ninsert into {s}.t values (1, 2)",
        "no_primary_key", "{s}.t", "alter table {s}.t drop constraint t_b_a_key, add primary key (b, a)",
    ),
    "never analyzed": Fault("create table {s}.t (id int primary key);\n" + ROWS, "stale_statistics", "{s}.t", "analyze {s}.t"),
    "analyzed long ago": Fault(
        "create table {s}.t (id int primary key);\n" + ROWS + ";\nanalyze {s}.t;\nupdate {s}.t set id = id + 10000",
        "stale_statistics", "{s}.t", "analyze {s}.t",
    ),
    "partitions without a whole": Fault(
        "create table {s}.t (id int primary key) partition by range (id);\ncreate table {s}.t1 partition of {s}.t for values from (0) to (2500);\n"
        "create table {s}.t2 partition of {s}.t default;\n" + ROWS + ";\nanalyze {s}.t1;\nanalyze {s}.t2",
        "partitions_not_analyzed", "{s}.t", "analyze {s}.t",
    ),
    "dead rows": Fault(
        "create table {s}.t (id int primary key);\ninsert into {s}.t select generate_series(1, 25000);\nanalyze {s}.t;\ndelete from {s}.t where id > 8000",
        "dead_rows", "{s}.t", "vacuum (analyze) {s}.t",
    ),
    "autovacuum off": Fault(
        "create table {s}.t (id int primary key) with (autovacuum_enabled = off)",
        "autovacuum_off_for_table", "{s}.t", "alter table {s}.t reset (autovacuum_enabled)",
    ),
    "bloated table": Fault(
        "create table {s}.t (id int primary key, a text);\ninsert into {s}.t select n, repeat('x', 1000) from generate_series(1, 15000) n;\n"
        "delete from {s}.t where id % 10 <> 0;\nvacuum (analyze) {s}.t",
        "table_bloat", "{s}.t", "vacuum (full, analyze) {s}.t",
    ),
    "bloated index": Fault(
        "create table {s}.t (id int primary key, a text);\ncreate index t_a on {s}.t (a);\n"
        "insert into {s}.t select n, repeat(md5(n::text), 5) from generate_series(1, 60000) n;\n"
        "delete from {s}.t where id % 10 <> 0;\nvacuum (analyze) {s}.t",
        "index_bloat", "{s}.t_a", "reindex index concurrently {s}.t_a",
    ),
    # numbers that run out
    "a sequence at its end": Fault("create sequence {s}.q maxvalue 100;\nselect setval('{s}.q', 95)", "sequence_end", "{s}.q", "alter sequence {s}.q no maxvalue"),
    "an int sequence of a bigint key": Fault(
        "create table {s}.t (id serial primary key);\nalter table {s}.t alter id type bigint;\nselect setval('{s}.t_id_seq', 2000000000)",
        "sequence_end", "{s}.t_id_seq", "alter sequence {s}.t_id_seq as bigint",
    ),
    "an int key": Fault(
        "create table {s}.t (id serial primary key);\nselect setval('{s}.t_id_seq', 2000000000)",
        "key_end", "{s}.t.id", "alter table {s}.t alter column id type bigint",
    ),
    "an int identity": Fault(
        "create table {s}.t (id int generated always as identity primary key);\nselect setval('{s}.t_id_seq', 1600000000)",
        "key_end", "{s}.t.id", "alter table {s}.t alter column id type bigint",
    ),
    "a smallint key": Fault(
        "create table {s}.t (id smallserial primary key);\nselect setval('{s}.t_id_seq', 32000)",
        "key_end", "{s}.t.id", "alter table {s}.t alter column id type bigint",
    ),
    "an int key by a sequence of nobody": Fault(
        "create sequence {s}.q;\ncreate table {s}.t (id int default nextval('{s}.q') primary key);\nselect setval('{s}.q', 2000000000)",
        "key_end", "{s}.t.id", "alter table {s}.t alter column id type bigint",
    ),
    "an int key that runs out soon": Fault(
        "create table {s}.t (id serial primary key, a int);\nselect setval('{s}.t_id_seq', 300000000);\n"
        "insert into {s}.t (a) select generate_series(1, 30000);\nanalyze {s}.t",
        "key_end", "{s}.t.id", "alter table {s}.t alter column id type bigint",
    ),
    # indexes
    "a build broken off": Fault(
        "create table {s}.t (id int primary key, a int);\ncreate index t_a on {s}.t (a);\n" + INVALID,
        "invalid_index", "{s}.t_a", "reindex index concurrently {s}.t_a",
    ),
    "a unique build that failed": Fault(
        "create table {s}.t (id int primary key, a int);\ninsert into {s}.t values (1, 1), (2, 1);\n?create unique index concurrently t_a on {s}.t (a)",
        "invalid_index", "{s}.t_a", "drop index concurrently {s}.t_a",
    ),
    "left over by a reindex": Fault(
        "create table {s}.t (id int primary key, a int);\ncreate index t_a on {s}.t (a);\n" + INVALID + ";\nalter index {s}.t_a rename to t_a_ccnew",
        "invalid_index", "{s}.t_a_ccnew", "drop index concurrently {s}.t_a_ccnew",
    ),
    "a partitioned index without its parts": Fault(
        "create table {s}.t (id int primary key, a int) partition by range (id);\ncreate table {s}.t1 partition of {s}.t default;\n"
        "create index t_a on only {s}.t (a)",
        "invalid_index", "{s}.t_a", "drop index {s}.t_a",
    ),
    "an index twice": Fault(
        "create table {s}.t (id int primary key, a int);\ncreate index t_a on {s}.t (a);\ncreate index t_b on {s}.t (a)",
        "duplicate_index", "{s}.t_b", "drop index concurrently {s}.t_b",
    ),
    "an index beside that of a key": Fault(
        "create table {s}.t (id int not null, a int);\ncreate unique index t_a on {s}.t (id);\nalter table {s}.t add primary key (id)",
        "duplicate_index", "{s}.t_a", "drop index concurrently {s}.t_a",
    ),
    "a constraint twice": Fault(
        "create table {s}.t (id int primary key, a int unique);\nalter table {s}.t add constraint again unique (a)",
        "duplicate_index", "{s}.again", "alter table {s}.t drop constraint again",
    ),
    "a partial expression twice": Fault(
        "create table {s}.t (id int primary key, a text);\ncreate index t_a on {s}.t (lower(a)) where id > 3;\n"
        "create index t_b on {s}.t   (  lower ( a ) ) where (id > 3)",
        "duplicate_index", "{s}.t_b", "drop index concurrently {s}.t_b",
    ),
    "the beginning of another": Fault(
        "create table {s}.t (id int primary key, a int, b int);\ncreate index t_a on {s}.t (a);\ncreate index t_b on {s}.t (a, b)",
        "covered_index", "{s}.t_a", "drop index concurrently {s}.t_a",
    ),
    "the beginning of a unique one": Fault(
        "create table {s}.t (id int primary key, a text, b int, unique (a, b));\ncreate index t_a on {s}.t (a)",
        "covered_index", "{s}.t_a", "drop index concurrently {s}.t_a",
    ),
    "nobody's": Fault(
        "create table {s}.t (id int primary key, a int);\ncreate index t_a on {s}.t (a);\ninsert into {s}.t select n, n from generate_series(1, 200) n",
        "unused_index", "{s}.t_a", "drop index concurrently {s}.t_a",
    ),
    # constraints
    "a foreign key without an index": Fault(
        PAIR + ROWS.replace(".t", ".p") + ";\nalter table {s}.t add foreign key (a) references {s}.p;\n"
        "insert into {s}.t select n, n from generate_series(1, 5000) n",
        "foreign_key_without_index", "{s}.t", "create index concurrently on {s}.t (a)",
    ),
    "one of two columns, half in an index": Fault(
        "create table {s}.p (a int, b int, primary key (a, b));\ncreate table {s}.t (id int primary key, a int, b int, foreign key (a, b) references {s}.p);\n"
        "create index t_a on {s}.t (a);\n" + ROWS.replace("t select", "t (id) select"),
        "foreign_key_without_index", "{s}.t", "create index concurrently on {s}.t (a, b)",
    ),
    "a foreign key into a wider one": Fault(
        "create table {s}.p (id bigint primary key);\ncreate table {s}.t (id int primary key, a int references {s}.p)",
        "foreign_key_of_other_type", "{s}.t.a", "alter table {s}.t alter column a type bigint",
    ),
    "a foreign key into a narrower one": Fault(
        "create table {s}.p (id int primary key);\ncreate table {s}.t (id int primary key, a bigint references {s}.p)",
        "foreign_key_of_other_type", "{s}.t.a", "alter table {s}.p alter column id type bigint",
    ),
    "a foreign key twice": Fault(
        PAIR + "alter table {s}.t add constraint one foreign key (a) references {s}.p, add constraint two foreign key (a) references {s}.p",
        "duplicate_foreign_key", "{s}.t.two", "alter table {s}.t drop constraint two",
    ),
    "a check not validated": Fault(
        PAIR + "alter table {s}.t add constraint c check (a > 0) not valid", "constraint_not_validated", "{s}.t.c", "alter table {s}.t validate constraint c"
    ),
    "a foreign key not validated": Fault(
        PAIR + "alter table {s}.t add constraint c foreign key (a) references {s}.p not valid",
        "constraint_not_validated", "{s}.t.c", "alter table {s}.t validate constraint c",
    ),
    "a domain not validated": Fault(
        "create domain {s}.d as int;\nalter domain {s}.d add constraint c check (value > 0) not valid",
        "constraint_not_validated", "{s}.d.c", "alter domain {s}.d validate constraint c",
    ),
    "a trigger disabled": Fault(
        "create table {s}.t (id int primary key);\ncreate trigger g before update on {s}.t for each row execute function suppress_redundant_updates_trigger();\n"
        "alter table {s}.t disable trigger g",
        "trigger_disabled", "{s}.t.g", "alter table {s}.t enable trigger g",
    ),
    "foreign keys disabled": Fault(
        PAIR + "alter table {s}.t add foreign key (a) references {s}.p;\nalter table {s}.t disable trigger all",
        "trigger_disabled", "{s}.t", "alter table {s}.t enable trigger all",
    ),
    # the server
    "a slot of nobody": Fault("select pg_create_physical_replication_slot('{s}', true)", "replication_slot", "{s}", "select pg_drop_replication_slot('{s}')"),
    "autovacuum": Fault("alter system set autovacuum = off", "unsafe_setting", "autovacuum", "alter system set autovacuum = 'on'"),
    "full_page_writes": Fault("alter system set full_page_writes = off", "unsafe_setting", "full_page_writes", "alter system set full_page_writes = 'on'"),
    "zero_damaged_pages": Fault("alter system set zero_damaged_pages = on", "unsafe_setting", "zero_damaged_pages", "alter system set zero_damaged_pages = 'off'"),
    "the planner's, for the database": Fault(
        'alter database "{db}" set enable_tidscan = off', "planner_setting", "enable_tidscan", "alter database {db} reset enable_tidscan"
    ),
    "the planner's, for a role": Fault(
        'alter role {user} in database "{db}" set enable_material = off',
        "planner_setting", "enable_material", "alter role {user} in database {db} reset enable_material",
    ),
    "the planner's, for all": Fault("alter system set enable_memoize = off", "planner_setting", "enable_memoize", "alter system set enable_memoize = 'on'"),
    "work_mem": Fault("alter system set work_mem = '1000GB'", "work_memory", "work_mem", "alter system set work_mem = '"),
    "effective_cache_size": Fault("alter system set effective_cache_size = '9000GB'", "cache_size", "effective_cache_size", "alter system set effective_cache_size = '"),
    "maintenance_work_mem": Fault("alter system set maintenance_work_mem = '1000GB'", "maintenance_memory", "maintenance_work_mem", "alter system set maintenance_work_mem = '"),
    "an old extension": Fault("create extension hstore schema {s} version '1.4'", "extension_version", "hstore", "alter extension hstore update"),
    "another version of a collation": Fault(
        "update pg_database set datcollversion = '0' where datname = '{db}' and datcollversion is not null;\n"
        "create table {s}.t (id int primary key, a text collate {collation});\ncreate index t_a on {s}.t (a);\n"
        "update pg_collation set collversion = '0' where quote_ident(collname) = '{collation}'",
        "collation_version", "pg_catalog.{collation}", "reindex database {db}",
    ),
}  # fmt: skip

QUERIES = {
    "by_email": "select id from big.t where email = %(email)s and id <> %(not)s",
    "newest": "select id, email from big.t order by made desc, id limit %(limit)s",
    "between": "select count(*) from big.t where made between %(from)s::int and %(from)s::int + 3 and email is null",
    "gone": "select nothing from big.t where id = %(id)s",
}
BIG = """
create schema big;
create table big.t (id int primary key, email text not null, made int not null);
insert into big.t select n, md5(n::text), n % 7919 from generate_series(1, 20000) n;
analyze big.t
"""


def statements(text: str) -> list[str]:
    """Return statements, each of which is to be sent by itself."""
    return [part for part in re.split(r";\n", text) if part.strip()]
