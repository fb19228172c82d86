"""Checks of indexes: those that serve nobody, and those that are not whole.

https://www.postgresql.org/docs/current/catalog-pg-index.html, sql-createindex.html (what CONCURRENTLY may leave), sql-reindex.html
https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-STATS-FUNCTIONS (pg_stat_get_numscans)

Expressions and predicates are compared as the parser has left them, but for the place in the text where they stood
(`:location`, which 17 no longer keeps).
"""

from __future__ import annotations

from ops.db.diagnose.check import (
    LEAST_WASTE,
    NAME,
    OURS_OF_INDEX,
    SEE_ROWS,
    Check,
    Facts,
    Finding,
    Row,
    bytes_of,
    count,
    mostly_empty,
)

LEAST_TRAFFIC = 100
"""Reads or written rows of a table, below which it says nothing that one of its indexes was not read."""

TEXTS = """
  x.indkey::text as keys, x.indclass::text as classes, x.indcollation::text as collations, x.indoption::text as options,
  regexp_replace(x.indexprs::text, ':location -?[0-9]+', '', 'g') as expressions,
  regexp_replace(x.indpred::text, ':location -?[0-9]+', '', 'g') as predicate
"""

# While it is being built, its table is locked like this
INVALID = f"""
select {NAME} as object, c.relkind, c.relname ~ '_cc(new|old)[0-9]*$' as left_over, x.indisunique as "unique", c.relpages::float as pages
from pg_index x join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace
where not x.indisvalid and not c.relispartition and {OURS_OF_INDEX}
  and x.indrelid <> all (array(select relation from pg_locks where granted and relation is not null and mode = 'ShareUpdateExclusiveLock'))
"""

# The one that stays: what a constraint stands on before what is only unique, before what is neither; of two alike, the older
DUPLICATE = f"""
with i as (
  select x.*, c.relam, {TEXTS} from pg_index x join pg_class c on c.oid = x.indexrelid
  where x.indisvalid and not c.relispartition and c.relnamespace <> 'pg_toast'::regnamespace
), several as (
  select i.*, count(*) over w as many from i
  window w as (partition by indrelid, relam, indnkeyatts, keys, classes, collations, options, expressions, predicate, indnullsnotdistinct)
), ranked as (
  select x.*, {NAME} as object, quote_ident(n.nspname) || '.' || quote_ident(t.relname) as "table", c.relkind, c.relpages, k.conname,
         f.referenced, row_number() over w as place, first_value({NAME}) over w as first
  from several x join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace join pg_class t on t.oid = x.indrelid
  left join pg_constraint k on k.conindid = x.indexrelid and k.contype in ('p', 'u', 'x')
  cross join lateral (select exists (select from pg_constraint f where f.conindid = x.indexrelid and f.contype = 'f') as referenced) f
  where x.many > 1 and {OURS_OF_INDEX}
  window w as (
    partition by x.indrelid, x.relam, x.indnkeyatts, keys, classes, collations, options, expressions, predicate, indnullsnotdistinct
    order by (k.contype = 'p') desc nulls last, f.referenced desc, (k.contype is not null) desc, indisunique desc, indisreplident desc, indexrelid
  )
)
select object, "table", first, quote_ident(conname) as constraint, relkind, relpages::float as pages from ranked where place > 1 and not referenced
"""
COVERED = f"""
with i as materialized (
  select x.*, c.relam, {TEXTS} from pg_index x join pg_class c on c.oid = x.indexrelid
  where x.indisvalid and not c.relispartition and c.relnamespace <> 'pg_toast'::regnamespace
    and c.relam = (select oid from pg_am where amname = 'btree')
)
select {NAME} as object, min(quote_ident(n.nspname) || '.' || quote_ident(o.relname)) as first, c.relkind, c.relpages::float as pages,
       pg_stat_get_numscans(x.indexrelid) as scans
from i x join i b on b.indrelid = x.indrelid and b.indexrelid <> x.indexrelid
join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace join pg_class o on o.oid = b.indexrelid
where not x.indisunique and not x.indisexclusion and not x.indisreplident and not x.indisclustered
  and x.indnatts = x.indnkeyatts and x.indnkeyatts < b.indnkeyatts and x.expressions is null
  and x.predicate is not distinct from b.predicate
  and starts_with(b.keys || ' ', x.keys || ' ') and starts_with(b.classes || ' ', x.classes || ' ')
  and starts_with(b.collations || ' ', x.collations || ' ') and starts_with(b.options || ' ', x.options || ' ')
  and {OURS_OF_INDEX}
group by 1, 3, 4, 5
"""
# One that a foreign key needs is read when a row is deleted that is referred to, which may be once a year
UNUSED = f"""
with reads as (
  select indrelid, pg_stat_get_numscans(indrelid) + sum(pg_stat_get_numscans(indexrelid)) as reads from pg_index
  where {{since}} <= now() - interval '{{unused_days}} days' group by indrelid
)
select {NAME} as object, c.relpages::float as pages, t.reads::float as reads, w.writes::float as writes
from reads t join pg_index x on x.indrelid = t.indrelid
join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select pg_stat_get_tuples_inserted(x.indrelid) + pg_stat_get_tuples_updated(x.indrelid) + pg_stat_get_tuples_deleted(x.indrelid) as writes
) w
where c.relkind = 'i' and not c.relispartition and x.indisvalid and not x.indisunique and not x.indisexclusion and not x.indisreplident
  and pg_stat_get_numscans(x.indexrelid) = 0 and greatest(t.reads, w.writes) >= {LEAST_TRAFFIC} and {OURS_OF_INDEX}
  and not exists (select from pg_constraint f where f.contype = 'f' and f.conrelid = x.indrelid
                  and (x.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey)
"""
# A tuple of a B-tree has a header of 8 bytes and a pointer of 4, its values stand in eights; pages are filled to fillfactor. What
# several rows share is kept once (https://www.postgresql.org/docs/current/btree.html#BTREE-DEDUPLICATION): that makes it less
OF_LARGE = f"c.relpages >= {LEAST_WASTE}"
BLOAT = f"""
with large as materialized (
  select {NAME} as object, n.nspname, c.relname, t.relname as "table", c.relpages, c.reltuples, x.indexrelid, x.indrelid, x.indkey::int2[] as keys,
         coalesce((select substr(o, 12)::int from unnest(c.reloptions) o where starts_with(o, 'fillfactor=')), 90) as fill
  from pg_index x join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace
  join pg_class t on t.oid = x.indrelid
  where c.relkind = 'i' and c.relam = (select oid from pg_am where amname = 'btree') and {OF_LARGE}
    and c.reltuples >= 0 and {OURS_OF_INDEX}
), s as materialized (
  select schemaname, tablename, attname, (1 - null_frac) * avg_width as width
  from pg_stats where not inherited and tablename = any (array(select relname from large union select "table" from large))
), e as (
  select object, relpages, reltuples, fill, count(*) as columns, count(s.attname) as known, sum(s.width) as width
  from large l join pg_attribute a on a.attrelid = l.indexrelid and a.attnum > 0
  left join pg_attribute o on o.attrelid = l.indrelid and o.attnum = l.keys[a.attnum - 1] and o.attnum > 0
  left join s on s.schemaname = l.nspname and s.tablename = case when o.attnum is null then l.relname else l."table" end
    and s.attname = coalesce(o.attname, a.attname)
  group by 1, 2, 3, 4
)
select object, relpages::float as pages, relpages - ceil(reltuples * (4 + 8 + ceil(width / 8.0) * 8) / ((8192 - 40) * fill / 100.0))::float as wasted
from e where columns = known
"""
UNREAD = f"""
select count(*) as hidden from pg_index x join pg_class c on c.oid = x.indexrelid join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'i' and c.relpages >= {LEAST_WASTE} and {OURS_OF_INDEX} and not has_table_privilege(x.indrelid, 'select')
"""


def drop(row: Row) -> tuple[str, ...]:
    """Return what drops an index past others; a partitioned one cannot be dropped so."""
    return (f"drop index {'' if row['relkind'] == 'I' else 'concurrently '}{row['object']}",)


def invalid(row: Row, _: Facts) -> Finding:
    doubles = "; two rows are the same there, it seems: drop it, and build it again when they are not"
    mend = drop(row)
    if not (row["left_over"] or row["unique"] or row["relkind"] == "I"):
        mend = (f"reindex index concurrently {row['object']}",)
    return Finding(
        "red" if row["unique"] and not row["left_over"] else "yellow",
        row["object"],
        "its build was broken off" + (doubles if row["unique"] and not row["left_over"] else ""),
        f"each write keeps it ({bytes_of(row['pages'])}), and no query may use it",
        mend,
    )


def duplicate(row: Row, _: Facts) -> Finding:
    if row["constraint"]:
        mend: tuple[str, ...] = (f"alter table {row['table']} drop constraint {row['constraint']}",)
    else:
        mend = drop(row)
    return Finding(
        "yellow",
        row["object"],
        f"it is the same as {row['first']}",
        f"each write keeps both; {bytes_of(row['pages'])}",
        mend,
    )


def covered(row: Row, _: Facts) -> Finding:
    scans = f"; it was read {count(row['scans'], 'time')}, and the other would have served" if row["scans"] else ""
    return Finding(
        "yellow",
        row["object"],
        f"{row['first']} begins with the same columns{scans}",
        f"each write keeps both; {bytes_of(row['pages'])}",
        drop(row),
    )


def unused(row: Row, facts: Facts) -> Finding:
    where = "; a replica may use it, and counts that by itself" if facts.replicas or facts.standby else ""
    return Finding(
        "yellow",
        row["object"],
        f"nobody has read it in {count(facts.days, 'day')} of statistics, or since it was made "
        f"({count(row['reads'], 'read')} of its table, {count(row['writes'], 'row')} written){where}",
        f"each write keeps it; {bytes_of(row['pages'])}",
        (f"drop index concurrently {row['object']}",),
    )


def bloat(row: Row, _: Facts) -> Finding | None:
    return mostly_empty(
        row,
        "reads and caches carry them along",
        f"reindex index concurrently {row['object']}",
    )


def too_early(facts: Facts) -> str:
    wanted = facts.limits.unused_days
    if facts.since is None or facts.days < wanted:
        return f"the statistics are of {count(facts.days, 'day')}: unused indexes are told after {wanted} (diagnose.unused_days)"
    return ""


CHECKS = (
    Check("invalid_index", INVALID, invalid, "each index is whole"),
    Check("duplicate_index", DUPLICATE, duplicate, "no index is there twice"),
    Check("covered_index", COVERED, covered, "no index is the beginning of another"),
    Check("unused_index", UNUSED, unused, "each index is read", unless=too_early),
    Check(
        "index_bloat",
        BLOAT,
        bloat,
        "no index is mostly empty",
        UNREAD,
        "the statistics of {hidden} large indexes are hidden from {user}",
        SEE_ROWS,
    ),
)
