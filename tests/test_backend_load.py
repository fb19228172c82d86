"""Many readers at once, and the database restarted beneath them.

LOAD_SECONDS makes it longer (CI: 20); it speaks to this machine only, and ends by itself.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ops.targets.embedded import binaries
from tests import servers
from tests.fix_app import filled, serve
from tests.fix_suppliers import Database, made, supply

CLIENTS = 32
SECONDS = float(os.environ.get("LOAD_SECONDS", "8"))
GRACE = 3.0
"""Seconds after the server answers again in which a request that began before may still fail."""
OURS = "select count(*) from pg_stat_activity where application_name = 'cruddur backend'"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Database]:
    """A server of this test's own, which it may restart."""
    for server in supply("embedded"):
        root = tmp_path / "repo"
        root.mkdir()
        (root / "sql").symlink_to(Path(__file__).parent.parent / "sql")
        yield from made(server, root)


@dataclass
class Seen:
    """What the readers got: when a request began and ended, and its status; 0 for none."""

    answers: list[tuple[float, float, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def read(self, url: str) -> None:
        """Ask again and again over one connection, as a browser does."""
        host = urlsplit(url).netloc
        conn = http.client.HTTPConnection(host, timeout=30)
        while not self.stop.is_set():
            begun, status = time.monotonic(), 0
            try:
                conn.request("GET", "/api/activities/home?limit=20")
                answer = conn.getresponse()
                body = answer.read()
                status = answer.status
                assert status != 200 or body.startswith(b"[{")
            except (OSError, http.client.HTTPException):
                conn.close()
            self.answers.append((begun, time.monotonic(), status))
        conn.close()


def restart(server: servers.Server, away: float) -> tuple[float, float]:
    """Stop a server as an operator does, leave it away, start it again; return when it went and when it answered."""
    process = server.process
    assert process is not None
    assert server.home is not None
    gone = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(30)
    time.sleep(away)
    with (server.home / "log").open("ab") as log:
        server.process = subprocess.Popen(
            process.args,
            cwd=server.home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **binaries.runner(server.home / "none").options(),
        )
    while True:
        try:
            psycopg.connect(dbname="postgres", **server.params).close()  # type: ignore[arg-type]
        except psycopg.OperationalError:
            assert time.monotonic() - gone < 60
            time.sleep(0.01)
        else:
            return gone, time.monotonic()


@pytest.mark.slow
def test_readers_meet_503_while_the_database_is_away_and_nothing_else(own: Database) -> None:
    filled(own)
    assert own.scalar(OURS, "postgres") == 0
    seen = Seen()
    with serve(own.url) as url:
        readers = [threading.Thread(target=seen.read, args=[url]) for _ in range(CLIENTS)]
        for reader in readers:
            reader.start()
        time.sleep(SECONDS / 2 - 1)
        gone, back = restart(own.server, away=1)
        assert own.scalar(OURS, "postgres") <= 8
        time.sleep(SECONDS / 2 - 1)
        assert own.scalar(OURS, "postgres") <= 8
        seen.stop.set()
        for reader in readers:
            reader.join(40)
    left = own.scalar(OURS, "postgres")

    counts = Counter(status for _, _, status in seen.answers)
    away = [end - begun for begun, end, status in seen.answers if status == 503]
    recovered = min(begun for begun, _, status in seen.answers if status == 200 and begun > back) - back
    print(
        f"{len(seen.answers)} requests by {CLIENTS} clients in {SECONDS:.0f} s: {dict(counts)}; "
        f"away for {back - gone:.1f} s, first answer {recovered:.2f} s after; a 503 took at most {max(away):.2f} s"
    )
    assert set(counts) == {200, 503}
    early = [status for _, end, status in seen.answers if end < gone and status != 200]
    late = [status for begun, _, status in seen.answers if begun > back + GRACE and status != 200]
    assert not early
    assert not late
    assert recovered < GRACE
    assert max(away) < 10
    assert counts[200] > 20 * SECONDS
    assert left == 0
