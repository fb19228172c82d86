"""Five databases with rows, and a hundred queries over them: what db.pull --plans is held against."""

from __future__ import annotations

from dataclasses import dataclass

from ops.db.pull.statistics import Column


@dataclass(frozen=True)
class Schema:
    """A database with rows, what of it may leave, and queries."""

    sql: str
    kept: str
    """Columns whose values may leave, as table.column; all others are people's."""
    queries: str
    """A line each."""

    def columns(self) -> set[Column]:
        return {Column("public", *each.split(".")) for each in self.kept.split()}


SHOP = Schema(
    """
    create table customers (id bigint generated always as identity primary key, email text not null unique, name text,
      country text, created_at timestamptz not null, active bool not null);
    create table products (id serial primary key, sku text unique, price numeric(10, 2), category text);
    create table orders (id bigint generated always as identity primary key, customer_id bigint not null references customers,
      status text not null, total numeric(12, 2), placed_at timestamptz not null);
    create table items (order_id bigint references orders, line int, product_id int references products, amount int,
      primary key (order_id, line));
    insert into customers (email, name, country, created_at, active)
      select 'person' || i || '@example.org', md5(i::text), (array['de', 'fr', 'us', 'jp', 'br'])[1 + (5 * (i % 97) / 97.0)::int % 5],
        timestamptz '2026-01-01' - i * interval '7 min', i % 11 > 0 from generate_series(1, 20000) i;
    insert into products (sku, price, category) select 'sku-' || i, i % 300, 'c' || i % 20 from generate_series(1, 500) i;
    insert into orders (customer_id, status, total, placed_at)
      select 1 + (i * 7919::bigint) % 20000, case when i % 50 = 0 then 'open' when i % 9 = 0 then 'returned' else 'sent' end,
        (i * 31) % 900, timestamptz '2026-01-01' - i * interval '3 min' from generate_series(1, 40000) i;
    insert into items select i, l, 1 + (i * 13 + l) % 500, l from generate_series(1, 40000) i, generate_series(1, 1 + i % 2) l;
    create index on orders (customer_id);
    create index on orders (placed_at);
    create index open_orders on orders (placed_at) where status = 'open';
    create index on items (product_id);
    create index on customers (lower(name));
    create index on customers (country, created_at);
    """,
    "orders.status orders.placed_at orders.total customers.country customers.created_at customers.id customers.active orders.id "
    "orders.customer_id products.category products.price items.order_id items.line items.product_id items.amount products.id",
    """
    select * from customers where id = 17
    select * from customers where email = 'person77@example.org'
    select * from customers where lower(name) = 'x'
    select * from customers where country = 'de' order by created_at desc limit 20
    select count(*) from customers where active
    select * from orders where customer_id = 5
    select * from orders where status = 'open' order by placed_at desc limit 10
    select * from orders where status = 'open'
    select * from orders where placed_at > timestamptz '2025-12-30'
    select * from orders where placed_at between timestamptz '2025-10-01' and timestamptz '2025-10-03' and total > 800
    select status, count(*), sum(total) from orders group by status
    select c.email, o.* from orders o join customers c on c.id = o.customer_id where o.status = 'open' limit 50
    select c.country, sum(o.total) from orders o join customers c on c.id = o.customer_id group by 1 order by 2 desc
    select * from items where order_id = 99
    select * from items i join orders o on o.id = i.order_id where o.customer_id = 7
    select p.category, sum(i.amount * p.price) from items i join products p on p.id = i.product_id group by 1
    select * from products where sku = 'sku-7'
    select * from customers c where not exists (select from orders o where o.customer_id = c.id)
    select * from customers c where exists (select from orders o where o.customer_id = c.id and o.status = 'returned') and country = 'jp'
    select max(placed_at) from orders
    """,
)

FEED = Schema(
    """
    create table users (uuid uuid primary key, handle text not null unique, display_name text, created_at timestamptz);
    create table activities (uuid uuid primary key, user_uuid uuid not null references users, message text, replies int,
      reply_to uuid, expires_at timestamptz, created_at timestamptz not null);
    create table follows (follower uuid references users, followed uuid references users, primary key (follower, followed));
    create table likes (user_uuid uuid references users, activity_uuid uuid references activities, at timestamptz);
    insert into users select md5('u' || i)::uuid, 'h' || i, 'n' || i, timestamptz '2026-01-01' - i * interval '1 hour' from generate_series(1, 5000) i;
    insert into activities select md5('a' || i)::uuid, md5('u' || 1 + i % 5000)::uuid, repeat(md5(i::text), 1 + i % 5), i % 7,
      case when i % 3 = 0 then md5('a' || i / 2)::uuid end, case when i % 4 > 0 then timestamptz '2026-01-01' + (i % 1000) * interval '1 hour' end,
      timestamptz '2026-01-01' - i * interval '1 min' from generate_series(1, 30000) i;
    insert into follows select md5('u' || i)::uuid, md5('u' || 1 + (i * k * 31) % 5000)::uuid from generate_series(1, 5000) i, generate_series(1, 10) k on conflict do nothing;
    insert into likes select md5('u' || 1 + i % 5000)::uuid, md5('a' || 1 + (i * 7) % 30000)::uuid, timestamptz '2026-01-01' - i * interval '20 s' from generate_series(1, 30000) i;
    create index on activities (created_at desc, uuid desc);
    create index on activities (user_uuid, created_at desc);
    create index on activities (reply_to) where reply_to is not null;
    create index on follows (followed);
    create index on likes (activity_uuid);
    create index on likes (user_uuid);
    """,
    "activities.created_at activities.expires_at activities.replies users.created_at likes.at",
    """
    select * from activities order by created_at desc, uuid desc limit 20
    select * from activities a join users u on u.uuid = a.user_uuid order by a.created_at desc limit 20
    select * from activities where expires_at > timestamptz '2026-02-01' order by created_at desc limit 20
    select * from users where handle = 'h5'
    select * from users where handle like 'h5%'
    select * from activities where user_uuid = md5('u5')::uuid order by created_at desc limit 5
    select * from activities where reply_to = md5('a5')::uuid
    select count(*) from activities where reply_to is null
    select count(*) from likes where activity_uuid = md5('a8')::uuid
    select a.uuid, count(l.*) from activities a left join likes l on l.activity_uuid = a.uuid where a.user_uuid = md5('u9')::uuid group by a.uuid
    select u.handle, count(*) from follows f join users u on u.uuid = f.followed group by 1 order by 2 desc limit 10
    select a.* from activities a join follows f on f.followed = a.user_uuid where f.follower = md5('u1')::uuid order by a.created_at desc limit 20
    select * from activities where created_at < timestamptz '2025-12-01' and replies = 3
    select replies, avg(length(message)) from activities group by 1
    select * from activities where replies > 5 and expires_at is null
    select * from users u left join activities a on a.user_uuid = u.uuid where a.uuid is null
    select distinct user_uuid from likes
    select * from likes where at > timestamptz '2025-12-31 20:00' order by at
    select * from follows where follower = md5('u1')::uuid and followed = md5('u2')::uuid
    select u.handle from users u where u.uuid in (select user_uuid from likes where activity_uuid = md5('a1')::uuid)
    """,
)

LEDGER = Schema(
    """
    create table accounts (id int primary key, owner text, kind text, opened date);
    create table entries (id bigint generated always as identity, account_id int not null references accounts, amount numeric(14, 2),
      booked date not null, note text, primary key (id, booked)) partition by range (booked);
    create table entries_q1 partition of entries for values from ('2025-01-01') to ('2025-04-01');
    create table entries_q2 partition of entries for values from ('2025-04-01') to ('2025-07-01');
    create table entries_q3 partition of entries for values from ('2025-07-01') to ('2025-10-01');
    create table entries_q4 partition of entries for values from ('2025-10-01') to ('2026-01-01');
    create table readings (at timestamp not null, sensor int not null, value real);
    insert into accounts select i, 'owner ' || i, (array['private', 'firm', 'club'])[1 + i % 3], date '2020-01-01' + i % 2000 from generate_series(1, 3000) i;
    insert into entries (account_id, amount, booked, note) select 1 + i % 3000, (i * 17) % 5000, date '2025-01-01' + (i % 365), md5(i::text) from generate_series(1, 40000) i;
    insert into readings select timestamp '2025-01-01' + i * interval '10 s', i % 40, (i * 37) % 1000 from generate_series(1, 60000) i;
    create index on entries (account_id, booked);
    create index on readings using brin (at);
    create index on readings (sensor, at);
    create index on accounts using hash (kind);
    """,
    "entries.account_id entries.booked entries.amount accounts.kind accounts.opened readings.at readings.sensor readings.value accounts.id",
    """
    select * from accounts where id = 5
    select * from accounts where kind = 'club'
    select * from accounts where opened > date '2025-06-01'
    select * from entries where account_id = 5
    select * from entries where account_id = 5 and booked between '2025-05-01' and '2025-05-31'
    select sum(amount) from entries where booked = '2025-11-11'
    select booked, sum(amount) from entries where booked >= '2025-12-01' group by 1 order by 1
    select a.kind, sum(e.amount) from entries e join accounts a on a.id = e.account_id group by 1
    select * from entries e join accounts a on a.id = e.account_id where a.owner = 'owner 7'
    select * from entries where id = 70
    select * from entries where amount > 4990 and booked < '2025-03-01'
    select count(*) from entries
    select * from readings where at between '2025-01-05' and '2025-01-05 01:00'
    select * from readings where sensor = 7 order by at desc limit 10
    select sensor, avg(value) from readings group by 1
    select * from readings where sensor = 7 and at > '2025-01-07'
    select date_trunc('hour', at), max(value) from readings where at > '2025-01-07' group by 1
    select * from readings where value > 990
    select account_id, count(*) from entries group by 1 having count(*) > 40
    select * from accounts a where exists (select from entries e where e.account_id = a.id and e.booked > '2025-12-30')
    """,
)

NOTES = Schema(
    """
    create extension pg_trgm;
    create table notes (id bigint generated always as identity primary key, author text, title text, body text, tags text[], more jsonb,
      words tsvector generated always as (to_tsvector('english', body)) stored, created date);
    create table links (source bigint references notes, target bigint references notes, weight real);
    insert into notes (author, title, body, tags, more, created)
      select 'a' || i % 300, 'title ' || i, 'body of ' || md5(i::text) || ' and ' || i % 100, array['t' || i % 50, 't' || i % 7], jsonb_build_object('kind', 'k' || i % 5, 'n', i),
        date '2025-01-01' + i % 300 from generate_series(1, 15000) i;
    insert into links select 1 + i % 15000, 1 + (i * 31) % 15000, i % 100 from generate_series(1, 30000) i;
    create index on notes using gin (tags);
    create index on notes using gin (more jsonb_path_ops);
    create index on notes using gin (words);
    create index on notes using gin (title gin_trgm_ops);
    create index on notes (author, created);
    create index on notes ((more ->> 'kind'));
    create index on links (source);
    create index on links (target) include (weight);
    """,
    "notes.tags notes.created notes.more notes.id links.source links.target links.weight",
    """
    select * from notes where id = 4
    select * from notes where tags @> array['t3']
    select * from notes where tags && array['t3', 't49']
    select * from notes where more @> '{"kind": "k3"}'
    select * from notes where more ->> 'kind' = 'k2'
    select * from notes where words @@ to_tsquery('english', 'body')
    select * from notes where words @@ to_tsquery('english', 'rare')
    select * from notes where title ilike '%rare title%'
    select * from notes where author = 'a5' order by created desc limit 5
    select * from notes where author = 'a5' and created > date '2025-08-01'
    select created, count(*) from notes group by 1
    select author, count(*) from notes group by 1 order by 2 desc limit 3
    select n.title from links l join notes n on n.id = l.target where l.source = 5
    select target, sum(weight) from links where target = 9 group by 1
    select * from links where weight > 98
    select n.id, count(*) from notes n join links l on l.source = n.id where n.created = date '2025-03-03' group by 1
    select * from notes n join notes m on m.author = n.author where n.id = 5
    select * from notes where created between date '2025-02-01' and date '2025-02-03' order by id
    select * from notes order by created desc limit 10
    select count(*) from links
    """,
)

CLINIC = Schema(
    """
    create type state as enum ('new', 'seen', 'closed');
    create table people (nr int primary key, born date, name text, city text);
    create table stays (id serial primary key, person int references people, during tstzrange, state state, ward smallint);
    create table lab (person int, test smallint, taken timestamp, value double precision, primary key (person, test, taken));
    create unlogged table queue (id serial primary key, payload text, done bool);
    insert into people select i, date '1940-01-01' + (i * 7) % 25000, md5(i::text), 'c' || i % 30 from generate_series(1, 15000) i;
    insert into stays (person, during, state, ward) select 1 + (i * 11) % 15000,
      tstzrange(timestamptz '2025-01-01' + i * interval '9 min', timestamptz '2025-01-03' + i * interval '10 min'),
      (case when i % 40 = 0 then 'new' when i % 10 = 0 then 'seen' else 'closed' end)::state, i % 12 from generate_series(1, 40000) i;
    insert into lab select 1 + i % 15000, i / 15000, timestamp '2025-01-01' + i * interval '1 min', i % 200 from generate_series(1, 45000) i;
    insert into queue (payload, done) select repeat('x', 200), i % 100 > 0 from generate_series(1, 20000) i;
    create index on stays using gist (during);
    create index on stays (person);
    create index on stays (ward, state);
    create index on people (born);
    create index waiting on queue (id) where not done;
    create view current as select s.*, p.city from stays s join people p on p.nr = s.person where s.state <> 'closed';
    create materialized view wards as select ward, state, count(*) as number from stays group by 1, 2;
    create table visits (id int, day date);
    create table old_visits (primary key (id)) inherits (visits);
    insert into visits select i, date '2025-01-01' + i % 100 from generate_series(1, 5000) i;
    insert into old_visits select i, date '2020-01-01' + i % 500 from generate_series(1, 20000) i;
    """,
    "people.nr stays.id stays.person stays.state stays.ward stays.during lab.person lab.test lab.taken queue.done queue.id visits.day "
    "old_visits.day wards.ward wards.number visits.id old_visits.id",
    """
    select * from people where nr = 6
    select * from people where born = date '1980-05-05'
    select * from people where city = 'c7'
    select * from stays where person = 8
    select * from stays where during && tstzrange('2025-03-01', '2025-03-02')
    select * from stays where state = 'new'
    select * from stays where ward = 3 and state = 'seen'
    select ward, count(*) from stays group by 1
    select * from current where ward = 5
    select city, count(*) from current group by 1
    select * from lab where person = 9 and test = 2
    select * from lab where person = 9 order by taken desc limit 1
    select test, avg(value) from lab group by 1
    select p.city, avg(l.value) from lab l join people p on p.nr = l.person where l.test = 4 group by 1
    select * from queue where not done order by id limit 10
    select count(*) from queue where done
    select * from wards where number > 100
    select * from visits where day = date '2025-02-02'
    select * from visits where id = 17
    select p.* from people p left join stays s on s.person = p.nr where s.id is null
    """,
)

SCHEMAS = {"shop": SHOP, "feed": FEED, "ledger": LEDGER, "notes": NOTES, "clinic": CLINIC}
