"""Pending migrations, tried on a database of the target's shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.db.rehearsal import rehearse, report
from ops.db.rehearsal.report import Rehearsal, Rehearsed
from ops.db.rehearsal.trial import Trial
from ops.db.rehearsal.work import Part, Statement
from ops.targets import opening
from ops.targets.embedded import server
from tests.fix_suppliers import Database

SCHEMA = """
create role rehearsal_reader;
create table people (id int primary key, name text not null, mail text);
create table posts (id int primary key, person_id int not null references people (id), body text not null, price int);
insert into people select n, 'p' || n, 'canary' || n || '@example.org' from generate_series(1, 3000) n;
insert into posts select n, n % 3000 + 1, 'b', n from generate_series(1, 30000) n;
grant select on people to rehearsal_reader;
analyze
"""


def part(*statements: str, transaction: bool = True) -> Part:
    return Part(tuple(Statement(sql, line) for line, sql in enumerate(statements, 2)), transaction)


TRIALS = [
    Trial("1", "add", part("alter table people add extra int", "comment on column people.extra is 'More.'"), part("alter table people drop extra")),
    Trial("2", "widen", part("alter table posts alter price type bigint"), part("alter table posts alter price type int")),
    Trial("3", "index", part("create index concurrently posts_price on posts (price)", transaction=False), part("drop index posts_price")),
    Trial("4", "lossy", part("alter table people drop mail"), part("alter table people add mail varchar(9)")),
    Trial("5", "strict", part("alter table posts add check (body like 'b%')"), None),
    Trial("6", "broken", part("select 1", "alter table nothing add x int"), None),
    Trial("7", "behind", part("select 1"), None),
]  # fmt: skip


@pytest.fixture(scope="module")
def found(postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:  # type: ignore[no-untyped-def]
    """What one rehearsal of all of them tells."""
    root = tmp_path_factory.mktemp("repo")
    database = Database(postgres, "rehearsed", root)
    (root / "sql" / "queries").mkdir(parents=True)
    for name, text in {
        "all.sql": "select * from people where id = %(id)s",
        "named.sql": "select name from people limit %(limit)s",
        "mails.sql": "select mail from people where mail = 'alice@example.org' -- of Bob",
        "lost.sql": "select * from nowhere",
    }.items():
        (root / "sql" / "queries" / name).write_text(text)
    database.do(f"create database {database.name}", "postgres")
    database.do(SCHEMA)
    settings = database.settings()
    with opening.open_target(settings, "local", "db.rehearse") as at, at.connect() as conn:
        conn.execute("set default_transaction_read_only = on")
        source = rehearse.known(at, conn, needed=True)
    before = database.scalar("select pg_current_xact_id()::text || pg_database_size(current_database())")
    yield rehearse.rehearsed(settings, source, TRIALS, 1.0, 1e9)
    assert before
    assert not (root / ".local" / "rehearsal" / ".local" / "postgres" / "data").exists()
    server.wipe(root)
    database.do(f"drop database {database.name}", "postgres")
    database.do("drop role rehearsal_reader", "postgres")


def one(found: Rehearsal, name: str) -> Rehearsed:
    return next(each for each in found.migrations if each.name == name)


def test_show(found: Rehearsal) -> None:
    report.show(found)
    print(report.markdown(found))
    print(report.faults(found))
    raise AssertionError
