"""The packaged function under AWS's runtime client: what it answers, and every way in which it cannot."""

from __future__ import annotations

import json
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from config.settings import Settings, load
from functions.post_confirmation import handler
from ops.errors import Misconfigured, Problem
from ops.lambdas import local, runtime_api
from ops.lambdas.package import archive, function_code, interpreters, uv
from ops.lambdas.runtime_api import Sandbox
from tests.fix_cli import lines_of
from tests.fix_people import Users, event

RUNNING = interpreters.RUNNING
PATIENT = 60.0
"""Seconds for a sandbox where the clock is not what is tested: a busy machine may take long to start one."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose .local/lambda holds AWS's client, fetched once."""
    root = tmp_path_factory.mktemp("a repository")
    (root / ".local").mkdir()
    (root / ".local" / "rds-ca.pem").write_text("none")
    return root


@pytest.fixture
def here(shared: Path) -> Settings:
    return load({}, {}, shared)


@pytest.fixture(scope="session")
def parts(shared: Path) -> local.Parts:
    return local.prepare(load({}, {}, shared), RUNNING, "x86_64")


Other = Callable[[str], local.Parts]


@pytest.fixture
def other(parts: local.Parts, tmp_path: Path) -> Other:
    """Parts with another function in the place of ours."""

    def made(code: str) -> local.Parts:
        files = {"post_confirmation/__init__.py": b"", "post_confirmation/handler.py": code.encode()}
        return replace(parts, function=archive.write(files, tmp_path / "function.zip"))

    return made


def log(answer: runtime_api.Answer) -> dict[str, Any]:
    [line] = answer.logs
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def heard(client: socket.socket) -> bytes:
    """Return what comes first; nothing from one that hangs up."""
    try:
        return client.recv(1000)
    except ConnectionError:
        return b""


def test_nobody_but_its_process_is_handed_an_event_or_believed(other: Other) -> None:
    """Not a page, nor another user of the machine, who can find the port."""
    code = "def handler(event, context):\n    import time; time.sleep(1)\n    return event\n"
    with closing(Sandbox(other(code), {}, PATIENT)) as sandbox:
        assert sandbox.invoke({"mine": 0}).returned == {"mine": 0}
        waiting = threading.Thread(target=lambda: answers.append(sandbox.invoke({"mine": 1}).returned))
        answers: list[Any] = []
        waiting.start()
        for method, path in (("GET", "invocation/next"), ("POST", "invocation/x/response"), ("POST", "init/error")):
            body = b'{"theirs": 1}' if method == "POST" else b""
            with socket.create_connection(("127.0.0.1", sandbox.api.server_port), timeout=5) as client:
                client.sendall(
                    f"{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                assert heard(client) == b""
        waiting.join(PATIENT)
        assert answers == [{"mine": 1}]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_packaged_function_stores_who_signs_up(
    here: Settings, users: Users, python: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = local.invoke(here, python, "x86_64", event(1), {"CONNECTION_URL": users.url})
    assert answer.returned == event(1)
    assert log(answer)["outcome"] == "inserted"
    assert [row["handle"] for row in users.rows()] == ["handle1"]
    said = lines_of(capsys.readouterr().err)
    # what this machine has not, it says
    assert said == [] if interpreters.find(python) else f"has no Python {python}" in said[0]


@pytest.mark.parametrize("path", sorted(function_code.EVENTS.glob("*.json")), ids=lambda path: path.stem)
def test_each_sample_event_goes_through(parts: local.Parts, users: Users, path: Path) -> None:
    sample = json.loads(path.read_text(encoding="utf-8"))
    with closing(Sandbox(parts, {"CONNECTION_URL": users.url}, PATIENT)) as sandbox:
        assert sandbox.invoke(sample).returned == sample
    assert len(users.rows()) == (path.stem != "forgot-password")


@pytest.mark.parametrize(
    ("python", "architecture", "said"),
    [("3.6", "x86_64", "has no Python 3.6"), (RUNNING, "arm64", "is not Linux on arm64")],
)
def test_where_the_target_cannot_run_the_running_python_does_and_it_is_said(
    here: Settings,
    users: Users,
    python: str,
    architecture: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if said.startswith("is not") and interpreters.fits(architecture):
        architecture, said = "x86_64", "is not Linux on x86_64"
    monkeypatch.setenv("PATH", str(tmp_path))  # no other Python is found
    answer = local.invoke(here, python, architecture, event(1), {"CONNECTION_URL": users.url})
    assert log(answer)["outcome"] == "inserted"
    assert lines_of(capsys.readouterr().err) == [
        f"note: this machine {said}: the layer is built for its own Python {RUNNING} instead"
    ]


@pytest.mark.parametrize(
    ("python", "architecture", "said"),
    [
        ("banana", "x86_64", r"no Python banana: set lambda\.python to one of .*3\.13"),
        (RUNNING, "arm", r"no architecture arm: set lambda\.architecture to x86_64 or arm64"),
    ],
)
def test_a_target_that_lambda_has_not_is_a_line(here: Settings, python: str, architecture: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        local.prepare(here, python, architecture)


def test_nothing_that_is_installed_here_stands_in_for_the_layer(
    parts: local.Parts, users: Users, tmp_path: Path
) -> None:
    empty = replace(parts, layer=archive.write({"python/nothing.txt": b""}, tmp_path / "layer.zip"))
    with closing(Sandbox(empty, {"CONNECTION_URL": users.url}, PATIENT)) as sandbox:
        answer = sandbox.invoke(event(1))
    assert log(answer)["reason"] == "the layer brings no psycopg for this Python and processor"
    assert answer.returned == event(1)


def test_roots_are_packaged_where_the_database_is_on_rds(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[bool] = []
    real = local.prepare

    def seen(*arguments: Any, rds: bool) -> local.Parts:
        wanted.append(rds)
        return real(*arguments, rds=rds)

    monkeypatch.setattr(local, "prepare", seen)
    for host in ("nobody.rds.amazonaws.com", "127.0.0.1"):
        url = {"CONNECTION_URL": f"postgresql://me:x@{host}:1/cruddur"}
        local.invoke(here, RUNNING, "x86_64", event(1, "PostConfirmation_ConfirmForgotPassword"), url)
        with zipfile.ZipFile(here.root / ".local" / "lambda" / "function.zip") as opened:
            names = opened.namelist()
        assert ("post_confirmation/rds-ca.pem" in names) == wanted[-1] == host.endswith("amazonaws.com")


def test_a_sandbox_keeps_its_connection_between_events(parts: local.Parts, users: Users) -> None:
    with closing(Sandbox(parts, {"CONNECTION_URL": users.url}, PATIENT)) as sandbox:
        first = sandbox.invoke(event(1))
        assert sandbox.process is not None
        pid = sandbox.process.pid
        sessions = f"select array_agg(pid) from pg_stat_activity where usename = '{users.role}'"
        session = users.database.scalar(sessions)
        answers = [sandbox.invoke(event(number)) for number in range(2, 12)]
        assert sandbox.process.pid == pid
        assert users.database.scalar(sessions) == session
    assert sorted(answer.seconds for answer in answers)[5] < first.seconds
    assert len(users.rows()) == 11


def test_what_the_function_is_told_is_lambdas(other: Other) -> None:
    code = (
        "import os, sys\n"
        "def handler(event, context):\n"
        "    return {'left': context.get_remaining_time_in_millis(), 'name': context.function_name,\n"
        "            'env': dict(os.environ), 'cwd': os.getcwd(), 'path': sys.path[0]}\n"
    )
    with closing(Sandbox(other(code), {"CONNECTION_URL": "x"})) as sandbox:
        told = sandbox.invoke({}).returned
    assert 3000 < told["left"] <= 5000
    assert told["name"] == "cruddur-post-confirmation"
    assert told["cwd"] == told["env"]["LAMBDA_TASK_ROOT"]
    assert told["env"]["CONNECTION_URL"] == "x"
    assert told["env"]["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert "HOME" not in told["env"]


def test_name_memory_and_time_are_those_of_the_settings(shared: Path, other: Other) -> None:
    code = (
        "def handler(event, context):\n"
        "    return [context.function_name, context.invoked_function_arn, context.memory_limit_in_mb]\n"
    )
    config = {"function": "mine", "memory_mb": "512", "timeout_seconds": "4"}
    mine = local.prepare(load({"lambda": config}, {}, shared), RUNNING, "x86_64")
    assert mine.seconds == 4
    assert local.prepare(load({"lambda": {"timeout_seconds": "30"}}, {}, shared), RUNNING, "x86_64").seconds == 5
    with closing(Sandbox(replace(mine, function=other(code).function), {})) as sandbox:
        told = sandbox.invoke({}).returned
    assert told == ["mine", "arn:aws:lambda:local:000000000000:function:mine", "512"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def handler(event, context): raise ValueError('no ' + event['x'])", "the function failed: ValueError: no 1"),
        ("import nothing_like_it", "Runtime.ImportModuleError"),
        ("def handler(event, context", "Runtime.UserCodeSyntaxError"),
        ("x = 1", "Runtime.HandlerNotFound"),
        ("def handler(event, context): return object()", "Runtime.MarshalError"),
        ("import os\ndef handler(event, context): os._exit(7)", "the function's process ended with 7"),
        ("import os\nos.abort()", "the function's process ended with -6"),
        ("import time\ndef handler(event, context): time.sleep(60)", "did not answer within 1 s, the fewer of"),
        ("import time\ntime.sleep(60)", "did not answer within 1 s, the fewer of"),
    ],
)
def test_a_function_that_fails_is_a_line_and_leaves_nothing_running(other: Other, code: str, said: str) -> None:
    seconds = 1.0 if "within" in said else PATIENT
    with closing(Sandbox(other(code), {}, seconds)) as sandbox:
        begun = time.monotonic()
        with pytest.raises(Problem, match=said):
            sandbox.invoke({"x": "1"})
        assert time.monotonic() - begun < seconds + 3
        assert sandbox.process is None
        folder = sandbox.folder
    assert not folder.exists()
    running = [
        child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE
    ]  # of other tests
    assert not [child for child in running if "awslambdaric" in " ".join(child.cmdline())]


def test_after_a_failure_the_next_event_starts_another_sandbox(other: Other) -> None:
    code = (
        "import os, time\n"
        "def handler(event, context):\n"
        "    print('got', event)\n"
        "    if event == 'end': os._exit(3)\n"
        "    if event == 'raise': raise RuntimeError('as told')\n"
        "    if event == 'hang': time.sleep(60)\n"
        "    return event\n"
    )
    with closing(Sandbox(other(code), {}, PATIENT)) as sandbox:
        for number, word in enumerate(["end", "hang", "raise", "end"]):
            sandbox.seconds = PATIENT
            assert sandbox.invoke(number).returned == number
            sandbox.seconds = 1.5 if word == "hang" else PATIENT
            with pytest.raises(Problem) as raised:
                sandbox.invoke(word)
            assert f"got {word}" in str(raised.value)
            assert f"got {number}" not in str(raised.value)
        sandbox.seconds = PATIENT
        answer = sandbox.invoke("last")
        assert (answer.returned, answer.logs) == ("last", ("got last",))


def test_a_surrogate_that_json_can_tell_comes_back(parts: local.Parts, users: Users) -> None:
    sent = event(1, name="\ud800 x", preferred_username="y\udfff")
    with closing(Sandbox(parts, {"CONNECTION_URL": users.url}, PATIENT)) as sandbox:
        assert sandbox.invoke(sent).returned == sent
    assert [row["display_name"] for row in users.rows()] == ["? x"]


def test_the_client_is_fetched_once_and_by_one_of_two_runs(
    here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = interpreters.running()
    first = local.client(tmp_path, python, RUNNING)
    assert (first / "awslambdaric" / "bootstrap.py").exists()
    real = uv.install
    monkeypatch.setattr(uv, "install", lambda *_, **__: pytest.fail("fetched again"))
    assert local.client(tmp_path, python, RUNNING) == first

    def late(site: Path, *arguments: str, **options: Any) -> None:
        real(site, *arguments, **options)
        (tmp_path / "other" / f"{local.CLIENT}-{RUNNING}").mkdir()
        (tmp_path / "other" / f"{local.CLIENT}-{RUNNING}" / "theirs").touch()

    monkeypatch.setattr(uv, "install", late)
    (tmp_path / "other").mkdir()
    assert (local.client(tmp_path / "other", python, RUNNING) / "theirs").exists()
    assert len(list((tmp_path / "other").iterdir())) == 1


def test_a_client_that_cannot_be_fetched_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "CLIENT", "awslambdaric==0.0.0")
    with pytest.raises(Problem, match="AWS's runtime client for Python"):
        local.client(tmp_path, interpreters.running(), RUNNING)
    assert list(tmp_path.iterdir()) == []


def test_the_built_parts_lie_in_the_folder_that_git_ignores(here: Settings, parts: local.Parts) -> None:
    assert {parts.function.path.parent, parts.layer.path.parent, parts.client.parent} == {
        here.root / ".local" / "lambda"
    }
    assert (here.root / ".local" / ".gitignore").read_text() == "*\n"


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Whatever a sandbox started, it has ended."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while left := [t for t in threading.enumerate() if t not in before and not t.daemon]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_the_clock_is_cognitos() -> None:
    assert local.COGNITO == handler.COGNITO == 5.0
    assert function_code.SOURCE.name == function_code.HANDLER.split(".")[0]
