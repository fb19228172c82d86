"""Tasks that succeed only one after the other, with secrets of a test's own: the life of an instance and its function, and that of a clone.

What each says with invoke's debug log and -e, what it leaves in files, and all programs that it starts are searched right after it.
tests/test_canaries.py runs all tasks where they fail, and those that succeed by themselves.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from invoke.program import Program
from invoke.util import LOG_FORMAT

import tasks
from config import settings as settings_module
from ops.sandbox import lifecycle
from tests import fix_git, fix_migrations, forked, test_docker
from tests.fix_app import wait
from tests.fix_aws import Answer, Call
from tests.fix_canary import Files, Hunt, Sampler, Seen, canary, sampling
from tests.fix_cli import SUITE, Cli
from tests.fix_echo import Echo
from tests.fix_lambda import HOST, NAME, Stage
from tests.fix_ssm import TOKEN, Manager
from tests.fix_suppliers import Database
from tests.servers import free_port
from tests.test_lambda_sync import sign_up
from tests.test_rds_bastion import out
from tests.test_rds_logs import LogsOfRds

pytestmark = pytest.mark.no_cover

LIVE = "cruddur-db-instance"
# As they go in life
IN_AWS = (
    "rds.create",
    "rds.rotate-password",
    "rds.snapshot --name before",
    "rds.logs",
    "rds.ca",
    "rds.apply --confirm {live}",
    "rds.alarms --email ada@example.com",
    "rds.schedule --stop 20:00 --start 08:00",
    "rds.bastion",
    "rds.bastion --delete",
    "rds.upgrade --to 18.4 --confirm {live}",
    "rds.restore --snapshot before --swap --confirm {live}",
    "rds.undo --confirm {live}",
    "rds.replica --confirm {live}",
    "db.tunnel --target staging",
    "db.status --target staging",
    "env.show",
    "db.tunnel --stop",
    "lambda.layer --publish",
    "lambda.deploy",
    "rds.proxy",
    "lambda.attach",
    "lambda.status",
    "lambda.invoke",
    "lambda.sync-users --confirm {database}",
    "lambda.logs",
    "lambda.sign-ups --days 1",
    "rds.proxy --delete --confirm {live}-proxy",
    "lambda.detach",
    "lambda.delete --confirm {function}",
    "rds.replica --delete --confirm {live}-replica",
    "rds.delete --confirm {live}",
)
HERE = (
    "db.setup",
    "db.branch",
    "db.branches",
    "db.branch --branch add-bio --delete",
    "db.drift",
    "db.pull --from local --target copy",
    "db.compare --with copy",
    "db.migration-import --folder {old}",
)
PROGRAMS = (
    "db.setup",
    "lambda.invoke --local --target local",
    "app.up",
    "app.logs",
    "app.down",
    "app.run",
    "sandbox.up",
    "sandbox.status",
    "sandbox.down",
    "bench --only list --runs 1 --tiny",
)
SERVER = ("db.up", "db.down --wipe --confirm {database}")
"""Of the clone's own, where no URL says another one."""
TASKS = {line.split()[0] for line in (*IN_AWS, *HERE, *PROGRAMS, *SERVER)}


def full(line: str) -> list[str]:
    """Return the words of a step, with all that makes a task talk."""
    name, *args = shlex.split(line)
    json = ["--json"] if "json" in inspect.signature(tasks.ns[name].body).parameters else []
    return ["-d", "-e", name, *args, *json]


# --- in AWS -------------------------------------------------------------------------------


def sent(calls: list[Call]) -> set[str]:
    """Return the passwords that AWS has been given: of the instance, of the function's URL, and of a proxy's secret."""
    found: set[str] = set()
    for call in calls:
        found.add(call.params.get("MasterUserPassword", ""))
        text = call.body.decode(errors="replace").replace("\\", "")
        found |= {unquote(each) for each in re.findall(r"://[^:/@\s]+:([^@\s]+)@", text)}
        found |= set(re.findall(r'"password": "([^"]+)"', text))
    return found - {""}


@contextlib.contextmanager
def debug_log() -> Iterator[None]:
    """Have what is logged in this thread on standard error, as `inv -d` has it in a process of its own: AWS is in another thread."""
    root, here, handler = logging.getLogger(), threading.get_ident(), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.addFilter(lambda record: record.thread == here)
    held, level, root.handlers = root.handlers, root.level, [handler]
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.handlers = held
        root.setLevel(level)


@dataclass
class Life:
    """`inv` in this process, on moto's AWS and a real server for all of its instances."""

    stage: Stage
    manager: Manager
    person: str
    """In what AWS has of somebody: a name, an e-mail address, and a statement in the server's log."""
    made: set[str]
    """The secrets that have come up on the way."""
    capfd: pytest.CaptureFixture[str]
    hunt: Hunt

    def run(self, line: str) -> str:
        self.capfd.readouterr()
        code: object = 0
        with debug_log():
            try:
                Program(namespace=tasks.ns).run(["inv", *full(line)])
            except SystemExit as end:
                code = end.code
        got = self.capfd.readouterr()
        assert not code, f"{line}: {got.err}"
        assert "invoke." in got.err  # the debug log is on
        self.hunt.search(got.out + got.err)
        return got.out


@pytest.fixture
def life(
    stage: Stage,
    manager: Manager,
    echoes: tuple[Echo, Echo],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pauses: None,
) -> Iterator[Life]:
    secrets = {each: canary(each) for each in ("password", "master", "key", "session", "person")}
    login, master = (f"{letter}{stage.database.name}" for letter in "lm")
    for role, password in ((login, secrets["password"]), (master, secrets["master"])):
        stage.database.do(f"create role {role} superuser login password '{password}'", "postgres")
    echoes[0].says(stage.certificates.read_text(encoding="utf-8"))
    port = stage.database.server.port
    variables = {
        **stage.settings().vars.environ,
        "PROD_CONNECTION_URL": f"postgresql://{login}:{secrets['password']}@{HOST}:{port}/{stage.database.name}",
        "STAGING_CONNECTION_URL": f"postgresql://{login}:{secrets['password']}@127.0.0.1:{port}/{stage.database.name}",
        "POSTGRES_MASTER_USERNAME": master,
        "POSTGRES_PORT": str(port),
        "INVOKE_DB_NAME": stage.database.name,
        "AWS_SECRET_ACCESS_KEY": secrets["key"],
        "AWS_SESSION_TOKEN": secrets["session"],
        "AWS_MAX_ATTEMPTS": "1",
        "INVOKE_RDS_CA_URL": echoes[0].url + "bundle.pem",
        "INVOKE_RDS_BACKUP_DAYS": "14",
        "GITPOD_WORKSPACE_ID": "me",
        "ENV_FILE": str(stage.root / "env"),
        "TMPDIR": str(stage.root / "tmp"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (stage.root / "tmp").mkdir()
    (stage.root / "env").write_text(f"POSTGRES_MASTER_PASSWORD={secrets['master']}\n")
    (stage.root / "env").chmod(0o600)
    load = settings_module.load

    def loaded(config: Any, *args: Any, **more: Any) -> Any:
        config["targets"] = {"staging": {"via": manager.via}}
        return load(config, *args, **{**more, "root": stage.root})

    monkeypatch.setattr(settings_module, "load", loaded)
    monkeypatch.setattr("ops.rds.upgrade.upgrade.look", lambda *_: [])  # other tests have databases on that server
    made: set[str] = set()

    def known() -> set[str]:
        made.update(sent(stage.cloud.calls))
        return {*secrets.values(), TOKEN, *made}

    with sampling() as sampler:
        files = Files([stage.root, Path(os.environ["HOME"])], (str(stage.root / "env"), "/__pycache__/"))
        yield Life(stage, manager, secrets["person"], made, capfd, Hunt(known, sampler, files))


def on_server(database: Database, master: str, call: Call) -> Answer | None:
    """Give the login of the instance its new password, as RDS does."""
    if call.action == "ModifyDBInstance" and (password := call.params.get("MasterUserPassword")):
        database.do(f"alter role {master} password '{password}'", "postgres")
    return None


def test_no_secret_gets_out_of_the_life_of_an_instance_and_its_function(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = life.stage
    stage.client("rds").delete_db_instance(DBInstanceIdentifier=LIVE, SkipFinalSnapshot=True)
    stage.cloud.before = answers(life)
    stage.cloud.after = functools.partial(on_server, stage.database, os.environ["POSTGRES_MASTER_USERNAME"])
    out(stage.client("ec2"))
    pool_id = stage.make_pool()
    monkeypatch.setenv("AWS_COGNITO_USER_POOL_ID", pool_id)
    who = life.person
    sign_up(stage, pool_id, "ada", email=f"{who}@example.com", name=who, preferred_username=who)
    for line in IN_AWS:
        if line == "lambda.logs":
            log(stage)
        life.run(line.format(live=LIVE, function=NAME, database=stage.database.name))
    assert len(life.made) == 3  # the instance's first and second one, and the function's, which the proxy has too
    assert stage.database.scalar(f"select count(*) from users where handle = '{who}'") == 1
    assert [path.name for path in stage.root.iterdir() if path.name.startswith("env")] == ["env"]  # where it may be


LOG = (
    '2026-11-30 08:00:00 UTC:10.0.0.5(33344):postgres@cruddur:[123]:ERROR:  relation "userz" does not exist at character 15\n'
    "2026-11-30 08:00:00 UTC:10.0.0.5(33344):postgres@cruddur:[123]:STATEMENT:  select * from userz where email = 'ada@example.com'\n"
)


def answers(life: Life) -> Callable[[Call], Answer | None]:
    """Return what answers where moto has nothing: logs of an instance, and sessions."""
    logs = LogsOfRds({"error/postgresql.log.2026-11-30-08": LOG.replace("ada", life.person)})
    return lambda call: life.manager.answer(call) or logs(call)


def log(stage: Stage) -> None:
    """Have the function logged something, which moto's does not."""
    logs, group = stage.client("logs"), f"/aws/lambda/{NAME}"
    logs.create_log_stream(logGroupName=group, logStreamName="one")
    said = json.dumps({"function": "post_confirmation", "outcome": "inserted"})
    events = [{"timestamp": int(time.time() * 1000), "message": said}]
    logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)


# --- here ---------------------------------------------------------------------------------

COMPOSE = """
case "$1" in
ps) echo container ;;
port) echo 127.0.0.1:4567 ;;
esac
sleep 0.05
"""


@dataclass
class Clone:
    """`inv` in a clone with a git repository, and a stand-in for Docker, whose images are not here."""

    inv: Cli
    env: dict[str, str]
    secrets: set[str]
    hunt: Hunt

    def run(self, line: str, **environ: str) -> str:
        inv = Cli(SUITE) if line.startswith("bench") else self.inv  # a clone has none
        done = inv(*full(line), env={**self.env, **environ})
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert "invoke." in done.stderr
        self.hunt.search(done.stdout + done.stderr)
        return done.stdout + done.stderr


@pytest.fixture
def here(one: Database, inv: Cli, tmp_path: Path) -> Iterator[Clone]:
    pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
    secrets = {each: canary(each) for each in ("password", "prod", "master", "key")}
    login = f"login_{one.name}"
    one.do(f"create role {login} superuser login password '{secrets['password']}'", "postgres")
    at = f"postgresql://{login}:{secrets['password']}@127.0.0.1:{one.server.port}/{one.name}"
    programs = tmp_path / "programs"
    for folder in (programs, inv.root / "tmp"):
        folder.mkdir()
    test_docker.fake(programs, "docker", '[ "$1" != compose ] || exit 1; [ "$1" != inspect ] || echo running healthy')
    test_docker.fake(programs, "docker-compose", COMPOSE)
    env = {
        "CONNECTION_URL": at,
        "COPY_CONNECTION_URL": f"{at}_copy",
        "PROD_CONNECTION_URL": f"postgresql://someone:{secrets['prod']}@127.0.0.1:1/cruddur",
        "POSTGRES_MASTER_PASSWORD": secrets["master"],
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": secrets["key"],
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TMPDIR": str(inv.root / "tmp"),
    }
    yaml = inv.root / "invoke.yaml"
    yaml.write_text(yaml.read_text().replace("targets: {}", "targets: {copy: {url: COPY_CONNECTION_URL}}"))
    fix_git.git(fix_git.repository(inv.root), "switch", "-q", "-c", "add-bio")
    with sampling() as sampler:
        files = Files([inv.root, Path(os.environ["HOME"])], ("/__pycache__/", "/.git/"))
        known = {*secrets.values()}
        yield Clone(inv, env, known, Hunt(lambda: known, sampler, files))
    if lifecycle.folder(inv.root).exists():  # a step has failed
        inv("sandbox.down", env=env)


def test_no_secret_gets_out_of_what_serves_here(here: Clone) -> None:
    for line in PROGRAMS:
        if line == "app.run":
            serve(here)
        else:
            here.run(line)


def test_no_secret_gets_out_of_the_life_of_a_clone(here: Clone, tmp_path: Path) -> None:
    old = fix_migrations.written(tmp_path / "old", {"20250101000000_more.sql": MIGRATION})
    for line in HERE:
        here.run(line.format(old=old))
    without = dict.fromkeys(("CONNECTION_URL", "COPY_CONNECTION_URL"), "")
    up, down = SERVER
    said = here.run(up, **without)
    url = here.inv.ok("db.url", "--show-password", env={**here.env, **without})
    password = url.partition("@")[0].rpartition(":")[2]
    assert len(password) > 10
    assert password not in said
    here.secrets.add(password)
    here.hunt.searched.clear()  # by which programs the server was made
    here.run(down.format(database="cruddur"), **without)  # and no file has it any more


def test_the_hunt_finds_what_there_is(tmp_path: Path) -> None:
    secret, file = f"{canary('x')}/", tmp_path / "left"
    hunt = Hunt(lambda: [secret], Sampler(), Files([tmp_path]))
    hunt.search("nothing")
    for said in (secret, f"://me:{secret[:-1]}%2F@host", "Traceback"):
        with pytest.raises(AssertionError):
            hunt.search(said)
    file.write_text(secret)
    with pytest.raises(AssertionError):
        hunt.search("")
    file.unlink()
    hunt.sampler.seen.add(Seen(f"/usr/bin/true {secret}", ""))
    with pytest.raises(AssertionError):
        hunt.search("")


MIGRATION = "-- migrate:up\ncreate table more (id int);\n-- migrate:down\ndrop table more;\n"


def serve(here: Clone) -> None:
    """Have the feed served and asked for once, and ended by Ctrl-C."""
    port = str(free_port())
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    env = {**os.environ, **here.env, "INVOKE_APP_PORT": port}
    with forked.start(full("app.run"), cwd=here.inv.root, env=env, start_new_session=True, **streams) as process:
        try:
            wait(f"http://127.0.0.1:{port}/api/health", 40)
        finally:
            os.killpg(process.pid, signal.SIGINT)
        said, told = process.communicate(timeout=20)
    assert process.returncode in (0, 130), told
    assert "invoke." in told
    here.hunt.search(said + told)
