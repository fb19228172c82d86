"""A cluster of Aurora in the sandbox, by `inv` and with a real server behind it: restored and swapped, its door and its bastion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.fix_cli import copy_suite
from tests.test_growth import Writer, numbers, writing
from tests.test_sandbox import bash
from tests.test_sandbox_instances import Box, superuser

pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
pytestmark = pytest.mark.xdist_group("sandbox_cluster")

NAME = "cruddur-cluster"
PREV = f"{NAME}-prev"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    root = copy_suite(tmp_path_factory.mktemp("cluster") / "clone")
    made = Box(root, {})
    made.enter()
    made.environ |= {"INVOKE_RDS_ENGINE": "aurora-postgresql", "INVOKE_RDS_IDENTIFIER": NAME}
    made.ok("rds.create")
    made.ok("db.setup", "-t", "prod", "--confirm", "cruddur")
    yield made
    bash(root, "inv sandbox.down")


def test_swapped_by_name_each_row_is_in_the_one_or_the_other_and_undone_its_own_again(box: Box) -> None:
    """By the cluster's endpoint, whose name stays, and at which a client writes all the time."""
    login = superuser(box.server(NAME))
    endpoint = box.ok("rds.endpoint").strip()
    with box.connect(endpoint, **login, dbname="cruddur") as conn:
        conn.execute("create table written (n bigint primary key); grant select on written to public")
    with writing(Writer(box, login, endpoint)) as writer:
        writer.wait(20)
        before = list(writer.acknowledged)
        box.ok("rds.snapshot", "--name", "point")
        writer.wait(20)
        done = box("rds.restore", "--snapshot", "point", "--swap", "--confirm", NAME, "--json")
        assert done.returncode == 0, done.stderr
        writer.wait(20)
    told = json.loads(done.stdout)
    assert (told["identifier"], told["swapped"], told["previous"], told["endpoint"]) == (NAME, True, PREV, endpoint)
    new, old = numbers(box, endpoint, login), numbers(box, endpoint.replace(NAME, PREV), login)
    assert set(before) <= new
    assert set(writer.acknowledged) <= new | old
    later = re.search(rf"written after the restore point, and only in {NAME}: (\d+) rows, 0 changed", done.stderr)
    assert later
    assert 20 <= int(later[1]) <= len(old) - len(before)
    print(f"said {told['outage_seconds']:.1f} s, sent away for {writer.away} s")
    assert 0 < max(writer.away) < told["outage_seconds"]
    assert "users" in box.ok("db.status", "-t", "prod")  # by the new one's own secret
    assert [one["identifier"] for one in json.loads(box.ok("rds.status", "--json"))["cluster"]["instances"]] == [
        f"{NAME}-1"
    ]
    back = box("rds.undo", "--confirm", NAME)
    assert back.returncode == 0, back.stderr
    assert numbers(box, endpoint, login) == old
    restored = f"{NAME}-restored"
    box.ok("rds.delete", "--no-snapshot", "--confirm", restored, env={"INVOKE_RDS_IDENTIFIER": restored})


def test_its_door_opens_and_closes(box: Box) -> None:
    box.ok("rds.allow-my-ip", "--ip", "8.8.4.4")
    [rule] = json.loads(box.ok("rds.rules", "--json"))
    [group] = json.loads(box.ok("rds.status", "--json"))["security_groups"]
    assert (rule["address"], rule["group"], rule["mine"]) == ("8.8.4.4/32", group, True)
    box.ok("rds.revoke-my-ip")
    assert json.loads(box.ok("rds.rules", "--json")) == []


def test_its_bastion_is_made_let_in_and_taken_away(box: Box) -> None:
    made = json.loads(box.ok("rds.bastion", "--json"))
    assert made["via"] == f"ssm://{made['machine']}"
    [group] = json.loads(box.ok("rds.status", "--json"))["security_groups"]
    assert any(group in line for line in made["done"]), made
    again = json.loads(box.ok("rds.bastion", "--json"))
    assert (again["machine"], again["done"]) == (made["machine"], [])
    gone = json.loads(box.ok("rds.bastion", "--delete", "--json"))
    assert gone["machine"] is None
    assert gone["done"]
