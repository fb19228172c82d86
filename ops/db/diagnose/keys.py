"""Checks of numbers that run out: sequences, and the columns they fill.

https://www.postgresql.org/docs/current/catalog-pg-sequence.html, view-pg-sequences.html (last_value needs USAGE or SELECT)
https://www.postgresql.org/docs/current/catalog-pg-depend.html (how a serial, an identity and a plain default are tied to theirs)

To read a sequence takes a weak lock of it: those that somebody has locked against that are left out, and they come last, since
locks are held until the transaction ends.
"""

from __future__ import annotations

from ops.db.diagnose.check import NAME, OURS, SEE_ROWS, Check, Facts, Finding, Row, Status, count

YEAR = 365.0
SOON = 90.0
LEAST = 0.1
"""Of the numbers, below which a pace that one load has made says nothing."""

ENDS = f"""
with owned as (
  select d.objid as sequence, d.refobjid as "table", d.refobjsubid as number, d.deptype = 'i' as identity
  from pg_depend d
  where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') and d.refobjsubid > 0
    and exists (select from pg_sequence where seqrelid = d.objid)
  union
  select d.refobjid, a.adrelid, a.adnum, false
  from pg_depend d join pg_attrdef a on a.oid = d.objid
  where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass
    and exists (select from pg_sequence where seqrelid = d.refobjid)
), locked as materialized (
  select coalesce(array_agg(relation), '{{}}') as oids from pg_locks
  where granted and relation is not null and mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
), free as materialized (
  select s.*, {NAME} as sequence from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
  where {OURS} and s.seqincrement > 0 and not s.seqcycle and s.seqrelid <> all ((select oids from locked)::oid[])
    and has_sequence_privilege(s.seqrelid, 'usage, select')
)
select f.sequence, {NAME} as "table", quote_ident(a.attname) as column, o.identity, format_type(f.seqtypid, null) as type,
       format_type(a.atttypid, null) as column_type,
       f.last::float as last, f.seqmax::float as sequence_end, f.seqincrement::float as step,
       f.seqmax < case f.seqtypid when 'int2'::regtype then 32767 when 'int4'::regtype then 2147483647 else 9223372036854775807 end as lowered,
       case a.atttypid when 'int2'::regtype then 32767 when 'int4'::regtype then 2147483647 end::float as column_end,
       coalesce(pg_stat_get_tuples_inserted(o."table"), 0)::float as inserted
from (select *, pg_sequence_last_value(seqrelid) as last from free) f
left join owned o on o.sequence = f.seqrelid
left join pg_attribute a on a.attrelid = o."table" and a.attnum = o.number and a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
left join pg_class c on c.oid = o."table" left join pg_namespace n on n.oid = c.relnamespace
where f.last >= {LEAST} * least(f.seqmax, case a.atttypid when 'int2'::regtype then 32767 when 'int4'::regtype then 2147483647 end)
"""
HIDDEN = f"""
select count(*) as hidden from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n on n.oid = c.relnamespace
where {OURS} and not has_sequence_privilege(s.seqrelid, 'usage, select')
"""


def is_of_column(row: Row) -> bool:
    """Whether the column's type ends before its sequence does."""
    return row["column_end"] is not None and row["column_end"] <= row["sequence_end"]


def running_out(row: Row, end: float, facts: Facts) -> tuple[Status, str] | None:
    """Return how bad it is that a sequence has come so far, in words too, or nothing where it is not."""
    used, left = row["last"] / end, None
    if facts.days >= facts.limits.pace_days and row["inserted"]:
        left = (end - row["last"]) / (row["inserted"] * row["step"] / max(facts.days, 1 / 86400))
    if used < 0.7 and (left is None or left > YEAR):
        return None
    told = f"{used:.0%} of its numbers are used"
    if left is not None:
        told += f"; at today's pace the rest lasts {count(left, 'day')}"
    return "red" if used >= 0.9 or (left is not None and left <= SOON) else "yellow", told


def key_end(row: Row, facts: Facts) -> Finding | None:
    if not is_of_column(row) or not (found := running_out(row, row["column_end"], facts)):
        return None
    status, told = found
    mend = [f"alter table {row['table']} alter column {row['column']} type bigint"]
    if not row["identity"]:
        mend.append(f"alter sequence {row['sequence']} as bigint")
    if row["lowered"]:
        mend.append(f"alter sequence {row['sequence']} no maxvalue")
    return Finding(
        status,
        f"{row['table']}.{row['column']}",
        f"{told} ({row['column_type']})",
        "after the last one every insert fails; to change the type writes the table anew and closes it meanwhile, "
        "and what refers to it wants the same",
        tuple(mend),
    )


def sequence_end(row: Row, facts: Facts) -> Finding | None:
    if is_of_column(row) or not (found := running_out(row, row["sequence_end"], facts)):
        return None
    status, told = found
    wider = f"alter sequence {row['sequence']} as bigint"
    mend = (f"alter sequence {row['sequence']} no maxvalue",) if row["lowered"] else (wider,)
    return Finding(status, row["sequence"], told, "after the last one every insert fails", mend)


LACKS = "how far {hidden} of the sequences have come is hidden from {user}"
CHECKS = (
    Check("key_end", ENDS, key_end, "no key runs out of numbers", HIDDEN, LACKS, SEE_ROWS),
    Check("sequence_end", ENDS, sequence_end, "no sequence is near its end", HIDDEN, LACKS, SEE_ROWS),
)
