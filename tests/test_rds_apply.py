"""rds.apply: what a change means, in the fewest requests, and what AWS would refuse before it is asked."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, get_args

import botocore.session
import pytest
from botocore.stub import Stubber

from ops.aws import Aws
from ops.cloud import prices, tags
from ops.errors import InProgress, Refused
from ops.rds import create, differences, instance
from ops.rds.apply import applying, limits, meaning, planning
from tests import typed
from tests.fix_aws import HOST, REGION, Call, Configure, Front, Hands, error, outcome, said_first
from tests.fix_cli import SUITE
from tests.test_rds_request import ORDERABLE, VERSIONS, option, options, versions
from tests.test_rds_restore import errors_of, killed

pytestmark = pytest.mark.usefixtures("region")

LIVE = "cruddur-db-instance"


class Scene:
    """moto's instance as the settings make it, and rds.apply on it."""

    def __init__(self, cloud: Front, configure: Configure, hands: Hands) -> None:
        self.cloud, self.configure, self.hands = cloud, configure, hands
        create.create_or_resume(configure(), cloud.aws(configure()), hands.clock, adopt=False)
        cloud.forget()

    def apply(
        self, rds: dict[str, str] | None = None, *, now: bool = False, dry_run: bool = False, confirm: str = LIVE
    ) -> Any:
        settings = self.configure(rds)
        return applying.apply(
            settings, self.cloud.aws(settings), self.hands.clock, now=now, dry_run=dry_run, confirm=confirm
        )

    def row(self) -> Any:
        return instance.require_instance(self.cloud.aws(self.configure()), self.configure().rds)

    def asked(self) -> list[dict[str, str]]:
        return [call.params for call in self.cloud.calls if call.action == "ModifyDBInstance"]


@pytest.fixture
def scene(cloud: Front, configure: Configure, hands: Hands, pauses: None, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    return Scene(cloud, configure, hands)


def test_an_instance_as_the_settings_say_is_not_changed(scene: Scene) -> None:
    found = scene.apply()
    assert (found.changes, found.steps, found.written) == ([], [], False)
    assert scene.cloud.writes == []


def test_what_needs_no_outage_is_made_now_and_the_rest_in_the_window(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {"backup_days": "14", "deletion_protection": "no", "instance_class": "db.t4g.small"}
    plans: list[Any] = []
    said = said_first(scene.cloud, capsys, lambda: plans.append(scene.apply(wanted)))
    [found] = plans
    assert [(step.at_once, step.settings) for step in found.steps] == [
        (True, ["backup_days", "deletion_protection"]),
        (False, ["instance_class"]),
    ]
    assert [asked["ApplyImmediately"] for asked in scene.asked()] == ["true", "false"]
    assert "instance_class: db.t4g.micro -> db.t4g.small (restart: another machine" in said
    assert "in the maintenance window, wed:06:38-wed:07:08 UTC (--now: at once)" in said
    assert "costs from then on: about 26 USD a month: db.t4g.small with 20 GB gp3" in said
    assert scene.row()["BackupRetentionPeriod"] == 14


def test_now_makes_all_in_one_request(scene: Scene) -> None:
    wanted = {"backup_days": "14", "instance_class": "db.t4g.small"}
    found = scene.apply(wanted, now=True)
    assert [(step.at_once, step.settings) for step in found.steps] == [(True, ["backup_days", "instance_class"])]
    assert len(scene.asked()) == 1
    assert scene.apply(wanted).steps == []
    assert len(scene.asked()) == 1


def test_storage_does_not_shrink_and_nothing_else_is_changed_then(scene: Scene) -> None:
    scene.apply({"storage_gb": "40"})
    with pytest.raises(
        Refused, match=r"nothing was changed: rds.storage_gb is 40.*does not shrink: set rds.storage_gb to 40"
    ):
        scene.apply({"storage_gb": "20", "storage_max_gb": "30", "backup_days": "14"})
    assert len(scene.asked()) == 1


def test_what_is_refused_is_refused_before_costs_are_told(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.apply({"storage_gb": "40"})
    capsys.readouterr()
    with pytest.raises(Refused, match="does not shrink"):
        scene.apply({"instance_class": "db.t4g.small", "storage_gb": "20", "storage_max_gb": "30"})
    assert "costs from then on" not in capsys.readouterr().err


def test_settings_of_the_other_engine_are_said_to_be_of_no_use(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.apply({"max_acu": "8", "pause_after": "10m", "backup_days": "14"}, dry_run=True)
    assert (
        f"note: rds.max_acu, rds.pause_after: for a cluster, and {LIVE} is an instance (rds.engine): nothing follows from it"
        in capsys.readouterr().err
    )
    cluster = scene.configure(
        {"engine": "aurora-postgresql", "engine_version": "17", "storage_gb": "40", "max_acu": "8"}
    )
    create.plan_instance(cluster, scene.cloud.aws(cluster))
    said = capsys.readouterr().err
    assert f"note: rds.storage_gb: for an instance, and {LIVE} is a cluster (rds.engine)" in said
    create.plan_instance(scene.configure(), scene.cloud.aws(scene.configure()))
    assert "note: rds." not in capsys.readouterr().err


def test_the_security_group_of_ours_is_added_to_those_it_has(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    row = scene.row()
    ec2 = scene.cloud.aws(scene.configure()).client("ec2")
    theirs = (
        ec2.create_security_group(GroupName="theirs", Description="x", VpcId=row["DBSubnetGroup"]["VpcId"])["GroupId"]
        if row.get("DBSubnetGroup")
        else ec2.create_security_group(GroupName="theirs", Description="x")["GroupId"]
    )
    [own] = [one["VpcSecurityGroupId"] for one in row["VpcSecurityGroups"]]
    scene.cloud.aws(scene.configure()).client("rds").modify_db_instance(
        DBInstanceIdentifier=LIVE, VpcSecurityGroupIds=[theirs]
    )
    scene.cloud.forget()
    capsys.readouterr()
    scene.apply(dry_run=True)
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("security_group")] == [
        f"security_group: {theirs} -> {own} (at once: no outage; the groups that it has stay)"
    ]
    assert "changed now: security_group" in said
    scene.apply()
    assert [one["VpcSecurityGroupId"] for one in scene.row()["VpcSecurityGroups"]] == [theirs, own]


def test_without_confirmation_or_on_a_dry_run_nothing_is_sent(scene: Scene) -> None:
    with pytest.raises(Refused, match=f"change backup_days of {LIVE}: nothing was done; .*--confirm {LIVE}"):
        scene.apply({"backup_days": "14"}, confirm="")
    found = scene.apply({"backup_days": "14"}, dry_run=True, confirm="")
    assert [step.request["BackupRetentionPeriod"] for step in found.steps] == [14]
    assert not found.written
    assert scene.cloud.writes == []


def test_an_instance_that_is_not_ours_is_left_alone(scene: Scene) -> None:
    client = scene.cloud.aws(scene.configure()).client("rds")
    client.remove_tags_from_resource(ResourceName=scene.row()["DBInstanceArn"], TagKeys=["ManagedBy"])
    with pytest.raises(Refused, match="--adopt hands it over first"):
        scene.apply({"backup_days": "14"})
    assert scene.asked() == []


WANTED = {"backup_days": "14", "instance_class": "db.t4g.small"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_write_the_next_run_ends_it(
    cloud: Front, configure: Configure, hands: Hands, pauses: None, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    for number in range(1, 9):
        cloud.reset()
        scene = Scene(cloud, configure, hands)
        with killed(number, when):
            failed = outcome(partial(scene.apply, WANTED))
        scene.apply(WANTED)
        assert (scene.row()["BackupRetentionPeriod"], scene.row()["DBInstanceClass"]) == (14, "db.t4g.small")
        assert len(scene.asked()) == 2
        if failed is None:
            break
    assert number == 3


@pytest.mark.parametrize("how", ["before", "lost", "expired", "throttled"])
def test_cut_at_any_call_it_is_one_line_and_the_next_run_ends_it(
    cloud: Front, configure: Configure, hands: Hands, pauses: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    for number in range(1, 9):
        cloud.reset()
        scene = Scene(cloud, configure, hands)
        reached = cloud.cut(number, how)
        outcome(partial(scene.apply, WANTED))
        was_cut = reached()
        cloud.mend()
        scene.apply(WANTED)
        assert (scene.row()["BackupRetentionPeriod"], scene.row()["DBInstanceClass"]) == (14, "db.t4g.small")
        if not was_cut:
            break
    assert number == 3


# --- as AWS's own command asks ----------------------------------------------------------

BY_SETTINGS = {
    "backup_days": "14", "deletion_protection": "no", "instance_class": "db.t4g.small", "multi_az": "yes", "public": "no",
    "storage_gb": "30", "auto_minor_upgrade": "no", "iam_auth": "no", "copy_tags": "no",
}  # fmt: skip


def test_the_request_is_field_by_field_what_the_aws_command_sends(scene: Scene) -> None:
    plan = scene.apply(BY_SETTINGS, now=True)
    assert {one.setting for one in plan.changes} == set(BY_SETTINGS)
    typed.check(scene.cloud, "rds.apply --now")


MODIFY = botocore.session.get_session().get_service_model("rds").operation_model("ModifyDBInstance").input_shape.members


def test_each_difference_has_a_meaning_and_what_modify_does_not_take_is_never() -> None:
    """botocore's model tells which; a setting that is compared and has no meaning would be a traceback."""
    assert set(meaning.MEANINGS) == {*differences.COMPARED, "security_group"}
    for setting, (asked, _) in differences.COMPARED.items():
        if planning.RENAMED.get(asked, asked) not in MODIFY:
            assert meaning.MEANINGS[setting].when == "never", setting
    assert {one.when for one in meaning.MEANINGS.values()} == set(get_args(meaning.When))


@pytest.mark.parametrize(
    ("setting", "documented", "when"),
    [
        ("instance_class", "an outage occurs during the change", "restart"),
        ("engine_version", "results in an outage", "restart"),
        ("multi_az", "applied during the next maintenance window", "window"),
        ("public", "applied immediately regardless", "at once"),
        ("port", "your database restarts regardless", "restart"),
        ("backup_days", "asynchronously applied as soon as possible", "at once"),
    ],
)
def test_what_is_said_of_a_change_is_what_aws_documents(setting: str, documented: str, when: str) -> None:
    """The reference comes with botocore."""
    import re

    asked = differences.COMPARED[setting][0]
    text = " ".join(re.sub("<[^>]+>", " ", MODIFY[planning.RENAMED.get(asked, asked)].documentation).split())
    assert documented in text
    assert meaning.MEANINGS[setting].when == when


# --- what only AWS itself does: by Stubber ----------------------------------------------

OURS: dict[str, Any] = {
    "DBInstanceIdentifier": LIVE, "DBInstanceStatus": "available", "DBInstanceArn": "arn:aws:rds:x:1:db:y",
    "TagList": tags.to_aws({"Project": "cruddur", "ManagedBy": "inv"}), "Endpoint": {"Address": HOST, "Port": 5432},
    "EngineVersion": "18.4", "DBInstanceClass": "db.t4g.micro", "AllocatedStorage": 20, "StorageType": "gp3",
    "AvailabilityZone": f"{REGION}a", "PreferredMaintenanceWindow": "sun:05:00-sun:05:30",
}  # fmt: skip
EVENTS, MAINTENANCE = "describe_events", "describe_pending_maintenance_actions"
NOW = datetime.now(timezone.utc)


def planned(
    stubbed: tuple[Aws, Stubber], configure: Configure, rds: dict[str, str], answers: list[tuple[str, Any]],
    *, now: bool = False, **row: Any,
) -> planning.Plan:  # fmt: skip
    """Return the plan for an instance, the look-ups answered one after the other; a text is a refusal of that code."""
    aws, stub = stubbed
    for call, answer in [*answers, (MAINTENANCE, {"PendingMaintenanceActions": []})]:
        if isinstance(answer, str):
            stub.add_client_error(call, answer, http_status_code=403)
        else:
            stub.add_response(call, answer)
    settings = configure(rds, AWS_DEFAULT_REGION=REGION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "groups", lambda *_: [])
        found: Any = {**OURS, **row}
        return planning.make(settings, aws, found, now=now)


def event(text: str, hours: float) -> dict[str, Any]:
    return {"Message": text, "Date": datetime.now(timezone.utc) - timedelta(hours=hours)}


@pytest.mark.parametrize(
    ("events", "row", "says"),
    [
        ([("Finished applying modification to allocated storage.", 2)], {}, "6 hours after the last change"),
        ([("Applying modification to storage type", 5.9)], {}, "6 hours after the last change"),
        ([("Finished applying autoscaling-initiated modification to allocated storage.", 1)], {}, "6 hours after"),
        ([("Finished applying modification to Provisioned IOPS", 1)], {}, "6 hours after"),
        ([("Finished applying modification to allocated storage.", 6.1)], {}, ""),
        ([("Backing up DB instance", 1), ("DB instance restarted", 1)], {}, ""),
        ([], {}, ""),
        ([], {"DBInstanceStatus": "storage-optimization"}, "until it is optimized"),
        (
            [],
            {"StorageOperationStatus": "Optimizing", "StorageOperationPercentProgress": 40},
            r"optimized \(40% done\)",
        ),
    ],
)
def test_the_6_hours_after_a_change_of_storage(
    stubbed: tuple[Aws, Stubber], configure: Configure, events: list[Any], row: dict[str, Any], says: str
) -> None:
    import re

    asked = [] if row else [(EVENTS, {"Events": [event(*one) for one in events]})]
    found = planned(stubbed, configure, {"storage_gb": "40"}, [(VERSIONS, versions("18.4")), *asked], **row)
    assert bool(found.refused) == bool(says)
    assert re.search(says, "".join(found.refused))
    assert bool(found.steps) != bool(says)


def test_they_are_waited_for_with_exit_3(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "last_change", lambda *_: NOW)
    with pytest.raises(
        InProgress, match=r"the storage cannot be changed until .* UTC, 6 hours after .*run this again then"
    ):
        scene.apply({"storage_gb": "40"})
    assert scene.asked() == []


@pytest.mark.parametrize(
    ("zones", "says"),
    [
        ("ab", ""),
        ("bd", "the instance is in ca-central-1a, and it is offered in ca-central-1b, ca-central-1d"),
        ("", "ca-central-1 does not offer it for PostgreSQL 18.4"),
    ],
)
def test_a_class_that_the_zone_does_not_have(
    stubbed: tuple[Aws, Stubber], configure: Configure, zones: str, says: str
) -> None:
    rows = [option(AvailabilityZones=[{"Name": f"{REGION}{letter}"} for letter in zones])] if zones else []
    answers = [(VERSIONS, versions("18.4")), (ORDERABLE, options(*rows))]
    found = planned(stubbed, configure, {"instance_class": "db.m7g.large"}, answers)
    assert (says in "".join(found.refused)) if says else found.refused == []


def test_a_look_up_that_is_refused_leaves_the_last_word_to_aws(
    stubbed: tuple[Aws, Stubber], configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [(VERSIONS, versions("18.4")), (ORDERABLE, "AccessDenied"), (EVENTS, "AccessDenied")]
    found = planned(stubbed, configure, {"instance_class": "db.m7g.large", "storage_gb": "40"}, answers)
    assert (found.refused, len(found.steps)) == ([], 2)
    assert "the instance class is not checked beforehand (no permission)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rds", "row", "says"),
    [
        ({"engine_version": "17"}, {}, "another major version is a migration of its own: set rds.engine_version to 18"),
        ({"engine_version": "18.3"}, {}, "no version goes back: set rds.engine_version to 18.4"),
        ({}, {"StorageEncrypted": False}, "rds.encrypted is no, not yes: a copy of a snapshot can be encrypted"),
        ({}, {"MasterUsername": "root"}, "the master user is root, not postgres"),
        ({"zone": "b"}, {}, "an instance stays in its zone"),
        ({}, {"Endpoint": {"Address": HOST, "Port": 6000}}, "the port becomes 5432: AWS restarts it at once for that"),
        ({"storage_gb": "19"}, {}, "rds.storage_gb 19: give 20 to 65536"),
    ],
)
def test_what_is_never_changed_refuses_all(
    stubbed: tuple[Aws, Stubber], configure: Configure, rds: dict[str, str], row: dict[str, Any], says: str
) -> None:
    asks = [(VERSIONS, versions(rds["engine_version"]))] if "engine_version" in rds else []
    found = planned(stubbed, configure, {"backup_days": "14", **rds}, asks, **row, BackupRetentionPeriod=7)
    assert says in "; ".join(found.refused)
    assert found.steps == []


@pytest.mark.parametrize(
    ("pending", "now", "steps"),
    [
        ({}, False, [(True, ["backup_days"]), (False, ["instance_class"])]),
        ({"DBInstanceClass": "db.t4g.small"}, False, [(False, ["backup_days"])]),
        ({"DBInstanceClass": "db.t4g.large"}, False, [(False, ["backup_days", "instance_class"])]),
        ({"DBInstanceClass": "db.t4g.small"}, True, [(True, ["backup_days", "instance_class"])]),
    ],
)
def test_what_waits_for_the_window_is_not_brought_along(
    stubbed: tuple[Aws, Stubber], configure: Configure, pending: dict[str, Any], now: bool, steps: list[Any]
) -> None:
    """A request that is made at once makes all that waits at once, too, with its outage."""
    answers = [(VERSIONS, versions("18.4")), (ORDERABLE, options(option()))]
    more = {"PendingModifiedValues": pending, "BackupRetentionPeriod": 7}
    found = planned(stubbed, configure, {**WANTED}, answers, now=now, **more)
    assert [(step.at_once, step.settings) for step in found.steps] == steps
    assert [one.field for one in found.pending] == list(pending)


def test_what_aws_wants_to_do_itself_is_shown(stubbed: tuple[Aws, Stubber], configure: Configure) -> None:
    aws, stub = stubbed
    details = [{"Action": "system-update", "Description": "New OS", "AutoAppliedAfterDate": NOW}]
    stub.add_response(
        MAINTENANCE,
        {"PendingMaintenanceActions": [{"ResourceIdentifier": "arn", "PendingMaintenanceActionDetails": details}]},
        {"ResourceIdentifier": "arn:aws:rds:x:1:db:y"},
    )
    assert planning.maintenance(aws, OURS) == [planning.Maintenance("system-update", "New OS", NOW)]  # type: ignore[arg-type]


def test_provisioned_storage_is_sent_with_its_numbers(stubbed: tuple[Aws, Stubber], configure: Configure) -> None:
    """AWS wants the IOPS with any change of such storage."""
    rds = {"storage_gb": "500", "storage_max_gb": "unset", "iops": "12000", "throughput": "500"}
    row: dict[str, Any] = {"AllocatedStorage": 400, "Iops": 12000, "StorageThroughput": 500}
    found = planned(stubbed, configure, rds, [(VERSIONS, versions("18.4")), (EVENTS, {"Events": []})], **row)
    [step] = found.steps
    assert step.request == {
        "DBInstanceIdentifier": LIVE, "ApplyImmediately": True, "AllocatedStorage": 500, "Iops": 12000, "StorageThroughput": 500,
    }  # fmt: skip


DOCUMENTED = [code for _, code in errors_of("ModifyDBInstance")]


@pytest.mark.parametrize("code", DOCUMENTED)
def test_each_documented_error_is_one_line_and_no_traceback(
    stubbed: tuple[Aws, Stubber], configure: Configure, code: str
) -> None:
    aws, stub = stubbed
    stub.add_client_error("modify_db_instance", code, "said so", http_status_code=400)
    if code == "InvalidDBInstanceState":
        stub.add_response("describe_db_instances", {"DBInstances": [OURS]})
    step = planning.Step(True, ["instance_class"], {"DBInstanceIdentifier": LIVE, "ApplyImmediately": True})
    settings = configure({"instance_class": "db.t4g.small"}, AWS_DEFAULT_REGION=REGION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "groups", lambda *_: [])
        failed = outcome(lambda: applying.send(settings, aws, step))
    assert failed is not None
    assert failed.code in (1, 2)
    assert code in str(failed.message)


# --- what it costs ----------------------------------------------------------------------


def product(usd: float, engine: str = "PostgreSQL") -> str:
    price = {"priceDimensions": {"x": {"unit": "Hrs", "pricePerUnit": {"USD": f"{usd:.10f}"}}}}
    return json.dumps({"product": {"attributes": {"databaseEngine": engine}}, "terms": {"OnDemand": {"y": price}}})


def test_the_price_is_that_of_awss_list_in_its_region(configure: Configure) -> None:
    import boto3

    aws = Aws(configure(AWS_DEFAULT_REGION=REGION))
    client = boto3.client("pricing", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    aws._clients[f"pricing {prices.ENDPOINT}"] = client
    with Stubber(client) as stub:
        for answer in ([product(0.9, "Oracle"), product(0.018)], [product(0.127)]):
            stub.add_response("get_products", {"PriceList": answer})
        told = prices.told(aws, prices.Asked("db.t4g.micro", 20, "gp3", False))
        assert told == "about 16 USD a month: db.t4g.micro with 20 GB gp3 (ca-central-1, by AWS's price list)"
        stub.add_client_error("get_products", "AccessDeniedException", http_status_code=400)
        assert (
            "list prices of us-east-1; those of ca-central-1 could not be asked (AccessDeniedException)"
            in prices.told(aws, prices.Asked("db.t4g.micro", 20, "gp3", True))
        )
        stub.add_response("get_products", {"PriceList": []})
        assert "could not be looked up (it lists none): https://aws.amazon.com" in prices.told(
            aws, prices.Asked("db.x9.huge", 20, "gp3", False)
        )


def test_all_prices_stand_in_one_place() -> None:
    files = [path for path in (SUITE / "ops").rglob("*.py") if " USD" in path.read_text(encoding="utf-8")]
    assert [path.name for path in files] == ["prices.py"]
    assert prices.of_snapshot(20).startswith("about 0.095 USD for each GB in it and month, 1.90 USD for 20 GB at most")
    assert prices.of_machine("t4g.nano", 8, public=True).startswith(
        "about 7.36 USD a month if it never stopped (t4g.nano, its"
    )
    assert prices.of_endpoints() == "about 7.30 USD a month each, and for each zone"


def test_a_request_that_is_denied_says_which_right(scene: Scene) -> None:
    def denied(call: Call) -> Any:
        return error("AccessDenied", "403 Forbidden") if call.action == "ModifyDBInstance" else None

    scene.cloud.before = denied
    failed = outcome(lambda: scene.apply({"backup_days": "14"}))
    assert failed
    assert "AWS does not permit ModifyDBInstance: ask for the rights in config/policies" in str(failed.message)
