"""The locks of a statement, beside those of Postgres's documentation."""

from __future__ import annotations

import pytest

from ops.db.rehearsal import work
from ops.db.rehearsal.locks import LEVELS
from tests.fix_suppliers import Database

pytestmark = pytest.mark.every_server

SCHEMA = """
create table a (id int primary key, name text, n int, at date);
create table b (id int primary key, a_id int, n int);
alter table b add constraint b_a foreign key (a_id) references a (id) not valid;
create table c (id int primary key, a_id int constraint c_a references a (id));
create index a_name on a (name);
create table parts (at date not null, n int) partition by range (at);
create table parts_1 partition of parts for values from ('2001-01-01') to ('2002-01-01');
create table loose (at date not null, n int);
create view seen as select id, name from a;
create materialized view kept as select id from a;
create unique index kept_id on kept (id);
create sequence numbers;
create function nothing() returns trigger language plpgsql as 'begin return new; end';
create trigger nothing before insert on a for each row execute function nothing();
create rule ruled as on update to b do also nothing;
insert into a select n, 'x' || n, n, '2001-01-01' from generate_series(1, 2000) n;
insert into b select n, n, n from generate_series(1, 2000) n;
insert into parts select '2001-02-01', n from generate_series(1, 100) n;
"""
AE, E, SRE, S, SUE, RE, RS, AS = reversed(LEVELS.values())
# https://www.postgresql.org/docs/current/explicit-locking.html, and the pages of the commands. In a transaction
WITHIN = [
    ("alter table a add x int", {"a": AE}),
    ("alter table a add x int default 1 not null", {"a": AE}),
    ("alter table a drop n", {"a": AE}),
    ("alter table a alter n type bigint", {"a": AE}),
    ("alter table a alter n set not null", {"a": AE}),
    ("alter table a alter n set default 1", {"a": AE}),
    ("alter table a alter n set statistics 10", {"a": SUE}),
    ("alter table a rename n to m", {"a": AE}),
    ("alter table a rename to d", {"a": AE}),
    ("alter table a add check (n > 0)", {"a": AE}),
    ("alter table a add check (n > 0) not valid", {"a": AE}),
    ("alter table b validate constraint b_a", {"b": SUE, "a": RS}),
    ("alter table c drop constraint c_a", {"a": AE, "c": AE}),
    ("alter table b add foreign key (n) references a (id)", {"a": SRE, "b": SRE}),
    ("alter table b add foreign key (n) references a (id) not valid", {"a": SRE, "b": SRE}),
    ("alter table a set (fillfactor = 70)", {"a": SUE}),
    ("alter table a set (autovacuum_enabled = off)", {"a": SUE}),
    ("alter table a cluster on a_pkey", {"a": SUE}),
    ("alter table a disable trigger nothing", {"a": SRE}),
    ("alter table b disable rule ruled", {"b": AE}),
    ("alter table a enable row level security", {"a": AE}),
    ("alter table a replica identity full", {"a": AE}),
    ("alter table loose set unlogged", {"loose": AE}),
    (
        "alter table parts attach partition loose for values from ('2002-01-01') to ('2003-01-01')",
        {"parts": SUE, "loose": AE},
    ),
    ("alter table parts detach partition parts_1", {"parts": AE, "parts_1": AE}),
    ("create table more partition of parts for values from ('2005-01-01') to ('2006-01-01')", {"parts": AE}),
    ("create index on a (n)", {"a": S}),
    ("create unique index on a (id, n)", {"a": S}),
    ("create trigger another after insert on a for each row execute function nothing()", {"a": SRE}),
    ("create statistics s on id, n from a", {"a": SUE}),
    ("create policy p on a using (true)", {"a": AE}),
    ("create view more as select id from a", {"a": AS}),
    ("create or replace view seen as select id, name, n from a", {"seen": AE, "a": AS}),
    ("drop view seen", {"seen": AE}),
    ("drop index a_name", {"a": AE, "a_name": AE}),
    ("alter index a_name rename to other", {"a_name": SUE}),
    ("reindex index a_name", {"a": S, "a_name": AE}),
    ("reindex table a", {"a": S, "a_name": AE, "a_pkey": AE}),
    ("refresh materialized view kept", {"kept": AE, "a": AS}),
    ("refresh materialized view concurrently kept", {"kept": E, "a": AS}),
    ("cluster a using a_pkey", {"a": AE}),
    ("truncate b", {"b": AE}),
    ("drop table c", {"a": AE, "c": AE}),
    ("comment on table a is 'x'", {"a": SUE}),
    ("comment on column a.n is 'x'", {"a": SUE}),
    ("analyze a", {"a": SUE}),
    ("alter sequence numbers restart 5", {"numbers": SRE}),
    ("insert into loose values ('2001-01-01', 1)", {"loose": RE}),
    ("update a set n = 1 where id = 5", {"a": RE}),
    ("delete from loose", {"loose": RE}),
    ("select from a where id = 1 for update", {"a": RS}),
    ("select count(*) from a", {"a": AS}),
    ("lock table a in share mode", {"a": S}),
    ("create type t as enum ('a')", {}),
    ("create function f() returns int language sql as 'select 1'", {}),
    ("create table free (id int)", {}),
]
ALONE = [
    ("create index concurrently on a (n)", {"a": SUE}),
    ("create unique index concurrently on a (id, n)", {"a": SUE}),
    ("drop index concurrently a_name", {"a": SUE}),
    ("reindex index concurrently a_name", {"a": SUE}),
    ("reindex table concurrently a", {"a": SUE}),
    ("alter table parts detach partition parts_1 concurrently", {"parts": SUE, "parts_1": AE}),
    ("vacuum full a", {"a": AE}),
    ("vacuum a", {"a": SUE}),
]  # fmt: skip


@pytest.fixture
def filled(database: Database) -> Database:
    database.do(f"create database {database.name}", "postgres")
    database.do(SCHEMA)
    return database


def found(database: Database, sql: str, *, transaction: bool) -> dict[str, str]:
    """Return the locks of a statement, by relation."""
    part = work.Part((work.Statement(sql, 1),), transaction)
    [ran] = work.look_at(database.connect, part) if transaction else work.run(database.connect, part)
    return {lock.relation.removeprefix("public."): lock.level for lock in ran.locks}


def test_locks_are_those_of_the_documentation(filled: Database) -> None:
    wrong = []
    for sql, wanted in WITHIN:
        got = found(filled, sql, transaction=True)
        # the indexes of a table that is locked as a whole, and what a statement only reads
        beside = {n for n in got if n not in wanted and (n.endswith(("_pkey", "_name", "_id")) or got[n] == AS)}
        if {name: level for name, level in got.items() if name not in beside} != wanted:
            wrong.append((sql, got, wanted))
    assert wrong == []


@pytest.mark.parametrize(("sql", "wanted"), ALONE, ids=[sql for sql, _ in ALONE])
def test_locks_outside_of_a_transaction_are_those_of_the_documentation(
    filled: Database, sql: str, wanted: dict[str, str]
) -> None:
    got = found(filled, sql, transaction=False)
    assert {name: got.get(name) for name in wanted} == wanted
    assert all(level == AS or name in wanted or name.startswith("a_") for name, level in got.items()), got
