"""AWS for the tests: moto behind a front that records every call and can cut the connection to it.

What moto imitates badly (states, refusals, the managed secret) is not tested
with it but with botocore's Stubber, or by an answer that the front gives itself.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import boto3
import pytest
from botocore.stub import Stubber
from invoke.exceptions import Exit
from werkzeug.serving import WSGIRequestHandler, make_server

from config.settings import Settings, load
from ops.aws import Aws
from ops.cli import translate
from ops.cloud.clock import Clock
from ops.cloud.facts import Row
from ops.console import say
from tests import fork_server

fork_server.share_models()

READS = ("Describe", "Get", "List", "Filter", "Download", "GET ")
REGION = "ca-central-1"
LOGIN = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}


@dataclass(frozen=True)
class Call:
    """One request as it came over the wire."""

    action: str
    params: dict[str, str]
    body: bytes = field(default=b"", compare=False, repr=False)
    query: str = field(default="", compare=False, repr=False)

    @property
    def writes(self) -> bool:
        return not self.action.startswith(READS)


Answer = tuple[str, bytes]
"""An HTTP status line and a body that takes the place of moto's answer."""
DROPPED: Answer = ("", b"")
"""The connection ends before any answer."""


@dataclass
class Front:
    """A WSGI application before moto's."""

    app: Callable[..., Iterable[bytes]]
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    before: Callable[[Call], Answer | None] = lambda _: None
    """May answer instead of moto: the call is not carried out."""
    clients: dict[str, Any] = field(default_factory=dict)
    """Making a client takes longer than most tests."""
    after: Callable[[Call], Answer | None] = lambda _: None
    """May answer after moto has carried the call out: its own answer is lost."""

    @property
    def writes(self) -> list[str]:
        return [call.action for call in self.calls if call.writes]

    def forget(self) -> None:
        self.calls.clear()

    def reset(self) -> None:
        """Start from an empty AWS, with nothing recorded and nothing cut."""
        from moto.moto_api._internal.models import moto_api_backend

        moto_api_backend.reset()
        self.calls.clear()
        self.mend()

    def mend(self) -> None:
        """Let every call through, as after a cut."""
        self.before = self.after = lambda _: None

    def cut(self, number: int, how: str) -> Callable[[], bool]:
        """Cut a run at its write of this number; return what tells whether it came so far."""
        writes: list[str] = []

        def before(call: Call) -> Answer | None:
            if call.writes:
                writes.append(call.action)
            if len(writes) < number:
                return None
            if how == "throttled":
                return error("Throttling")
            if how == "before" and call.writes:
                return error("InternalFailure", "500 Internal Server Error")
            if how == "expired" and (len(writes) > number or not call.writes):
                return error("ExpiredToken", "403 Forbidden")
            return None

        def after(call: Call) -> Answer | None:
            lost = how in ("lost", "dropped") and call.writes and len(writes) == number
            if lost and how == "dropped":
                return DROPPED
            return error("InternalFailure", "503 Service Unavailable") if lost else None

        self.before, self.after = before, after
        return lambda: len(writes) >= number

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        call = recorded(environ, body)
        self.calls.append(call)
        if refused := self.before(call):
            return answered(refused, start)
        if call.action == "GetProducts":  # moto has no price list, and fails at the name of the service
            return answered(json_error("UnknownOperationException"), start)
        from ops.sandbox import clusters

        if refusal := clusters.refusal({"Action": call.action, **call.params}):
            return answered(error(refusal), start)
        begun: list[Any] = []
        sent = list(self.app(environ, lambda *args: begun.extend(args)))
        if "DBCluster" in call.action and call.writes:
            clusters.settle({"Action": call.action, **call.params})
        if call.action.endswith(("DBInstance", "ReadReplica")) and call.writes:
            from ops.sandbox import instances, replicas

            replicas.settle(instances.databases())
        if lost := self.after(call):
            if lost == DROPPED:
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionResetError
            return answered(lost, start)
        start(*begun)
        return sent

    def aws(self, settings: Settings, **_: object) -> Aws:
        """Return an `Aws` with clients that all tests share."""
        aws = Aws(settings, tell=say)
        aws._clients = self.clients
        return aws


class Killed(BaseException):
    """The process ends here."""


def outcome(act: Callable[[], object]) -> Exit | None:
    """Return the exit that a run ends with where it fails: a traceback would come out here."""
    try:
        act()
    except Killed:
        return Exit("killed", code=137)
    except Exception as failed:
        exit = translate(failed)
        if exit is None:
            raise
        assert "\n" not in str(exit.message)
        return exit
    return None


def recorded(environ: dict[str, Any], body: bytes) -> Call:
    params = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    path = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"  # Lambda has no other name for a call, nor Scheduler
    query = environ.get("QUERY_STRING", "")
    params |= parse_qsl(query)
    return Call(params.pop("Action", "") or target.rpartition(".")[2] or path, params, body, query)


def answered(answer: Answer, start: Callable[..., Any]) -> list[bytes]:
    status, body = answer
    start(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
    return [body]


def error(code: str, status: str = "400 Bad Request") -> Answer:
    """Return a refusal as RDS and EC2 word it; each reads its own part."""
    text = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>said {code}</Message></Error></Errors>"
        f"<Error><Code>{code}</Code><Message>said {code}</Message></Error></Response>"
    )
    return status, text.encode()


def json_error(code: str, message: str = "", status: str = "400 Bad Request") -> Answer:
    """Return a refusal as Cognito and CloudWatch word it, and Lambda where its code is in the text."""
    return status, json.dumps({"__type": code, "code": code, "message": message or f"said {code}"}).encode()


def said_first(cloud: Front, capsys: pytest.CaptureFixture[str], act: Callable[[], object]) -> str:
    """Return what an act has said by its first write to AWS; what it says later is left to be read."""
    before = cloud.before
    said: list[str] = []

    def listen(call: Call) -> Answer | None:
        if call.writes and not said:
            said.append(capsys.readouterr().err)
        return before(call)

    cloud.before = listen
    act()
    cloud.before = before
    return said[0]


class Quiet(WSGIRequestHandler):
    def log(self, *args: Any) -> None:
        """Say nothing: the calls are recorded."""


@pytest.fixture(scope="session")
def read_once() -> Iterator[None]:
    """Have what botocore brings about AWS read once for all sessions, and no images made of which no test asks for any."""
    import botocore.session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        yield


@pytest.fixture(scope="session")
def front(read_once: None) -> Iterator[Front]:
    """moto on a free port of this machine, for all tests of this process."""
    pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from ops.sandbox import express, functions, proxies

    class Application(DomainDispatcherApplication):
        """moto's, which looks through its folders on each call for what a host is."""

        @functools.cache  # noqa: B019 - there is one for all tests
        def get_backend_for_host(self, host: str | None) -> Any:
            return super().get_backend_for_host(host)

    proxies.mend()
    functions.mend()
    express.mend(5432)
    made = Front(Application(create_backend_app))
    server = make_server("127.0.0.1", 0, made, threaded=True, request_handler=Quiet)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cloud(front: Front, monkeypatch: pytest.MonkeyPatch) -> Front:
    """An empty AWS, with the login to it in the environment."""
    front.reset()
    for name, value in {**LOGIN, "AWS_ENDPOINT_URL": front.url, "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    return front


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this thread's pauses between tries pass at once; what looks at its waits beside it keeps its own, else it would spin."""
    sleep, here = time.sleep, threading.current_thread()
    monkeypatch.setattr("time.sleep", lambda seconds: None if threading.current_thread() is here else sleep(seconds))


@dataclass
class Hands:
    """A clock that is moved by sleeping, and by nothing else."""

    time: float = 0.0
    slept: list[float] = field(default_factory=list)
    then: Callable[[float], None] = lambda _: None
    """What happens while one sleeps."""

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        self.then(self.time)

    @property
    def clock(self) -> Clock:
        return Clock(self.monotonic, self.sleep)


@pytest.fixture
def hands() -> Hands:
    return Hands()


Configure = Callable[..., Settings]


@dataclass
class OnInstances:
    """moto's instances, and what tasks are given that work on them."""

    cloud: Front
    configure: Configure
    hands: Hands
    config: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return self.configure(self.config, **self.environ)

    @property
    def aws(self) -> Aws:
        return self.cloud.aws(self.settings)

    @property
    def rds(self) -> Any:
        return self.aws.client("rds")

    def rows(self) -> dict[str, Any]:
        return {row["DBInstanceIdentifier"]: row for row in self.rds.describe_db_instances()["DBInstances"]}


@pytest.fixture
def configure(root: Path) -> Configure:
    """Settings as a task loads them: options of the rds: section, then variables."""

    def made(rds: dict[str, str] | None = None, **environ: str) -> Settings:
        import os

        config = {"rds": {"ca_url": "https://127.0.0.1:1/none.pem", **(rds or {})}}
        return load(config, {**os.environ, **environ}, root)

    return made


# --- what only AWS itself does: by Stubber ----------------------------------------------

HOST = "x.abc.ca-central-1.rds.amazonaws.com"


def row(status: str, *, address: str = "", secret: str = "") -> Row:
    found: Row = {"DBInstanceIdentifier": "cruddur-db-instance", "DBInstanceStatus": status}
    if address:
        found["Endpoint"] = {"Address": address, "Port": 5432}
    if secret:
        found["MasterUserSecret"] = {"SecretArn": "arn", "SecretStatus": secret}
    return found


@pytest.fixture
def stubbed(configure: Configure) -> Iterator[tuple[Aws, Stubber]]:
    """An `Aws` whose RDS client answers what the test says and fails on anything else."""
    client = boto3.client("rds", region_name="ca-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    aws = Aws(configure())
    aws._clients["rds"] = client
    with Stubber(client) as stub:
        yield aws, stub
        stub.assert_no_pending_responses()


def ready(stub: Stubber, status: str, **extra: Any) -> None:
    found: Any = {**row(status, address=HOST), **extra}
    stub.add_response("describe_db_instances", {"DBInstances": [found]})


def quiet(stub: Stubber) -> None:
    stub.add_response("describe_events", {"Events": []})


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@pytest.fixture
def own_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each instance an id of its own, as AWS has it: moto gives all of them the same."""
    from moto.rds.models import DBInstance

    made, number = DBInstance.__init__, itertools.count()

    def make(self: Any, *args: Any, **fields: Any) -> None:
        made(self, *args, **fields)
        self.dbi_resource_id = f"db-{next(number):026}"

    monkeypatch.setattr(DBInstance, "__init__", make)


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every instance and cluster let in, with nothing later in it: moto has no databases."""
    from ops.rds.restore import written_later

    monkeypatch.setattr("ops.rds.prod.open_session", lambda *_: io.BytesIO())  # what can be closed
    monkeypatch.setattr(written_later, "find", lambda *_: written_later.Found())
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
