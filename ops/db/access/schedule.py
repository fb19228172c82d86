"""By what an access ends where nothing of ours runs: a job of pg_cron, each minute, on the server itself.

Its schedule has minutes (https://github.com/citusdata/pg_cron), so an end holds within two. On RDS it is an extension like any
other, in the database postgres (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/PostgreSQL_pg_cron.html). It runs with
the login that has made the job: that of the target, who has made the logins, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops import postgres
from ops.console import say
from ops.errors import Problem
from ops.targets import persons
from ops.targets.roles import names

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.targets.open_target import OpenTarget

EVERY = "* * * * *"
FRESH = 150
"""Seconds after which a job that should run each minute does not."""
# The setting is for superusers' eyes and those of pg_read_all_settings
IS_THERE = """
select exists (select from pg_extension where extname = 'pg_cron') as here,
  case when pg_has_role('pg_read_all_settings', 'usage') then current_setting('cron.database_name', true) end as database
"""
MAY_USE = """
select has_schema_privilege('cron', 'usage') and has_table_privilege('cron.job', 'select') as may, current_user as user
"""
JOB = """
select j.active, j.command, j.username, d.status, d.start_time as started_at, d.return_message as said,
  extract(epoch from clock_timestamp() - coalesce(d.start_time, clock_timestamp())) as age_seconds
from cron.job j left join lateral (
  select * from cron.job_run_details d where d.jobid = j.jobid and d.status in ('succeeded', 'failed') order by d.runid desc limit 1
) d on true
where j.jobname = %s
"""
# What each run leaves, row level security shows to whose the job is
TIDY = """
  delete from cron.job_run_details d using cron.job j
  where j.jobid = d.jobid and j.jobname = {job} and d.end_time < now() - interval '1 hour';
"""


@dataclass(frozen=True)
class Schedule:
    """What ends an access while nothing of ours runs."""

    by: str | None
    """pg_cron; null where there is none."""
    runs: bool
    """Whether it is there and its last run succeeded, or the first one is to come."""
    last_run_at: datetime | None
    """When it ran last; null where it has not."""
    note: str
    """The same, in words: also why it does not run, and what then holds."""


def job_name(database: str) -> str:
    return f"inv access {database}"


def command(database: str) -> str:
    """Return what the job does."""
    from psycopg import sql

    return persons.shutting(database, TIDY.replace("{job}", sql.Literal(job_name(database)).as_string()))


@contextlib.contextmanager
def open_cron(place: OpenTarget) -> Iterator[tuple[Connection[DictRow] | None, str]]:
    """Yield a session where pg_cron keeps its jobs, or None and why there is none that we may use."""
    found = postgres.row(place.conn, IS_THERE)
    with contextlib.ExitStack() as stack:
        conn: Connection[DictRow] | None = place.conn
        if not found["here"]:
            elsewhere = found["database"]
            if not elsewhere or elsewhere == place.conn.info.dbname:
                yield None, "pg_cron is not installed on this server"
                return
            try:
                conn = stack.enter_context(
                    postgres.connect(
                        place.target, task=place.task, dbname=elsewhere, timeout=place.settings.connect_timeout
                    )
                )
            except Problem as error:
                yield None, f"pg_cron's database {elsewhere} does not let us in ({error.args[0]})"
                return
            if not postgres.row(conn, IS_THERE)["here"]:
                yield None, f"pg_cron is loaded and not installed: create extension pg_cron in the database {elsewhere}"
                return
        assert conn
        may = postgres.row(conn, MAY_USE)
        if not may["may"]:
            yield (
                None,
                f'pg_cron is installed, and {may["user"]} may not use it: grant usage on schema cron to "{may["user"]}"',
            )
            return
        yield conn, ""


def ensure_job(place: OpenTarget) -> bool:
    """Have pg_cron shut the logins that have ended, each minute, where it is installed; whether it does."""
    with open_cron(place) as (conn, _):
        if not conn:
            return False
        name, wanted = job_name(names.database_of(place.target)), command(names.database_of(place.target))
        have = postgres.fetch(conn, "select from cron.job where (jobname, command, schedule) = (%s, %s, %s) and active", name, wanted, EVERY)  # fmt: skip
        if not have:
            conn.execute("select cron.schedule(%s, %s, %s)", [name, EVERY, wanted])
            say(f"pg_cron ends it, by the job {name!r}")
        return True


def remove_job(place: OpenTarget) -> None:
    """Take the job away, once there is nobody to be shut."""
    with open_cron(place) as (conn, _):
        if conn and postgres.fetch(
            conn, "select from cron.job where jobname = %s", job_name(names.database_of(place.target))
        ):
            conn.execute(
                "select cron.unschedule(jobid) from cron.job where jobname = %s",
                [job_name(names.database_of(place.target))],
            )
            say(
                f"removed pg_cron's job {job_name(names.database_of(place.target))!r}: nobody is left whose access would end"
            )


WITHOUT = (
    "by the next inv task that opens this database (inv db.access from any scheduler does); from its end on the server"
    " refuses the password, an open session goes on until then"
)


def look(place: OpenTarget) -> Schedule:
    """Return what ends an access while nothing of ours runs, and whether it does."""
    with open_cron(place) as (conn, why):
        if not conn:
            return Schedule(None, False, None, f"no schedule runs here ({why}): an access is ended {WITHOUT}")
        rows = postgres.fetch(conn, JOB, job_name(names.database_of(place.target)))
    if not rows:
        return Schedule(
            "pg_cron",
            False,
            None,
            f"pg_cron has no job for {names.database_of(place.target)}: inv db.grant-access makes it",
        )
    job = rows[0]
    if not job["active"]:
        fault = "its job is switched off"
    elif job["status"] == "failed":
        fault = f"its last run failed ({' '.join((job['said'] or '').split())})"
    elif job["status"] and job["age_seconds"] > FRESH:
        fault = "it has not run for minutes"
    else:
        ran = f"last at {job['started_at']:%H:%M:%S %Z}" if job["started_at"] else "for the first time within a minute"
        return Schedule("pg_cron", True, job["started_at"], f"pg_cron ends an access within two minutes ({ran})")
    return Schedule(
        "pg_cron", False, job["started_at"], f"pg_cron does not end it ({fault}): an access is ended {WITHOUT}"
    )
