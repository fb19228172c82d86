"""What is removed and written is ours, whoever has put a link or a file in its place."""

# ruff: noqa: F811 (fixtures of another file come by import)
from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config import paths
from config.paths import hand_over_whole, local_dir, make_folders, private_folder
from ops import own_files
from ops.db import scratch_server
from ops.db.migrations import new
from ops.errors import Problem
from ops.lambdas.package import archive
from ops.rds.security_group import allow
from ops.sandbox import gate, lifecycle
from ops.targets import identity
from ops.targets.embedded import server
from ops.targets.tunnel import shared
from tests.fix_aws import Configure
from tests.fix_cli import Cli
from tests.test_server import Clone, Clones, User, clones, needs_root, one, somebody  # noqa: F401

WIPE = ("db.down", "--wipe", "--confirm", "cruddur")


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of all that lies in a folder, itself included."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *sorted(folder.rglob("*"))]
    }


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of somebody else's, closed to others."""
    folder = tmp_path / "theirs"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "PG_VERSION").write_text("18\n", encoding="utf-8")
    for name in ("notes.txt", "server.json", "log", "lock", "password.txt"):
        (folder / name).write_text(f"their {name}", encoding="utf-8")
    folder.chmod(0o700)
    return folder


def test_a_state_file_that_names_another_folder_leads_to_no_removal(one: Clone, theirs: Path) -> None:
    one.ok("db.setup")
    one.ok("db.down")
    before = tree(theirs)
    path = one.folder / "server.json"
    path.write_text(json.dumps({**one.state, "home": str(theirs)}), encoding="utf-8")
    assert "server.json is damaged" in one.fails(1, "db.setup")
    one.ok(*WIPE)
    assert tree(theirs) == before
    assert [p.name for p in one.folder.iterdir()] == ["lock"]


@pytest.mark.parametrize("linked", [".local", ".local/postgres", ".local/postgres/data"])
def test_behind_a_link_nothing_is_made_opened_or_removed(one: Clone, theirs: Path, linked: str) -> None:
    before = tree(theirs)
    path = one.root / linked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(theirs, target_is_directory=True)
    if path.name == "data":
        assert "has lost the server.json" in one.fails(1, "db.setup")
        assert f"{path} is not of its making and stays" in one(*WIPE).stderr
    else:
        for task in (("db.setup",), ("db.up",), ("db.down",), ("db.status",), WIPE):
            assert f"{path} is a link" in one.fails(1, *task), task
    assert path.is_symlink()
    assert tree(theirs) == before


def test_a_link_in_the_place_of_the_data_starts_no_server_there(one: Clone, theirs: Path) -> None:
    one.ok("db.setup")
    one.ok("db.down")
    before = tree(theirs)
    shutil.rmtree(one.folder / "data")
    (one.folder / "data").symlink_to(theirs / "data")
    assert "is a link" in one.fails(1, "db.setup")
    one.ok(*WIPE)
    assert tree(theirs) == before


def test_what_else_lies_there_stays_and_is_named(one: Clone, theirs: Path) -> None:
    one.ok("db.setup")
    shutil.copytree(theirs, one.folder / "backup")
    (one.folder / "notes").write_text("mine", encoding="utf-8")
    (one.folder / "away").symlink_to(theirs)
    before = tree(theirs)
    told = one(*WIPE)
    assert told.returncode == 0, told.stderr
    for name in ("backup", "notes", "away"):
        assert f"{one.folder / name} is not of its making and stays" in told.stderr
    assert sorted(p.name for p in one.folder.iterdir()) == ["away", "backup", "lock", "notes"]
    assert tree(theirs) == before
    one.ok("db.setup")


def test_the_data_of_another_server_stays(one: Clone, clones: Clones) -> None:
    one.ok("db.setup")
    other = clones("other")
    other.ok("db.setup")
    for each in (one, other):
        each.ok("db.down")
    shutil.rmtree(one.folder / "data")
    (other.folder / "data").rename(one.folder / "data")
    told = one(*WIPE).stderr
    assert f"{one.folder / 'data'} is not of its making and stays" in told
    assert (one.folder / "data" / "PG_VERSION").exists()


@needs_root
def test_root_leaves_folders_to_the_user_whose_clone_it_is(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    made = private_folder(local_dir(tmp_path) / "access")
    for path in (made.parent, made, made.parent / ".gitignore"):
        assert path.stat().st_uid == 65534
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    make_folders(tmp_path / "sql" / "migrations")
    new.write(tmp_path / "sql" / "migrations" / "1_more.sql", b"")
    archive.write({"a": b"b"}, tmp_path / "build" / "lambda" / "a.zip")
    with shared.turns(tmp_path), scratch_server.alone(tmp_path, scratch_server.DRIFT):
        pass
    paths.opened(made / "log", os.O_WRONLY | os.O_CREAT)
    client = tmp_path / "client"
    (client / "lib").mkdir(parents=True)
    (client / "lib" / "a.py").touch()
    hand_over_whole(client)
    assert {str(path): path.stat().st_uid for path in tmp_path.rglob("*") if path.stat().st_uid != 65534} == {}


@pytest.mark.spread
@needs_root
@pytest.mark.parametrize("kind", ["link", "hard link"])
@pytest.mark.parametrize("name", ["data/postmaster.pid", "log", "lock", "extensions"])
def test_root_writes_through_no_link_that_another_user_planted(
    clones: Clones,
    somebody: User,
    theirs: Path,
    name: str,
    kind: str,
) -> None:
    clone = clones("clone", user=somebody)
    clone.ok("db.setup")
    clone.ok("db.down")
    clone.user = None  # and now root does
    victim = theirs / "notes.txt"
    victim.write_text("1\nfirst line\n", encoding="utf-8")
    victim.chmod(0o600)
    near = clone.root / "near"  # a hard link stays on its disk
    shutil.copy2(victim, near)
    planted = clone.folder / name
    if planted.exists():
        planted.unlink()
    if name == "extensions":
        planted.symlink_to(theirs)
    elif kind == "link":
        planted.symlink_to(victim)
    else:
        os.link(near, planted)
    before, beside = tree(theirs), (near.read_bytes(), near.stat().st_mode, near.stat().st_uid)
    done = clone("db.setup")
    assert "Traceback" not in done.stderr
    if name != "extensions":
        assert done.returncode == 1, done.stderr
        assert f"{planted} is a link or not ours: nothing was written to it" in done.stderr
    assert tree(theirs) == before
    assert (near.read_bytes(), near.stat().st_mode, near.stat().st_uid) == beside
    assert clone(*WIPE).returncode == (1 if name == "lock" else 0)
    assert tree(theirs) == before


def test_the_log_is_its_owners_alone(one: Clone) -> None:
    one.umask = 0o022
    one.ok("db.setup")
    log = one.home / "log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.chmod(0o644)
    one.ok("db.down")
    one.ok("db.up")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_folder_of_the_suite_writes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / ".gitignore").symlink_to(tmp_path / "made")
    local_dir(tmp_path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("task", ["lambda.layer", "sandbox.up", "sandbox.down"])
def test_other_folders_of_the_suite_are_no_links_either(inv: Cli, theirs: Path, task: str) -> None:
    before = tree(theirs)
    local = local_dir(inv.root)
    path = local / task.partition(".")[0]
    path.symlink_to(theirs)
    done = inv(task)
    assert (done.returncode, f"{path} is a link" in done.stderr) == (1, True), done.stderr
    assert tree(theirs) == before


def test_the_sandbox_takes_only_its_own_away(inv: Cli) -> None:
    home = inv.root / ".local" / "sandbox"
    assert inv("sandbox.up", timeout=120).returncode == 0
    log = home / "log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    for path in (home / "notes", home / "instances" / "notes"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine", encoding="utf-8")
    done = inv("sandbox.down", timeout=120)
    assert done.returncode == 0, done.stderr
    for path in (home / "notes", home / "instances" / "notes"):
        assert f"{path} is not of its making and stays" in done.stderr
    assert sorted(str(p.relative_to(home)) for p in home.rglob("*")) == ["instances", "instances/notes", "notes"]
    assert inv("sandbox.down").returncode == 0


def test_a_removal_follows_no_link(tmp_path: Path, theirs: Path) -> None:
    before = tree(theirs)
    folder = tmp_path / "ours"
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "data" / "deep" / "away").symlink_to(theirs)
    (folder / "server.json").symlink_to(theirs / "server.json")
    (folder / "log").symlink_to(theirs)
    assert own_files.remove(folder, ("data", "server.*", "log")) == []
    assert list(folder.iterdir()) == []
    assert tree(theirs) == before
    (tmp_path / "link").symlink_to(theirs)
    with pytest.raises(Problem, match="is a link"):
        own_files.remove(tmp_path / "link", ("*",))
    assert tree(theirs) == before


def test_what_a_killed_runs_program_still_writes_goes_too(tmp_path: Path) -> None:
    """As its initdb does, into the folder that is being removed."""
    folder = tmp_path / "data.new.x"
    (folder / "deep").mkdir(parents=True)
    lines = "import time; over = time.monotonic() + 1\nwhile time.monotonic() < over: open(f'{time.monotonic_ns()}', 'w').close()"
    writers = [
        subprocess.Popen([sys.executable, "-c", lines], cwd=cwd, stderr=subprocess.DEVNULL)
        for cwd in (folder, folder / "deep", folder / "deep")
    ]
    while len(list((folder / "deep").iterdir())) < 100:
        time.sleep(0.01)
    assert own_files.remove(tmp_path, ("data.new*",)) == []
    for writer in writers:
        writer.wait()
    assert list(tmp_path.iterdir()) == []


def test_a_wipe_of_nothing_is_one(tmp_path: Path) -> None:
    assert server.remove_data(tmp_path) == []


@pytest.mark.parametrize("kind", ["link", "hard link", "link to nowhere", "link to a device", "fifo", "folder"])
def test_what_is_no_file_of_ours_is_not_read_nor_closed_to_others(configure: Configure, root: Path, kind: str) -> None:
    """By what a look at a target reads, and by what else reads a text there: `read` closes what it has opened to others."""
    theirs, local = root / "passwd", local_dir(root)
    theirs.write_text("[]")
    theirs.chmod(0o644)
    for name in ("prod.json", "workspace", "a.log"):
        match kind:
            case "link":
                (local / name).symlink_to(theirs)
            case "hard link":
                (local / name).hardlink_to(theirs)
            case "link to nowhere":
                (local / name).symlink_to(root / "nowhere")
            case "link to a device":
                (local / name).symlink_to("/dev/zero")
            case "fifo":
                os.mkfifo(local / name)
            case _:
                (local / name).mkdir()
    with pytest.raises(Problem, match=r"prod\.json: it is a link, or no file of ours: remove it"):
        identity.seen(root)
    assert (allow.workspace(configure()) == "") is (kind != "link to nowhere")  # in whose place a new one is put
    assert shared.Standing(root, shared.Open(1, 1, "a", "prod")).said() == ""
    assert (theirs.read_text(), theirs.stat().st_mode & 0o777) == ("[]", 0o644)
    assert not (root / "nowhere").exists()


@pytest.mark.parametrize("pid", [-1, 0, 1, True, 2**70, "5", "this one", "a stranger"])
def test_no_process_is_ended_that_a_crafted_file_names(root: Path, pid: object) -> None:
    """kill(-1) would be each process of the user, kill(0) and killpg(0) all of this group, killpg(1) as kill(-1)."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    pid = {"this one": os.getpid(), "a stranger": stranger.pid}.get(str(pid), pid)
    home = local_dir(root) / "sandbox"
    home.mkdir()
    (home / "state.json").write_text(json.dumps({"pid": pid, "aws_port": 1, "port": 2}))
    entry = {"port": 1, "pid": pid, "mark": "inv-tunnel-0123456789abcdef", "target": "prod"}
    (root / ".local" / "tunnels.json").write_text(json.dumps({"ssh://a": entry}))
    try:
        assert shared.stop(root) == []
        assert shared.read(root) == {}
        with (home / gate.SERVING).open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # as a sandbox that serves does
            if pid in (os.getpid(), stranger.pid):
                with pytest.raises(Problem, match=r"state\.json names process \d+, which is not the sandbox's"):
                    lifecycle.end(home)
            else:
                lifecycle.end(home)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_the_sandboxs_lock_is_no_link(root: Path, kind: str) -> None:
    home = local_dir(root) / "sandbox"
    home.mkdir()
    if kind == "fifo":
        os.mkfifo(home / gate.SERVING)
    else:
        (home / gate.SERVING).symlink_to(root / "elsewhere")
    with pytest.raises(Problem, match=r"serving is a link or not ours"):
        lifecycle.serving(home)
    assert not (root / "elsewhere").exists()


def test_a_special_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(Problem, match="not ours"):
        own_files.log(tmp_path / "log")


def test_a_temporary_folder_of_a_run_that_was_killed_goes_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that another run still has is locked; one that is new may only be about to be."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with own_files.temporary("inv-it-") as held:
        killed, new, link, other = (tmp_path / name for name in ("inv-it-killed", "inv-it-new", "inv-it-link", "other"))
        for path in (killed, new, other):
            path.mkdir()
            (path / "file").touch()
        link.symlink_to(other)
        for path in (held, killed):
            os.utime(path, (0, 0))
        with own_files.temporary("inv-it-") as mine:
            assert mine.stat().st_mode & 0o777 == 0o700
            assert set(tmp_path.iterdir()) == {held, new, link, other, mine}
            assert (other / "file").exists()
    assert set(tmp_path.iterdir()) == {new, link, other}
