"""A target behind a bastion: reached by a real sshd, each fault told with its next step, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.settings import Settings, load
from ops import postgres
from ops.errors import LoginFailed, NothingAnswers, NoTunnel, Problem, Unreachable, WrongLogin
from ops.targets import opening
from ops.targets.embedded import postmaster
from ops.targets.tunnel import program, way
from tests import servers
from tests.fix_bastion import Bastion
from tests.fix_cli import Cli, without_coverage
from tests.fix_front import open_front
from tests.fix_suppliers import Database

PROCESSES = 3
"""Of a tunnel: ssh, its keeper, and what waits for our end."""
ASLEEP = "select 1 from pg_stat_activity where query like 'select pg_sleep%' and datname = current_database()"
KILLS = int(os.environ.get("TEST_KILLS", "20")) // 5


def behind(one: Database, bastion: Bastion, **params: str) -> Settings:
    """Settings with a target staging on this server, reached by the bastion."""
    url = one.target(**params).url(show_password=True)
    about = {"targets": {"staging": {"via": bastion.via}}, "db": {"connect_timeout": "5"}}
    return load(about, {"STAGING_CONNECTION_URL": url}, one.root)


@pytest.fixture
def there(one: Database) -> Database:
    one.do(f'create database "{one.name}"', "postgres")
    return one


def test_a_target_is_reached_by_its_bastion_alone(
    there: Database, bastion: Bastion, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = behind(there, bastion)
    with opening.open_target(settings, "staging", "db.status") as at:
        assert len(bastion.left()) == PROCESSES
        assert at.conn.info.port != there.server.port
        with at.connect() as conn:
            assert postgres.row(conn, "select current_database() as name")["name"] == there.name
    said = capsys.readouterr().err
    assert f"127.0.0.1:{there.server.port}/{there.name} via {bastion.via}" in said
    way.shut()
    assert bastion.left() == []
    assert "Accepted publickey" in (bastion.home / "log").read_text()


def test_one_tunnel_serves_all_connections_of_a_process(there: Database, bastion: Bastion) -> None:
    settings = behind(there, bastion)
    for _ in range(3):
        with opening.open_target(settings, "staging", "db.status"):
            assert len(bastion.left()) == PROCESSES
    assert (bastion.home / "log").read_text().count("Accepted publickey") == 1


def test_the_users_own_configuration_leads_there(there: Database, bastion: Bastion) -> None:
    """A name that only it knows, behind a hop that only it names."""
    hop = bastion.via.removeprefix("ssh://")
    # ssh takes a hop of the same name for a loop
    names = f"HostName localhost\n  HostKeyAlias [127.0.0.1]:{bastion.port}"
    more = f"Host inner\n  {names}\n  Port {bastion.port}\n  ProxyJump {hop}\n"
    bastion.config.write_text(bastion.config.read_text() + more)
    about = {"targets": {"staging": {"via": "ssh://inner"}}}
    with opening.open_target(load(about, {"STAGING_CONNECTION_URL": there.url}, there.root), "staging", "t") as at:
        assert postgres.row(at.conn, "select 1 as one")["one"] == 1
    assert (bastion.home / "log").read_text().count("Accepted publickey") == 2


def test_its_program_gets_no_secret_that_is_none_of_its_business(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"POSTGRES_MASTER_PASSWORD": "x", "STAGING_CONNECTION_URL": "postgresql://u:p@db.internal/x"}
    secrets["COPY_CONNECTION_URL"] = "postgresql://u:p@127.0.0.1/x"  # of a server on the bastion itself
    for name, value in {**secrets, "AWS_SECRET_ACCESS_KEY": "y", "SSH_AUTH_SOCK": "/s"}.items():
        monkeypatch.setenv(name, value)
    found = program.environment()
    assert not secrets.keys() & found.keys()
    assert (found["AWS_SECRET_ACCESS_KEY"], found["SSH_AUTH_SOCK"]) == ("y", "/s")


def test_tls_is_checked_against_the_servers_own_name(
    tmp_path: Path, there: Database, bastion: Bastion, postgres: servers.Server
) -> None:
    with open_front(tmp_path / "front", postgres) as front:
        for host, error in ((front.target().host, None), ("evil.example", LoginFailed)):
            target = front.target(host=host, hostaddr="127.0.0.1", dbname=there.name)
            about = {"targets": {"staging": {"via": bastion.via}}}
            environ = {"STAGING_CONNECTION_URL": target.url(show_password=True)}
            settings = load(about, environ, there.root)
            if error:
                with (
                    pytest.raises(error, match="certificate is for another host"),
                    opening.open_target(settings, "staging", "t"),
                ):
                    pass
                continue
            with opening.open_target(settings, "staging", "t") as at:
                assert at.conn.pgconn.ssl_in_use
                assert at.target.host == host


# --- faults ------------------------------------------------------------------------------


def unknown(bastion: Bastion) -> None:
    (bastion.home / "known").write_text("")


def changed(bastion: Bastion) -> None:
    bastion.trust(bastion.home / "other.pub")


def refused(bastion: Bastion) -> None:
    bastion.config.write_text(bastion.config.read_text().replace("/mine", "/other"))


def down(bastion: Bastion) -> None:
    bastion.stop()


def forbidding(bastion: Bastion) -> None:
    bastion.stop()
    bastion.start("AllowTcpForwarding no")


def misspelt(bastion: Bastion) -> None:
    bastion.config.write_text(bastion.config.read_text() + "  NoSuchOption yes\n")


def forwards_more(bastion: Bastion) -> None:
    bastion.config.write_text(bastion.config.read_text() + f"  LocalForward 127.0.0.1:{bastion.port} 127.0.0.1:1\n")


def none(bastion: Bastion) -> None:
    del bastion


Fault = tuple[Callable[[Bastion], None], dict[str, str], type[Problem], str]
FAULTS: dict[str, Fault] = {
    "unknown host key": (unknown, {}, NoTunnel, "host key is not known here: run ssh -p"),
    "wrong host key": (changed, {}, NoTunnel, r"another host key .* ssh-keygen -R '\[127.0.0.1\]:\d+', then ssh -p"),
    "refused key": (refused, {}, NoTunnel, "does not take our key: give it to the agent"),
    "bastion down": (down, {}, Unreachable, "no sshd answers on the bastion"),
    "bastion forwards nothing": (forbidding, {}, NoTunnel, "forwards nothing to 127.0.0.1:.*AllowTcpForwarding"),
    "configuration misspelt": (misspelt, {}, Problem, "correct that, ssh -p"),
    "the user's own forward is taken": (forwards_more, {}, NoTunnel, "forwards port .* for this bastion, too"),
    "nothing answers behind": (none, {"port": "1"}, NothingAnswers, "127.0.0.1:1: the tunnel .* is up, and nothing"),
    "name unknown there": (none, {"host": "no-such.invalid"}, Unreachable, "the bastion does not know this name"),
    "wrong password": (none, {"password": "wrong"}, WrongLogin, "wrong user or password"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_of_the_way_is_told_from_one_of_the_server(there: Database, bastion: Bastion, what: str) -> None:
    harm, params, kind, told = FAULTS[what]
    harm(bastion)
    with (
        pytest.raises(kind, match=told) as error,
        opening.open_target(behind(there, bastion, **params), "staging", "t"),
    ):
        pass
    assert "\n" not in str(error.value)
    assert type(error.value) is kind or kind is Problem


def test_a_name_without_an_address_is_told(there: Database, bastion: Bastion) -> None:
    settings = load(
        {"targets": {"staging": {"via": "ssh://no-such.invalid"}}},
        {"STAGING_CONNECTION_URL": there.url},
        there.root,
    )
    with (
        pytest.raises(Unreachable, match="the bastion's name does not resolve"),
        opening.open_target(settings, "staging", "t"),
    ):
        pass


def test_without_ssh_it_says_how_to_have_it(there: Database, bastion: Bastion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(there.root))
    with (
        pytest.raises(NoTunnel, match="install the package openssh-client"),
        opening.open_target(behind(there, bastion), "staging", "t"),
    ):
        pass


def test_a_port_that_is_taken_meanwhile_is_passed_over(
    there: Database, bastion: Bastion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: Iterator[int] = iter([there.server.port, bastion.port, servers.free_port()])
    monkeypatch.setattr(postmaster, "free_port", lambda: next(ports))
    with opening.open_target(behind(there, bastion), "staging", "t") as at:
        assert at.conn.info.port not in (there.server.port, bastion.port)


# --- it ends while it is in use ----------------------------------------------------------


def cut_under_way(database: Database, bastion: Bastion, seconds: int) -> None:
    """Cut the tunnels once the server is at a statement that sleeps for so many seconds; each test has a number of its own."""
    asleep = f"query ~ 'pg_sleep.{seconds}' and pid <> pg_backend_pid()"

    def run() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if database.query(f"select 1 from pg_stat_activity where {asleep}"):
                break
            time.sleep(0.05)
        bastion.cut()

    threading.Thread(target=run, daemon=True).start()


def test_a_tunnel_that_ends_under_a_query_is_named_and_opened_anew(there: Database, bastion: Bastion) -> None:
    settings = behind(there, bastion)
    cut_under_way(there, bastion, 30)
    with (
        pytest.raises(Problem, match=f"the tunnel by {bastion.via} has ended") as error,
        opening.open_target(settings, "staging", "db.status") as at,
    ):
        at.conn.execute("select pg_sleep(30)")
    assert "\n" not in str(error.value)
    with opening.open_target(settings, "staging", "db.status") as at:
        assert postgres.row(at.conn, "select 1 as one")["one"] == 1


def test_what_became_of_a_write_is_asked_by_a_new_tunnel(there: Database, bastion: Bastion) -> None:
    from ops.db import build

    (there.root / "slow.sql").write_text("create table t (n int);\nselect pg_sleep(31);\n")
    cut_under_way(there, bastion, 31)
    with pytest.raises(Problem, match=r"has ended.*nothing of it was kept"):
        build.schema_load(behind(there, bastion), "staging", str(there.root / "slow.sql"), {}, there.name, build.Care())
    assert there.query("select 1 from pg_class where relname = 't'") == []


# --- the command line --------------------------------------------------------------------


class Behind:
    """`inv` in a clone whose target staging is behind the bastion."""

    def __init__(self, inv: Cli, database: Database, bastion: Bastion) -> None:
        self.inv, self.bastion = inv, bastion
        self.env = {"STAGING_CONNECTION_URL": database.url}
        path = inv.root / "invoke.yaml"
        path.write_text(path.read_text().replace("targets: {}", f'targets: {{staging: {{via: "{bastion.via}"}}}}'))

    def start(self, *args: str, stdin: str = "") -> subprocess.Popen[str]:
        """Start a task in a process group of its own."""
        child = subprocess.Popen(
            [Path(sys.executable).parent / "inv", *args, "-t", "staging"],
            cwd=self.inv.root,
            env={**without_coverage(), **self.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert child.stdin
        child.stdin.write(stdin)
        child.stdin.close()
        child.stdin = None
        return child

    def ok(self, *args: str, stdin: str = "") -> str:
        return self.inv.ok(*args, "-t", "staging", env=self.env, stdin=stdin)


@pytest.fixture
def staging(inv: Cli, there: Database, bastion: Bastion) -> Behind:
    return Behind(inv, there, bastion)


def gone(bastion: Bastion) -> bool:
    """Wait until nothing of a tunnel is left."""
    deadline = time.monotonic() + 20
    while bastion.left() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not bastion.left()


def test_programs_go_through_it_too(staging: Behind, there: Database) -> None:
    there.do("create table t as select n from generate_series(1, 100) n")
    assert "100" in staging.ok("db.connect", stdin="select count(*) from t;\n")
    staging.ok("db.dump", "--file", str(staging.inv.root / "t.sql"))
    assert "COPY public.t" in (staging.inv.root / "t.sql").read_text()
    assert staging.bastion.left() == []
    log = (staging.bastion.home / "log").read_text()
    assert log.count("Accepted publickey") == 2


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_killed_at_any_moment_no_process_stays(staging: Behind, sign: int) -> None:
    begun = time.monotonic()
    staging.start("db.status").communicate(timeout=60)
    span = time.monotonic() - begun
    for part in range(KILLS):
        child = staging.start("db.status")
        time.sleep(span * (part + random.random()) / KILLS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        child.communicate(timeout=60)
        assert gone(staging.bastion)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_the_client_takes_the_tunnel_with_it(staging: Behind, there: Database, sign: int) -> None:
    child = staging.start("db.connect", stdin="select pg_sleep(60);\n")
    deadline = time.monotonic() + 60
    while not there.query(ASLEEP):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(staging.bastion.left()) == PROCESSES
    child.send_signal(sign)
    child.communicate(timeout=60)
    assert gone(staging.bastion)


def test_it_ends_when_its_keeper_is_killed(staging: Behind, there: Database) -> None:
    child = staging.start("db.connect", stdin="select pg_sleep(60);\n")
    deadline = time.monotonic() + 60
    while not there.query(ASLEEP):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    next(p for p in staging.bastion.left() if p.name() == "sh").kill()
    child.kill()
    child.communicate(timeout=60)
    assert gone(staging.bastion)
