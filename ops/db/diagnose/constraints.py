"""Checks of constraints and triggers: what is declared, and whether it holds and at what cost.

https://www.postgresql.org/docs/current/catalog-pg-constraint.html, catalog-pg-trigger.html
https://www.postgresql.org/docs/current/ddl-constraints.html#DDL-CONSTRAINTS-FK (why a foreign key wants an index),
sql-altertable.html (VALIDATE CONSTRAINT, ENABLE TRIGGER)
"""

from __future__ import annotations

from ops.db.diagnose.check import NAME, OURS, Check, Facts, Finding, Row, count

LEAST_ROWS = 1_000
"""Rows below which reading a table whole is no matter."""
MANY_ROWS = 100_000

# A partial index serves where it leaves out only rows without a value, as the lookup does
WITHOUT_INDEX = f"""
select {NAME} as object, quote_ident(k.conname) as constraint, c.relkind, r.rows::float as rows, k.confdeltype in ('c', 'n', 'd') as acts,
       pg_stat_get_tuples_deleted(k.confrelid)::float as deleted, k.confrelid::regclass::text as other,
       (select string_agg(quote_ident(a.attname), ', ' order by p.place) from unnest(k.conkey) with ordinality p (number, place)
        join pg_attribute a on a.attrelid = c.oid and a.attnum = p.number) as columns
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select case when c.relkind = 'p'
    then (select sum(greatest(l.reltuples, pg_stat_get_live_tuples(l.oid), 0)) from pg_inherits i join pg_class l on l.oid = i.inhrelid
          where i.inhparent = c.oid)
    else greatest(c.reltuples, pg_stat_get_live_tuples(c.oid)) end as rows
) r
where k.contype = 'f' and k.conparentid = 0 and r.rows >= {LEAST_ROWS} and {OURS}
  and not exists (
    select from pg_index x join pg_class i on i.oid = x.indexrelid join pg_am m on m.oid = i.relam
    where x.indrelid = k.conrelid and x.indisvalid and m.amname in ('btree', 'hash')
      and (x.indpred is null or starts_with(x.indpred::text, '({{NULLTEST') and x.indpred::text ~ ':nulltesttype 1'
           or starts_with(x.indpred::text, '{{NULLTEST') and x.indpred::text ~ ':nulltesttype 1')
      and (x.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey and x.indnkeyatts >= cardinality(k.conkey))
"""

OTHER_TYPE = f"""
with p as materialized (
  select k.*, p.mine, p.theirs from pg_constraint k cross join lateral unnest(k.conkey, k.confkey) as p (mine, theirs)
  where k.contype = 'f' and k.conparentid = 0
), k as materialized (
  select p.*, a.attname as a_name, a.atttypid as a_type, a.atttypmod as a_mod, b.attname as b_name, b.atttypid as b_type, b.atttypmod as b_mod
  from p join pg_attribute a on a.attrelid = p.conrelid and a.attnum = p.mine
  join pg_attribute b on b.attrelid = p.confrelid and b.attnum = p.theirs where a.atttypid <> b.atttypid
)
select {NAME} as object, quote_ident(k.a_name) as column, format_type(k.a_type, k.a_mod) as type,
       k.confrelid::regclass::text as other, quote_ident(k.b_name) as other_column, format_type(k.b_type, k.b_mod) as other_type,
       t.typlen > u.typlen and u.typlen > 0 as wider
from k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
join pg_type t on t.oid = k.a_type join pg_type u on u.oid = k.b_type
where {OURS} and not (t.typcategory = 'S' and u.typcategory = 'S') and t.typtype <> 'd' and u.typtype <> 'd'
"""

# 18 knows some that are not meant to hold (NOT ENFORCED); so few rows come here that a column's name may be looked for
NOT_VALIDATED = f"""
select 'table' as kind, {NAME} as object, quote_ident(k.conname) as constraint
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
where not k.convalidated and k.conparentid = 0 and coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) and {OURS}
union all
select 'domain', quote_ident(n.nspname) || '.' || quote_ident(t.typname), quote_ident(k.conname)
from pg_constraint k join pg_type t on t.oid = k.contypid join pg_namespace n on n.oid = t.typnamespace
where not k.convalidated and n.nspname not in ('pg_catalog', 'information_schema', 'inv')
"""

TWICE = f"""
select {NAME} as object, quote_ident(k.conname) as constraint, quote_ident(min(o.conname)) as first
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
join pg_constraint o on o.conrelid = k.conrelid and o.contype = 'f' and o.oid < k.oid and o.confrelid = k.confrelid
  and o.conkey = k.conkey and o.confkey = k.confkey
where k.contype = 'f' and k.conparentid = 0 and o.conparentid = 0 and {OURS}
group by 1, 2
"""

DISABLED = f"""
select {NAME} as object, t.tgisinternal as keeps, case when not t.tgisinternal then quote_ident(t.tgname) end as trigger, count(*) as triggers
from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
where t.tgenabled = 'D' and t.tgparentid = 0 and {OURS}
group by 1, 2, 3
"""


def without_index(row: Row, _: Facts | None = None) -> Finding:
    what = "and what it does to them, " if row["acts"] else ""
    concurrently = "" if row["relkind"] == "p" else "concurrently "
    return Finding(
        "red" if row["rows"] >= MANY_ROWS and row["deleted"] else "yellow",
        row["object"],
        f"the foreign key {row['constraint']} ({row['columns']}) has no index",
        f"each row deleted from {row['other']} ({count(row['deleted'], 'row')} so far) {what}reads {count(row['rows'], 'row')}",
        (f"create index {concurrently}on {row['object']} ({row['columns']})",),
    )


def other_type(row: Row, _: Facts) -> Finding:
    mine, theirs = (row["object"], row["column"], row["other_type"]), (row["other"], row["other_column"], row["type"])
    table, column, type = theirs if row["wider"] else mine
    return Finding(
        "yellow",
        f"{row['object']}.{row['column']}",
        f"it is {row['type']}, and refers to {row['other']}.{row['other_column']}, which is {row['other_type']}",
        "the narrower of the two ends first, and each comparison converts; to change a type writes the table anew and closes it meanwhile",
        (f"alter table {table} alter column {column} type {type}",),
    )


def not_validated(row: Row, _: Facts) -> Finding:
    return Finding(
        "yellow",
        f"{row['object']}.{row['constraint']}",
        "the constraint was not validated: what was there before may break it",
        "the planner does not rely on it, and a restore may fail; to validate reads the table, and lets others write",
        (f"alter {row['kind']} {row['object']} validate constraint {row['constraint']}",),
    )


def twice(row: Row, _: Facts) -> Finding:
    return Finding(
        "yellow",
        f"{row['object']}.{row['constraint']}",
        f"the foreign key is the same as {row['first']}",
        "each write looks twice",
        (f"alter table {row['object']} drop constraint {row['constraint']}",),
    )


def disabled(row: Row, _: Facts) -> Finding:
    if row["keeps"]:
        what, cost = "its foreign keys are not checked: their triggers are disabled", "rows may point to nothing"
    else:
        what, cost = f"the trigger {row['trigger']} is disabled", "what it does is not done"
    return Finding(
        "red" if row["keeps"] else "yellow",
        row["object"] if row["keeps"] else f"{row['object']}.{row['trigger']}",
        what,
        cost,
        (f"alter table {row['object']} enable trigger {'all' if row['keeps'] else row['trigger']}",),
    )


CHECKS = (
    Check("foreign_key_without_index", WITHOUT_INDEX, without_index, "foreign keys of tables with rows have an index"),
    Check("foreign_key_of_other_type", OTHER_TYPE, other_type, "foreign keys have the type of what they refer to"),
    Check("duplicate_foreign_key", TWICE, twice, "no foreign key is there twice"),
    Check("constraint_not_validated", NOT_VALIDATED, not_validated, "each constraint holds for all rows"),
    Check("trigger_disabled", DISABLED, disabled, "each trigger is enabled"),
)
