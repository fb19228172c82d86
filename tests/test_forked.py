"""A call by a fork is what a start is: tests/forked.py makes the one or the other of `inv`, and a task sees no difference."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.env import commands
from tests import forked
from tests.fix_cli import copy_suite

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all are starts")

TASKS = """
import gc, json, locale, logging, os, random, resource, signal, sys, tempfile, threading, time, warnings
from invoke import Exit, task

def stream(it):
    facts = ("encoding", "errors", "line_buffering", "write_through", "newlines", "name", "mode")
    return [{name: getattr(it, name) for name in facts}, it.isatty(), it.seekable(), type(it.buffer).__name__]

def handler(number):
    found = signal.getsignal(number)
    return getattr(found, "__name__", str(found))

@task
def look(c):
    fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))
    import boto3, botocore.loaders, botocore.utils
    seen = {
        "argv": sys.argv, "path": sys.path, "flags": str(sys.flags), "executable": sys.executable,
        "options": [sys.warnoptions, sys._xoptions], "main": __import__("__main__").__name__,
        "cwd": os.getcwd(), "umask": os.umask(0), "fds": fds,
        "environ": {k: v for k, v in os.environ.items() if k != "TEST_INV"},
        "streams": [stream(sys.stdin), stream(sys.stdout), stream(sys.stderr)],
        "the same": [sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "signals": {n: handler(n) for n in range(1, 32) if n not in (signal.SIGKILL, signal.SIGSTOP)},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "group": os.getpgrp(), "session": os.getsid(0), "nice": os.nice(0),
        "limits": [resource.getrlimit(n) for n in range(8)],
        "logging": [logging.root.level, len(logging.root.handlers), len(logging.getLogger("invoke").handlers)],
        "threads": threading.active_count(), "garbage": [gc.isenabled(), gc.get_threshold(), gc.callbacks],
        "warnings": [str(each) for each in warnings.filters], "recursion": sys.getrecursionlimit(),
        "zone": time.tzname, "locale": locale.setlocale(locale.LC_ALL), "temporary": tempfile.tempdir,
        "home": [os.path.expanduser("~"), botocore.loaders.Loader.CUSTOMER_DATA_PATH, botocore.utils.JSONFileCache.CACHE_DIR],
        "session of boto3": boto3.DEFAULT_SESSION is None,
        "tracing": [sys.gettrace() is None, sys.getprofile() is None, sys.excepthook is sys.__excepthook__],
    }
    print(json.dumps(seen, default=str))

@task
def dice(c):
    print(random.random(), __import__("uuid").uuid4(), __import__("ssl").RAND_bytes(8).hex())

@task
def echo(c):
    sys.stdout.write(sys.stdin.read())
    sys.stderr.write("x" * 200_000)

@task
def end(c, how):
    if how == "exit":
        raise Exit("a line", code=3)
    if how == "status":
        sys.exit(4)
    if how == "bug":
        raise ValueError("a bug")
    if how == "at the end":
        import atexit
        atexit.register(print, "by atexit")
        threading.Thread(target=lambda: (time.sleep(0.1), print("by a thread"))).start()
    if how == "unwritten":
        os.close(1)
        print("nowhere")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)

@task
def parent(c):
    print(os.getppid())

@task
def wait(c):
    print("waiting", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


def environ(**more: str) -> dict[str, str]:
    return {name: value for name, value in {**os.environ, **more}.items() if not name.startswith("COVERAGE_")}


Done = subprocess.CompletedProcess[str]


def both(patch: pytest.MonkeyPatch, folder: Path, *args: str, input: str = "", **more: str) -> tuple[Done, Done]:
    """Return what a start has come to, and what a fork."""
    found = []
    for how in ("exec", "fork"):
        patch.setenv("TEST_INV", how)
        found.append(forked.run(args, cwd=folder, env=environ(**more), input=input, timeout=60))
    return found[0], found[1]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C.UTF-8", "TZ": "America/Montreal"},
        {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": "1"},
        {"PYTHONWARNINGS": "error::UserWarning", "PYTHONDONTWRITEBYTECODE": "1"},
        {"INVOKE_DEBUG": "1"},
    ],
    ids=str,
)
def test_a_task_finds_what_it_would_find_in_a_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    seen: list[dict[str, Any]] = [json.loads(done.stdout) for done in both(monkeypatch, folder, "look", **more)]
    assert seen[1] == seen[0]
    assert seen[1]["fds"] == [0, 1, 2]
    assert seen[1]["home"][1].startswith(f"{folder}/")


@pytest.mark.parametrize("how", ["nothing", "exit", "status", "bug", "at the end", "unwritten", "killed"])
def test_it_ends_as_a_start_does(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    start, fork = both(monkeypatch, folder, "end", how)
    assert fork.returncode == start.returncode
    assert fork.stdout == start.stdout
    assert fork.stderr.splitlines()[-1:] == start.stderr.splitlines()[-1:]


def test_what_goes_in_and_out_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "é\n" * 100_000
    for done in both(monkeypatch, folder, "echo", input=text):
        assert (done.returncode, done.stdout, len(done.stderr)) == (0, text, 200_000)


def test_no_two_calls_throw_the_same_dice(folder: Path) -> None:
    thrown = [forked.run(["dice"], cwd=folder, env=environ(), timeout=60).stdout.split() for _ in range(2)]
    assert not set(thrown[0]) & set(thrown[1])


def begin(folder: Path, **how: Any) -> subprocess.Popen[str]:
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return forked.start(["wait"], cwd=folder, env=environ(), **streams, **how)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_as_a_start(folder: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    codes = []
    for how in ("exec", "fork"):
        monkeypatch.setenv("TEST_INV", how)
        with begin(folder) as running:
            assert running.stdout
            assert running.stdout.readline() == "waiting\n"
            assert running.poll() is None
            running.send_signal(number)
            running.communicate(timeout=20)
            codes.append(running.returncode)
    assert codes[0] == codes[1]


def test_several_run_beside_each_other_and_each_is_told_its_own_end(folder: Path) -> None:
    with begin(folder) as one, begin(folder, start_new_session=True) as other:
        assert os.getpgid(one.pid) == os.getpgrp()
        assert other.stdout
        other.stdout.readline()
        assert os.getpgid(other.pid) == other.pid
        os.killpg(other.pid, signal.SIGTERM)
        assert other.wait(20) == -signal.SIGTERM
        assert one.poll() is None
        one.kill()
    assert one.returncode == -signal.SIGKILL


def test_one_that_takes_too_long_is_killed(folder: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run(["wait"], cwd=folder, env=environ(), timeout=0.5)


@pytest.mark.parametrize("how", ["TEST_INV=exec", "COVERAGE_PROCESS_CONFIG=x", "INVOKE_DEBUG=1"])
def test_a_start_where_one_is_wanted(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """By the variable, for coverage, and where what was imported would have come out otherwise."""
    assert isinstance(forked.server_for(environ()), forked.Server) or os.environ.get("TEST_INV") == "exec"
    name, _, value = how.partition("=")
    monkeypatch.setenv(name, value)
    assert forked.server_for(os.environ) is None


KEEPS_HOME = """
import gc, importlib, os, sys
sys.path.insert(0, sys.argv[1])
import fork_server
for name in fork_server.PRELOADED:
    importlib.import_module(name)
fork_server.put_in(fork_server.made_of(os.environ["HOME"]), os.environ["HOME"], "")
for each in gc.get_objects():
    if isinstance(each, (dict, list, tuple, set, frozenset)) and each is not os.environ._data:
        for value in list(each.values()) if isinstance(each, dict) else list(each):
            if isinstance(value, (str, bytes)) and os.environ["HOME"] in str(value):
                print(type(each), value)
"""


def test_nothing_of_the_servers_own_home_is_kept_but_what_each_call_has_replaced() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KEEPS_HOME, str(forked.SERVER.parent)],
        env=environ(HOME=forked.HOME),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""


OURS = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import fork_server

if sys.argv[2] == "moved":
    ours = fork_server.read_ours()
    os.chdir(sys.argv[3] + "/sql")
    there = fork_server.folder_of(["inv"], {})
    assert ours.is_in(there)
    ours.move(there)
else:
    fork_server.SUITE = fork_server.Path(sys.argv[3])
    fork_server.read_ours()
print(json.dumps(sorted([getattr(o, "__qualname__", o.__name__), n, str(v)] for o, n, v in fork_server.made_of(sys.argv[4], fork_server.OURS))))
"""


def test_what_is_imported_for_copies_is_what_a_copy_imports(tmp_path: Path) -> None:
    """Also where it keeps its own folder: in modules, in classes, and as the defaults of functions."""
    copy = copy_suite(tmp_path / "copy")
    suite = forked.SERVER.parent.parent

    def ours(how: str, of: Path) -> list[list[str]]:
        argv = [sys.executable, "-c", OURS, str(forked.SERVER.parent), how, str(copy), str(of)]
        done = subprocess.run(argv, env=environ(), capture_output=True, text=True, check=True)
        found: list[list[str]] = json.loads(done.stdout)
        return found

    assert ours("moved", copy) == ours("read", copy) != []
    assert ours("moved", suite) == []


@pytest.mark.parametrize("below", [".", "sql"])
def test_a_copy_that_was_changed_reads_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    copy = copy_suite(tmp_path / "copy")
    start, fork = both(monkeypatch, copy / below, "--list")
    assert fork.stdout == start.stdout
    path = copy / "ops" / "env" / "commands.py"
    words = str(inspect.getdoc(commands.show)).partition("\n")[0]
    path.write_text(path.read_text().replace(words, words.swapcase()))
    start, fork = both(monkeypatch, copy / below, "--list")
    assert fork.stdout == start.stdout
    assert words.swapcase().rstrip(".") in fork.stdout
    path.unlink()
    start, fork = both(monkeypatch, copy / below, "--list")
    assert (fork.returncode, start.returncode) == (1, 1)
    assert fork.stderr.splitlines()[-1] == start.stderr.splitlines()[-1]


def in_shell(folder: Path, text: str, **more: str) -> Done:
    env = environ(**more)
    env["PATH"] = forked.path_of(text, env)
    return subprocess.run(
        ["bash", "-c", text], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def both_in_shell(patch: pytest.MonkeyPatch, folder: Path, text: str, **more: str) -> tuple[Done, Done]:
    found = []
    for how in ("exec", "fork"):
        patch.setenv("TEST_INV", how)
        found.append(in_shell(folder, text, **more))
    return found[0], found[1]


@pytest.mark.parametrize("text", ["inv look; true", "umask 027; cd /; inv -r $HOME look; true", "X=y inv look; true"])
def test_a_shells_inv_finds_what_it_would_find_in_a_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    seen: list[dict[str, Any]] = [json.loads(done.stdout) for done in both_in_shell(monkeypatch, folder, text)]
    for name in ("PATH", "_"):
        assert str(forked.INV.parent) in seen[1]["environ"].pop(name) or name == "_"
        del seen[0]["environ"][name]
    assert seen[1] == seen[0]


@pytest.mark.parametrize(
    ("text", "is_fork"),
    [
        ("inv parent; true", True),
        ("inv parent | cat; true", True),
        ("exec 5>/dev/null; inv parent; true", False),
        ("inv parent & wait", False),  # where a shell has it ignore an interrupt
        ("TZ=Asia/Tokyo inv parent; true", False),
        ("INVOKE_DEBUG=1 inv parent; true", False),
        ("setsid -w inv parent; true", False),
    ],
)
def test_a_shells_inv_is_a_fork_where_that_makes_no_difference(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_fork: bool
) -> None:
    monkeypatch.setenv("TEST_INV", "fork")
    server = forked.server_for(environ())
    assert server
    done = in_shell(folder, text)
    assert (int(done.stdout) == server.process.pid) == is_fork, done.stderr


@pytest.mark.parametrize("how", ["nothing", "exit", "status", "bug", "at the end", "unwritten", "killed"])
def test_a_shells_inv_ends_as_a_start_does(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    start, fork = both_in_shell(monkeypatch, folder, f"inv end {how!r}; echo $?")
    assert fork.stdout == start.stdout


@pytest.mark.parametrize("number", ["TERM", "INT", "HUP"])
def test_a_signal_that_a_shell_sends_reaches_it(folder: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    begun = "set -m; rm -f out; inv wait > out 2>&1 & until [ -s out ]; do sleep 0.02; done"
    start, fork = both_in_shell(monkeypatch, folder, f"{begun}; kill -{number} $!; wait $!; echo $?")
    assert fork.stdout == start.stdout != ""


@pytest.mark.skipif(not forked.AWS.exists(), reason="the AWS command line is not installed")
@pytest.mark.parametrize("text", ["aws --version", "aws configure list", "aws sts get-caller-identity", "aws nonsense"])
def test_a_shells_aws_answers_as_a_start_does(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    start, fork = both_in_shell(monkeypatch, folder, f"{text}; echo $?")
    assert (fork.stdout, fork.stderr) == (start.stdout, start.stderr)
