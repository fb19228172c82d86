-- Parts of schemas, each written in two ways that mean the same, with `-- or` between them; tests/fix_schemas.py puts schemas together.

create table a1 (id bigint primary key, code text unique, parent bigint references a1 (id) on delete cascade);
-- or
create table a1 (id int8 not null, code text, parent int8);
alter table a1 add primary key (id);
alter table a1 add unique (code);
alter table a1 add constraint a1_parent_fkey foreign key (parent) references a1 on delete cascade;

create table a2 (id serial primary key, name varchar(20) default 'x');
-- or
create sequence a2_id_seq as integer;
create table a2 (id int4 default nextval('a2_id_seq') not null, name character varying(20) default 'x'::varchar);
alter sequence a2_id_seq owned by a2.id;
alter table only a2 add constraint a2_pkey primary key (id);

create table a3 (kind varchar(9) not null check (kind in ('one', 'two')), n int check (n between 1 and 9));
-- or
create table a3 (kind varchar(9), n integer);
alter table a3 alter kind set not null;
alter table a3 add check (kind in ('one', 'two'));
alter table a3 add constraint a3_n_check check (n >= 1 and n <= 9);

create table a4 (id int, at timestamptz default now(), gone text, note text);
alter table a4 drop gone;
-- or
create table a4 (id int, at timestamp with time zone default now(), note text);

create table a5 (id int, more text not null default '');
-- or
create table a5 (id int);
alter table a5 add column more text default '' not null;

create type b1 as enum ('x', 'y', 'z');
-- or
create type b1 as enum ('x', 'z');
alter type b1 add value 'y' before 'z';

create domain b2 as int check (value > 0);
-- or
create domain b2 as integer;
alter domain b2 add constraint b2_check check (value > 0);

create type b3 as (a int, b text);
-- or
create type b3 as (a integer);
alter type b3 add attribute b text;

create table c1 (a int, b text);
create view c2 as select a, b from c1 where a > 3;
-- or
create table c1 (a int4, b text);
create view c2 as select c1.a, c1.b from c1 where (c1.a > 3);

create table c3 (at timestamptz, n int, name varchar(9));
create view c4 as with x as (select *, row_number() over (partition by n order by at desc) as r from c3) select extract(year from at) as year, substring(name from 2 for 3) as part, trim(both from name) as plain, count(*) filter (where n > 1) as many, case when n is null then 'none' else n::text end as told, position('a' in name) as p, name like 'a%' as l, coalesce(n, 0) as c from x where r = 1 and name in ('a', 'b') group by at, name, n having count(*) > 0 order by 1 limit 3;
-- or
create table c3 (at timestamptz, n int, name varchar(9));
create view c4 as with x as (select c3.*, row_number() over (partition by c3.n order by c3.at desc) as r from c3) select extract(year from x.at) as year, substring(x.name from 2 for 3) as part, trim(both from x.name) as plain, count(*) filter (where x.n > 1) as many, case when x.n is null then 'none' else cast(x.n as text) end as told, position('a' in x.name) as p, x.name like 'a%' as l, coalesce(x.n, 0) as c from x where x.r = 1 and x.name in ('a', 'b') group by x.at, x.name, x.n having count(*) > 0 order by 1 limit 3;

create table c5 (a int);
create materialized view c6 as select sum(a) as s from c5;
-- or
create table c5 (a int);
create materialized view c6 as select sum(c5.a) as s from c5 with no data;

create table d1 (a int, b text);
create index on d1 (a);
create index d1_low on d1 (lower(b)) where a > 0;
-- or
create table d1 (a int, b text);
create index d1_low on d1 using btree (lower(b) asc nulls last) where (a > 0);
create index d1_a_idx on d1 using btree (a);

create table d2 (at date not null, k text) partition by range (at);
create table d2_1 partition of d2 for values from ('2025-01-01') to ('2026-01-01');
create index on d2 (k);
-- or
create table d2 (at date not null, k text) partition by range (at);
create table d2_1 (at date not null, k text);
create index d2_1_k_idx on d2_1 (k);
create index d2_k_idx on only d2 (k);
alter table d2 attach partition d2_1 for values from ('2025-01-01') to ('2026-01-01');
alter index d2_k_idx attach partition d2_1_k_idx;

create table d3 (a int primary key) partition by hash (a);
create table d3_1 partition of d3 for values with (modulus 2, remainder 0);
create table d3_2 (b int references d3);
-- or
create table d3 (a int not null) partition by hash (a);
create table d3_1 partition of d3 for values with (modulus 2, remainder 0);
alter table d3 add primary key (a);
create table d3_2 (b int);
alter table d3_2 add foreign key (b) references d3;

create table d4 (a int, b int);
create table d5 (c int) inherits (d4);
-- or
create table d4 (a int, b int);
create table d5 (a int, b int, c int);
alter table d5 inherit d4;

create function e1(a int, b int default 2) returns int language sql immutable strict as $$ select a + b $$;
-- or
create function e1(a integer, b integer default 2) returns integer as ' select a + b ' language sql strict immutable;

create function e2(a int) returns int language sql return a * 2;
-- or
create function e2(a int4) returns int4 language sql return (a * 2);

create table e3 (a int, b text);
create function e4() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger e5 before update of a on e3 for each row when (old.* is distinct from new.*) execute function e4();
-- or
create table e3 (a int, b text);
create function e4() returns trigger language plpgsql as $x$ begin return new; end $x$;
create trigger e5 before update of a on e3 for each row when ((old.* is distinct from new.*)) execute procedure e4();

create table f1 (a int, owner text);
alter table f1 enable row level security;
create policy f2 on f1 using (owner = current_user);
-- or
create table f1 (a int, owner text);
create policy f2 on f1 as permissive for all to public using ((owner = current_user));
alter table f1 enable row level security;

create table f3 (a int);
grant select, insert on f3 to pg_monitor;
-- or
create table f3 (a int);
grant insert on f3 to pg_monitor;
grant select on table f3 to pg_monitor;

create table f4 (a int);
grant all on f4 to pg_monitor;
-- or
create table f4 (a int);
grant all privileges on table f4 to pg_monitor;

create sequence f5;
-- or
create sequence f5 as bigint increment by 1 minvalue 1 start with 1 cache 1 no cycle;

create table f6 (id bigint generated always as identity, n numeric(9, 2), double numeric generated always as (n * 2) stored);
-- or
create table f6 (id bigint not null, n numeric(9,2), double numeric generated always as ((n * (2)::numeric)) stored);
alter table f6 alter id add generated always as identity;

create table f7 (a text) with (fillfactor = 70);
comment on table f7 is 'it''s';
-- or
create table f7 (a text);
comment on table f7 is 'first';
alter table f7 set (fillfactor = 70);
comment on table f7 is E'it\'s';

create table f8 (a text);
alter table f8 alter a set storage external;
-- or
create table f8 (a text);
alter table f8 alter a set storage main;
alter table f8 alter a set storage external;

create table g1 (a int, during tstzrange, exclude using gist (during with &&) where (a > 0));
-- or
create table g1 (a int, during tstzrange);
alter table g1 add constraint g1_during_excl exclude using gist (during with &&) where ((a > 0));

create table g2 (a int, b text);
create statistics g3 (dependencies, ndistinct) on a, b from g2;
-- or
create table g2 (a int, b text);
create statistics g3 (ndistinct, dependencies) on a, b from g2;

create table g4 (a int);
create rule g5 as on delete to g4 do instead nothing;
-- or
create table g4 (a int);
create or replace rule g5 as on delete to public.g4 do instead nothing;

create table g6 (a int primary key deferrable initially deferred, b text collate "C");
-- or
create table g6 (a int, b text collate pg_catalog."C");
alter table g6 add primary key (a) deferrable initially deferred;

create schema h1;
create table h1."Odd name" ("Order" int, "a b" text);
-- or
create schema h1;
create table h1."Odd name" ("Order" int);
alter table h1."Odd name" add "a b" text;

create aggregate h2 (int) (sfunc = int4pl, stype = int, initcond = '0');
-- or
create aggregate h2 (basetype = integer, sfunc = int4pl, stype = int4, initcond = '0');

alter default privileges grant select on tables to pg_monitor;
create table h4 (a int);
-- or
alter default privileges grant select on tables to pg_monitor;
create table h4 (a int);
