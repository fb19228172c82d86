"""What the catalogs of a version hold, and which views of ours use what a new one has no more.

Nobody refuses those before the schema is made again on the new server: that fails, and the upgrade with it. What a new version has is
asked of a server of that version, which need not be the instance's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.rds.upgrade.checks import Finding

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

COLUMNS = """
select pg_catalog.format('%I.%I', n.nspname, c.relname) as relation, a.attname as name
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname in ('pg_catalog', 'information_schema') and c.relkind in ('r', 'v')
"""
FUNCTIONS = """
select p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')' as name
from pg_catalog.pg_proc p where p.pronamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""
# Objects of the system are in no dependency (PostgreSQL's documentation, pg_depend: "pinned"), so the rule of the view is read
VIEWS = r"""
select pg_catalog.format('%I.%I', n.nspname, v.relname) as view, v.relkind = 'm' as stored,
  pg_catalog.pg_get_viewdef(v.oid) as text, used.relations, used.functions
from pg_catalog.pg_rewrite r join pg_catalog.pg_class v on v.oid = r.ev_class and v.relkind in ('v', 'm')
join pg_catalog.pg_namespace n on n.oid = v.relnamespace
cross join lateral (select
  array(select distinct pg_catalog.format('%I.%I', sn.nspname, s.relname)
    from pg_catalog.regexp_matches(r.ev_action::text, ':relid (\d+)', 'g') as m
    join pg_catalog.pg_class s on s.oid = m[1]::oid
    join pg_catalog.pg_namespace sn on sn.oid = s.relnamespace and sn.nspname in ('pg_catalog', 'information_schema')
    order by 1) as relations,
  array(select distinct p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')'
    from pg_catalog.regexp_matches(r.ev_action::text, ':funcid (\d+)', 'g') as m
    join pg_catalog.pg_proc p on p.oid = m[1]::oid and p.oid < 16384 order by 1) as functions) as used
where v.oid >= 16384 and n.nspname not in ('pg_catalog', 'information_schema')
  and not exists (select from pg_catalog.pg_depend d where d.objid = v.oid and d.classid = 'pg_class'::regclass and d.deptype = 'e')
  and used.relations || used.functions <> '{}'
order by 1
"""


@dataclass(frozen=True)
class Catalog:
    """What the system's own schemas of a server hold."""

    columns: dict[str, frozenset[str]]
    """By relation."""
    functions: frozenset[str]
    """With the types of their arguments."""


def read(conn: Connection[DictRow]) -> Catalog:
    """Read it from any database of a server."""
    columns: dict[str, set[str]] = {}
    for row in conn.execute(COLUMNS):
        columns.setdefault(str(row["relation"]), set()).add(str(row["name"]))
    functions = frozenset(str(row["name"]) for row in conn.execute(FUNCTIONS))
    return Catalog({relation: frozenset(names) for relation, names in columns.items()}, functions)


def views(conn: Connection[DictRow], old: Catalog, new: Catalog) -> Iterator[Finding]:
    """Yield the views of a database that use what the new version's catalogs lack."""
    for row in conn.execute(VIEWS):
        for gone in lacking(str(row["text"]), row["relations"], row["functions"], old, new):
            kind = "materialized view" if row["stored"] else "view"
            yield Finding(
                f"uses {gone}, which the new version does not have",
                conn.info.dbname,
                str(row["view"]),
                f"drop {kind} {row['view']}, and make it anew after the upgrade",
            )


def lacking(text: str, relations: list[str], functions: list[str], old: Catalog, new: Catalog) -> Iterator[str]:
    """Yield what the new catalogs lack of what a view uses; a column counts as used where its name stands in the text."""
    import re

    for relation in relations:
        if relation not in new.columns:
            yield relation
            continue
        for column in sorted(old.columns.get(relation, frozenset()) - new.columns[relation]):
            if re.search(rf"(?<!\w){re.escape(column)}(?!\w)", text):
                yield f"{relation}.{column}"
    for function in functions:
        if function in old.functions and function not in new.functions:
            yield function
