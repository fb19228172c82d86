"""rds.restore --swap and rds.undo for a cluster of Aurora: as for an instance, and its instances' names after it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from ops.errors import Refused
from ops.rds import delete, instance
from ops.rds.restore import names, restoring, swapping
from ops.rds.restore.source import Source
from tests import typed
from tests.fix_aws import Configure, Front, Hands, outcome
from tests.test_rds_cluster import NAME, Scene
from tests.test_rds_restore import killed

pytestmark = pytest.mark.usefixtures("region")

BESIDE, PREV = f"{NAME}-restored", f"{NAME}-prev"
SNAPSHOT = Source(snapshot="before")


class Swapping(Scene):
    """moto's cluster with a snapshot `before`, and the tasks on it."""

    def make(self) -> None:
        self.create()
        instance.take_snapshot(self.aws, self.settings.rds, "before", self.hands.clock)
        self.cloud.forget()

    def restore(self, given: str = "", *, swap: bool = False, confirm: str = NAME) -> Any:
        return restoring.restore(self.settings, self.aws, self.hands.clock, SNAPSHOT, given, swap=swap, confirm=confirm)

    def undo(self, *, dry_run: bool = False) -> str:
        return swapping.undo(self.settings, self.aws, self.hands.clock, NAME, dry_run=dry_run)

    def there(self) -> dict[str, str]:
        """Return from what each cluster was restored, `live` for the one that was made first, with its instances."""
        found = {}
        for name, members in self.clusters().items():
            row = instance.require_instance(self.aws, replace(self.settings.rds, identifier=name))
            found[name] = " ".join([names.have(row).get(names.SOURCE, "live"), *sorted(members)])
        return found


@pytest.fixture
def scene(cloud: Front, configure: Configure, hands: Hands, no_server: None, pauses: None) -> Swapping:
    made = Swapping(cloud, configure, hands)
    made.make()
    return made


SWAPPED = {NAME: f"before {NAME}-1", PREV: f"live {PREV}-1"}
BEFORE_SWAP = {NAME: f"live {NAME}-1", BESIDE: f"before {BESIDE}-1"}


def test_swap_and_undo_exchange_the_names_of_clusters_and_of_their_instances(
    scene: Swapping, capsys: pytest.CaptureFixture[str]
) -> None:
    done = scene.restore(swap=True)
    said = capsys.readouterr().err
    assert (done.identifier, done.swapped, done.previous, done.outage_seconds) == (NAME, True, PREV, 0)
    assert scene.there() == SWAPPED
    typed.check(scene.cloud, "a cluster is restored and swapped")
    assert (
        "two renames one after the other, for which AWS names no time; then each instance of both gets its name" in said
    )
    assert 0 <= said.index("costs of one more cluster, until one of both is deleted: ") < said.index("asked AWS for")
    assert f"written after the restore point, and only in {NAME}: 0 rows" in said
    assert f"{NAME} was away for 0:00 minutes more, while {NAME}-1 restarted" in said
    assert scene.settings.vars.saved == {"PROD_DB_ENDPOINT": instance.host(scene.row())}
    scene.cloud.forget()
    assert scene.restore(swap=True).swapped  # again: nothing is renamed
    assert scene.cloud.writes == []
    assert f"{NAME} is the cluster from before" in scene.undo()
    typed.check(scene.cloud, "a swap of clusters is undone")
    assert scene.there() == BEFORE_SWAP
    with pytest.raises(Refused, match=f"there is no {PREV} to go back to"):
        scene.undo()
    assert scene.restore(swap=True).swapped  # the one that is there comes in again
    assert scene.there() == SWAPPED


def test_its_readers_follow_and_are_read_at(scene: Swapping) -> None:
    scene.config["multi_az"] = "yes"
    scene.create()
    scene.restore("other", swap=True)
    assert scene.there() == {NAME: f"before {NAME}-1 {NAME}-2", PREV: f"live {PREV}-1 {PREV}-2"}
    assert f"{NAME}.cluster-ro-" in scene.settings.vars.saved["PROD_READ_CONNECTION_URL"]
    scene.undo()
    assert scene.there() == {NAME: f"live {NAME}-1 {NAME}-2", "other": "before other-1 other-2"}


# --- cut at each write ------------------------------------------------------------------


@pytest.mark.spread(most=2)
@pytest.mark.parametrize(
    ("then", "when", "given"),
    [("again", "before", ""), ("again", "after", "other"), ("undo", "before", "other"), ("undo", "after", "")],
)
def test_a_swap_killed_at_any_write_goes_on_or_back(
    cloud: Front, configure: Configure, hands: Hands, no_server: None, pauses: None, then: str, when: str, given: str
) -> None:
    """Both clusters are whole at any point, under names from which either way goes on."""
    beside = given or BESIDE
    for number in range(1, 12):
        cloud.reset()
        scene = Swapping(cloud, configure, hands)
        scene.make()
        scene.restore(given)
        with killed(number, when):
            failed = outcome(partial(scene.restore, given, swap=True))
        assert sorted(what.split()[0] for what in scene.there().values()) == ["before", "live"]
        assert len(scene.rows()) == 2
        if failed is None:
            break
        if then == "again":
            scene.restore("" if NAME in scene.clusters() and not given else given, swap=True)
            assert scene.there() == SWAPPED
        else:
            outcome(scene.undo)
            assert scene.there() == {NAME: f"live {NAME}-1", beside: f"before {beside}-1"}
    assert number == 6  # the mark, both clusters and the instance of each


@pytest.mark.spread(most=2)
@pytest.mark.parametrize(
    ("then", "when", "given"),
    [("again", "before", "other"), ("again", "after", ""), ("swap", "before", ""), ("swap", "after", "other")],
)
def test_an_undo_killed_at_any_write_goes_on_or_back(
    cloud: Front, configure: Configure, hands: Hands, no_server: None, pauses: None, then: str, when: str, given: str
) -> None:
    beside = given or BESIDE
    for number in range(1, 12):
        cloud.reset()
        scene = Swapping(cloud, configure, hands)
        scene.make()
        scene.restore(given, swap=True)
        with killed(number, when):
            failed = outcome(scene.undo)
        if failed is None:
            break
        if then == "again":
            outcome(scene.undo)
            assert scene.there() == {NAME: f"live {NAME}-1", beside: f"before {beside}-1"}
        else:
            scene.restore(given, swap=True)
            assert scene.there() == SWAPPED
    assert number == 5


@pytest.mark.spread(most=2)
@pytest.mark.parametrize("how", ["lost", "expired"])
def test_a_swap_cut_at_any_call_is_one_line_and_the_next_run_ends_it(
    cloud: Front, configure: Configure, hands: Hands, no_server: None, pauses: None, how: str
) -> None:
    for number in range(1, 12):
        cloud.reset()
        scene = Swapping(cloud, configure, hands)
        scene.make()
        scene.restore()
        reached = cloud.cut(number, how)
        outcome(partial(scene.restore, swap=True))
        was_cut = reached()
        cloud.mend()
        scene.restore(swap=True)
        assert scene.there() == SWAPPED
        if not was_cut:
            break
    assert number == 6


# --- strangers --------------------------------------------------------------------------


def stranger(scene: Scene, name: str, **more: str) -> None:
    alone = {"MasterUsername": "root", "MasterUserPassword": "huEE33z2Qvl383", "AllocatedStorage": 20}
    its: Any = {"DBInstanceClass": "db.t4g.micro", "Engine": "postgres", **(more or alone)}
    scene.rds.create_db_instance(DBInstanceIdentifier="theirs", **its)  # moto remembers who had a name before
    scene.rds.modify_db_instance(DBInstanceIdentifier="theirs", NewDBInstanceIdentifier=name)
    scene.cloud.forget()


@pytest.mark.parametrize("name", [f"{PREV}-1", f"{NAME}-1"])
def test_an_instance_that_has_a_name_of_theirs_is_found_before_anything_is_renamed(scene: Swapping, name: str) -> None:
    if name == f"{NAME}-1":  # the writer of the live one has another name, and this is somebody else's
        scene.rds.modify_db_instance(DBInstanceIdentifier=name, NewDBInstanceIdentifier="own", ApplyImmediately=True)
    scene.restore()
    stranger(scene, name)
    with pytest.raises(
        Refused, match=rf"the instance {name} is there already, and .* is to be called so: nothing was renamed"
    ):
        scene.restore(swap=True)
    assert scene.cloud.writes == []


def test_an_instance_that_has_a_name_of_the_restored_ones_is_found_before_that_is_made(scene: Swapping) -> None:
    stranger(scene, f"{BESIDE}-1")
    with pytest.raises(
        Refused, match=rf"{BESIDE}-1 is there already, and not of the cluster {BESIDE}: nothing was done; --as NAME"
    ):
        scene.restore(swap=True)
    assert scene.cloud.writes == []


def test_an_instance_that_somebody_else_made_in_it_keeps_its_name(scene: Swapping) -> None:
    scene.restore()
    stranger(scene, f"{NAME}-7", DBClusterIdentifier=NAME, Engine="aurora-postgresql", DBInstanceClass="db.serverless")
    scene.restore(swap=True)
    assert scene.there() == {**SWAPPED, PREV: f"live {NAME}-7 {PREV}-1"}


@pytest.mark.parametrize(
    ("name", "act", "says"),
    [
        (BESIDE, lambda at: at.restore(), "is there already, and not made by rds.restore"),
        (PREV, lambda at: at.restore("third", swap=True), "is there already, from a swap before or somebody else's"),
        (PREV, lambda at: at.undo(), "is not the cluster that a swap has moved away"),
    ],
)
def test_a_strangers_cluster_of_the_name_is_left_alone(scene: Swapping, name: str, act: Any, says: str) -> None:
    scene.rds.create_db_cluster(
        DBClusterIdentifier=name, Engine="aurora-postgresql", MasterUsername="root", MasterUserPassword="huEE33z2Qvl383"
    )
    scene.restore("third")
    scene.cloud.forget()
    with pytest.raises(Refused, match=says):
        act(scene)
    assert scene.there()[name] == "live"


def test_a_proxy_that_leads_to_it_is_told_and_not_left_behind(
    scene: Swapping, capsys: pytest.CaptureFixture[str]
) -> None:
    subnets = [one["SubnetId"] for one in scene.aws.client("ec2").describe_subnets()["Subnets"]]
    arn = "arn:aws:iam::123456789012:role/theirs"
    scene.rds.create_db_proxy(
        DBProxyName="theirs", EngineFamily="POSTGRESQL", RoleArn=arn, Auth=[], VpcSubnetIds=subnets
    )
    scene.rds.register_db_proxy_targets(DBProxyName="theirs", DBClusterIdentifiers=[NAME])
    scene.cloud.forget()
    with pytest.raises(
        Refused, match=r"the proxy theirs leads to .*deregister-db-proxy-targets --db-proxy-name theirs"
    ):
        scene.restore(swap=True)
    settings, aws = scene.settings, scene.aws
    told = delete.delete_instance(settings, aws, scene.hands.clock, confirm="", snapshot=True, dry_run=True)
    assert f"its deletion protection would be lifted, then {NAME}-1 and {NAME} would be deleted" in told
    assert "note: the proxy theirs leads there, to nothing then" in capsys.readouterr().err
    assert scene.cloud.writes == []
    assert [one.name for one in instance.facts(settings, aws, scene.row()).proxies or []] == ["theirs"]


def test_without_confirmation_nothing_is_renamed(scene: Swapping) -> None:
    with pytest.raises(Refused, match=rf"add --confirm {NAME}"):
        scene.restore(swap=True, confirm="")
    assert scene.there() == BEFORE_SWAP


def test_a_dry_run_renames_nothing(scene: Swapping) -> None:
    scene.restore(swap=True)
    scene.cloud.forget()
    assert (
        scene.undo(dry_run=True)
        == f"nothing was renamed: {NAME} would become {BESIDE}, then {PREV} would become {NAME}"
    )
    assert scene.cloud.writes == []
