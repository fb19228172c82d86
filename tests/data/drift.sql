create schema app;
create extension hstore schema app;
create type app.mood as enum ('sad', 'ok', 'happy');
create domain app.positive as integer default 1 check (value > 0);
create domain app.short as varchar(10) collate "C" not null;
create type app.pair as (a integer, b text);
create type app.span as range (subtype = float8, subtype_diff = float8mi);
create collation app.german (provider = libc, locale = 'C');
create sequence app.numbers start 10 increment 5 cache 3;
create table app.people (
  id bigint generated always as identity primary key,
  name text not null collate "C",
  nick varchar(20) default 'x' check (nick in ('x', 'y', 'zz')),
  mood app.mood default 'ok',
  age app.positive,
  code integer default nextval('app.numbers') unique,
  full_name text generated always as (name || ' ' || coalesce(nick, '')) stored,
  created_at timestamptz not null default now(),
  tags text[] not null default '{}',
  constraint age_is_sane check (age < 200)
) with (fillfactor = 80);
create table app.notes (
  id serial primary key,
  person_id bigint not null references app.people (id) on delete cascade,
  body text, at timestamp default current_timestamp, during tsrange,
  extra jsonb,
  exclude using gist (during with &&)
);
alter table app.notes alter column body set storage external, alter column body set statistics 500;
create index notes_person on app.notes (person_id);
create unique index people_lower on app.people (lower(name)) where age > 3;
create table app.logs (at date not null, kind text not null, text text) partition by range (at);
create table app.logs_2025 partition of app.logs for values from ('2025-01-01') to ('2026-01-01');
create table app.logs_rest partition of app.logs default;
create index logs_kind on app.logs (kind);
create table app.animals (id integer, name text);
create table app.cats (meow boolean) inherits (app.animals);
create unlogged table app.scratch (id integer);
create view app.grown as select id, name, extract(year from created_at) as year from app.people where age >= 18;
create materialized view app.counts as select person_id, count(*) as n from app.notes group by 1;
create unique index counts_person on app.counts (person_id);
create function app.touch() returns trigger language plpgsql as $$ begin new.created_at = now(); return new; end $$;
create function app.add(a integer, b integer default 2) returns integer language sql immutable strict parallel safe cost 5 as 'select a + b';
create function app.twice(a integer) returns integer language sql begin atomic select a * 2; end;
create procedure app.clean(days integer) language sql as 'delete from app.logs';
create aggregate app.total (integer) (sfunc = int4pl, stype = integer, initcond = '0');
create trigger touches before update on app.people for each row when (old.name is distinct from new.name) execute function app.touch();
create rule no_delete as on delete to app.animals do instead nothing;
alter table app.notes enable row level security;
create policy own_notes on app.notes for select to public using (person_id > 0);
create statistics app.people_stats (dependencies) on name, nick from app.people;
create foreign data wrapper fdw;
create server far foreign data wrapper fdw options (host 'a', password 'hush');
create foreign table app.remote (id integer options (x 'y')) server far options (schema_name 's');
create user mapping for postgres server far options (user 'u', password 'canary');
create publication pub for table app.people (id, name) where (id > 3);
create text search dictionary app.simple_dict (template = simple, stopwords = english);
create text search configuration app.conf (copy = simple);
create operator app.=== (leftarg = integer, rightarg = integer, function = int4eq);
create cast (app.pair as text) with inout;
create function app.on_ddl() returns event_trigger language plpgsql as $$ begin end $$;
create event trigger watch on ddl_command_end when tag in ('CREATE TABLE') execute function app.on_ddl();
alter default privileges in schema app grant select on tables to pg_monitor;
grant select on app.people to pg_monitor;
grant usage on schema app to public;
grant update (name) on app.people to pg_monitor;
revoke execute on function app.add from public;
comment on table app.people is 'People';
comment on column app.people.name is 'Their name';
comment on schema app is 'The application';
create type app.unused as enum ('one');
create table app.dull (id integer);
create index dull_id on app.dull (id);
create function app.plain() returns text language plpgsql as $$ begin return 'x'; end $$;
create view app.plain_view as select id from app.dull;
create schema other;
create publication schemas for tables in schema other;
