"""Checks of tables: their keys, their vacuum, what the planner knows of them.

https://www.postgresql.org/docs/current/catalog-pg-class.html, catalog-pg-index.html, view-pg-stats.html
https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-STATS-FUNCTIONS
https://www.postgresql.org/docs/current/routine-vacuuming.html (when autovacuum comes, wraparound, partitioned tables)

Sizes are relpages as the last vacuum or analyze has left them: to ask for the files would wait for whoever has locked the table.
"""

from __future__ import annotations

from ops.db.diagnose.check import (
    LEAST_WASTE,
    NAME,
    OURS,
    SEE_ROWS,
    Check,
    Facts,
    Finding,
    Row,
    count,
    mostly_empty,
)

LEAST_ROWS = 1_000
"""Rows below which it does not matter how a table is read."""
LEAST_DEAD = 10_000
"""Dead rows below which nobody misses their room."""
OLD, VERY_OLD = 500_000_000, 1_000_000_000
"""Transactions. At 2^31 nothing can be written; autovacuum begins at 200 million. AWS advises an alarm at 500 million, a second at
a billion (Implement an early warning system for transaction ID wraparound in Amazon RDS for PostgreSQL, AWS Database Blog)."""

UNLOGGED = f"select {NAME} as object from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relpersistence = 'u' and c.relkind = 'r' and {OURS}"

NO_KEY = f"""
select {NAME} as object, greatest(c.reltuples, pg_stat_get_live_tuples(c.oid))::float as rows, c.relkind,
       quote_ident(u.relname) as index, quote_ident(u.conname) as constraint, u.columns,
       exists (select from pg_attribute where attrelid = c.oid and attname = 'id' and not attisdropped) as has_id,
       quote_ident(left(c.relname, 55) || '_key_id') as other
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join lateral (
  select i.relname, k.conname,
         (select string_agg(quote_ident(a.attname), ', ' order by p.place)
          from unnest(x.indkey::int2[]) with ordinality p (number, place)
          join pg_attribute a on a.attrelid = c.oid and a.attnum = p.number
          where p.place <= x.indnkeyatts) as columns
  from pg_index x join pg_class i on i.oid = x.indexrelid left join pg_constraint k on k.conindid = i.oid and k.contype = 'u'
  where x.indrelid = c.oid and x.indisunique and x.indisvalid and x.indimmediate and x.indpred is null and x.indexprs is null
    and 0 = all (x.indoption::int2[])
    and not exists (select from unnest(x.indkey::int2[]) p (number)
                    join pg_attribute a on a.attrelid = c.oid and a.attnum = p.number where not a.attnotnull)
  order by x.indnkeyatts, i.oid limit 1
) u on true
where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't' and {OURS}
  and not exists (select from pg_index x where x.indrelid = c.oid and x.indisprimary)
  and (greatest(c.reltuples, pg_stat_get_live_tuples(c.oid)) > 0
       or exists (select from pg_inherits i join pg_class l on l.oid = i.inhrelid
                  where i.inhparent = c.oid and greatest(l.reltuples, pg_stat_get_live_tuples(l.oid)) > 0))
"""

STALE = f"""
select {NAME} as object, greatest(c.reltuples, 0)::float as known, t.live::float as rows, t.changed::float as changed,
       coalesce(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)) is null and c.reltuples < 0 as never
from pg_class c join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select pg_stat_get_live_tuples(c.oid) as live, pg_stat_get_mod_since_analyze(c.oid) as changed
) t
where c.relkind in ('r', 'm') and t.changed >= {LEAST_ROWS} + 0.2 * greatest(c.reltuples, 0) and {OURS}
"""

PARTITIONED = f"""
with recursive leaf as (
  select i.inhparent as root, i.inhrelid as oid from pg_inherits i join pg_class p on p.oid = i.inhparent and p.relkind = 'p'
  union all select l.root, i.inhrelid from leaf l join pg_inherits i on i.inhparent = l.oid
), rows as (
  select root, sum(greatest(x.reltuples, pg_stat_get_live_tuples(x.oid), 0)) as rows
  from leaf l join pg_class x on x.oid = l.oid and x.relkind = 'r' group by root
)
select {NAME} as object, r.rows::float as rows, c.reltuples::float as known
from rows r join pg_class c on c.oid = r.root join pg_namespace n on n.oid = c.relnamespace
where not c.relispartition and r.rows >= {LEAST_ROWS} and (c.reltuples < 0 or r.rows > 2 * c.reltuples) and {OURS}
"""

DEAD = f"""
select {NAME} as object, t.live::float as live, t.dead::float as dead
from pg_class c join pg_namespace n on n.oid = c.relnamespace
cross join lateral (select pg_stat_get_live_tuples(c.oid) as live, pg_stat_get_dead_tuples(c.oid) as dead) t
where c.relkind in ('r', 'm') and t.dead >= greatest({LEAST_DEAD}, 0.4 * greatest(c.reltuples, t.live)) and {OURS}
"""

NO_AUTOVACUUM = f"""
select {NAME} as object from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and {OURS}
  and exists (select from unnest(c.reloptions) o where lower(o) ~ '^autovacuum_enabled=(f|fa|fal|fals|false|n|no|of|off|0)$')
"""

# A row takes its pointer, its header with a bit for each column that may be null, and its values, both in eights
# (https://www.postgresql.org/docs/current/storage-page-layout.html)
OF_LARGE = f"c.relpages >= {LEAST_WASTE}"
BLOAT = f"""
with large as materialized (
  select {NAME} as object, n.nspname, c.oid, c.relname, c.relpages, c.reltuples,
         coalesce((select substr(o, 12)::int from unnest(c.reloptions) o where starts_with(o, 'fillfactor=')), 100) as fill
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'm') and {OF_LARGE} and c.reltuples >= 0 and {OURS}
), s as materialized (
  select schemaname, tablename, count(*) as known, bool_or(null_frac > 0) as nulls, sum((1 - null_frac) * avg_width) as width
  from pg_stats where not inherited and tablename = any (array(select relname from large)) group by 1, 2
), e as (
  select l.*, s.*, (select count(*) from pg_attribute a where a.attrelid = l.oid and a.attnum > 0 and not a.attisdropped) as columns
  from large l join s on s.schemaname = l.nspname and s.tablename = l.relname
)
select object, relpages::float as pages, relpages - ceil(reltuples / greatest(1, floor(
         (8192 - 24) * fill / 100.0 / (4 + ceil((23 + case when nulls then (columns + 7) / 8 else 0 end) / 8.0) * 8 + ceil(width / 8.0) * 8))))::float as wasted
from e where columns = known
"""
UNREAD = f"""
select count(*) as hidden from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and c.relpages >= {LEAST_WASTE} and {OURS} and not has_table_privilege(c.oid, 'select')
"""

WRAPAROUND = f"""
select {NAME} as object, greatest(age(c.relfrozenxid), age(t.relfrozenxid))::float as xids,
       greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid))::float as mxids
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_class t on t.oid = c.reltoastrelid and t.relfrozenxid <> '0'::xid
where c.relkind in ('r', 'm') and c.relfrozenxid <> '0'::xid and {OURS}
  and greatest(age(c.relfrozenxid), age(t.relfrozenxid), mxid_age(c.relminmxid), mxid_age(t.relminmxid)) >= {OLD}
order by 2 desc limit 20
"""
WRAPAROUND_OF_ALL = f"""
select quote_ident(datname) as object, datname = current_database() as here, age(datfrozenxid)::float as xids, mxid_age(datminmxid)::float as mxids
from pg_database
where datallowconn and greatest(age(datfrozenxid), mxid_age(datminmxid)) >= {OLD}
"""


def unlogged(row: Row, _: Facts) -> Finding:
    return Finding(
        "yellow",
        row["object"],
        "it is unlogged",
        "a crash of the server empties it, and no replica, snapshot or restore to a point in time has its rows",
        (f"alter table {row['object']} set logged",),
    )


def no_key(row: Row, _: Facts) -> Finding:
    table = row["object"]
    if row["constraint"]:
        mend = f"alter table {table} drop constraint {row['constraint']}, add primary key ({row['columns']})"
    elif row["index"]:
        mend = f"alter table {table} add primary key using index {row['index']}"
    else:
        column = row["other"] if row["has_id"] else "id"
        mend = f"alter table {table} add column {column} bigint generated always as identity primary key"
    return Finding(
        "yellow",
        table,
        "it has no primary key",
        "no row can be named: two may be the same, and logical replication neither updates nor deletes there",
        (mend,),
    )


def stale(row: Row, _: Facts) -> Finding:
    known = (
        "the planner has never counted it" if row["never"] else f"{count(row['changed'], 'row')} changed since analyze"
    )
    return Finding(
        "red" if row["changed"] >= 1_000_000 and row["changed"] > row["known"] else "yellow",
        row["object"],
        known + (f", {count(row['rows'], 'row')}" if row["never"] else f" had seen {count(row['known'], 'row')}"),
        "plans are made for what was there before; autovacuum has not come, or not yet",
        (f"analyze {row['object']}",),
    )


def partitioned(row: Row, _: Facts) -> Finding:
    return Finding(
        "yellow",
        row["object"],
        f"{count(row['rows'], 'row')} in its partitions, "
        + ("and no statistics of the whole" if row["known"] < 0 else f"and {count(row['known'], 'row')} when analyzed"),
        "autovacuum analyzes partitions only: joins and groups over all of it are planned blindly",
        (f"analyze {row['object']}",),
    )


def dead(row: Row, _: Facts) -> Finding:
    return Finding(
        "red" if row["dead"] > row["live"] else "yellow",
        row["object"],
        f"{count(row['dead'], 'dead row')} beside {count(row['live'], 'live one')}: vacuum does not keep up",
        "each read goes past them, and the file grows",
        (f"vacuum (analyze) {row['object']}",),
    )


def no_autovacuum(row: Row, _: Facts) -> Finding:
    return Finding(
        "yellow",
        row["object"],
        "autovacuum is switched off for it",
        "dead rows stay, and the planner's statistics age",
        (f"alter table {row['object']} reset (autovacuum_enabled)",),
    )


def bloat(row: Row, _: Facts) -> Finding | None:
    return mostly_empty(
        row,
        "reads and caches carry them along; VACUUM FULL closes the table while it writes it anew, pg_repack does it beside",
        f"vacuum (full, analyze) {row['object']}",
    )


def wraparound(row: Row, _: Facts) -> Finding:
    return old(row, "its oldest row", (f"vacuum (freeze) {row['object']}",))


def wraparound_of_all(row: Row, _: Facts) -> Finding:
    mend = "vacuum (freeze)" if row["here"] else f"vacuumdb --freeze --dbname={row['object']}"
    return old(row, "what no vacuum has frozen", (mend,))


def old(row: Row, what: str, mend: tuple[str, ...]) -> Finding:
    worst, kind = max((row["xids"] or 0, "transactions"), (row["mxids"] or 0, "multixacts"))
    return Finding(
        "red" if worst >= VERY_OLD else "yellow",
        row["object"],
        f"{what} is {worst / 1e6:,.0f} million {kind} old",
        "at 2,100 million the server takes no more writes; autovacuum should have come at 200",
        mend,
    )


CHECKS = (
    Check("unlogged_table", UNLOGGED, unlogged, "no table is lost by a crash"),
    Check("no_primary_key", NO_KEY, no_key, "each table with rows has a primary key"),
    Check("stale_statistics", STALE, stale, "the planner's statistics are fresh"),
    Check("partitions_not_analyzed", PARTITIONED, partitioned, "partitioned tables are analyzed as a whole"),
    Check("dead_rows", DEAD, dead, "vacuum keeps up"),
    Check("autovacuum_off_for_table", NO_AUTOVACUUM, no_autovacuum, "autovacuum comes to each table"),
    Check(
        "table_bloat",
        BLOAT,
        bloat,
        "no table is mostly empty",
        UNREAD,
        "the statistics of {hidden} large tables are hidden from {user}",
        SEE_ROWS,
    ),
    Check("wraparound_table", WRAPAROUND, wraparound, "no table is near the end of transaction numbers"),
    Check("wraparound_database", WRAPAROUND_OF_ALL, wraparound_of_all, "no database is near that end"),
)
