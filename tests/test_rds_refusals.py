"""What AWS may refuse of the writes of rds.*: each code of botocore's own model of each operation is one line with a next step.

The operations are those that config/policies permits, which test_rds_policy.py holds to what is asked. AWS documents no codes of
EC2's by operation.
"""

from __future__ import annotations

import functools
import io
import json
import re
from collections.abc import Callable
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from ops.aws_errors import ADVICE, writes
from ops.lambdas import function
from ops.lambdas.status import facts as facts_of
from ops.lambdas.user_pool import pool
from ops.rds import create, delete, instance
from ops.rds.apply import applying
from ops.rds.restore import restoring, snapshots, source
from ops.rds.restore.names import names
from tests.fix_aws import LOGIN, Configure, Front, Hands, error, outcome
from tests.fix_cli import SUITE

SESSION = botocore.session.get_session()
NAME = "cruddur-db-instance"
OF_THE_FUNCTION = ("lambda.json", "lambda-vpc-access.json")
NEXT = re.compile(r"\b(run|wait|set|delete|correct|ask|see|choose|inv|mend|give|make|change|take|log in)\b")
Case = tuple[str, str, str, int]
"""Service, operation, code, HTTP status."""


@functools.cache
def model(service: str) -> Any:
    return SESSION.get_service_model(service)


def asked() -> set[tuple[str, str]]:
    """The writes that the policies of rds.* permit: those that are operations, and not only rights."""
    every: set[tuple[str, str]] = set()
    for path in (SUITE / "config" / "policies").glob("*.json"):
        if path.name not in OF_THE_FUNCTION:
            for statement in json.loads(path.read_text())["Statement"]:
                every.update(tuple(action.split(":")) for action in statement["Action"])
    known = set(SESSION.get_available_services())
    return {
        (service, operation)
        for service, operation in every
        if service in known and writes(operation) and operation in model(service).operation_names
    }


def documented() -> list[Case]:
    """Each code that AWS documents for each of them."""
    found: set[Case] = set()
    for service, operation in asked():
        for shape in model(service).operation_model(operation).error_shapes:
            about = shape.metadata.get("error", {})
            found.add((service, operation, about.get("code", shape.name), about.get("httpStatusCode", 400)))
    return sorted(found)


CASES = documented()


def sample(shape: Any) -> Any:
    """Return the least that a request of this shape needs to be written."""
    match shape.type_name:
        case "structure":
            return {name: sample(shape.members[name]) for name in shape.required_members}
        case "list":
            return []
        case "map":
            return {}
        case "integer" | "long" | "float" | "double":
            return 1
        case "boolean":
            return True
        case "timestamp":
            return 0
    return "x"


@functools.cache
def client(service: str) -> Any:
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    return boto3.client(service, region_name=LOGIN["AWS_DEFAULT_REGION"], config=config, **keys)


@pytest.mark.parametrize(("service", "operation", "code", "status"), CASES, ids=[":".join(one[:3]) for one in CASES])
def test_each_documented_refusal_is_one_line_with_a_next_step(
    service: str, operation: str, code: str, status: int
) -> None:
    method, request = botocore.xform_name(operation), sample(model(service).operation_model(operation).input_shape)
    with Stubber(client(service)) as stub:
        stub.add_client_error(method, code, "what AWS said\nof it", status)
        exit = outcome(lambda: getattr(client(service), method)(**request))
    assert exit is not None
    assert exit.code in (1, 2, 3)
    said = str(exit.message)
    before, _, after = said.rpartition(code)
    assert operation in before or operation in after
    assert NEXT.search(after.replace(operation, "")), said
    assert ADVICE.get(code, "") in said


def test_there_are_as_many_as_aws_documents() -> None:
    of_rds = [one for one in CASES if one[0] == "rds"]
    assert len(of_rds) >= 150
    assert len(CASES) >= 250
    assert len({code for _, _, code, _ in CASES}) >= 80


@pytest.mark.parametrize("code", sorted(ADVICE))
def test_no_advice_is_for_a_code_that_aws_does_not_have(code: str) -> None:
    every = {
        shape.metadata.get("error", {}).get("code", shape.name)
        for service in ("rds", "sns")
        for shape in model(service).error_shapes
    }
    assert code in every


# --- through the tasks themselves ---------------------------------------------------------


@pytest.fixture
def acts(
    cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch, pauses: None
) -> dict[str, Callable[[], object]]:
    """For each write of RDS a task that comes to it, with an instance that is there, and a snapshot of it."""
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    monkeypatch.setattr("ops.rds.prod.open_session", lambda *_: io.BytesIO())
    settings = configure({"wait_minutes": "0.01"}, PROD_DB_SSLROOTCERT="/none.pem")
    other = configure({"identifier": "other", "wait_minutes": "0.01"}, PROD_DB_SSLROOTCERT="/none.pem")
    more = configure({"backup_days": "14"}, PROD_DB_SSLROOTCERT="/none.pem")
    aws, clock = cloud.aws(settings), hands.clock
    create.create_or_resume(settings, aws, clock, adopt=False)
    instance.take_snapshot(aws, settings.rds, "mine", clock)
    born = instance.require_instance(aws, settings.rds)["InstanceCreateTime"]

    def restored(wanted: source.Source) -> object:
        return restoring.restore(settings, aws, clock, wanted, "", swap=False, confirm=NAME)

    return {
        "CreateDBInstance": lambda: create.create_or_resume(other, aws, clock, adopt=False),
        "CreateDBSnapshot": lambda: instance.take_snapshot(aws, settings.rds, "another", clock),
        "ModifyDBInstance": lambda: applying.apply(more, aws, clock, now=False, dry_run=False, confirm=NAME),
        "RestoreDBInstanceFromDBSnapshot": lambda: restored(source.Source(snapshot="mine")),
        "RestoreDBInstanceToPointInTime": lambda: restored(source.Source(at=born)),
        "StopDBInstance": lambda: instance.stop_instance(aws, settings.rds, clock),
        "DeleteDBSnapshot": lambda: snapshots.remove(settings, aws, "mine"),
        "DeleteDBInstance": lambda: delete.delete_instance(settings, aws, clock, confirm=NAME, snapshot=False),
    }


WELL = {
    ("DeleteDBSnapshot", "DBSnapshotNotFound"): "removed the snapshot mine",
    ("DeleteDBSnapshot", "InvalidDBSnapshotState"): "mine is in use, and stays: run this again later",
    ("DeleteDBInstance", "DBInstanceNotFound"): "",
}
"""What is to be gone is gone, or goes later: what is said of it."""


def test_each_documented_refusal_ends_its_task_in_one_line(
    acts: dict[str, Callable[[], object]], cloud: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over the wire, and nothing is asked again and again."""
    walked = 0
    for operation, act in acts.items():
        for service, of, code, status in CASES:
            if (service, of) != ("rds", operation):
                continue
            cloud.forget()
            cloud.before = lambda call, code=code, status=status, operation=operation: (  # type: ignore[misc]
                error(code, f"{status} Refused") if call.action == operation else None
            )
            exit = outcome(act)
            cloud.mend()
            sent = cloud.writes.count(operation)
            assert 1 <= sent <= 3, (operation, code, cloud.writes)
            if (operation, code) in WELL:
                assert WELL[operation, code] in capsys.readouterr().err
                continue
            assert exit is not None, (operation, code)
            assert exit.code in (1, 2, 3), (operation, code)
            assert NEXT.search(str(exit.message)), (operation, exit.message)
            walked += 1
    assert walked >= 100
    assert "Traceback" not in "".join(capsys.readouterr())


def test_a_name_of_which_aws_knows_nothing_is_a_wrong_setting(cloud: Front, configure: Configure) -> None:
    """Exit 2, as each other name that is wrong: nothing has failed, and running it again does not help."""
    settings = configure()
    aws = cloud.aws(settings)
    acts: dict[str, Callable[[], object]] = {
        "instance cruddur-db-instance": lambda: instance.require_instance(aws, settings.rds),
        "snapshot none": lambda: source.check(
            source.Source(snapshot="none"), aws, settings.rds, names(settings.rds, ""), None
        ),
        f"function {settings.lambdas.function}": lambda: function.require_function(aws, settings.lambdas),
        "function": lambda: facts_of(settings, aws, ""),
        "user pool ca-central-1_none": lambda: pool.Pool(aws, "ca-central-1_none", settings.root).read(),
    }
    for name, act in acts.items():
        exit = outcome(act)
        assert exit
        assert (exit.code, f"there is no {name}" in str(exit.message)) == (2, True), exit.message
