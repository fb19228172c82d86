"""db.pull: masked at the source, whole in the copy, and nothing undecided."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings, load
from ops.db import swap
from ops.db.drift import catalog, compare
from ops.db.pull import pull
from ops.db.pull.pull import How
from ops.errors import Misconfigured, Problem, Refused
from ops.targets import opening
from ops.yaml_file import compose
from tests.fix_suppliers import Database, made
from tests.servers import Server

SCHEMA = """
create extension hstore;
create schema "Odd schema";
create domain mail as varchar(60) check (value like '%@%');
create type mood as enum ('fine', 'bad');
create table users (id bigint generated always as identity primary key, email mail not null unique, name text not null,
  handle varchar(40) not null, born date, phone text, tags text[], extra jsonb, mood mood, active boolean not null default true,
  upper_name text generated always as (upper(name)) stored, manager_id bigint references users);
create unique index on users (lower(handle));
create table countries (code char(2) primary key, label text not null);
create table orders (id uuid primary key default gen_random_uuid(), user_id bigint not null references users, country char(2) references countries,
  total numeric(10, 2) not null, placed_at timestamptz not null, buyer mail references users (email));
create table "Odd schema"."Log é" (at date not null, "what's up" text, user_id bigint references users, id int generated always as identity,
  primary key (id, at)) partition by range (at);
create table "Odd schema".log_old partition of "Odd schema"."Log é" for values from ('2000-01-01') to ('2020-01-01');
create table "Odd schema".log_new (user_id bigint, at date not null, id int not null, "what's up" text);
alter table "Odd schema"."Log é" attach partition "Odd schema".log_new for values from ('2020-01-01') to ('2030-01-01');
create view names as select name from users;
create materialized view per_user as select u.email, count(*) as orders from users u join orders o on o.user_id = u.id group by 1;
create function touch() returns trigger language plpgsql as $$ begin raise 'a trigger has run'; end $$;
insert into countries values ('CH', 'Switzerland'), ('PT', 'Portugal');
insert into users (email, name, handle, born, phone, tags, extra, mood, manager_id)
  select 'p' || n || '@people.test', 'Person ' || n, 'Handle' || n, date '1980-01-01' + n, '+41 79 ' || n, array['tag' || n, null],
    jsonb_build_object('k', n), 'fine', case when n > 1 then n / 2 end from generate_series(1, 200) n;
insert into orders (user_id, country, total, placed_at, buyer) select n, 'CH', n * 1.5, now(), 'p' || n || '@people.test' from generate_series(1, 150) n;
insert into "Odd schema"."Log é" (at, "what's up", user_id) select date '2019-06-01' + n * 10, 'said ' || n, 1 + n % 200 from generate_series(1, 100) n;
create trigger touched before insert on orders for each row execute function touch();
refresh materialized view per_user;
create index on orders (placed_at);
alter table users enable row level security;
create policy everybody on users using (true);
analyze
"""
MASKS = """\
safe_types: [numeric, timestamptz]
tables:
  users:
    columns:
      email: {fake: email}
      name: {fake: name}
      handle: {fake: handle}
      born: {fake: date}
      phone: {fake: phone}
      tags: {fake: text}
      extra: {sql: "jsonb_build_object('k', 0)"}
      mood: keep
  countries:
    columns: {code: keep, label: keep}
  orders:
    columns:
      country: keep
      buyer: {fake: email}
  Odd schema.Log é:
    columns:
      at: keep
      what's up: {fake: text}
"""


def settings_for(place: Database, source: str, **environ: str) -> Settings:
    return load({}, {"CONNECTION_URL": place.url, "PROD_CONNECTION_URL": source, **environ}, place.root)


def write(root: Path, text: str) -> None:
    (root / "sql").mkdir(exist_ok=True)
    (root / "sql" / "masks.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def source(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with what a schema may have; it is only read."""
    for database in made(postgres, tmp_path_factory.mktemp("source")):
        database.do(f'create database "{database.name}"', "postgres")
        database.do(SCHEMA)
        yield database


@pytest.fixture
def other(postgres: Server, tmp_path: Path) -> Iterator[Database]:
    """A database to be copied that is the test's own."""
    for database in made(postgres, tmp_path):
        database.do(f'create database "{database.name}"', "postgres")
        yield database


def make(place: Database, source: Database | str, masks: str = MASKS, **how: Any) -> pull.Pulled:
    write(place.root, masks)
    url = source if isinstance(source, str) else source.url
    return pull.pull(settings_for(place, url), compose, "prod", "local", How(**how))


def test_the_copy_has_the_shape_and_nobodys_data(source: Database, one: Database) -> None:
    one.do(f'create database "{one.name}"', "postgres")
    one.do("create table before (x int)")
    before = source.query(
        "select xact_commit - xact_commit as same, pg_current_wal_lsn()::text as wal from pg_stat_database limit 1"
    )
    pulled = make(one, source)
    assert {each.table: each.rows for each in pulled.tables} == {
        "Odd schema.Log é": 100, "public.countries": 2, "public.orders": 150, "public.users": 200,
    }  # fmt: skip
    assert before  # the two are on one server, whose log of changes grows by the copy
    with source.connect() as a, one.connect() as b:
        left, right = catalog.read(a), catalog.read(b)
    assert compare.differences(left, right) == []
    users = one.query("select * from users order by id")
    theirs = source.query("select * from users order by id")
    for name in ("email", "name", "handle", "phone", "tags", "extra", "upper_name"):
        assert not [1 for mine, other in zip(users, theirs, strict=True) if mine[name] == other[name]], name
    assert sum(mine["born"] == other["born"] for mine, other in zip(users, theirs, strict=True)) < 5
    for name in ("id", "mood", "active", "manager_id"):
        assert [each[name] for each in users] == [each[name] for each in theirs]
    assert len({each["email"] for each in users}) == 200
    assert [each["upper_name"] for each in users] == [each["name"].upper() for each in users]
    assert {len(each["tags"][0]) - len(other["tags"][0]) for each, other in zip(users, theirs, strict=True)} == {0}
    # joins hold, partitions have their rows, what is derived was made anew, sequences go on
    joined = "select count(*) from orders o join users u on u.email = o.buyer and u.id = o.user_id"
    assert one.scalar(joined) == source.scalar(joined) == 150
    assert one.scalar('select count(*) from "Odd schema".log_old') == source.scalar(
        'select count(*) from "Odd schema".log_old'
    )
    assert one.scalar("select count(*) from per_user p join users u using (email)") == 150
    assert one.scalar("insert into users (email, name, handle) values ('x@y', 'x', 'x') returning id") == 201
    assert one.scalar("select reltuples from pg_class where oid = 'users'::regclass") == 200
    comment = one.scalar(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
    )
    assert comment.startswith("[inv: copy of prod, 20")
    with opening.open_target(one.settings(), "local", "db.undo", writes=True) as at:
        swap.undo(at, force=False)
    assert one.scalar("select count(*) from before") == 0


def test_two_pulls_agree_and_one_by_another_key_does_not(source: Database, one: Database) -> None:
    emails: list[list[dict[str, Any]]] = []
    for key in (False, True, True):
        if len(emails) == 2:
            (one.root / ".local" / "mask.key").unlink()
        make(one, source)
        emails.append(one.query("select email, handle, name, born, phone from users order by id"))
        assert (one.root / ".local" / "mask.key").stat().st_mode & 0o777 == 0o600
        assert key or one.names() == {""}
    assert emails[0] == emails[1]
    assert not [1 for a, b in zip(emails[1], emails[2], strict=True) if a["email"] == b["email"]]
    assert (
        one.scalar(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
        ).count("copy of")
        == 1
    )


# --- the file -----------------------------------------------------------------------------

BASE = "tables:\n  users: {columns: {email: {fake: email}, name: {fake: name}, handle: hash, born: keep, phone: keep, tags: keep, extra: 'null', mood: keep}}\n"
REST = """  orders: {columns: {total: keep, placed_at: keep, country: keep, buyer: {fake: email}}}
  countries: {columns: {code: keep, label: keep}}
  "Odd schema.Log é": {columns: {at: keep, "what's up": hash}}
"""
FAULTS = [
    ("tables: [", "sql/masks.yaml:1:10: ", "correct it"),
    ("tables: {a: 1, a: 2}", "sql/masks.yaml:1:16: a stands here twice", ""),
    ("columns: {}", "sql/masks.yaml:1:1: columns: no such word here, use tables or safe_types", ""),
    ("safe_types: [nothing]", "sql/masks.yaml:1:14: there is no type nothing", ""),
    (BASE.replace("mood: keep", "moood: keep") + REST, "sql/masks.yaml:2:129: public.users has no column moood", "do you mean mood?"),
    (BASE + REST + "  userz: skip\n", "sql/masks.yaml:6:3: prod has no table userz", "do you mean users?"),
    (BASE.replace("born: keep", "born: kept") + REST, "sql/masks.yaml:2:83: kept is no rule", "{fake: email}"),
    (BASE.replace("fake: name", "fake: nmae") + REST, "nmae: there is no such fake, use one of name, email", ""),
    (BASE.replace("email: {fake: email}", "email: keep", 1) + REST, "sql/masks.yaml:2:28: keep for public.users.email, which looks like an e-mail address", "{fake: email}"),
    (BASE.replace("handle: hash", "handle: {fake: name}") + REST, "fake: name gives several rows the same value, and public.users (handle) is unique by users_lower_idx", "hash, {fake: email}, {fake: handle}"),
    (BASE.replace("email: {fake: email}", "email: hash", 1) + REST, "public.orders.buyer points to public.users.email by orders_buyer_fkey", "give both one rule"),
    (BASE.replace("email: {fake: email}", "email: 'null'", 1) + REST, "public.users.email may not be null", ""),
    (BASE.replace("name: {fake: name}", "name: 'null'") + REST, "public.users.name may not be null", "{constant: …}"),
    (BASE.replace("born: keep", "born: hash") + REST, "hash makes no date", "{sql: …}"),
    (BASE.replace("born: keep", "born: {sql: 'nothing + 1'}") + REST, 'sql/masks.yaml:2:89: public.users.born: column "nothing" does not exist', ""),
    (BASE.replace("born: keep", "born: {sql: '1 / 0'}") + REST, "division by zero", ""),
    (BASE.replace("born: keep", "born: {sql: 'count(*)'}") + REST, "aggregate functions are not allowed", ""),
    (BASE.replace("born: keep", "born: {sql: 'unnest(tags)::date'}") + REST, "set-returning functions are not allowed", ""),
    (BASE.replace("born: keep", "born: {sql: 'now()'}") + REST, "gives timestamp with time zone, and the column is date: (now())::date", ""),
    (BASE.replace("born: keep", "born: {constant: soon}") + REST, 'invalid input syntax for type date: "soon"', ""),
    (BASE.replace("{columns", "{where: nothing, columns", 1) + REST, "where of public.users: column", ""),
    (BASE.replace("{columns", "{rows: 500%, columns", 1) + REST, "500%: give a share of the rows", ""),
    (BASE + REST.replace("  countries: {columns: {code: keep, label: keep}}", "  countries: skip"), "public.orders points to public.countries", "skip both, or mask country with null"),
    (BASE.replace("name: {fake: name}, ", "") + REST, "no rule for public.users.name, which prod has: no row was read", "name: {fake: name}"),
    (BASE + REST.replace("total: keep, ", ""), "no rule for public.orders.total", "total: {fake: number}"),
    ("", "no rule for", '"Odd schema.Log é"'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told", "mend"), FAULTS)
def test_a_fault_of_the_file_is_told_with_its_place_before_any_row_is_read(
    source: Database, one: Database, text: str, told: str, mend: str
) -> None:
    with pytest.raises(Misconfigured) as error:
        make(one, source, text)
    assert told in str(error.value)
    assert mend in str(error.value)
    assert "people.test" not in str(error.value)
    assert one.names() == set()


def test_there_is_no_copy_without_a_file(source: Database, one: Database) -> None:
    with pytest.raises(Misconfigured, match=r"sql/masks.yaml: no such file, .* inv db.pull --propose"):
        pull.pull(settings_for(one, source.url), compose, "prod", "local", How())


UNDECIDED = [
    "born date", "phone bigint", "salary numeric", "place point", "kind mood", "extra hstore", "doc xml", "contact mail", "span daterange",
    "name text", "name varchar(9)", "code char(3)", "blob bytea", "doc json", "doc jsonb", "ip inet", "net cidr", "mac macaddr", "names text[]",
    "at timestamptz", "at time", "lasts interval", "bits bit(3)", "words tsvector", "amount money", "guid uuid", "key uuid default gen_random_uuid()",
    "number int generated always as identity", "age smallint", "ratio real", "moods mood[]", "row_of spans", "ranges int4multirange",
]  # fmt: skip


def test_each_type_without_a_rule_stops_the_pull(one: Database, other: Database) -> None:
    other.do(
        "create extension hstore; create domain mail as text; create type mood as enum ('fine'); create type spans as (a int, b text)"
    )
    write(one.root, "tables: {}")
    for column in UNDECIDED:
        other.do(
            f"drop table if exists t; create table t (id int generated always as identity primary key, fine boolean, {column})"
        )
        with pytest.raises(
            Misconfigured, match=rf"no rule for public.t.\"?{column.split()[0]}\"?, which prod has: no row was read"
        ):
            make(one, other, "tables: {}")
    other.do(
        "drop table t; create table t (id int generated always as identity primary key, fine boolean); insert into t (fine) values (true)"
    )
    assert [each.rows for each in make(one, other, "tables: {}").tables] == [1]


# --- where from and where to --------------------------------------------------------------


def test_a_copy_lands_neither_in_production_nor_in_its_source(source: Database, one: Database) -> None:
    write(one.root, MASKS)
    settings = settings_for(source, source.url.replace("127.0.0.1", "localhost"))
    write(source.root, MASKS)
    for target, error, told in (
        ("prod", Misconfigured, "that is where the copy lands"),
        ("local", Refused, "is the very database that --from prod names"),
    ):
        with pytest.raises(error, match=told):
            pull.pull(settings, compose, "prod", target, How())
    with pytest.raises(Refused, match="prod is declared as production"):
        pull.pull(settings_for(one, source.url), compose, "local", "prod", How())
    one.do(f'create database "{one.name}"', "postgres")
    one.do(f"comment on database \"{one.name}\" is '[inv: prod]'", "postgres")
    with pytest.raises(Refused, match=r"is production .*: a copy lands in none"):
        make(one, source)


def test_a_login_that_sees_or_may_read_less_copies_nothing(source: Database, one: Database) -> None:
    role = f"r{source.name}"
    source.do(f"create role {role} login password 'x'")
    url = f"postgresql://{role}:x@127.0.0.1:{source.server.port}/{source.name}"
    try:
        with pytest.raises(Problem, match=r"may not read .* grant it select, or pg_read_all_data"):
            make(one, url)
        source.do(f"grant pg_read_all_data to {role}")
        with pytest.raises(
            Problem, match=r"prod: row security would hide rows of public.users from this login: give it BYPASSRLS"
        ):
            make(one, url)
    finally:
        source.do(f"drop role {role}")
    assert one.names() == set()


def test_what_fails_over_rows_names_no_value(source: Database, one: Database) -> None:
    fails = MASKS.replace("born: {fake: date}", "born: {sql: \"(name || '')::date\"}")
    with pytest.raises(Problem) as error:
        make(one, source, fails)
    assert str(error.value) == "prod: public.users: invalid datetime format (22007)"
    broken = MASKS.replace("email: {fake: email}", "email: {sql: \"'same@x'::mail\"}").replace(
        "buyer: {fake: email}", 'buyer: "null"'
    )
    with pytest.raises(Problem) as error:
        make(one, source, broken)
    assert "unique violation of users_email_key (23505)" in str(error.value)
    assert "same@x" not in str(error.value)
    refused = MASKS.replace("email: {fake: email}", "email: hash").replace("buyer: {fake: email}", "buyer: hash")
    with pytest.raises(Problem, match=r"the copy of public.\w+: check violation of mail_check in column \w+ \(23514\)"):
        make(one, source, refused)
    assert one.names() == set()


def test_what_leads_elsewhere_leads_nowhere(one: Database, other: Database, capfd: pytest.CaptureFixture[str]) -> None:
    role = f"r{other.name}"
    other.do(
        f"""create role {role}; create extension postgres_fdw; create server far foreign data wrapper postgres_fdw options (host 'secret.host.test', dbname 'x');
        create user mapping for {role} server far options (user 'hushuser', password 'hushhush');
        create user mapping for public server far options (user 'hushuser', password 'hushhush');
        create foreign table afar (x int) server far; create materialized view seen as select x from afar with no data;
        create table parted (id int generated always as identity, x int) partition by list (x); create foreign table parted_far partition of parted for values in (1) server far;
        create table parted_here partition of parted for values in (2); insert into parted (x) values (2);
        select lo_from_bytea(0, 'hush'); create table t (id int generated always as identity primary key); create policy own on t to {role} using (true);
        create publication everything for all tables; create schema inv; create table inv.kept (secret text);"""
    )
    try:
        pulled = make(one, other, "tables: {parted: {columns: {id: keep, x: keep}}}")
        told = capfd.readouterr().err
        assert {each.table: each.rows for each in pulled.tables} == {"public.parted": 1, "public.t": 0}
        assert "note: 1 large objects stay there" in told
        assert "note: foreign tables lead nowhere" in told
        options = "select srvoptions as told from pg_foreign_server union all select umoptions from pg_user_mappings"
        assert not re.search("hush|secret", str(one.query(options)))
        assert one.query("select from pg_publication") == one.query("select from pg_largeobject_metadata") == []
        assert one.scalar("select to_regnamespace('inv') is null")
    finally:
        for database in (one, other):
            database.do(f"drop owned by {role}")
        other.do(f"drop role {role}")
