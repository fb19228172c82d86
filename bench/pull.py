"""db.pull beside pg_dump and pg_restore, which mask nothing: with two columns in ten masked, and with half of them keyed."""

from __future__ import annotations

from bench.db import postgres_version
from bench.measure import Command, Comparison
from bench.place import Bench
from ops.targets.embedded import binaries

THEIRS = "pg_dump, pg_restore"
TABLES = 4
ROW = 220
"""Bytes of a row, about."""
ROWS = """
create table rows_{n} (id bigint generated always as identity primary key, email text not null, name text, handle text, subject text, token text,
  message text, likes int, shares int, at timestamptz not null);
insert into rows_{n} (email, name, handle, subject, token, message, likes, shares, at)
  select 'person' || i || '@example.com', 'Person ' || i, 'handle' || i, md5(i::text), md5((i + 1)::text), repeat('lorem ipsum ', 5), i % 100, i % 7,
    timestamptz '2026-01-01' + i * interval '1 s' from generate_series(1, {count}) i;
create index on rows_{n} (email); create index on rows_{n} (at);
"""
TWO = {"email": "{fake: email}", "name": "{fake: name}"}
HALF = {**TWO, "handle": "{fake: handle}", "subject": "hash", "token": "hash"}
COLUMNS = ("email", "name", "handle", "subject", "token", "message", "likes", "shares", "at")
BASH = """
set -e
rm -rf made
pg_dump -Fd -Z0 -j2 -f made pulled
psql -q -X postgres -c 'drop database if exists restored with (force)' -c 'create database restored'
pg_restore -j2 -d restored made
psql -q -X restored -c analyze
"""


def two(at: Bench) -> Comparison:
    """A copy with two columns in ten masked."""
    return beside(at, "two columns in ten masked", TWO, 1.3)


def half(at: Bench) -> Comparison:
    """A copy with half of the columns keyed."""
    return beside(at, "half of the columns keyed", HALF, 2.5)


def beside(at: Bench, what: str, masks: dict[str, str], reach: float) -> Comparison:
    """`inv db.pull` of a gigabyte from a database on the same server."""
    size = at.size(1000, 8)
    name = f"pulled_{len(masks)}"
    at.psql("postgres", "-c", f"create database {name}")()
    count = size * 1_000_000 // TABLES // ROW
    for number in range(TABLES):
        at.psql(name, "-c", ROWS.format(n=number, count=count))()
    at.psql(name, "-c", "vacuum analyze", "-c", "checkpoint")()
    folder = at.sub(f"pull {len(masks)}")
    file = folder / "masks.yaml"
    rules = ", ".join(f"{column}: {masks.get(column, '{keep: no one}')}" for column in COLUMNS)
    tables = "".join(f"  rows_{n}: {{columns: {{{rules}}}}}\n" for n in range(TABLES))
    file.write_text(f"tables:\n{tables}", encoding="utf-8")
    env = {
        "CONNECTION_URL": at.url(f"{name}_copy"),
        "PROD_CONNECTION_URL": at.url(name),
        "INVOKE_PATHS_MASKS": str(file),
    }
    path = {**at.libpq, "PATH": f"{binaries.server_bin()}:/usr/bin:/bin"}
    return Comparison(
        f"inv db.pull, {size:,} MB, {what}",
        at.inv("db.pull", "--jobs", "2", env=env),
        {THEIRS: Command(["bash", "-c", BASH.replace("pulled", name)], folder, path)},
        {THEIRS: reach},
        memory=100 << 20,
        note="SHA-256 over a key and the value: of the server's own functions the cheapest that nobody reverses or collides.",
        versions={"PostgreSQL": postgres_version(at)},
    )
