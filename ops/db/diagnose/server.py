"""Checks of the server's settings: whether they fit its memory, and whether somebody has switched off what must be on.

https://www.postgresql.org/docs/current/view-pg-settings.html, catalog-pg-db-role-setting.html
https://www.postgresql.org/docs/current/runtime-config-resource.html (shared_buffers: a quarter of the memory; work_mem is taken by each
sort of each session), runtime-config-wal.html (fsync, full_page_writes), runtime-config-developer.html
https://www.postgresql.org/docs/current/sql-altercollation.html (what a new version of the C library or ICU means for indexes)
https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-DATABASE-VIEW
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithParamGroups.html (there is no ALTER SYSTEM on RDS)
"""

from __future__ import annotations

from ops.db.diagnose.check import BLOCK, Check, Facts, Finding, Row, bytes_of, task

MB = 1 << 20
LEAST_BLOCKS = 200_000
"""Pages read from outside the cache, below which its hit rate says nothing."""

SWITCHES = """
select name, setting, source from pg_settings
where setting = 'off' and name in ('fsync', 'full_page_writes', 'autovacuum', 'track_counts')
   or setting = 'on' and name in ('zero_damaged_pages', 'ignore_checksum_failure', 'ignore_invalid_pages', 'ignore_system_indexes')
"""
COSTS = {
    "fsync": "a crash of the machine may leave the database broken for good",
    "full_page_writes": "a crash of the machine may leave pages half written",
    "autovacuum": "dead rows stay, the planner's statistics age, and transaction numbers run out",
    "track_counts": "autovacuum learns of nothing, and neither does this page",
    "zero_damaged_pages": "what is damaged is thrown away as it is read",
    "ignore_checksum_failure": "what is damaged is read on",
    "ignore_invalid_pages": "what is missing after a crash is gone without a word",
    "ignore_system_indexes": "each look into the catalog reads it whole",
}
PLANNER = """
select name, null as database, null as role from pg_settings
where starts_with(name, 'enable_') and boot_val = 'on' and setting = 'off' and source in ('configuration file', 'command line')
union all
select split_part(o, '=', 1), (select quote_ident(datname) from pg_database where oid = s.setdatabase),
       (select quote_ident(rolname) from pg_roles where oid = s.setrole)
from pg_db_role_setting s cross join unnest(s.setconfig) o
where o ~ '^enable_[a-z_]+=(off|false|no|0)$' and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
"""
# What the command line sets counts as changed as soon as the file that it overrides is read again
PENDING = "select name from pg_settings where pending_restart and source <> 'command line'"
MEMORY = """
select pg_size_bytes(current_setting('shared_buffers'))::float as buffers, pg_size_bytes(current_setting('work_mem'))::float as work,
       pg_size_bytes(current_setting('effective_cache_size'))::float as cache,
       case when current_setting('autovacuum_work_mem') = '-1' then pg_size_bytes(current_setting('maintenance_work_mem'))
            else pg_size_bytes(current_setting('autovacuum_work_mem')) end::float as maintenance,
       current_setting('autovacuum_work_mem') = '-1' as shared_limit,
       current_setting('max_connections')::float as connections, current_setting('autovacuum_max_workers')::float as workers,
       (select sum(relpages::float) from pg_class) as pages
"""
HITS = f"""
select blks_hit::float as hit, blks_read::float as read, pg_size_bytes(current_setting('shared_buffers'))::float as buffers
from pg_stat_database where datname = current_database() and blks_read >= {LEAST_BLOCKS}
"""
COLLATIONS = """
select 'database' as kind, quote_ident(datname) as object, datcollversion as made, pg_database_collation_actual_version(oid) as now
from pg_database where datname = current_database() and datcollversion <> pg_database_collation_actual_version(oid)
union all
select 'collation', quote_ident(n.nspname) || '.' || quote_ident(c.collname), c.collversion, pg_collation_actual_version(c.oid)
from pg_collation c join pg_namespace n on n.oid = c.collnamespace
where c.oid in (select unnest(indcollation::oid[]) from pg_index) and c.collversion <> pg_collation_actual_version(c.oid)
"""
EXTENSIONS = """
select quote_ident(e.extname) as object, e.extversion as installed, a.default_version as there
from pg_extension e join pg_available_extensions() a on a.name = e.extname where e.extversion <> a.default_version
"""


def setting(facts: Facts, name: str, value: str, *, restart: bool = False) -> tuple[str, ...]:
    """Return what sets a setting of the server."""
    if facts.rds:
        when = "pending-reboot" if restart else "immediate"
        parameter = f"ParameterName={name},ParameterValue={value},ApplyMethod={when}"
        return (f'aws rds modify-db-parameter-group --db-parameter-group-name GROUP --parameters "{parameter}"',)
    return (f"alter system set {name} = '{value}'", *(again(facts) if restart else ("select pg_reload_conf()",)))


def again(facts: Facts) -> tuple[str, ...]:
    """Return what starts a server anew."""
    if facts.rds:
        return ("aws rds reboot-db-instance --db-instance-identifier INSTANCE",)
    return (task("db.down", facts), task("db.up", facts)) if facts.embedded else ("restart the server",)


def megabytes(size: float) -> str:
    return f"{max(1, int(size / MB))}MB"


def size(value: float) -> str:
    return bytes_of(value / BLOCK)


def switch(row: Row, facts: Facts) -> Finding:
    right = "on" if row["setting"] == "off" else "off"
    where = " on the server's command line, which comes first" if row["source"] == "command line" else ""
    return Finding(
        "red",
        row["name"],
        f"it is {row['setting']}{where}",
        COSTS.get(row["name"], ""),
        setting(facts, row["name"], right, restart=row["name"] == "ignore_invalid_pages"),
    )


def planner(row: Row, facts: Facts) -> Finding:
    if not row["database"] and not row["role"]:
        where, mend = "for all", setting(facts, row["name"], "on")
    else:
        where = " in ".join(filter(None, (row["role"], row["database"])))
        head = f"alter role {row['role']}" if row["role"] else f"alter database {row['database']}"
        inside = f" in database {row['database']}" if row["role"] and row["database"] else ""
        mend = (f"{head}{inside} reset {row['name']}",)
    return Finding(
        "yellow",
        row["name"],
        f"it is off for {where}" if where != "for all" else "it is off for all",
        "the planner may not take what is best there: a query that needs it otherwise wants it in its own transaction only",
        mend,
    )


def pending(row: Row, facts: Facts) -> Finding:
    return Finding(
        "yellow",
        row["name"],
        "it was changed, and the server has not been started since",
        "the next restart, whoever makes it, brings what nobody has tried",
        again(facts),
    )


def caches(row: Row, facts: Facts) -> Finding | None:
    memory = float(facts.memory or 0)
    if row["cache"] > memory:
        return Finding(
            "yellow",
            "effective_cache_size",
            f"it is {size(row['cache'])}, and the machine has {size(memory)}",
            "the planner takes for cached what must be read",
            setting(facts, "effective_cache_size", megabytes(memory * 3 / 4)),
        )
    small = row["buffers"] < memory / 16 and row["pages"] * BLOCK > max(1 << 30, 4 * row["buffers"])
    if small or row["buffers"] > memory / 2:
        return Finding(
            "yellow",
            "shared_buffers",
            f"it is {size(row['buffers'])}, and the machine has {size(memory)}",
            "pages are read again and again" if small else "what the system caches itself, and sorts, find no room",
            setting(facts, "shared_buffers", megabytes(memory / 4), restart=True),
        )
    return None


def work(row: Row, facts: Facts) -> Finding | None:
    memory = float(facts.memory or 0)
    wanted = row["buffers"] + row["work"] * row["connections"]
    if wanted <= memory:
        return None
    return Finding(
        "red" if wanted > 4 * memory else "yellow",
        "work_mem",
        f"one sort of {size(row['work'])} in each of {row['connections']:.0f} sessions, and shared_buffers, are {size(wanted)}: "
        f"the machine has {size(memory)}",
        "when they come together, the system ends the server",
        setting(facts, "work_mem", megabytes(max(MB, (memory - row["buffers"]) / row["connections"]))),
    )


def maintenance(row: Row, facts: Facts) -> Finding | None:
    memory, wanted = float(facts.memory or 0), row["maintenance"] * row["workers"]
    if wanted <= memory / 2:
        return None
    name = "maintenance_work_mem" if row["shared_limit"] else "autovacuum_work_mem"
    return Finding(
        "yellow",
        name,
        f"{row['workers']:.0f} autovacuum workers may take {size(wanted)}: the machine has {size(memory)}",
        "when they come together, nothing is left for the sessions",
        setting(facts, name, megabytes(memory / 4 / row["workers"])),
    )


def hits(row: Row, facts: Facts) -> Finding | None:
    share = row["hit"] / (row["hit"] + row["read"])
    if share >= 0.95:
        return None
    larger = facts.memory is not None and row["buffers"] < facts.memory / 4
    mend = setting(facts, "shared_buffers", megabytes((facts.memory or 0) / 4), restart=True) if larger else ()
    return Finding(
        "red" if share < 0.9 else "yellow",
        "cache",
        f"{share:.1%} of the pages were found in it",
        f"{row['read']:,.0f} pages were read from outside: more shared_buffers, a machine with more memory, or queries that read less",
        mend,
    )


def collation(row: Row, facts: Facts) -> Finding:
    return Finding(
        "red",
        row["object"],
        f"it was made by version {row['made']} of its library, which is {row['now']} now",
        "indexes of text may be in an order that is no longer right: rows are not found, and doubles let in",
        (
            f"reindex database {facts.database}",
            f"alter {row['kind']} {row['object']} refresh {'collation ' * (row['kind'] == 'database')}version",
        ),
    )


def extension(row: Row, _: Facts) -> Finding:
    return Finding(
        "yellow",
        row["object"],
        f"its objects are of version {row['installed']}, its program of {row['there']}",
        "what was corrected since is not there",
        (f"alter extension {row['object']} update",),
    )


def no_memory(facts: Facts) -> str:
    return "" if facts.memory else "how much memory the server's machine has is not known from here"


CHECKS = (
    Check("unsafe_setting", SWITCHES, switch, "what must be on is on"),
    Check("planner_setting", PLANNER, planner, "the planner may take all ways"),
    Check("pending_restart", PENDING, pending, "no setting waits for a restart"),
    Check("cache_size", MEMORY, caches, "the caches fit the memory", unless=no_memory),
    Check("work_memory", MEMORY, work, "work_mem fits the memory", unless=no_memory),
    Check("maintenance_memory", MEMORY, maintenance, "autovacuum fits the memory", unless=no_memory),
    Check("hit_rate", HITS, hits, "the cache holds what is read"),
    Check("collation_version", COLLATIONS, collation, "texts are ordered as when their indexes were built"),
    Check("extension_version", EXTENSIONS, extension, "extensions are of their programs' version"),
)
