"""Everything at once: nobody who confirmed is lost, and nobody is there twice."""

from __future__ import annotations

import json
import queue
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import load
from functions.post_confirmation import handler
from ops.lambdas import local
from ops.lambdas.package import interpreters
from ops.lambdas.runtime_api import Sandbox
from ops.lambdas.user_pool.sync import Report, sync
from ops.targets.embedded import binaries
from tests import servers
from tests.fix_people import PLAIN, Users, event, made, person
from tests.fix_suppliers import Database

EVENTS, PEOPLE, SANDBOXES = 2000, 1100, 8
BOUND = 240.0
"""Seconds for all of it; some twenty on two idle processors."""
OUTAGES = {500: (signal.SIGQUIT, 1.0), 1200: (signal.SIGKILL, 6.0)}
"""After how many events the server is killed how, and for how many seconds; the handler goes on trying for four."""


@pytest.fixture
def mortal(root: Path) -> Iterator[Users]:
    """A table without any constraint, on a server of its own that may be killed."""
    found = binaries.wheel_bin()
    if found is None:
        pytest.skip("the programs of the embedded server are not installed")
    server = servers.start("mortal", found)
    try:
        with made(Database(server, "storm", root), PLAIN) as users:
            yield users
    finally:
        server.stop()


def restart(users: Users) -> None:
    """Start the server again: the one that was killed may take a moment to leave its memory."""
    server = users.database.server
    assert server.process is not None
    assert server.home is not None
    server.process.wait()
    who: dict[str, Any] = binaries.runner(server.home / "none").options()
    argv = [str(part) for part in server.process.args]  # type: ignore[union-attr]
    deadline = time.monotonic() + 60
    while True:
        log = (server.home / "log").open("ab")
        server.process = subprocess.Popen(argv, cwd=server.home, stdout=log, stderr=log, **who)
        log.close()
        while server.process.poll() is None:
            try:
                users.connect().close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def shuffled() -> list[dict[str, Any]]:
    """Return the events: each person at least once, many again and again, some with a handle that others want."""
    chance = random.Random(20261122)
    numbers = list(range(PEOPLE)) + chance.choices(range(PEOPLE), k=EVENTS - PEOPLE - 100)
    events = [event(number, preferred_username=f"Handle{number % 900}") for number in numbers]
    events += [event(number, "PostConfirmation_ConfirmForgotPassword") for number in range(PEOPLE, PEOPLE + 100)]
    chance.shuffle(events)
    return events


@pytest.mark.slow
def test_two_thousand_events_through_eight_sandboxes_and_two_crashes_are_one_row_each(
    mortal: Users, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    begun = time.monotonic()
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "rds-ca.pem").write_text("none")
    parts = local.prepare(load({}, {}, tmp_path), interpreters.RUNNING, "x86_64")
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for sent in shuffled():
        waiting.put(sent)
    lines: list[dict[str, Any]] = []
    wrong: list[object] = []
    done = Counter[str]()

    def run() -> None:
        # Eight starts at once on two processors take longer than Cognito waits; the handler's own clock stays
        with closing(Sandbox(parts, {"CONNECTION_URL": mortal.url}, seconds=60)) as sandbox:
            while True:
                try:
                    sent = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    answer = sandbox.invoke(sent)
                except Exception as error:
                    wrong.append(error)
                    return
                if answer.returned != sent:
                    wrong.append(answer.returned)
                lines.extend(json.loads(line) for line in answer.logs)
                done["events"] += 1

    threads = [threading.Thread(target=run) for _ in range(SANDBOXES)]
    for thread in threads:
        thread.start()
    for count, (how, seconds) in OUTAGES.items():
        while done["events"] < count and any(thread.is_alive() for thread in threads):
            time.sleep(0.01)
        assert mortal.database.server.process is not None
        mortal.database.server.process.send_signal(how)
        time.sleep(seconds)
        restart(mortal)
    for thread in threads:
        thread.join()
    assert wrong == []
    assert done["events"] == EVENTS
    stormed = time.monotonic() - begun

    confirmed = {person(number).cognito_user_id for number in range(PEOPLE)}
    outcomes = Counter(line["outcome"] for line in lines)
    before = [row["cognito_user_id"] for row in mortal.rows()]
    assert outcomes.total() == EVENTS - 100
    assert max(line["ms"] for line in lines) < handler.COGNITO * 1000
    assert outcomes["failed"] > 0, "the second crash lasts longer than the handler tries"
    assert len(set(before)) == len(before)
    assert {line["sub"] for line in lines if line["outcome"] != "failed"} <= set(before) <= confirmed

    users: list[Any] = [as_listed(number) for number in range(PEOPLE)]
    for expected in (PEOPLE - len(before), 0):
        report = Report()
        with mortal.database.connect() as conn:
            for page in range(0, PEOPLE, 60):
                sync(conn, users[page : page + 60], report)
        assert report.counts["inserted"] == expected
    after = mortal.rows()
    assert sorted(row["cognito_user_id"] for row in after) == sorted(confirmed)
    assert len({row["handle"].lower() for row in after}) == PEOPLE
    assert time.monotonic() - begun < BOUND
    tell(
        f"{EVENTS} events of {PEOPLE} people in {stormed:.0f} s through {SANDBOXES} sandboxes and {len(OUTAGES)} crashes: "
        f"{dict(outcomes)}, {len(before)} rows; lambda.sync-users inserted {PEOPLE - len(before)}; "
        f"{len(after)} rows, none missing, none twice"
    )


def as_listed(number: int) -> dict[str, Any]:
    """Return a person as ListUsers does."""
    attributes = event(number, preferred_username=f"Handle{number % 900}")["request"]["userAttributes"]
    return {
        "Username": attributes["sub"],
        "UserStatus": "CONFIRMED",
        "Attributes": [{"Name": name, "Value": value} for name, value in attributes.items()],
    }
