"""Each instance of the sandbox has a server of its own: what is done to staging reaches nothing of production."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlsplit

import boto3
import psutil
import psycopg
import pytest
from psycopg.rows import dict_row
from werkzeug.serving import make_server

from ops.sandbox import instances, lifecycle
from ops.targets.embedded import postmaster, server, state
from tests.fix_app import get
from tests.fix_aws import Quiet, recorded
from tests.fix_cli import Cli, copy_suite
from tests.test_app import HOME, running
from tests.test_sandbox import CA_URL, INSTANCE, bash

pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
pytestmark = pytest.mark.xdist_group("instances")

STAGING = f"{INSTANCE}-staging"
OF_PROD = re.compile(rf"{INSTANCE}(?!-(staging|final))|cruddur-post-confirmation(?!-staging)|PROD_|:prod\b")
"""Names of what is production's; staging's begin with the same words."""


@dataclass
class Box(Cli):
    """A clone with a target staging, and the variables of a shell in its sandbox."""

    environ: dict[str, str]

    def __call__(self, *args: str, env: dict[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
        return super().__call__(*args, env={**self.environ, **(env or {})}, **{"timeout": 120, **more})

    def enter(self) -> None:
        done = super().__call__("sandbox.up", "--json", env=CA_URL, timeout=120)
        assert done.returncode == 0, done.stderr
        self.environ = {**CA_URL, **json.loads(done.stdout)["variables"]}

    @property
    def home(self) -> Path:
        return lifecycle.folder(self.root)

    def server(self, instance: str) -> state.Server:
        """The server of an instance."""
        [root] = (self.home / instances.FOLDER).glob(f"{instance}.*")
        found = state.load(root)
        assert found
        return found

    def connect(self, host: str, **login: Any) -> psycopg.Connection[Any]:
        """Connect as a client does that verifies the endpoint's name; as the superuser of an instance where no other is given."""
        where = {
            "hostaddr": "127.0.0.1",
            "port": self.environ["POSTGRES_PORT"],
            "dbname": "postgres",
            "sslmode": "verify-full",
        }
        host += lifecycle.NAME[1:] if host and "." not in host else ""
        return psycopg.connect(
            host=host, sslrootcert=str(self.home / "ca.pem"), row_factory=dict_row, **{**where, **login}
        )


def superuser(of: state.Server) -> dict[str, str]:
    return {"user": of.user, "password": of.passwords[0]}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    root = copy_suite(tmp_path_factory.mktemp("instances") / "clone")
    yaml = root / "invoke.yaml"
    yaml.write_text(yaml.read_text().replace("targets: {}", "targets: {staging: {}}"))
    made = Box(root, {})
    made.enter()
    yield made
    bash(root, "inv sandbox.down")


@pytest.fixture(scope="module")
def both(box: Box) -> Box:
    """With production and staging beside it, both set up."""
    box.ok("rds.create")
    box.ok("db.setup", "-t", "prod", "--confirm", "cruddur")
    box.ok("rds.create", "-t", "staging")
    box.ok("db.setup", "-t", "staging", "--confirm", "cruddur")
    return box


def gone(of: state.Server) -> bool:
    """Whether nothing of a server is left, also where its data lies elsewhere, as root's does."""
    return not (postmaster.running_pid(of) or of.data.exists() or of.root.exists())


# --- beside production ------------------------------------------------------------------


@dataclass
class Wire:
    """Stands between the tasks and the sandbox's AWS, and keeps what they write."""

    there: str
    """The address of the sandbox's AWS."""
    writes: list[tuple[str, str]] = field(default_factory=list)
    """What is asked for, and its whole path, headers and body."""

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        headers["Content-Type"] = environ.get("CONTENT_TYPE", "")
        call = recorded(environ, body)
        if call.writes:
            text = f"{environ['RAW_URI']} {headers} {body.decode(errors='replace')}"
            self.writes.append((call.action, unquote_plus(text)))
        with contextlib.closing(http.client.HTTPConnection(self.there, timeout=60)) as conn:
            conn.request(environ["REQUEST_METHOD"], environ["RAW_URI"], body, headers)
            answer = conn.getresponse()
            said = answer.read()
        start(f"{answer.status} {answer.reason}", [(k, v) for k, v in answer.getheaders() if k != "Connection"])
        return [said]


@pytest.fixture
def wire(both: Box) -> Iterator[Wire]:
    there = urlsplit(both.environ["AWS_ENDPOINT_URL"])
    made = Wire(there.netloc)
    front = make_server("127.0.0.1", 0, made, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=front.serve_forever, daemon=True)
    thread.start()
    direct, both.environ["AWS_ENDPOINT_URL"] = there.geturl(), f"http://127.0.0.1:{front.server_port}{there.path}"
    yield made
    both.environ["AWS_ENDPOINT_URL"] = direct
    front.shutdown()
    front.server_close()
    thread.join()


def aws(box: Box, service: str) -> Any:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    login = {name.lower(): box.environ[name] for name in names}
    return boto3.client(service, endpoint_url=box.environ["AWS_ENDPOINT_URL"], region_name="ca-central-1", **login)


def secret(box: Box, instance: str) -> dict[str, Any]:
    """The managed secret of an instance, as Secrets Manager has it."""
    [found] = aws(box, "rds").describe_db_instances(DBInstanceIdentifier=instance)["DBInstances"]
    held = aws(box, "secretsmanager").get_secret_value(SecretId=found["MasterUserSecret"]["SecretArn"])
    return {name: held[name] for name in ("ARN", "VersionId", "SecretString")}


DATABASES = "select oid, datname, shobj_description(oid, 'pg_database') as comment from pg_database order by oid"
LOGINS = "select rolname, rolpassword from pg_authid order by rolname"


def production(box: Box) -> dict[str, Any]:
    """All of production that a task could write to."""
    of = box.server(INSTANCE)
    found: dict[str, Any] = {"secret": secret(box, INSTANCE), "identity": of.identity}
    with box.connect(INSTANCE, **superuser(of)) as conn:
        found |= {"databases": conn.execute(DATABASES).fetchall(), "logins": conn.execute(LOGINS).fetchall()}
    with box.connect(INSTANCE, **superuser(of), dbname="cruddur") as conn:
        for name in ("users", "activities"):
            found[name] = conn.execute(f"select xmin::text, * from {name} order by uuid").fetchall()
    [found["instance"]] = aws(box, "rds").describe_db_instances(DBInstanceIdentifier=INSTANCE)["DBInstances"]
    del found["instance"]["LatestRestorableTime"]  # which is five minutes ago, always
    lines = (box.home / "env").read_text().splitlines()
    found["env"] = [line for line in lines if not line.startswith("STAGING_")]
    return found


def test_all_that_is_done_to_staging_leaves_production_as_it_was(both: Box, wire: Wire) -> None:
    for name, value in {"POSTGRES_MASTER_PASSWORD_NEXT": "prods-own", "DB_SG_RULE_ID": "sgr-0123456789abcdef0"}.items():
        both.ok("env.set", name, stdin=value)
    of_prod = both.server(INSTANCE)
    with both.connect(INSTANCE, **superuser(of_prod), autocommit=True) as conn:
        conn.execute("alter system set log_connections = 'on'")
        conn.execute("select pg_reload_conf()")
    before, log = production(both), of_prod.log.stat().st_size
    staging_before = secret(both, STAGING)
    wire.writes.clear()

    both.ok("db.setup", "-t", "staging", "--confirm", "cruddur")
    both.ok("rds.create", "-t", "staging", "--dry-run")
    both.ok("lambda.deploy", "-t", "staging", "--dry-run")
    assert [name for name, _ in wire.writes] == []
    with running(both.root, "-t", "staging", **both.environ) as (_, url):
        assert len(get(url + HOME).json) == 9
    both.ok("rds.create", "-t", "staging")
    both.ok("rds.rotate-password", "-t", "staging")
    assert "users" in both.ok("db.status", "-t", "staging")
    both.ok("db.drop", "-t", "staging", "--confirm", "cruddur")

    assert [name for name, _ in wire.writes] == ["ModifyDBInstance"]  # the one that rotates
    assert [text for _, text in wire.writes if OF_PROD.search(text) or before["secret"]["ARN"] in text] == []
    assert STAGING in wire.writes[0][1]
    entered = re.findall("connection authorized: user=([^ ]+)", of_prod.log.read_text()[log:])
    assert set(entered) <= {of_prod.user}, "a task has been at production's server"
    assert production(both) == before
    staging_after = secret(both, STAGING)
    assert staging_after["ARN"] == staging_before["ARN"] != before["secret"]["ARN"]
    assert staging_after["SecretString"] not in (staging_before["SecretString"], before["secret"]["SecretString"])
    with both.connect(STAGING, **superuser(both.server(STAGING))) as conn:
        assert "cruddur" not in {row["datname"] for row in conn.execute(DATABASES)}
    both.ok("db.setup", "-t", "staging", "--confirm", "cruddur")


def test_production_by_another_name_is_still_known_by_its_server(both: Box) -> None:
    """Two servers are two identities: it is not staging's that is seen."""
    with (
        both.connect(INSTANCE, **superuser(both.server(INSTANCE))) as one,
        both.connect(STAGING, **superuser(both.server(STAGING))) as two,
    ):
        found = [
            conn.execute("select system_identifier::text as id from pg_control_system()").fetchone()
            for conn in (one, two)
        ]
    assert [row["id"] for row in found if row] == [both.server(name).identity for name in (INSTANCE, STAGING)]
    assert len({row["id"] for row in found if row}) == 2


# --- by its endpoint's name -------------------------------------------------------------


def test_a_login_opens_the_one_server_whose_it_is(both: Box) -> None:
    login = json.loads(secret(both, INSTANCE)["SecretString"])
    with both.connect(INSTANCE, user=login["username"], password=login["password"]) as conn:
        row = conn.execute("select rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = user").fetchone()
    assert row == {"rolsuper": False, "rolcreatedb": True, "rolcreaterole": True}
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        both.connect(STAGING, user=login["username"], password=login["password"])
    with both.connect(INSTANCE.upper() + lifecycle.NAME[1:], user=login["username"], password=login["password"]):
        pass


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("no-such-instance", "there is no instance no-such-instance"),
        ("127.0.0.1", "no instance is named"),
        ("", "no instance is named"),
    ],
)
def test_a_name_of_no_instance_leads_to_none(both: Box, host: str, words: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=words):
        both.connect(
            host, user="postgres", password="x", sslmode="require" if "." in host or not host else "verify-full"
        )


def test_an_instance_that_gets_another_name_keeps_its_data(both: Box) -> None:
    rds, of = aws(both, "rds"), both.server(STAGING)
    for old, new in ((STAGING, "renamed"), ("renamed", STAGING)):
        rds.modify_db_instance(DBInstanceIdentifier=old, NewDBInstanceIdentifier=new, ApplyImmediately=True)
        with both.connect(new, **superuser(of), dbname="cruddur") as conn:
            assert conn.execute("select count(*) as n from users").fetchone() == {"n": 5}
        with pytest.raises(psycopg.OperationalError, match="there is no instance"):
            both.connect(old, **superuser(of))


def test_a_replica_follows_its_source_until_it_is_promoted_or_the_source_is_gone(both: Box) -> None:
    rds, of = aws(both, "rds"), both.server(STAGING)

    def told(name: str, statement: str) -> Any:
        with both.connect(name, **superuser(of), dbname="cruddur", autocommit=True) as conn:
            found = conn.execute(statement)
            return found.fetchone() if found.description else None

    for name in ("follower", "heir"):
        made = {"DBInstanceIdentifier": name, "SourceDBInstanceIdentifier": STAGING, "DeletionProtection": False}
        rds.create_db_instance_read_replica(**made)
    told(STAGING, "create table followed as select 1 as one")
    here = told(STAGING, "select pg_current_wal_lsn()::text as lsn")["lsn"]
    deadline = time.monotonic() + 30
    while not told("follower", f"select pg_last_wal_replay_lsn() >= '{here}' as level")["level"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert told("follower", "select one from followed") == {"one": 1}
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        told("follower", "insert into followed values (2)")
    row = rds.promote_read_replica(DBInstanceIdentifier="follower", BackupRetentionPeriod=1)["DBInstance"]
    assert row["DBInstanceIdentifier"] == "follower"
    told("follower", "insert into followed values (2)")
    assert told(STAGING, "select count(*) from followed") == {"count": 1}
    left = [both.server(name) for name in ("follower", "heir")]
    rds.create_db_instance_read_replica(DBInstanceIdentifier="second", SourceDBInstanceIdentifier="follower")
    rds.delete_db_instance(DBInstanceIdentifier="follower", SkipFinalSnapshot=True)
    told("second", "insert into followed values (3)")
    left.append(both.server("second"))
    for name in ("second", "heir"):
        rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    assert all(gone(one) for one in left)
    told(STAGING, "drop table followed")


def test_sandbox_status_names_them(both: Box) -> None:
    found = json.loads(both.ok("sandbox.status", "--json"))
    assert [(one["host"].partition(".")[0], one["postgres_port"]) for one in found["instances"]] == [
        (name, both.server(name).port) for name in (INSTANCE, STAGING)
    ]


def test_its_log_and_its_events_are_there_without_anybodys_data(both: Box) -> None:
    """The server's own log, in RDS's portions and with RDS's prefix."""
    login = json.loads(secret(both, INSTANCE)["SecretString"])
    with both.connect(INSTANCE, user=login["username"], password=login["password"]) as conn:
        conn.autocommit = True
        for statement in (
            "select 'Zoe'::int",
            "do $$ begin raise exception 'Zoe is blocked'; end $$",
            "select name\n from 'Zoe'",
        ):
            with pytest.raises(psycopg.Error):
                conn.execute(statement)
    told = both.ok("rds.logs", "--lines", "40")
    assert "Zoe" not in told
    assert re.search(
        rf"UTC:.*:{login['username']}@postgres:\[\d+\]:ERROR:  invalid input syntax for type integer: \?", told
    )
    assert "STATEMENT:  select ?::int\n" in told
    assert "ERROR:  raised by a function in words of its own" in told
    assert "CONTEXT:  PL/pgSQL function inline_code_block line 1 at RAISE\n" in told
    listed = [json.loads(line) for line in both.ok("rds.logs", "--json", "--lines", "3").splitlines()]
    assert {one["file"] for one in listed} == {"error/postgresql.log"}
    assert "DB instance created" in both.ok("rds.events")
    events = json.loads(both.ok("rds.events", "-t", "staging", "--json"))
    assert {one["name"] for one in events if one["source"] == "db-instance"} == {STAGING}


def test_its_log_is_followed_until_ctrl_c(both: Box) -> None:
    env = {**os.environ, **both.environ}
    argv = [str(Path(sys.executable).parent / "inv"), "rds.logs", "--follow", "--lines", "1", "--json"]
    with subprocess.Popen(
        argv, cwd=both.root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        with both.connect(INSTANCE, **superuser(both.server(INSTANCE))) as conn:
            conn.autocommit = True
            for number in itertools.count():
                with pytest.raises(psycopg.Error):
                    conn.execute(f"select from nothing_{number}")
                readable, _, _ = select.select([process.stdout], [], [], 1)
                if readable and "nothing_" in process.stdout.readline():
                    break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (130, "cancelled")


# --- killed, repeated, removed ----------------------------------------------------------


def test_a_server_that_was_killed_is_started_by_the_next_who_connects(both: Box) -> None:
    of = both.server(STAGING)
    pid = postmaster.running_pid(of)
    assert pid
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=20)
    assert "public.users" in both.ok("db.status", "-t", "staging")
    assert postmaster.running_pid(both.server(STAGING))


def test_what_cannot_be_made_is_told_and_is_not_there(box: Box) -> None:
    """Until it can be made: then the same again makes it."""
    third = {"INVOKE_RDS_IDENTIFIER": "third"}
    folder = box.home / instances.FOLDER
    away = folder.with_name("away")
    if folder.exists():
        folder.rename(away)
    folder.write_text("no folder")
    try:
        done = box("rds.create", env=third)
    finally:
        folder.unlink()
        if away.exists():
            away.rename(folder)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert f"CreateDBInstance: {folder} is no folder: move it away, then run again (SandboxFailure)" in done.stderr
    assert "third" not in [
        one["DBInstanceIdentifier"] for one in aws(box, "rds").describe_db_instances()["DBInstances"]
    ]
    box.ok("rds.create", env=third)
    with box.connect("third", **superuser(box.server("third"))):
        pass
    third_server = box.server("third")
    assert postmaster.running_pid(third_server)
    box.ok("rds.delete", "--confirm", "third", "--no-snapshot", env=third)
    assert gone(third_server)


def test_a_process_that_was_killed_leaves_no_servers_behind(both: Box) -> None:
    """moto has forgotten its instances: what stood behind them goes before the next one serves."""
    left = both.server(STAGING)
    os.kill(json.loads((both.home / "state.json").read_text())["pid"], signal.SIGKILL)
    assert postmaster.running_pid(left)
    both.enter()
    assert gone(left)
    assert json.loads(both.ok("sandbox.status", "--json"))["instances"] == []
    both.ok("rds.create", "-t", "staging")
    left = both.server(STAGING)
    os.kill(json.loads((both.home / "state.json").read_text())["pid"], signal.SIGKILL)
    assert postmaster.running_pid(left)
    assert both("sandbox.down").returncode == 0
    assert gone(left)
    assert not both.home.exists()
    assert both("sandbox.down").returncode == 0


def test_one_that_is_killed_while_it_makes_a_server_is_made_anew(box: Box) -> None:
    """initdb goes on for a moment, in a folder that is being removed."""
    box.enter()
    asked = threading.Thread(target=box, args=("rds.create",))
    asked.start()
    deadline = time.monotonic() + 60
    while "making a Postgres server" not in (box.home / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(json.loads((box.home / "state.json").read_text())["pid"], signal.SIGKILL)
    box.enter()
    asked.join()
    assert not (box.home / instances.FOLDER).exists()
    box.ok("rds.create")
    of = box.server(INSTANCE)
    assert box("sandbox.down").returncode == 0
    assert gone(of)


def test_one_whose_process_is_told_to_stop_ends_its_servers(box: Box) -> None:
    box.enter()
    box.ok("rds.create", "-t", "staging")
    of = box.server(STAGING)
    process = psutil.Process(json.loads((box.home / "state.json").read_text())["pid"])
    process.terminate()
    process.wait(30)
    assert gone(of)
    assert not (box.home / instances.FOLDER).exists()


def test_the_one_server_of_before_goes_with_the_next_up(box: Box) -> None:
    box("sandbox.down")
    box.home.mkdir(parents=True)
    (box.home / "rdsadmin").write_text("its password")
    before = server.start_server(box.home)
    assert postmaster.running_pid(before)
    box.enter()
    assert not postmaster.running_pid(before)
    assert not before.data.exists()
    assert not state.folder(box.home).exists()
    assert box("sandbox.down").returncode == 0
    assert not box.home.exists()
