"""One run over every task of the namespace: no secret, and nothing of anybody's row, is where it has no business.

Passwords, the login to AWS and a person's values are canaries here. Each task runs with all that makes it talk (-d, -e, --json),
where nothing answers, and with an option that is none; what it prints, what it leaves in files, and all programs that it
starts are searched. The database counts as production, so that not even its errors may show a row.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest

import tasks
from tests import servers, test_canaries_life
from tests.fix_aws import REGION, Front
from tests.fix_canary import Files, Sampler, Seen, betrayed, canary, files_with, sampling, written
from tests.fix_cli import Cli, copy_suite
from tests.fix_suppliers import Database, made

pytestmark = pytest.mark.no_cover

INSTANCE = "cruddur-db-instance"
GO = "--confirm {db}"
# How each task is run where that succeeds and is cheap
RUNS = {
    "adopt": "{other} --dry-run",
    "agent": "",
    "db.access": "",
    "db.connect": "--write",
    "db.create": "",
    "db.diagnose": "",
    "db.diagram": "",
    "db.drop": f"{GO} --force",
    "db.dump": "--file {tmp}/rows.sql --overwrite",
    "db.grant-access": f"anna {GO}",
    "db.kill-sessions": GO,
    "db.mark": "--production",
    "db.migrate": GO,
    "db.migration-lint": "",
    "db.migration-new": "more",
    "db.migrations": "",
    "db.previous": "",
    "db.purge": "--dry-run",
    "db.query": "home",
    "db.rehearse": "",
    "db.restore": f"{{tmp}}/plain.sql {GO} --force",
    "db.revoke-access": "anna",
    "db.roles": GO,
    "db.rollback": GO,
    "db.schema-load": f"--file {{tmp}}/more.sql {GO}",
    "db.seed": f"--file {{tmp}}/plain.sql {GO}",
    "db.sessions": "",
    "db.setup": f"{GO} --force",
    "db.status": "",
    "db.tunnel": "--stop",
    "db.undo": f"{GO} --force",
    "db.up": "",
    "db.url": "",
    "db.wait": "--timeout 0.5",
    "doctor": "",
    "env.set": "FRONTEND_URL=https://example.com",
    "env.show": "",
    "look": "--save {tmp}/look.html",
    "rds.alarms": "--dry-run",
    "rds.allow-my-ip": "--ip 8.8.4.4",
    "rds.connect-policy": "reader",
    "rds.create": "--dry-run",
    "rds.endpoint": "",
    "rds.events": "",
    "rds.export": "--file {tmp}/exported --overwrite",
    "rds.prune-rules": "",
    "rds.replica": "--dry-run",
    "rds.revoke-my-ip": "",
    "rds.rules": "",
    "rds.schedule": "--stop 20:00 --dry-run",
    "rds.snapshot": "",
    "rds.snapshots": "",
    "rds.status": "",
    "rds.stop": "",
    "rds.start": "",
    "sandbox.down": "",
    "sandbox.up": "",
}
# How those fail that succeed in tests/test_canaries_life.py, where what each needs has been made before it, or nowhere (NEVER)
FAILS = {
    "app.down": "",
    "app.logs": "",
    "app.run": "-t copy",
    "app.up": "",
    "bench": "",
    "db.branch": "--delete x",
    "db.branches": "-t prod",
    "db.down": "--wipe",
    "db.pull": "-t copy --from local --dry-run",
    "lambda.attach": "--dry-run",
    "lambda.delete": "--confirm other",
    "lambda.deploy": "--dry-run",
    "lambda.detach": "--dry-run",
    "lambda.invoke": "--local",
    "lambda.layer": "",
    "lambda.logs": "",
    "lambda.sign-ups": "",
    "lambda.status": "",
    "lambda.sync-users": "--dry-run",
    "db.compare": "--with copy",
    "db.drift": "",
    "rds.apply": "--dry-run",
    "rds.bastion": "--dry-run",
    "rds.proxy": "--dry-run",
    "db.migration-import": "{other} --dry-run",
    "sandbox.status": "",
    "lint": "",
    "soak": "--minutes none",
    "rds.rotate-password": "",
    "rds.ca": "",
    "rds.delete": "--confirm other",
    "rds.restore": "--snapshot none --dry-run",
    "rds.undo": "--confirm other",
    "rds.logs": "",
    "rds.upgrade": "--to 99 --dry-run",
    "test": "--quick --coverage",
}
# Whose success is never searched, and why
NEVER = {
    "lint": "40 seconds of work for ruff and mypy, and it logs in nowhere",
    "soak": "10 seconds more; its users run tasks that are searched here, by logins of a server of its own",
    "test": "5 seconds for pytest alone; what it runs is these tests",
}
# Failures at work, where what the server says of it has somebody's row in it
MORE = {
    "db.seed": f"--file {{tmp}}/twice.sql {GO} --again",
    "db.schema-load": f"--file {{tmp}}/twice.sql {GO}",
    "db.restore": f"{{tmp}}/twice.sql {GO} --force",
    "db.query": "cast",
}
SHOWS_ROWS = {"db.query", "db.connect"}
"""Whose result is rows: on standard output, and nowhere else."""
PERSON = (
    "insert into users (display_name, handle, email, cognito_user_id) values (%s, %s, %s, %s) on conflict do nothing"
)
TWICE = "insert into users (display_name, handle, email, cognito_user_id) select display_name, handle || '2', email, cognito_user_id from users;\n"  # fmt: skip
MIGRATION = "-- migrate:up\ncreate table more (id int);\n-- migrate:down\ndrop table more;\n"


def plain(err: str) -> str:
    """Return what a task has said, without invoke's log."""
    return "\n".join(line for line in err.splitlines() if not line.startswith(("invoke.", " ")))


@dataclass
class Stage:
    """A clone, its database, an AWS with an instance, and the canaries."""

    inv: Cli
    database: Database
    cloud: Front
    sampler: Sampler
    login: str
    """Who logs in to the target; its password is one of `secrets`."""
    secrets: dict[str, str] = field(default_factory=dict)
    person: tuple[str, ...] = ()
    """A row's name, handle, e-mail address and id."""
    searched: set[Seen] = field(default_factory=set)
    files: dict[str, Files] = field(default_factory=dict)

    @property
    def tmp(self) -> Path:
        return self.inv.root / "tmp"

    def url(self, suffix: str = "", port: str = "") -> str:
        at = f"127.0.0.1:{port or self.database.server.port}"
        return f"postgresql://{self.login}:{self.secrets['password']}@{at}/{self.database.name}{suffix}"

    def environ(self, *, away: bool = False) -> dict[str, str]:
        """Return the variables of a run; `away`: nothing answers, neither the server nor AWS."""
        port = "1" if away else ""
        return {
            "CONNECTION_URL": self.url(port=port),
            "COPY_CONNECTION_URL": self.url("_copy", port),
            "PROD_CONNECTION_URL": f"postgresql://someone:{self.secrets['prod']}@127.0.0.1:1/cruddur",
            "LOCAL_READER_PASSWORD": self.secrets["reader"],
            "LOCAL_MIGRATOR_PASSWORD": self.secrets["migrator"],
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": self.secrets["key"],
            "AWS_SESSION_TOKEN": self.secrets["session"],
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1" if away else self.cloud.url,
            "AWS_MAX_ATTEMPTS": "1",
            "INVOKE_RDS_CA_URL": "https://127.0.0.1:1/none.pem",
            "INVOKE_RDS_WAIT_MINUTES": "0.01",
            "INVOKE_LAMBDA_PYTHON": "9.9",
            "INVOKE_SANDBOX_PORT": "x",
            "DOCKER_HOST": "tcp://127.0.0.1:1",
            "TMPDIR": str(self.tmp),
        }

    def run(self, name: str, text: str, *, away: bool = False, before: str = "-d -e") -> Any:
        """Run a task, and search all that it has shown and left."""
        words = {"db": self.database.name, "tmp": self.tmp, "other": self.inv.root.parent / "other"}
        args = [*before.split(), name, *shlex.split(text.format(**words))]
        done = self.inv(*args, env=self.environ(away=away), stdin="select pg_sleep(0.3);\n", timeout=60)
        self.search(name, done.stdout, done.stderr)
        return done

    def search(self, name: str, out: str, err: str) -> None:
        """Fail where a canary is that has no business there."""
        told = [word for word in self.forms() if word in out + err]
        told += [word for word in self.person if word in (err if name in SHOWS_ROWS else out + err)]
        assert told == [], plain(err)
        assert "Traceback" not in err
        seen = set(self.sampler.seen) - self.searched
        self.searched |= seen
        assert [(each.arguments, found) for each in seen if (found := self.betrayed(each))] == []
        for place, words in (("/.env", self.forms()), ("/rows.sql", set(self.person))):  # where those may be
            files = self.files.setdefault(place, Files([self.inv.root], (place, "/__pycache__/")))
            assert files.having(words) == []
        assert files_with([Path(os.environ["HOME"])], {*self.forms(), *self.person}) == []

    def forms(self) -> set[str]:
        """Return the secrets as they may be written."""
        sent = [call.params.get("MasterUserPassword", "") for call in self.cloud.calls]
        return written([*self.secrets.values(), *filter(None, sent)])

    def betrayed(self, process: Seen) -> list[str]:
        return betrayed(process, [*self.forms(), *self.person])

    def ensure(self) -> None:
        """See that the database is there, is production, and has its person in it."""
        if "" not in self.database.names() or not self.database.scalar("select to_regclass('users') is not null"):
            done = self.inv("db.setup", "--confirm", self.database.name, "--force", env=self.environ())
            assert done.returncode == 0, done.stderr
        for path in (self.inv.root / "sql" / "migrations").glob(
            "*_more.sql"
        ):  # what db.migration-new has made is empty
            if not path.name.startswith("2025"):
                path.unlink()
        with psycopg.connect(self.url(), autocommit=True) as conn:
            conn.execute(PERSON, self.person)


@pytest.fixture(scope="module")
def stage(postgres: servers.Server, front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = copy_suite(tmp_path_factory.mktemp("canaries") / "clone")
    front.reset()
    with sampling() as sampler:
        for database in made(postgres, root):
            one = Stage(Cli(root), database, front, sampler, f"login_{database.name}")
            yield from staged(one)


def staged(one: Stage) -> Iterator[Stage]:
    one.secrets = {
        each: canary(each) for each in ("password", "prod", "master", "reader", "migrator", "key", "session")
    }
    one.person = (canary("name"), canary("handle"), f"{canary('mail')}@example.com", canary("sub"))
    (one.inv.root.parent / "other").mkdir()
    for name, text in (("schema", "create table theirs (id int);\n"), ("seed", "insert into theirs values (1);\n")):
        (one.inv.root.parent / "other" / f"{name}.sql").write_text(text)
    one.tmp.mkdir()
    (one.inv.root / ".env").write_text(f"POSTGRES_MASTER_PASSWORD={one.secrets['master']}\n")
    roles = one.inv.root / "sql" / "roles.yaml"
    roles.write_text(roles.read_text().replace("name: lambda_signup", f"name: lambda_{one.database.name}"))
    yaml = one.inv.root / "invoke.yaml"
    yaml.write_text(yaml.read_text().replace("targets: {}", "targets: {copy: {url: COPY_CONNECTION_URL}}"))
    for path, text in (
        (one.inv.root / "sql" / "migrations" / "20250101000000_more.sql", MIGRATION),
        (one.inv.root / "sql" / "queries" / "cast.sql", "select email::int from users where email like 'canary%'"),
        (one.tmp / "more.sql", "create table if not exists still_more (id int);\n"),
        (one.tmp / "plain.sql", "create table plain (id int);\n"),
        (one.tmp / "twice.sql", TWICE),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    database = one.database
    database.do(f"create role {one.login} superuser login password '{one.secrets['password']}'", "postgres")
    for name in (database.name, f"{database.name}_copy"):
        database.do(f'create database "{name}" owner {one.login}', "postgres")
    env = one.environ()
    for args in (["db.setup", "--force"], ["db.mark", "--production"], ["db.roles", "--confirm", database.name]):
        done = one.inv(*args, env=env)
        assert done.returncode == 0, done.stderr
    boto3.client("rds", endpoint_url=one.cloud.url, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x").create_db_instance(
        DBInstanceIdentifier=INSTANCE, DBInstanceClass="db.t4g.micro", Engine="postgres", AllocatedStorage=20,
        MasterUsername="postgres", MasterUserPassword=one.secrets["master"], Tags=[{"Key": "ManagedBy", "Value": "inv"}, {"Key": "Project", "Value": "cruddur"}],
    )  # fmt: skip
    with psycopg.connect(one.url(), autocommit=True) as idle:  # somebody whose last query had a value in it
        idle.execute(f"select '{one.person[2]}'".encode())
        yield one
    one.inv("sandbox.down", env=env)
    database.do(f'drop database if exists "{database.name}_copy" with (force)', "postgres")


def test_each_task_has_a_way_to_be_run_here() -> None:
    """A new one has to be in RUNS, or in FAILS, with what it is given."""
    assert sorted([*RUNS, *FAILS]) == sorted(tasks.ns.task_names)
    assert FAILS.keys() - test_canaries_life.TASKS == NEVER.keys()
    assert sorted({*RUNS, *test_canaries_life.TASKS, *NEVER}) == sorted(tasks.ns.task_names)
    assert MORE.keys() <= RUNS.keys()


@pytest.mark.parametrize("name", sorted(tasks.ns.task_names))
def test_no_canary_gets_out(stage: Stage, name: str) -> None:
    stage.ensure()
    text = RUNS.get(name, FAILS.get(name, ""))
    json = " --json" if "json" in inspect.signature(tasks.ns[name].body).parameters else ""
    done = stage.run(name, text + json)
    assert "invoke." in done.stderr  # the debug log is on
    assert (done.returncode == 0) == (name in RUNS), plain(done.stderr)
    if name in MORE:
        failed = stage.run(name, MORE[name])
        assert failed.returncode not in (0, 2), plain(failed.stderr)
    stage.run(name, text, away=True)
    assert stage.run(name, f"{text} --no-such-option", before="-d").returncode == 1


def test_the_search_finds_what_there_is(stage: Stage) -> None:
    """In each of the places, and by the eyes of the sampler; a program that logs in may have its login, and nothing else."""
    password, key = stage.secrets["password"], stage.secrets["key"]
    (stage.tmp / "left").write_text(f"x{password}x")
    assert files_with([stage.inv.root], [password], but=["/.env"]) == [f"{stage.tmp / 'left'}: {password}"]
    (stage.tmp / "left").unlink()
    for place in (("a b", ""), ("", "b c")):
        with pytest.raises(AssertionError):
            stage.search("db.status", *(f"{text}{password}" for text in place))
    with pytest.raises(AssertionError):
        stage.search("db.status", stage.person[1], "")
    stage.search("db.query", stage.person[1], "")
    assert stage.betrayed(Seen("/usr/bin/psql -d x", f"PGPASSWORD={password}")) == []
    assert stage.betrayed(Seen("/usr/bin/git status", f"PGPASSWORD={password}")) == [password]
    assert stage.betrayed(Seen("/usr/bin/psql -d x", f"AWS_SECRET_ACCESS_KEY={key}")) == [key]
    assert stage.betrayed(Seen(f"/usr/bin/psql -d {password}", "")) == [password]
    stage.run("db.connect", "--write")
    assert any(re.search(r"(^|/)psql\b", each.arguments) for each in stage.sampler.seen)
