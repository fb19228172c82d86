"""Lambda's runtime API for one sandbox: hands out events, takes answers, and keeps Cognito's clock.

Three endpoints are enough for AWS's client: the next event, an answer, an
error (of an event, or of the start).
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from ops import own_files
from ops.errors import Problem
from ops.lambdas.package.function_code import HANDLER

if TYPE_CHECKING:
    from ops.lambdas.local import Parts

PATIENCE = 5.0
"""Seconds that a connection waits to be told from others, while its process is started."""


@dataclass(frozen=True)
class Answer:
    """What came of one event."""

    returned: Any
    """The function's answer."""
    logs: tuple[str, ...]
    """The lines that it printed."""
    seconds: float
    """From handing the event in to the answer."""


class Api(ThreadingHTTPServer):
    """The server of one process: `events` go out, None where there will be none, `answers` come as (kind, body).

    Nobody else is answered: an event is somebody's name and address. AWS's client takes a port and no key, so it is
    known by the socket that it speaks from.
    """

    daemon_threads = True

    def __init__(self, function: str) -> None:
        super().__init__(("127.0.0.1", 0), Endpoints)
        self.function = function
        self.events: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self.process: int | None = None
        self.known = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def serve_only(self, process: int) -> None:
        """Say which process it is for, as soon as that is there."""
        self.process = process
        self.known.set()

    def verify_request(self, _request: object, client_address: object) -> bool:
        """Whether a connection comes from the process."""
        import psutil

        if not self.known.wait(PATIENCE) or self.process is None:
            return False
        try:
            theirs = psutil.Process(self.process).net_connections("tcp4")
        except psutil.Error:
            return False
        return any(one.laddr == client_address and one.raddr == self.server_address for one in theirs)

    def close(self) -> None:
        self.known.set()
        self.events.put(None)
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A process that was stopped while it waited for an event: nothing to tell."""


class Endpoints(BaseHTTPRequestHandler):
    """The endpoints under /2018-06-01/runtime/."""

    protocol_version = "HTTP/1.1"
    server: Api

    def do_GET(self) -> None:
        awaited = self.server.events.get()
        if awaited is None:
            self.close_connection = True
            return
        deadline, body = awaited
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", str(uuid.uuid4()))
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(deadline * 1000)))
        arn = f"arn:aws:lambda:local:000000000000:function:{self.server.function}"
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.answers.put((self.path.rpartition("/")[2], body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """The function's own lines are the log."""


class Sandbox:
    """A process with the function, started by its first event and kept between events, until `close`.

    One that failed or outlasted the clock is stopped, and the next event starts another, as Lambda does. `seconds`
    is for another clock than that of the parts.
    """

    def __init__(self, parts: Parts, environment: Mapping[str, str], seconds: float = 0) -> None:
        self.parts = parts
        self.environment = environment
        self.seconds = seconds or parts.seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.kept = contextlib.ExitStack()
        self.folder = self.kept.enter_context(own_files.temporary("inv-lambda-"))
        for artifact, name in ((self.parts.function, "task"), (self.parts.layer, "opt")):
            with zipfile.ZipFile(artifact.path) as archive:
                archive.extractall(self.folder / name)
        self.log = (self.folder / "log").open("a+b")  # the process writes at the end, wherever we read

    def close(self) -> None:
        self.stop()
        self.log.close()
        self.kept.close()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process, with a server of its own: what one that was stopped still asks for is not the next one's."""
        self.api = api = Api(self.parts.name)
        paths = (self.folder / "task", self.folder / "opt" / "python", self.parts.client)
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": ":".join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's file system is read-only
            "LAMBDA_TASK_ROOT": str(self.folder / "task"),
            "_HANDLER": HANDLER,
            "AWS_LAMBDA_FUNCTION_NAME": self.parts.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.parts.memory_mb),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
            **self.environment,
        }
        # without site: what this environment has installed must not stand in for the layer
        process = subprocess.Popen(
            [self.parts.interpreter, "-S", "-s", "-m", "awslambdaric", HANDLER],
            cwd=self.folder / "task",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        api.serve_only(process.pid)
        threading.Thread(target=lambda: api.answers.put(("exit", b"%d" % process.wait()))).start()
        return process

    def stop(self) -> None:
        process, self.process = self.process, None
        if process:
            process.kill()
            process.wait()
            self.api.close()

    def invoke(self, event: Any) -> Answer:
        """Hand in an event and wait for the answer; raises `Problem` at an error, an end, or past the time."""
        begun, offset = time.monotonic(), self.log.seek(0, 2)
        if self.process is None:
            self.process = self.start()
        self.api.events.put((time.time() + self.seconds, json.dumps(event).encode()))
        try:
            kind, body = self.api.answers.get(timeout=max(0.0, begun + self.seconds - time.monotonic()))
        except queue.Empty:
            kind, body = "timeout", b""
        self.log.seek(offset)
        logs = tuple(self.log.read().decode(errors="replace").splitlines())
        if kind != "response":
            self.stop()
            raise Problem(failure(kind, body, self.seconds), *logs)
        return Answer(json.loads(body), logs, time.monotonic() - begun)


def failure(kind: str, body: bytes, seconds: float) -> str:
    """Return what went wrong, in a line."""
    if kind == "timeout":
        return f"the function did not answer within {seconds:g} s, the fewer of the 5 s of Cognito and lambda.timeout_seconds"
    if kind == "exit":
        return f"the function's process ended with {body.decode()}"
    told = json.loads(body)
    return f"the function failed: {told.get('errorType')}: {told.get('errorMessage')}"
