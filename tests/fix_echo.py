"""Echo services on this machine: HTTPS, with a certificate of a CA that SSL_CERT_FILE names."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from ops.sandbox import certificates
from tests.fix_http import Service, Silent


class Echo:
    """A service that answers what the test tells it to."""

    def __init__(self, certificate: Path | None) -> None:
        self.status = 200
        self.body = b""
        self.headers: dict[str, str] = {}
        self.asked = 0
        echo = self

        class Handler(Silent, BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                echo.asked += 1
                self.send_response(echo.status)
                for name, value in {"Content-Length": str(len(echo.body)), **echo.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(echo.body)

        self.server = Service(Handler, certificate)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.server_port}/"

    def says(self, body: str | bytes, status: int = 200, **headers: str) -> None:
        self.body = body if isinstance(body, bytes) else body.encode()
        self.status = status
        self.headers = headers

    def stop(self) -> None:
        self.server.stop()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA and a certificate for localhost."""
    folder = tmp_path_factory.mktemp("echo-ca")
    certificates.make(folder, "localhost")
    return folder


@pytest.fixture
def echoes(authority: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Echo, Echo]]:
    """Two services that can be trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    one, two = Echo(authority / "server.pem"), Echo(authority / "server.pem")
    yield one, two
    one.stop()
    two.stop()
