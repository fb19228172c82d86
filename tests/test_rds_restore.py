"""rds.restore, its swap, and back: cut at each write, beside strangers, and as AWS's own command asks for it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ops.aws import Aws
from ops.aws_errors import writes
from ops.cloud import tags
from ops.errors import InProgress, LoginFailed, Misconfigured, Problem, Refused, Unreachable
from ops.lambdas.following import follow
from ops.rds import create, instance, prod, server, snapshot_kinds
from ops.rds.restore import making, names, operations, request, restoring, snapshots, source, swapping, written_later
from ops.rds.restore.source import Source
from tests.fix_aws import HOST, REGION, Configure, Front, Hands, Killed, OnInstances, outcome, quiet, ready
from tests.fix_lambda import let_into, role_by_token

pytestmark = pytest.mark.usefixtures("region", "own_ids")

LIVE, BESIDE, PREV = "cruddur-db-instance", "cruddur-db-instance-restored", "cruddur-db-instance-prev"
SNAPSHOT = Source(snapshot="before")


class Scene(OnInstances):
    """moto's instance with a snapshot `before`, and the tasks on it."""

    def make(self) -> None:
        create.create_or_resume(self.settings, self.aws, self.hands.clock, adopt=False)
        instance.take_snapshot(self.aws, self.settings.rds, "before", self.hands.clock)
        self.cloud.forget()

    def restore(self, source: Source = SNAPSHOT, given: str = "", *, swap: bool = False, confirm: str = LIVE) -> Any:
        return restoring.restore(
            self.settings, self.aws, self.hands.clock, source, given, swap=swap, confirm=confirm if swap else "",
            follow=partial(follow, self.settings, self.aws),
        )  # fmt: skip

    def undo(self, confirm: str = LIVE) -> str:
        follows = partial(follow, self.settings, self.aws)
        return swapping.undo(self.settings, self.aws, self.hands.clock, confirm, follow=follows)

    def has_function(self) -> None:
        role_by_token(self.aws, self.settings, self.rows()[LIVE])
        self.cloud.forget()

    def function_is_let_into(self) -> set[str]:
        return let_into(self.aws, self.settings)

    def source_of(self, name: str) -> str:
        """Return from what an instance was restored; `live` for the one that was made first."""
        row = self.rows().get(name)
        return "none" if row is None else tags.from_aws(row["TagList"]).get(names.SOURCE, "live")

    def stranger(self, name: str) -> None:
        self.rds.create_db_instance(
            DBInstanceIdentifier=name, DBInstanceClass="db.t4g.micro", Engine="postgres",
            MasterUsername="root", MasterUserPassword="huEE33z2Qvl383", AllocatedStorage=20,
        )  # fmt: skip
        self.cloud.forget()


@pytest.fixture
def scene(cloud: Front, configure: Configure, hands: Hands, no_server: None, pauses: None) -> Scene:
    made = Scene(cloud, configure, hands)
    made.make()
    return made


def test_a_snapshot_becomes_an_instance_beside_with_what_a_restore_does_not_copy(scene: Scene) -> None:
    scene.rds.create_db_parameter_group(
        DBParameterGroupName="mine", DBParameterGroupFamily="postgres18", Description="mine"
    )
    scene.rds.modify_db_instance(DBInstanceIdentifier=LIVE, DBParameterGroupName="mine")
    scene.rds.add_tags_to_resource(
        ResourceName=scene.rows()[LIVE]["DBInstanceArn"], Tags=[{"Key": "Team", "Value": "web"}]
    )
    scene.cloud.forget()
    done = scene.restore()
    assert (done.identifier, done.restored_from, done.swapped, done.previous) == (BESIDE, "before", False, None)
    live, made = scene.rows()[LIVE], scene.rows()[BESIDE]
    assert tags.from_aws(made["TagList"]) == {
        "Team": "web",
        "Project": "cruddur",
        "ManagedBy": "inv",
        "inv:beside": LIVE,
        "inv:restored-from": "before",
        "inv:restored-as": BESIDE,
    }
    for name in (
        "VpcSecurityGroups",
        "IAMDatabaseAuthenticationEnabled",
        "DeletionProtection",
        "BackupRetentionPeriod",
    ):
        assert made[name] == live[name], name
    [asked] = [call.params for call in scene.cloud.calls if call.action == operations.BY_SNAPSHOT]
    assert asked["DBParameterGroupName"] == "mine"
    assert asked["EngineLifecycleSupport"] == "open-source-rds-extended-support-disabled"
    assert "ManageMasterUserPassword" not in asked  # for Oracle only
    assert "DBName" not in asked


def test_a_moment_too(scene: Scene) -> None:
    past = scene.rows()[LIVE]["InstanceCreateTime"] + timedelta(milliseconds=1)
    done = scene.restore(Source(at=past), "As-It-Was")
    assert done.identifier == "as-it-was"
    [asked] = [call.params for call in scene.cloud.calls if call.action == operations.BY_MOMENT]
    assert (asked["SourceDBInstanceIdentifier"], asked["TargetDBInstanceIdentifier"]) == (LIVE, "as-it-was")


def test_again_makes_no_second_one_and_another_source_is_refused(scene: Scene) -> None:
    scene.restore()
    scene.cloud.forget()
    scene.restore()
    assert operations.BY_SNAPSHOT not in scene.cloud.writes
    instance.take_snapshot(scene.aws, scene.settings.rds, "later", scene.hands.clock)
    with pytest.raises(Refused, match="is there already, restored from before: --as NAME makes another"):
        scene.restore(Source(snapshot="later"))


def test_what_is_gone_comes_back_under_its_own_name(scene: Scene) -> None:
    scene.rds.modify_db_instance(DBInstanceIdentifier=LIVE, DeletionProtection=False)
    scene.rds.delete_db_instance(DBInstanceIdentifier=LIVE, SkipFinalSnapshot=True)
    assert scene.restore().identifier == LIVE
    assert scene.restore().identifier == LIVE
    assert list(scene.rows()) == [LIVE]


def test_swap_and_undo_exchange_the_names_and_say_how_long_that_took(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.has_function()
    done = scene.restore(swap=True)
    said = capsys.readouterr().err
    assert f"cruddur-post-confirmation may log in by token to {LIVE} and {BESIDE} now" in said
    assert f"cruddur-post-confirmation may log in by token to {LIVE} now" in said
    assert (done.identifier, done.swapped, done.previous) == (LIVE, True, PREV)
    assert (scene.source_of(LIVE), scene.source_of(PREV), len(scene.rows())) == ("before", "live", 2)
    assert "two renames one after the other, of about 10 minutes each" in said
    assert said.index("costs: one more instance, about ") < said.index("asked AWS for")
    assert f"written after the restore point, and only in {LIVE}: 0 rows" in said
    assert f"{LIVE} was away for 0:00 minutes" in said
    assert done.outage_seconds == 0
    assert scene.restore(swap=True).swapped  # again: nothing is renamed
    assert (scene.source_of(LIVE), scene.source_of(PREV), len(scene.rows())) == ("before", "live", 2)
    assert f"{LIVE} is the instance from before" in scene.undo()
    assert (scene.source_of(LIVE), scene.source_of(BESIDE), len(scene.rows())) == ("live", "before", 2)
    with pytest.raises(Refused, match="there is no cruddur-db-instance-prev to go back to"):
        scene.undo()
    assert scene.restore(swap=True).swapped  # the one that is there comes in again
    assert (scene.source_of(LIVE), scene.source_of(PREV), len(scene.rows())) == ("before", "live", 2)


# --- cut at each write ------------------------------------------------------------------


@contextlib.contextmanager
def killed(number: int, when: str) -> Iterator[None]:
    """End the process at its write of this number, before AWS has it or after."""
    from botocore.client import BaseClient

    call, written = BaseClient._make_api_call, 0

    def cut(self: Any, operation: str, params: Any) -> Any:
        nonlocal written
        written += writes(operation)
        at = writes(operation) and written == number
        if at and when == "before":
            raise Killed
        answer = call(self, operation, params)
        if at:
            raise Killed
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", cut)
        yield


SWAPPED = {LIVE: "before", PREV: "live"}
BEFORE_SWAP = {LIVE: "live", BESIDE: "before"}


@pytest.mark.spread(most=2)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["again", "undo"])
def test_a_swap_killed_at_any_write_goes_on_or_back(
    cloud: Front, configure: Configure, hands: Hands, no_server: None, pauses: None, when: str, then: str
) -> None:
    """Both instances are whole at any point, under names from which either way goes on."""
    for number in range(1, 9):
        cloud.reset()
        scene = Scene(cloud, configure, hands)
        scene.make()
        scene.has_function()
        scene.restore()
        with killed(number, when):
            failed = outcome(partial(scene.restore, swap=True))
        assert scene.function_is_let_into() >= {LIVE} & scene.rows().keys()
        assert sorted(scene.source_of(name) for name in scene.rows()) == ["before", "live"]
        if failed is None:
            break
        if then == "again":
            scene.restore(swap=True)
            assert {name: scene.source_of(name) for name in scene.rows()} == SWAPPED
        else:
            outcome(scene.undo)
            assert {name: scene.source_of(name) for name in scene.rows()} == BEFORE_SWAP
        assert scene.function_is_let_into() == {LIVE}
    assert number == 6  # the mark, the function into both, both renames, the function into one


@pytest.mark.spread(most=2)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("then", ["again", "restore --swap"])
def test_an_undo_killed_at_any_write_goes_on_or_back(
    cloud: Front, configure: Configure, hands: Hands, no_server: None, pauses: None, when: str, then: str
) -> None:
    for number in range(1, 9):
        cloud.reset()
        scene = Scene(cloud, configure, hands)
        scene.make()
        scene.has_function()
        scene.restore(swap=True)
        with killed(number, when):
            failed = outcome(scene.undo)
        assert scene.function_is_let_into() >= {LIVE} & scene.rows().keys()
        if failed is None:
            break
        if then == "again":
            outcome(scene.undo)
            assert {name: scene.source_of(name) for name in scene.rows()} == BEFORE_SWAP
        else:
            scene.restore(swap=True)
            assert {name: scene.source_of(name) for name in scene.rows()} == SWAPPED
        assert scene.function_is_let_into() == {LIVE}
    assert number == 5


@pytest.mark.parametrize("how", ["before", "lost", "expired", "throttled"])
def test_a_restore_cut_at_any_call_is_one_line_and_the_next_run_ends_it(
    cloud: Front, configure: Configure, hands: Hands, no_server: None, pauses: None, how: str
) -> None:
    for number in range(1, 9):
        cloud.reset()
        scene = Scene(cloud, configure, hands)
        scene.make()
        reached = cloud.cut(number, how)
        outcome(scene.restore)
        was_cut = reached()
        cloud.mend()
        scene.restore()
        assert {name: scene.source_of(name) for name in scene.rows()} == BEFORE_SWAP
        if not was_cut:
            break
    assert number > 1


# --- strangers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "act", "says"),
    [
        (BESIDE, lambda at: at.restore(), "is there already, and not made by rds.restore"),
        (PREV, lambda at: at.restore(swap=True), "is there already, from a swap before or somebody else's"),
        (PREV, lambda at: at.undo(), "is not the instance that a swap has moved away"),
    ],
)
def test_a_stranger_of_the_same_name_is_left_alone(
    scene: Scene, name: str, act: Callable[[Scene], Any], says: str
) -> None:
    scene.stranger(name)
    before = {**scene.rows()[name], "LatestRestorableTime": None}
    with pytest.raises(Refused, match=says):
        act(scene)
    assert {**scene.rows()[name], "LatestRestorableTime": None} == before
    assert "ModifyDBInstance" not in [c.action for c in scene.cloud.calls if "NewDBInstanceIdentifier" in c.params]


def test_an_instance_that_is_not_ours_is_not_moved_away(scene: Scene) -> None:
    scene.rds.remove_tags_from_resource(ResourceName=scene.rows()[LIVE]["DBInstanceArn"], TagKeys=["ManagedBy"])
    with pytest.raises(Refused, match="--adopt hands it over first"):
        scene.restore(swap=True)
    assert LIVE in scene.rows()


def test_a_snapshot_of_another_instance_is_refused(scene: Scene) -> None:
    scene.stranger("other")
    scene.rds.create_db_snapshot(DBInstanceIdentifier="other", DBSnapshotIdentifier="theirs")
    with pytest.raises(Refused, match="is a snapshot of other, not of cruddur-db-instance"):
        scene.restore(Source(snapshot="theirs"))
    assert BESIDE not in scene.rows()


# --- what is refused before anything is made --------------------------------------------


@pytest.mark.parametrize(
    ("snapshot", "at", "says"),
    [
        ("", "", "say from what"),
        ("a", "2026-11-20T14:05Z", "say from what"),
        ("", "yesterday", "write a moment like"),
        ("", "2026-11-20", "write a moment like"),
        ("", "14:05", "write a moment like"),
    ],
)
def test_options_that_say_nothing(snapshot: str, at: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        source.read(snapshot, at)


def test_a_moment_is_read_with_its_offset() -> None:
    found = source.read("", "2026-11-20T15:05+01:00")
    assert (str(found), found.option) == ("2026-11-20T14:05:00Z", "--at 2026-11-20T14:05:00Z")
    assert source.read("Before", "").option == "--snapshot before"


NOW = datetime.now(timezone.utc)


@pytest.mark.parametrize(
    ("row", "at", "says"),
    [
        (None, NOW, "there is no cruddur-db-instance to go back in"),
        ({"BackupRetentionPeriod": 0}, NOW, "keeps no backups"),
        ({"BackupRetentionPeriod": 7, "LatestRestorableTime": NOW - timedelta(minutes=5)}, NOW, "reach until"),
        ({"BackupRetentionPeriod": 7}, NOW + timedelta(days=1), "reach until now"),
        (
            {"BackupRetentionPeriod": 7, "InstanceCreateTime": NOW - timedelta(hours=1)},
            NOW - timedelta(hours=2),
            "was made at",
        ),
        ({"BackupRetentionPeriod": 7}, NOW - timedelta(days=8), "keeps backups for 7 days"),
    ],
)
def test_a_moment_that_the_backups_do_not_reach(configure: Configure, row: Any, at: datetime, says: str) -> None:
    with pytest.raises(Refused, match=says):
        source.check_moment(at, configure().rds, row)


@pytest.mark.parametrize("given", ["1x", "a--b", "x" * 64, PREV, "db_1"])
def test_names_that_rds_would_not_take(configure: Configure, given: str) -> None:
    with pytest.raises(Misconfigured):
        names.names(configure().rds, given)


def test_a_name_that_leaves_no_room_for_the_one_before(configure: Configure) -> None:
    with pytest.raises(Misconfigured, match=r"a shorter rds\.identifier leaves room"):
        names.names(configure({"identifier": "x" * 60}).rds, "short")


@pytest.mark.parametrize(("status", "error"), [("creating", InProgress), ("failed", Problem)])
def test_a_snapshot_that_is_not_complete(
    stubbed: tuple[Aws, Stubber], configure: Configure, status: str, error: type[Problem]
) -> None:
    aws, stub = stubbed
    row = {"DBSnapshotIdentifier": "s", "DBInstanceIdentifier": LIVE, "Status": status}
    stub.add_response("describe_db_snapshots", {"DBSnapshots": [row]})
    rds = configure().rds
    with pytest.raises(error, match=f"the snapshot s is {'still being made' if status == 'creating' else status}"):
        source.check_snapshot("s", aws, rds, names.names(rds))


def test_without_confirmation_nothing_is_renamed(scene: Scene) -> None:
    with pytest.raises(Refused, match=f"add --confirm {LIVE}"):
        scene.restore(swap=True, confirm="")
    assert {name: scene.source_of(name) for name in scene.rows()} == BEFORE_SWAP


def test_a_dry_run_writes_nothing(scene: Scene) -> None:
    found = making.plan(scene.settings, scene.aws, SNAPSHOT, "")
    assert scene.cloud.writes == []
    assert json.loads(json.dumps(found.request))["DBInstanceIdentifier"] == BESIDE
    scene.restore(swap=True)
    scene.cloud.forget()
    told = swapping.undo(scene.settings, scene.aws, scene.hands.clock, "", dry_run=True)
    assert told == f"nothing was renamed: {LIVE} would become {BESIDE}, then {PREV} would become {LIVE}"
    assert scene.cloud.writes == []


def test_one_that_lets_nobody_in_is_told_and_not_swapped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise LoginFailed("no")

    monkeypatch.setattr(prod, "open_session", refused)
    with pytest.raises(LoginFailed):
        scene.restore(swap=True)
    assert {name: scene.source_of(name) for name in scene.rows()} == BEFORE_SWAP


def test_one_whose_new_name_is_not_known_yet_is_asked_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DNS may remember for some minutes that there is no such name; that is part of the outage."""
    scene.restore()

    def soon(*_: object) -> io.BytesIO:
        if swapped and scene.hands.time - swapped[0] < 60:
            raise Unreachable("no such host")
        return io.BytesIO()

    swapped: list[float] = []
    rename = swapping.into_place

    def placed(*args: Any) -> Any:
        swapped.append(scene.hands.time)
        return rename(*args)

    monkeypatch.setattr(prod, "open_session", soon)
    monkeypatch.setattr(swapping, "into_place", placed)
    assert scene.restore(swap=True).outage_seconds == 60
    said = capsys.readouterr().err
    assert "can be reached from here, for 10 minutes at most" in said
    assert "was away for 1:00 minutes" in said


def test_a_swap_under_another_name_that_was_cut_off_wants_that_name_again(scene: Scene) -> None:
    scene.restore(given="other")
    with killed(3, "before"), contextlib.suppress(Killed):
        scene.restore(given="other", swap=True)
    assert LIVE not in scene.rows()
    for how in ({}, {"swap": True}, {"given": "other"}):
        with pytest.raises(Refused, match="a swap of cruddur-db-instance was cut off, and nothing has that name now"):
            scene.restore(**how)
    scene.restore(given="other", swap=True)
    assert {name: scene.source_of(name) for name in scene.rows()} == SWAPPED


# --- as botocore's model has it ----------------------------------------------------------


def test_every_field_is_one_of_botocores_model(configure: Configure) -> None:
    aws = Aws(configure())
    client = boto3.client("rds", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    aws._clients["rds"] = client
    settings = configure({"storage_gb": "400", "iops": "12000", "throughput": "500", "storage_max_gb": "unset"})
    which = names.names(settings.rds)
    with Stubber(client) as stub:
        for wanted in (SNAPSHOT, Source(at=NOW)):
            name = "restore_db_instance_from_db_snapshot" if wanted.snapshot else "restore_db_instance_to_point_in_time"
            stub.add_response(name, {})
            getattr(client, name)(**request.build(settings, aws, wanted, which, None, ["sg-1"]))


# --- what only AWS itself does: by Stubber ----------------------------------------------

OURS = {
    "TagList": tags.to_aws(
        {
            "Project": "cruddur",
            "ManagedBy": "inv",
            "inv:beside": LIVE,
            "inv:restored-from": "before",
            "inv:restored-as": BESIDE,
        }
    ),
    "DBInstanceIdentifier": BESIDE,
}


def errors_of(*operations: str) -> list[tuple[str, str]]:
    """Return the codes that AWS documents for each operation, by botocore's model."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("rds")
    return [
        (operation, str(shape.metadata.get("error", {}).get("code") or shape.name))
        for operation in operations
        for shape in model.operation_model(operation).error_shapes
    ]


DOCUMENTED = errors_of(operations.BY_SNAPSHOT, operations.BY_MOMENT, "DeleteDBSnapshot")


@pytest.mark.parametrize(("operation", "code"), DOCUMENTED)
def test_each_documented_error_is_one_line_and_no_traceback(
    stubbed: tuple[Aws, Stubber],
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    code: str,
) -> None:
    from botocore import xform_name

    aws, stub = stubbed
    settings = configure(AWS_DEFAULT_REGION=REGION)
    monkeypatch.setattr(making, "groups", lambda *_: ["sg-1"])
    stub.add_client_error(xform_name(operation), code, "said so", http_status_code=400)
    which = names.names(settings.rds)
    if operation == "DeleteDBSnapshot":
        failed = outcome(lambda: snapshots.remove(settings, aws, "old"))
        assert (failed is None) == (code in ("DBSnapshotNotFound", "InvalidDBSnapshotState"))
        return
    if code == "DBInstanceAlreadyExists":
        stub.add_response("describe_db_instances", {"DBInstances": [{"DBInstanceIdentifier": BESIDE}]})
    wanted = SNAPSHOT if operation == operations.BY_SNAPSHOT else Source(at=NOW)
    failed = outcome(lambda: making.make(settings, aws, wanted, which, None))
    assert failed is not None
    assert failed.code in (1, 2)
    assert "not made by rds.restore" in str(failed.message) or code in str(failed.message)


def test_the_table_of_errors_is_long_enough() -> None:
    assert len(DOCUMENTED) >= 40


def test_a_password_that_rds_keeps_is_asked_for_after_the_restore(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, no_server: None
) -> None:
    """The restore itself takes that for Oracle only."""
    aws, stub = stubbed
    settings = configure(AWS_DEFAULT_REGION=REGION)
    found = {**OURS, "PerformanceInsightsEnabled": False, "DBInstanceStatus": "available"}
    stub.add_response(
        "modify_db_instance",
        {},
        {
            "DBInstanceIdentifier": BESIDE, "ApplyImmediately": True, "ManageMasterUserPassword": True,
            "MaxAllocatedStorage": 50, "EnablePerformanceInsights": True, "PerformanceInsightsRetentionPeriod": 7,
            "DatabaseInsightsMode": "standard",
        },
    )  # fmt: skip
    ready(stub, "available", **OURS)  # it lags behind the call
    quiet(stub)
    ready(stub, "modifying", **OURS)
    quiet(stub)
    ready(stub, "available", **OURS, MasterUserSecret={"SecretArn": "arn", "SecretStatus": "creating"})
    quiet(stub)
    ready(stub, "available", **OURS, MasterUserSecret={"SecretArn": "arn", "SecretStatus": "active"})
    making.finish(settings, aws, SNAPSHOT, names.names(settings.rds), found, hands.clock)  # type: ignore[arg-type]
    assert hands.slept == [10.0] * 3


def test_an_own_password_is_sent_where_the_restored_one_refuses_it(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, stub = stubbed
    settings = configure(
        {"storage_max_gb": "unset", "insights_days": "unset", "insights_mode": "unset"},
        POSTGRES_MASTER_PASSWORD="mine-now-1",
    )

    def refused(*_: object) -> None:
        raise LoginFailed("no")

    monkeypatch.setattr(prod, "open_session", refused)
    stub.add_response(
        "modify_db_instance",
        {},
        {"DBInstanceIdentifier": BESIDE, "ApplyImmediately": True, "MasterUserPassword": "mine-now-1"},
    )
    ready(stub, "available", **OURS)
    row: Any = {**OURS, "DBInstanceStatus": "available", "Endpoint": {"Address": HOST}}
    making.finish(settings, aws, SNAPSHOT, names.names(settings.rds), row, hands.clock)
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    "status", ["incompatible-restore", "storage-full", "stopped", "failed", "insufficient-capacity"]
)
def test_advice_about_the_restored_one_never_names_the_live_one(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, status: str
) -> None:
    """`inv rds.delete` alone would remove production."""
    aws, stub = stubbed
    settings = configure()
    ready(stub, status, **OURS)
    quiet(stub)
    with pytest.raises(Problem) as failed:
        making.wait_for(settings, aws, SNAPSHOT, names.names(settings.rds), hands.clock)
    text = str(failed.value)
    assert "inv rds." not in text.replace(f"INVOKE_RDS_IDENTIFIER={BESIDE} inv rds.", "")


def test_one_that_takes_longer_is_exit_3_with_the_same_command(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands
) -> None:
    aws, stub = stubbed
    settings = configure({"wait_minutes": "1"})
    for _ in range(7):
        ready(stub, "creating", **OURS)
        quiet(stub)
    with pytest.raises(
        InProgress, match=r"run inv rds\.restore --snapshot before --as cruddur-db-instance-restored again"
    ):
        making.wait_for(settings, aws, SNAPSHOT, names.names(settings.rds), hands.clock)


def test_a_rename_waits_for_the_old_name_to_be_free_and_no_longer(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands
) -> None:
    """The outage is from there to the end of the second rename, not of both."""
    aws, stub = stubbed
    stub.add_response(
        "modify_db_instance",
        {},
        {"DBInstanceIdentifier": LIVE, "NewDBInstanceIdentifier": PREV, "ApplyImmediately": True},
    )
    ready(stub, "renaming", DBInstanceIdentifier=PREV)  # the goal's own look, by the new name
    ready(stub, "renaming", DBInstanceIdentifier=LIVE)
    quiet(stub)
    ready(stub, "renaming", DBInstanceIdentifier=PREV)
    stub.add_client_error("describe_db_instances", "DBInstanceNotFound", http_status_code=404)
    swapping.away(configure(), aws, hands.clock, LIVE, PREV, "rds.undo")
    assert hands.slept == [10.0]


def test_a_rename_that_shows_the_new_name_late_is_no_deletion(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands
) -> None:
    """AWS may show the old name for longer than what is just being made may stay unknown."""
    aws, stub = stubbed
    stub.add_response("modify_db_instance", {})
    for _ in range(8):
        stub.add_client_error("describe_db_instances", "DBInstanceNotFound", http_status_code=404)  # the new name
        ready(stub, "renaming", DBInstanceIdentifier=LIVE)
        ready(stub, "renaming", DBInstanceIdentifier=LIVE)  # the goal's own look
        quiet(stub)
    ready(stub, "renaming", DBInstanceIdentifier=PREV)
    stub.add_client_error("describe_db_instances", "DBInstanceNotFound", http_status_code=404)
    swapping.away(configure(), aws, hands.clock, LIVE, PREV, "rds.undo")
    assert sum(hands.slept) == 80


@pytest.mark.parametrize(
    ("code", "there", "says"),
    [
        ("DBInstanceAlreadyExists", None, "the name new is not free yet: run this again in a minute"),
        ("DBInstanceNotFound", True, None),
        ("DBInstanceNotFound", False, "DBInstanceNotFound"),
        ("InvalidDBInstanceState", None, "wait until it is available"),
    ],
)
def test_what_aws_says_to_a_rename(
    stubbed: tuple[Aws, Stubber], code: str, there: bool | None, says: str | None
) -> None:
    aws, stub = stubbed
    stub.add_client_error("modify_db_instance", code, http_status_code=400)
    if there:
        ready(stub, "available", DBInstanceIdentifier="new")
    elif there is False:
        stub.add_client_error("describe_db_instances", "DBInstanceNotFound", http_status_code=404)
    failed = outcome(lambda: swapping.rename(aws, server.INSTANCE, "old", "new"))
    assert (failed is None) == (says is None)
    if says and failed:
        assert says in str(failed.message)


# --- snapshots --------------------------------------------------------------------------


def snapshot(name: str, days: float, *, ours: bool = True, **more: Any) -> dict[str, Any]:
    its = {"Project": "cruddur", "ManagedBy": "inv"} if ours else {}
    return {
        "DBSnapshotIdentifier": name, "DBInstanceIdentifier": LIVE, "SnapshotType": "manual", "Status": "available",
        "SnapshotCreateTime": NOW - timedelta(days=days), "AllocatedStorage": 20, "TagList": tags.to_aws(its), **more,
    }  # fmt: skip


def test_what_is_pruned_is_old_ours_and_none_of_the_newest(stubbed: tuple[Aws, Stubber], configure: Configure) -> None:
    aws, stub = stubbed
    rows = [
        snapshot("fresh", 0.1), snapshot("young", 20), snapshot("old-1", 40), snapshot("old-2", 50), snapshot("old-3", 60),
        snapshot("theirs", 400, ours=False), snapshot(f"{LIVE}-final-20200101-000000", 400),
        snapshot("rds:auto", 400, SnapshotType="automated"), snapshot("half", 400, Status="creating"),
    ]  # fmt: skip
    stub.add_response("describe_db_snapshots", {"DBSnapshots": rows}, {"DBInstanceIdentifier": LIVE})
    found = snapshots.find(configure({"keep_snapshots": "3", "keep_snapshot_days": "30"}), aws)
    assert [one.snapshot for one in found if one.prune] == ["old-2", "old-3"]
    assert found[0].snapshot == "fresh"


def test_of_two_snapshots_of_one_moment_the_same_is_pruned_however_aws_lists_them(
    stubbed: tuple[Aws, Stubber], configure: Configure
) -> None:
    aws, stub = stubbed
    settings = configure({"keep_snapshots": "1", "keep_snapshot_days": "30"})
    rows = [snapshot(name, 0) | {"SnapshotCreateTime": NOW - timedelta(days=40)} for name in ("b", "a", "c")]
    for listed in (rows, rows[::-1]):
        stub.add_response("describe_db_snapshots", {"DBSnapshots": listed}, {"DBInstanceIdentifier": LIVE})
        assert [(one.snapshot, one.prune) for one in snapshots.find(settings, aws)] == [
            ("c", False),
            ("b", True),
            ("a", True),
        ]


def test_prune_asks_and_removes_and_repeats(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.config.update(keep_snapshots="0", keep_snapshot_days="0")
    scene.rds.create_db_snapshot(DBInstanceIdentifier=LIVE, DBSnapshotIdentifier="by-hand")
    scene.rds.remove_tags_from_resource(
        ResourceName=scene.rds.describe_db_snapshots(DBSnapshotIdentifier="by-hand")["DBSnapshots"][0]["DBSnapshotArn"],
        TagKeys=["ManagedBy"],
    )

    def prune(**how: Any) -> list[str]:
        given: dict[str, Any] = {"dry_run": False, "confirm": LIVE, **how}
        return [one.snapshot for one in snapshots.prune(scene.settings, scene.aws, **given) if one.pruned]

    assert prune(dry_run=True, confirm="") == []
    assert "would remove: before" in capsys.readouterr().err
    with pytest.raises(Refused, match="add --confirm"):
        prune(confirm="")
    assert prune() == ["before"]
    assert prune() == []
    left = snapshots.find(scene.settings, scene.aws)
    assert [one.snapshot for one in left if one.kind == "manual"] == ["by-hand"]


# --- the rows that are later ------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "restored", "written", "gone"),
    [
        ([(1, 5), (2, 1)], [(1, 5), (2, 1)], 0, 0),
        ([(1, 5), (3, 2)], [(1, 5)], 2, 0),
        ([(1, 3), (3, 2)], [(1, 5)], 2, 2),
        ([], [(1, 5)], 0, 5),
        ([(9, 1)], [], 1, 0),
        ([(1, 1), (4, 1), (6, 1)], [(1, 1), (5, 1)], 2, 1),
    ],
)
def test_rows_are_told_apart_by_the_transaction_that_wrote_them(
    live: list[tuple[int, int]], restored: list[tuple[int, int]], written: int, gone: int
) -> None:
    assert written_later.compare("t", iter(live), iter(restored)) == written_later.Later("t", written, gone)


@pytest.mark.parametrize("kind", [snapshot_kinds.OF_INSTANCE, snapshot_kinds.OF_CLUSTER], ids=["instance", "cluster"])
def test_an_answer_that_is_none_of_rds_is_not_taken_for_no_snapshot(
    stubbed: tuple[Aws, Stubber], kind: snapshot_kinds.SnapshotKind
) -> None:
    aws, stub = stubbed
    stub.add_response(kind.describe, {kind.rows: []})
    assert kind.find(aws, "before") is None
    stub.add_response(kind.describe, {})
    with pytest.raises(Misconfigured, match="RDS"):
        kind.find(aws, "before")
