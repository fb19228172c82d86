"""An earlier state, in the sandbox: real servers behind the instances, and a client that writes all the time."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import boto3
import psycopg
import pytest

from ops.sandbox import data_copies
from tests.fix_cli import copy_suite
from tests.test_sandbox import INSTANCE, bash
from tests.test_sandbox_instances import Box, superuser

pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
pytestmark = pytest.mark.xdist_group("growth")

RESTORED, PREV = f"{INSTANCE}-restored", f"{INSTANCE}-prev"
LOGICAL: Any = {"ParameterName": "rds.logical_replication", "ParameterValue": "1", "ApplyMethod": "pending-reboot"}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    root = copy_suite(tmp_path_factory.mktemp("growth") / "clone")
    made = Box(root, {})
    made.enter()
    made.ok("rds.create", env={"INVOKE_RDS_ENGINE_VERSION": "15"})  # to be upgraded at the end
    made.ok("db.setup", "-t", "prod", "--confirm", "cruddur")
    yield made
    bash(root, "inv sandbox.down")


@dataclass
class Writer:
    """A client of the live instance that writes row after row, and connects again when it is sent away."""

    box: Box
    login: dict[str, str]
    name: str = INSTANCE
    """Where: an instance, or an endpoint."""
    acknowledged: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    """When each was."""
    away: list[float] = field(default_factory=list)
    """Each time that its session ended: seconds from the last row before that to the first one after it."""
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        number, sent_away = 0, False
        while not self.ended.is_set():
            try:
                with self.box.connect(self.name, **self.login, dbname="cruddur", connect_timeout="5") as conn:
                    conn.autocommit = True
                    while not self.ended.is_set():
                        number += 1
                        conn.execute("insert into written values (%s)", [number])
                        self.acknowledged.append(number)
                        self.at.append(time.monotonic())
                        if sent_away:
                            self.away.append(self.at[-1] - self.at[-2])
                            sent_away = False
                        time.sleep(0.01)
            except psycopg.Error:
                sent_away = bool(self.at)
                time.sleep(0.02)

    def wait(self, more: int) -> None:
        """Wait until so many more rows are acknowledged."""
        seen = len(self.acknowledged)
        while len(self.acknowledged) < seen + more:
            time.sleep(0.01)


@contextlib.contextmanager
def writing(writer: Writer) -> Iterator[Writer]:
    """Have a client write meanwhile."""
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        yield writer
    finally:
        writer.ended.set()
        thread.join()


def numbers(box: Box, name: str, login: dict[str, str]) -> set[int]:
    with box.connect(name, **login, dbname="cruddur") as conn:
        return {row["n"] for row in conn.execute("select n from written")}


def test_rows_before_the_restore_point_are_in_the_new_one_and_all_later_ones_in_the_one_before(box: Box) -> None:
    """Nothing that was acknowledged is lost: it is in the one, or in the other and told."""
    login = superuser(box.server(INSTANCE))
    with box.connect(INSTANCE, **login, dbname="cruddur") as conn:
        conn.execute("create table written (n bigint primary key); grant select on written to public")
        conn.execute("update users set display_name = display_name")
    with writing(Writer(box, login)) as writer:
        writer.wait(20)
        before = list(writer.acknowledged)
        box.ok("rds.snapshot", "--name", "point")
        after = len(writer.acknowledged)
        done = box("rds.restore", "--snapshot", "point", "--swap", "--confirm", INSTANCE, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        writer.wait(20)
    assert (told["identifier"], told["swapped"], told["previous"]) == (INSTANCE, True, PREV)
    new, old = numbers(box, INSTANCE, login), numbers(box, PREV, login)
    assert set(before) <= new
    assert set(writer.acknowledged) <= new | old
    later = re.search(rf"written after the restore point, and only in {INSTANCE}: (\d+) rows, 0 changed", done.stderr)
    assert later
    assert int(later[1]) > 0
    assert int(later[1]) <= len(old) - len(before)
    assert f"public.written: {later[1]} rows later" in done.stderr
    print(f"said {told['outage_seconds']:.1f} s, sent away for {writer.away} s")
    assert 0 < max(writer.away) < told["outage_seconds"]
    assert after <= len(writer.acknowledged)
    assert "users" in box.ok("db.status", "-t", "prod")  # by the new one's own secret
    back = box("rds.undo", "--confirm", INSTANCE)
    assert back.returncode == 0, back.stderr
    assert numbers(box, INSTANCE, login) == old
    assert numbers(box, RESTORED, login) == new
    remove(box, RESTORED)
    assert len(list((box.home / data_copies.FOLDER).iterdir())) == 2  # of the instance's birth, and of the snapshot


def remove(box: Box, name: str) -> None:
    box.ok("rds.delete", "--no-snapshot", "--confirm", name, env={"INVOKE_RDS_IDENTIFIER": name})


def test_a_moment_is_to_the_second(box: Box) -> None:
    login = superuser(box.server(INSTANCE))
    with box.connect(INSTANCE, **login, dbname="cruddur") as conn:
        conn.execute("create table if not exists moments (n int); grant select on moments to public")
        conn.execute("insert into moments values (1)")
    time.sleep(1.1)
    at = datetime.now(timezone.utc).replace(microsecond=0)
    time.sleep(1.1)
    with box.connect(INSTANCE, **login, dbname="cruddur") as conn:
        conn.execute("insert into moments values (2)")
        conn.execute("update moments set n = 3 where n = 1")
    done = box("rds.restore", "--at", f"{at:%Y-%m-%dT%H:%M:%SZ}", "--as", "as-it-was")
    assert done.returncode == 0, done.stderr
    with box.connect("as-it-was", **login, dbname="cruddur") as conn:
        assert conn.execute("select n from moments").fetchall() == [{"n": 1}]
    refused = box("rds.restore", "--at", f"{at:%Y-%m-%dT%H:%M:%SZ}", "--as", "as-it-was", "--swap")
    assert refused.returncode == 2
    assert (
        "written after the restore point, and only in cruddur-db-instance: 2 rows, 1 changed or deleted"
        in refused.stderr
    )
    assert f"add --confirm {INSTANCE}" in refused.stderr
    remove(box, "as-it-was")


def test_an_instance_that_was_deleted_comes_back_with_its_data(box: Box) -> None:
    login = superuser(box.server(INSTANCE))
    with box.connect(INSTANCE, **login, dbname="cruddur") as conn:
        conn.execute("create table if not exists last_words (n int)")
    box.ok("rds.delete", "--confirm", INSTANCE)
    listed = json.loads(box.ok("rds.snapshots", "--json"))
    [final] = [one["snapshot"] for one in listed if "-final-" in one["snapshot"]]
    done = box("rds.restore", "--snapshot", final)
    assert done.returncode == 0, done.stderr
    with box.connect(INSTANCE, **login, dbname="cruddur") as conn:
        conn.execute("select from last_words")
    assert "users" in box.ok("db.status", "-t", "prod")


def test_an_upgrade_loses_no_acknowledged_row(box: Box) -> None:
    """In place, then by a copy that follows and is switched over to; a client writes all the time."""
    login = superuser(box.server(INSTANCE))
    with box.connect(INSTANCE, **login, dbname="cruddur") as conn:
        conn.execute("drop table if exists written, moments, last_words")
        conn.execute("create table written (n bigint primary key, ticket bigint generated always as identity)")
        conn.execute("grant select on written to public")
    key, secret = box.environ["AWS_ACCESS_KEY_ID"], box.environ["AWS_SECRET_ACCESS_KEY"]
    session = boto3.Session(key, secret, region_name=box.environ["AWS_DEFAULT_REGION"])
    rds = session.client("rds", endpoint_url=box.environ["AWS_ENDPOINT_URL"])
    for family in ("16", "17"):
        group = {"DBParameterGroupName": f"own{family}"}
        rds.create_db_parameter_group(**group, DBParameterGroupFamily=f"postgres{family}", Description="own")
        rds.modify_db_parameter_group(**group, Parameters=[LOGICAL])
    own = {"POSTGRES_MASTER_PASSWORD": "one-of-our-own"}  # AWS copies no instance whose password it keeps
    with writing(Writer(box, login)) as writer:
        writer.wait(20)
        in_place = upgraded(box, writer, "--to", "16.4", "--parameter-group", "own16")
        assert (in_place["from_version"], in_place["to_version"]) == ("15", "16.4")
        writer.wait(20)
        refused = box("rds.upgrade", "--to", "17", "--blue-green", "--parameter-group", "own17", "--dry-run", env=own)
        assert "parameter wal_level" in refused.stdout, refused.stderr
        rds.reboot_db_instance(DBInstanceIdentifier=INSTANCE)
        writer.wait(20)
        switched = upgraded(box, writer, "--to", "17", "--blue-green", "--parameter-group", "own17", env=own)
        assert (switched["from_version"], switched["to_version"]) == ("16.4", "17")
        writer.wait(20)
    with box.connect(INSTANCE, **login, dbname="cruddur") as conn:
        there = conn.execute("select n, ticket from written").fetchall()
    assert set(writer.acknowledged) <= {row["n"] for row in there}
    assert len({row["ticket"] for row in there}) == len(there), "a sequence went back"
    assert numbers(box, f"{INSTANCE}-old1", login) < {row["n"] for row in there}
    assert "users" in box.ok("db.status", "-t", "prod", env=own)


def upgraded(box: Box, writer: Writer, *options: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Upgrade, and have seen that the client was away for less than is told."""
    writer.away.clear()
    done = box("rds.upgrade", *options, "--confirm", INSTANCE, "--json", env=env)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    writer.wait(5)
    print(f"{options[2:]}: said {told['upgrade_seconds']:.1f} s, sent away for {writer.away} s")
    assert 0 < max(writer.away) < told["upgrade_seconds"]
    return told
