"""Clients that are slow, stuck, greedy or strange: what they cost others is nothing, and themselves their connection."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from backend import settings
from backend.app import create_app
from backend.worker import SECONDS
from tests import servers
from tests.fix_app import filled, get, serve
from tests.fix_isolation import suite_sql
from tests.fix_suppliers import Database, made

HOME = "/api/activities/home"
MANY = 200
HEAD = f"GET {HOME}?limit=100 HTTP/1.1\r\nHost: localhost\r\n".encode()
POST = f"POST {HOME} HTTP/1.1\r\nHost: localhost\r\n".encode()


def trickle(client: socket.socket) -> None:
    """Send a byte each second until the other side has closed."""

    def send() -> None:
        with contextlib.suppress(OSError):
            for byte in HEAD * 9:
                client.sendall(bytes([byte]))
                time.sleep(1)

    threading.Thread(target=send, daemon=True).start()


def read_nothing(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.sendall((HEAD + b"\r\n") * 100)


SLOW: dict[str, Callable[[socket.socket], None]] = {
    "half of the head": lambda client: client.sendall(HEAD),
    "half of the body": lambda client: client.sendall(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 500),
    "a byte a second": trickle,
    "nothing": lambda _: None,
    "reads nothing": read_nothing,
}


@pytest.fixture(scope="module")
def serving(postgres: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application on a sample feed, for all tests that only read it."""
    for database in made(postgres, suite_sql(tmp_path_factory.mktemp("feed") / "repo")):
        with serve(filled(database).url) as url:
            yield url


@contextlib.contextmanager
def crowd(
    url: str, many: int = MANY, kinds: dict[str, Callable[[socket.socket], None]] = SLOW
) -> Iterator[list[socket.socket]]:
    """Connect many slow clients, of each kind as many."""
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(many):
            clients.append(stack.enter_context(connected(url)))
            list(kinds.values())[number % len(kinds)](clients[-1])
        yield clients


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, _, port = urlsplit(url).netloc.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        yield client


def took(url: str) -> float:
    """Return the seconds that an answer of 200 took."""
    begun = time.monotonic()
    assert get(url).status == 200
    return time.monotonic() - begun


def filler(feed: Database, length: int = 1000) -> None:
    """Fill pages of a hundred activities with messages of this length."""
    feed.do(
        f"insert into activities (user_uuid, message) select uuid, repeat('x', {length}) from users, generate_series(1, 99)"
    )


@pytest.mark.parametrize("kind", [*SLOW, "each kind"])
def test_two_hundred_of_them_cost_others_nothing(feed: Database, kind: str) -> None:
    filler(feed, 3000)
    kinds = SLOW if kind == "each kind" else {kind: SLOW[kind]}
    with serve(feed.url) as url, crowd(url, kinds=kinds):
        deadline = time.monotonic() + 20  # for a busy machine: what is promised is measured below
        while took(f"{url}{HOME}?limit=5") > 0.2:  # what those ask for who read nothing is work, too, until it is done
            assert time.monotonic() < deadline
        seen = [(took(f"{url}{HOME}?limit=5"), took(f"{url}/api/health"), took(url)) for _ in range(20)]
        print(f"{kind}: at most {[round(max(one), 3) for one in zip(*seen, strict=True)]} s")
    assert max(max(one) for one in seen) < 1


@pytest.mark.slow
def test_they_are_let_go_while_one_who_keeps_asking_stays(feed: Database) -> None:
    filler(feed)
    with serve(feed.url) as url, crowd(url, 50):
        begun, keeping = time.monotonic(), http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
        while (left := len(sockets(url, "ESTABLISHED"))) > 1 or begun + 1 > time.monotonic():
            assert time.monotonic() - begun < SECONDS + 5, left
            keeping.request("GET", "/api/health")
            assert keeping.getresponse().read()
            first = keeping.sock
            time.sleep(1)
        keeping.request("GET", "/api/health")
        assert keeping.getresponse().read()
        assert keeping.sock is first
        assert time.monotonic() - begun > SECONDS / 2
        keeping.close()


def test_as_many_as_a_process_takes_make_room_for_who_comes(feed: Database) -> None:
    with serve(feed.url) as url, crowd(url, 1000, {"nothing": SLOW["nothing"]}):
        assert took(url + HOME) < 6
        assert max(took(f"{url}/api/health") for _ in range(10)) < 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEAD + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (HEAD + b"X: x\r\n" * 3_000, 431),
        (b"GET /" + b"x" * 20_000, 431),
        (POST + b"Content-Length: 1000000\r\n\r\n", 413),
        (
            POST
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"1000\r\n" * 1
            + b"x" * 4096
            + b"\r\n"
            + b"ffff\r\n"
            + b"x" * 65535,
            413,
        ),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET  HTTP\r\n\r\n", 400),
        (b"\x16\x03\x01 a greeting of TLS\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\n\r\nabc", 405),
    ],
)
def test_what_is_too_large_or_no_request_gets_an_answer_and_its_end(serving: str, request_: bytes, status: int) -> None:
    with connected(serving) as client:
        client.sendall(request_)
        assert client.recv(65536).split()[1] == b"%d" % status
    assert get(serving + HOME).status == 200


def test_requests_in_one_piece_are_answered_one_at_a_time(serving: str) -> None:
    """The next is asked for when the answer is taken: nobody queues a hundred answers by one connection."""
    with connected(serving) as client:
        client.sendall((HEAD + b"\r\n") * 50)
        heard = b""
        while got := client.recv(65536):
            heard += got
    assert heard.count(b"HTTP/1.1 200 OK") == 1


def test_an_end_answers_what_is_asked_already_and_waits_for_no_slow_client(feed: Database) -> None:
    with feed.connect() as conn, serve(feed.url) as url, crowd(url, 50):
        listening = psutil.Process(sockets(url, "LISTEN")[0])
        first = listening if listening.ppid() == os.getpid() else psutil.Process(listening.ppid())
        conn.autocommit = False
        conn.execute("lock table activities")
        with connected(url) as client:
            client.sendall(HEAD + b"\r\n")
            time.sleep(0.5)
            first.terminate()
            time.sleep(0.5)
            conn.rollback()
            assert client.recv(65536).split()[1] == b"200"
        assert first.wait(3) == 0


def sockets(url: str, status: str) -> list[int]:
    """Return the process of each socket that a feed has in a state; a closed one's has none, wherever its client is."""
    found = psutil.net_connections("tcp")
    return [
        one.pid
        for one in found
        if one.laddr and one.laddr.port == urlsplit(url).port and one.pid and one.status == status
    ]


def test_a_log_shows_what_strangers_send_as_text(feed: Database, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serve(feed.url, GUNICORN_CMD_ARGS=f"--access-logfile '{log}'") as url, connected(url) as client:
        client.sendall(b'GET /\x1b[31m" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
        assert client.recv(65536).split()[1] == b"404"
    started = r"""127.0.0.1 "GET /\x1b[31m\" HTTP/1.1" 404 """
    assert [line for line in log.read_text().splitlines() if line.startswith(started)]


# --- names -------------------------------------------------------------------------------------------

GITPOD = {"GITPOD_WORKSPACE_URL": "https://me-cruddur-x1.ws-eu120.gitpod.io"}
CODESPACES = {"CODESPACE_NAME": "Fuzzy-space-1", "GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN": "app.github.dev"}


@pytest.mark.parametrize(
    ("host", "environ", "trusted"),
    [
        ("localhost", {}, True),
        ("LOCALHOST:4567", {}, True),
        ("127.0.0.1:1", {}, True),
        ("[::1]:4567", {}, True),
        ("[::1]", {}, True),
        ("evil.example", {}, False),
        ("evil.example:4567", {}, False),
        ("localhost.evil.example", {}, False),
        ("127.0.0.1.evil.example", {}, False),
        ("192.0.2.1", {}, False),
        ("", {}, False),
        ("a b", {}, False),
        ("[", {}, False),
        ("[:]", {}, False),
        ("localhost:4567:1", {}, False),
        ("user@localhost", {}, False),
        ("0.0.0.0:4567", {"HOST": "0.0.0.0"}, False),  # noqa: S104
        ("10.0.0.7:4567", {"HOST": "10.0.0.7"}, True),
        ("feed.example.com:80", {"TRUSTED_HOSTS": "feed.example.com"}, True),
        ("Feed.Example.com", {"TRUSTED_HOSTS": "a.example, FEED.example.com"}, True),
        ("localhost", {"TRUSTED_HOSTS": "feed.example.com"}, True),
        ("a.feed.example.com", {"TRUSTED_HOSTS": "feed.example.com"}, False),
        ("a.b.example.com", {"TRUSTED_HOSTS": ".example.com"}, True),
        ("example.com", {"TRUSTED_HOSTS": ".example.com"}, False),
        ("evilexample.com", {"TRUSTED_HOSTS": ".example.com"}, False),
        ("[2001:db8::1]:80", {"TRUSTED_HOSTS": "[2001:db8::1]"}, True),
        ("4567-me-cruddur-x1.ws-eu120.gitpod.io", GITPOD, True),
        ("4567-you-cruddur-x2.ws-eu120.gitpod.io", GITPOD, False),
        ("8080-me-cruddur-x1.ws-eu120.gitpod.io", {**GITPOD, "APP_PORT": "8080"}, True),
        ("fuzzy-space-1-4567.app.github.dev", CODESPACES, True),
        ("fuzzy-space-1-4567.app.github.dev", {"CODESPACE_NAME": "fuzzy-space-1"}, True),
        ("other-space-4567.app.github.dev", CODESPACES, False),
    ],
)
def test_the_feed_answers_by_its_own_names_only(
    monkeypatch: pytest.MonkeyPatch, host: str, environ: dict[str, str], trusted: bool
) -> None:
    for name in (*GITPOD, *CODESPACES, "APP_PORT", "TRUSTED_HOSTS", "HOST", "PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for path in ("/", "/static/icon.svg", "/api/nothing"):
        answer = create_app().test_client().get(path, headers={"Host": host}, buffered=True)
        assert (answer.status_code != 400) is trusted, path
        if not trusted:
            assert answer.mimetype == "text/plain"
            assert answer.text.startswith("400 Bad Request: ")
            assert "evil" not in answer.text


@pytest.mark.parametrize("text", ["http://a", "a:80", "*", "*.example.com", ".", "4567", "a/b", "ä.example"])
def test_a_setting_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(settings.Misconfigured, match=r"TRUSTED_HOSTS: .* is no host name"):
        settings.load({"TRUSTED_HOSTS": f"fine.example {text}"})
