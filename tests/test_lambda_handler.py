"""The trigger: the event always comes back in Cognito's time, and the log tells what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.post_confirmation import handler
from ops.sandbox import certificates, tls_proxy
from tests import servers
from tests.fix_people import Users, event, person

EVENTS = sorted((Path(handler.__file__).parent / "events").glob("*.json"))
LOGGED = {"function", "outcome", "sub", "changed", "attempts", "ms"}


class Context:
    """Lambda's clock."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self.end - time.monotonic()) * 1000)


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> float:
    """More seconds to answer in than Lambda needs, so that a busy machine does not fail a test of the clock."""
    monkeypatch.setattr(handler, "MARGIN", 3.0)
    return 3.0


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the only line of the log."""
    [line] = capsys.readouterr().out.splitlines()
    assert line.isascii()
    made = json.loads(line)
    assert isinstance(made, dict)
    return made


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_each_sample_event_comes_back_as_it_was(function: Users, path: Path) -> None:
    sample = json.loads(path.read_text(encoding="utf-8"))
    given = copy.deepcopy(sample)
    for _ in range(3):
        assert handler.handler(sample, None) is sample
    assert sample == given
    subs = [row["cognito_user_id"] for row in function.rows()]
    assert subs == ([] if path.stem == "forgot-password" else [sample["request"]["userAttributes"]["sub"]])


def test_there_is_a_sample_of_each_kind() -> None:
    names = {path.stem for path in EVENTS}
    assert names == {"sign-up", "forgot-password", "federated", "phone-only", "unicode", "hostile"}


@pytest.mark.quick
def test_the_row_is_what_cognito_said(function: Users, capsys: pytest.CaptureFixture[str]) -> None:
    handler.handler(json.loads((Path(handler.__file__).parent / "events/hostile.json").read_text()), None)
    [row] = function.rows()
    assert row["display_name"] == "Robert'); drop table public.users; --"
    assert row["handle"] == "%s {} $1 \\ \" ' ? \u202e"
    assert row["email"] == '" or 1=1; --"@example.com'


def test_the_log_tells_what_became_of_it(function: Users, capsys: pytest.CaptureFixture[str]) -> None:
    handler.handler(event(1), Context(5))
    first = told(capsys)
    assert set(first) == LOGGED
    assert (first["outcome"], first["sub"], first["changed"], first["attempts"]) == (
        "inserted",
        person(1).cognito_user_id,
        [],
        1,
    )
    handler.handler(event(1), Context(5))
    again = told(capsys)
    assert (again["outcome"], again["attempts"]) == ("present", 1)
    handler.handler(event(2, preferred_username="handle1"), Context(5))
    assert told(capsys)["changed"] == ["handle"]


@pytest.mark.parametrize(
    "source",
    ["PostConfirmation_ConfirmForgotPassword", "PreSignUp_SignUp", "CustomMessage_SignUp", "", None, ["x"]],
)
def test_another_trigger_writes_and_says_nothing(
    function: Users, source: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = event(1, source)
    assert handler.handler(sent, Context(5)) is sent
    assert function.rows() == []
    assert capsys.readouterr().out == ""
    assert handler.database.connection is None


@pytest.mark.parametrize(
    ("sent", "error", "reason"),
    [
        (None, "TypeError", None),
        ([], "TypeError", None),
        ("text", "TypeError", None),
        (7, "TypeError", None),
        ({}, "KeyError", None),
        ({"triggerSource": handler.SIGN_UP}, "KeyError", None),
        ({"triggerSource": handler.SIGN_UP, "request": None}, "TypeError", None),
        ({"triggerSource": handler.SIGN_UP, "request": {"userAttributes": None}}, "AttributeError", None),
        ({"triggerSource": handler.SIGN_UP, "request": {"userAttributes": ["sub"]}}, "AttributeError", None),
        (event(1, sub=None), "Unusable", "no usable sub"),
        (event(1, sub=" "), "Unusable", "no usable sub"),
    ],
)
def test_what_is_no_sign_up_comes_back_and_is_counted(
    function: Users, sent: Any, error: str, reason: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert handler.handler(sent, Context(5)) is sent
    line = told(capsys)
    assert (line["outcome"], line["attempts"]) == ("failed", 0)
    assert (line["error"], line.get("reason")) == (error, reason)
    assert "@" not in json.dumps(line)
    assert function.rows() == []


SECRET = "s3cret"
FAILURES = {
    "wrong password": ("postgresql://{role}:s3cret@{at}/{db}", "password authentication failed"),
    "no such database": ("postgresql://{role}:s3cret%20word@{at}/s3cretdb?password=s3cret%20word", "does not exist"),
    "nothing listens": ("postgresql://u:s3cret@127.0.0.1:1/x", "Connection refused"),
    "unset": ("", "CONNECTION_URL is not set"),
    "no TLS": ("postgresql://u:s3cret@{at}/x?sslmode=require", "does not support SSL"),
}


@pytest.mark.quick
@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_one_line_without_anybodys_data(
    function: Users, slack: float, case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = function.database.server
    url, reason = FAILURES[case]
    url = url.format(role=function.role, at=f"{server.params['host']}:{server.port}", db=function.database.name)
    monkeypatch.setenv("CONNECTION_URL", url)
    sent = event(1, name="Mia Private", email="mia@example.com")
    context = Context(1 + slack)
    assert handler.handler(sent, context) is sent
    assert context.get_remaining_time_in_millis() > 0
    line = told(capsys)
    assert line["outcome"] == "failed"
    assert reason in line["reason"]
    text = json.dumps(line).replace("s3cretdb", "")  # the server names the database that it has not
    for secret in (SECRET, "Mia", "mia@", "handle1", "postgresql:", "@"):
        assert secret not in text


def test_a_refusal_by_the_table_is_told_without_the_value(function: Users, capsys: pytest.CaptureFixture[str]) -> None:
    function.database.do("alter table public.users add constraint polite check (display_name <> 'Mia Private')")
    handler.handler(event(1, name="Mia Private"), Context(3))
    line = told(capsys)
    assert (line["error"], line["sqlstate"]) == ("CheckViolation", "23514")
    assert "polite" in line["reason"]
    assert "Mia" not in json.dumps(line)
    function.database.do(
        "create function no() returns trigger language plpgsql as $$ begin raise 'not %', new.email; end $$;"
        "create trigger no before insert on public.users for each row execute function no()"
    )
    handler.handler(event(2), Context(3))
    line = told(capsys)
    assert (line["sqlstate"], line.get("reason")) == ("P0001", None)


def test_a_handle_that_cannot_be_made_anybodys_own_is_told(function: Users, capsys: pytest.CaptureFixture[str]) -> None:
    function.database.do("alter table public.users alter handle type varchar(1)")
    for number in (1, 2, 3):  # the second one's is the first character of a suffix, which the third one's is too
        capsys.readouterr()
        handler.handler(event(number, preferred_username="same"), Context(5))
    line = told(capsys)
    assert (line["outcome"], line["error"], line["sqlstate"]) == ("failed", "UniqueViolation", "23505")
    assert line["reason"] == "no handle was found that is free"


def backend(function: Users) -> int:
    assert handler.database.connection is not None
    return handler.database.connection.info.backend_pid


@pytest.mark.quick
def test_one_connection_serves_all_events_and_is_opened_anew_when_it_has_died(
    function: Users, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.handler(event(1), Context(5))
    first = backend(function)
    handler.handler(event(2), Context(5))
    assert backend(function) == first
    function.database.query(f"select pg_terminate_backend({first}, 5000)")
    capsys.readouterr()
    handler.handler(event(3), Context(5))
    line = told(capsys)
    assert (line["outcome"], line["attempts"]) == ("inserted", 2)
    assert backend(function) != first
    assert len(function.rows()) == 3


def test_a_server_that_hangs_does_not_outlast_cognito(
    function: Users, slack: float, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.handler(event(1), Context(5))
    pid = backend(function)
    mine = handler.database
    capsys.readouterr()
    os.kill(pid, signal.SIGSTOP)
    try:
        context, sent = Context(1.5 + slack), event(2)
        assert handler.handler(sent, context) is sent
        assert 0 < context.get_remaining_time_in_millis() < slack * 1000
        line = told(capsys)
        assert (line["outcome"], line["error"]) == ("failed", "TimeoutError")
        assert handler.handler(event(3), Context(5))["triggerSource"] == handler.SIGN_UP
        assert told(capsys)["outcome"] == "inserted"
    finally:
        os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 10
    while mine.connection is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert mine.connection is None
    handler.handler(event(2), Context(5))
    assert [row["handle"] for row in function.rows()] == ["handle1", "handle2", "handle3"]


def test_a_server_that_comes_back_in_time_is_waited_for(function: Users, capsys: pytest.CaptureFixture[str]) -> None:
    name = function.database.name
    function.database.do(f"alter database {name} allow_connections false", "postgres")

    def come_back() -> None:
        patience = time.monotonic() + 10
        while handler.database.attempts < 3 and time.monotonic() < patience:
            time.sleep(0.01)
        function.database.do(f"alter database {name} allow_connections true", "postgres")

    server = threading.Thread(target=come_back)
    server.start()
    handler.handler(event(1), Context(5))
    server.join()
    line = told(capsys)
    assert line["outcome"] == "inserted"
    assert line["attempts"] >= 3


@pytest.mark.parametrize("seconds", [2, 1, 0.5])
def test_a_locked_table_is_given_up_within_lambdas_time(
    function: Users, slack: float, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    with function.database.connect() as other, other.transaction():
        other.execute("lock table public.users in access exclusive mode")
        context, sent, begun = Context(seconds + slack), event(1), time.monotonic()
        assert handler.handler(sent, context) is sent
        elapsed = time.monotonic() - begun
        left = context.get_remaining_time_in_millis() / 1000
        assert 0 < left < slack + 0.2  # and not given up early either
    line = told(capsys)
    assert (line["outcome"], line["error"]) == ("failed", "QueryCanceled")
    assert seconds - 0.05 < line["ms"] / 1000 <= elapsed


@pytest.mark.parametrize(
    ("seconds", "spent", "allowed"),
    [
        (5, float("inf"), 4.5),
        (5, 1.0, 3.5),
        (5, 4.9, 0.1),
        (5, 5.0, 4.5),
        (3, 0.5, 2.5),
        (3, 3.0, 1.5),
        (0.2, 1.0, 0.1),
        (30, 9.0, 4.5),
    ],
)
def test_the_start_of_a_sandbox_is_taken_off_cognitos_clock(seconds: float, spent: float, allowed: float) -> None:
    assert handler.allowed(Context(seconds), spent) == pytest.approx(allowed, abs=0.01)
    assert handler.allowed(None, spent) == pytest.approx(
        allowed if seconds >= 5 else handler.allowed(Context(5), spent)
    )


def test_only_the_first_event_pays_for_the_start(
    function: Users, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONNECTION_URL", "postgresql://u@127.0.0.1:1/x")
    monkeypatch.setattr(handler, "starting", time.monotonic() - 2)
    spent: list[float] = []
    given: list[float] = []

    def seen(context: Any, since: float) -> float:
        spent.append(since)
        given.append(real(context, since))
        return given[-1]

    real = handler.allowed
    monkeypatch.setattr(handler, "allowed", seen)
    for _ in range(2):
        handler.handler(event(1), Context(5))
        # what is given is used up: the last attempt is as near to the end as the longest pause
        assert given[-1] - handler.LONGEST < told(capsys)["ms"] / 1000
    assert 2 + handler.COLD <= spent[0] < handler.COGNITO
    assert spent[1] == float("inf")
    assert given[0] == pytest.approx(handler.COGNITO - spent[0] - handler.MARGIN)
    assert given[1] > given[0] + 1


@pytest.mark.parametrize(
    ("url", "sslmode", "root"),
    [
        ("postgresql://u:p@db.abc.ca-central-1.rds.amazonaws.com/x", "verify-full", "rds-ca.pem"),
        ("postgresql://u:p@DB.abc.ca-central-1.RDS.amazonaws.com./x", "verify-full", "rds-ca.pem"),
        ("host=db.abc.ca-central-1.rds.amazonaws.com dbname=x", "verify-full", "rds-ca.pem"),
        ("postgres://u:p@db.rds.amazonaws.com/x?sslrootcert=/home/me/.local/ca.pem", "verify-full", "rds-ca.pem"),
        ("postgres://u:p@db.rds.amazonaws.com/x?sslmode=verify-ca", "verify-ca", "rds-ca.pem"),
        ("postgres://u:p@db.rds.amazonaws.com/x?sslmode=require", "require", None),
        ("postgres://u:p@db.proxy-abc.ca-central-1.rds.amazonaws.com/x?sslrootcert=system", "verify-full", "system"),
        ("postgres://u:p@db.rds.amazonaws.com/x?sslmode=require&sslrootcert=/home/me/ca.pem", "require", "ca.pem"),
        (f"postgres://u:p@db.rds.amazonaws.com/x?sslrootcert={__file__}", "verify-full", Path(__file__).name),
        ("postgres://u:p@db.rds.amazonaws.com/x?sslmode=", "verify-full", "rds-ca.pem"),
        ("postgres://u:p@rds.amazonaws.com.example.org/x", None, None),
        ("postgres://u:p@localhost/x?sslmode=verify-full&sslrootcert=/home/me/ca.pem", "verify-full", "ca.pem"),
        ("postgres://u:p@localhost/x", None, None),
        ("postgres:///x", None, None),
    ],
)
def test_tls_is_verified_in_full_where_the_url_leads_to_rds(url: str, sslmode: str | None, root: str | None) -> None:
    params = handler.parameters(url)
    assert params.get("sslmode") == sslmode
    assert handler.CERTIFICATES.parent == Path(handler.__file__).parent
    assert Path(params["sslrootcert"]).name == root if root else "sslrootcert" not in params


@contextlib.contextmanager
def tls(server: servers.Server, folder: Path) -> Iterator[int]:
    """Yield the port of a TLS door before a server, as RDS has."""
    ready: queue.SimpleQueue[tuple[int, Callable[[], object]]] = queue.SimpleQueue()

    async def route(_: str) -> tuple[str, int]:
        return "127.0.0.1", server.port

    async def serve() -> None:
        doors = await tls_proxy.listen(0, folder / "server.pem", route)
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        ready.put((doors.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(end.set)))
        await end.wait()
        doors.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, stop = ready.get()
    yield port
    stop()
    thread.join()


def test_the_shipped_certificates_are_what_rds_is_checked_against(
    function: Users, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "cruddur.abc.ca-central-1.rds.amazonaws.com"
    for folder in ("rds", "other"):
        (tmp_path / folder).mkdir()
        certificates.make(tmp_path / folder, name)
    with tls(function.database.server, tmp_path / "rds") as port:
        login = function.url.partition("@")[0]
        monkeypatch.setenv("CONNECTION_URL", f"{login}@{name}:{port}/{function.database.name}?hostaddr=127.0.0.1")
        for folder, outcome, reason in (
            ("other", "failed", "SSL error: certificate verify failed"),
            ("none", "failed", "root certificate file"),
            ("rds", "inserted", None),
        ):
            monkeypatch.setattr(handler, "CERTIFICATES", tmp_path / folder / "ca.pem")
            handler.handler(event(1), Context(2))
            line = told(capsys)
            assert (line["outcome"], line.get("reason")) == (outcome, reason)
        handler.database.close()


def test_a_layer_that_does_not_load_lets_users_in_and_says_so(tmp_path: Path) -> None:
    source = Path(handler.__file__).parent
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from post_confirmation.handler import handler;"
        "event = json.load(sys.stdin); assert handler(event, None) is event"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code, source.parent],
        input=json.dumps(event(1)),
        env={"CONNECTION_URL": "postgresql://u:p@127.0.0.1:1/x"},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )
    line = json.loads(done.stdout)
    assert (line["outcome"], line["reason"]) == ("failed", "the layer brings no psycopg for this Python and processor")


def test_replays_by_several_sandboxes_at_once_are_one_row(function: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Barrier(6)

    def sandbox() -> None:
        database = handler.Database()
        for number in range(20):
            gate.wait()
            assert database.within(person(number), time.monotonic() + 4)
        database.jobs.put(None)

    threads = [threading.Thread(target=sandbox) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(function.rows()) == 20
