"""A company's proxy on this machine: it notes what is asked of it, leads names of outside to servers here, or refuses."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ops.sandbox import certificates
from tests.fix_echo import Echo
from tests.fix_http import Service, Silent

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
OUTSIDE = "outside.example"
"""No name server knows it: who asks for one of its hosts has asked the proxy, or nobody."""


class Proxy:
    """Serves CONNECT and plain HTTP; `asked` holds each request's target, `logins` what came with it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.logins: list[str | None] = []
        self.routes: dict[str, int] = {}
        """Which port of this machine stands for a host outside."""
        self.refuses: dict[str, int] = {}
        """With which status a host is refused; "" is any other."""
        self.says: bytes | None = b"-"
        """What it says to everything, if it is no proxy at all: nothing and hangs up, or None and stays on the line."""
        proxy = self

        class Handler(Silent, BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                if proxy.says != b"-":
                    self.close_connection = True
                    self.wfile.write(proxy.says or b"")
                    if proxy.says is None:
                        self.rfile.read(1)
                    return
                if there := self.begin(self.path.rpartition(":")[0].strip("[]")):
                    self.send_response(200, "Connection established")
                    self.end_headers()
                    pump(self.connection, there)

            def forward(self) -> None:
                url = urlsplit(self.path)
                if there := self.begin(url.hostname or ""):
                    lines = [f"{self.command} {url.path or '/'}{'?' + url.query if url.query else ''} HTTP/1.0"]
                    lines += [f"{k}: {v}" for k, v in self.headers.items() if k not in ("Connection", "Host")]
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    there.sendall("\r\n".join([*lines, f"Host: {url.netloc}", "", ""]).encode() + body)
                    while data := there.recv(65536):
                        self.wfile.write(data)
                    there.close()

            do_GET = do_POST = do_PUT = forward

            def begin(self, host: str) -> socket.socket | None:
                """Note the request; refuse it, or return a connection to where it leads."""
                self.close_connection = True
                proxy.asked.append(f"{self.command} {self.path}")
                proxy.logins.append(self.headers.get("Proxy-Authorization"))
                status = proxy.refuses.get(host) or proxy.refuses.get("") or (0 if host in proxy.routes else 502)
                if not status:
                    return socket.create_connection(("127.0.0.1", proxy.routes[host]))
                body = b"<html>The proxy says no</html>"
                self.send_response(status)
                if status == 407:
                    self.send_header("Proxy-Authenticate", 'Basic realm="us"')
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return None

        self.server = Service(Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def environ(self, *names: str, login: str = "") -> dict[str, str]:
        """Return the variables that name it, in upper and lower case, and no exceptions."""
        url = f"http://{login}{'@' if login else ''}{self.address}"
        return {case: url for name in names or NAMES for case in (name, name.lower())}

    def stop(self) -> None:
        self.server.stop()


def pump(one: socket.socket, two: socket.socket) -> None:
    """Pass on what either says until one hangs up."""
    with two, contextlib.suppress(OSError):
        while True:
            for ready in select.select([one, two], [], [], 30)[0]:
                if not (data := ready.recv(65536)):
                    return
                (two if ready is one else one).sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def outer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA and a certificate for the hosts of outside."""
    folder = tmp_path_factory.mktemp("outside-ca")
    certificates.make(folder, f"*.{OUTSIDE}")
    return folder


@pytest.fixture
def outside(outer: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Echo]:
    """A service that only the proxy reaches, by the names a, b and aws of outside."""
    monkeypatch.setenv("SSL_CERT_FILE", str(outer / "ca.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    echo = Echo(outer / "server.pem")
    proxy.routes = {f"{name}.{OUTSIDE}": echo.server.server_port for name in ("a", "b", "aws")}
    yield echo
    echo.stop()
