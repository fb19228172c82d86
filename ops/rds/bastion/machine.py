"""The bastion itself: an EC2 instance that takes no connection from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ops import calls
from ops.aws import Aws
from ops.aws_errors import code, unless
from ops.cloud import tags
from ops.cloud.clock import Clock
from ops.cloud.steps import Work
from ops.console import progress
from ops.errors import InProgress, Problem, Refused
from ops.rds.bastion import user_data
from ops.rds.bastion.parts import BASTION, CLASS, DISK_GB, IMAGE, Parts
from ops.rds.bastion.place import Place

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

THERE = ("pending", "running", "stopping", "stopped")
"""The states of a machine that is not on its way out."""
INTERVAL = 3.0
"""Seconds between two looks."""
FRESH, PAUSE = 40, 3.0
"""Tries, and seconds between two, while EC2 does not know a profile yet that IAM has made."""


def find_machines(aws: Aws, mine: Parts) -> list[Any]:
    """Return our bastions of this instance, by their tags; those that are on their way out are none."""
    ec2: EC2Client = aws.client("ec2")
    filters: Any = [
        {"Name": "tag:ManagedBy", "Values": [tags.MANAGED_BY]},
        {"Name": f"tag:{BASTION}", "Values": [mine.identifier]},
        {"Name": "instance-state-name", "Values": list(THERE)},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    found = [row for page in pages for group in page["Reservations"] for row in group["Instances"]]
    return sorted(found, key=lambda row: (str(row["LaunchTime"]), str(row["InstanceId"])))


def check_namesake(aws: Aws, mine: Parts) -> None:
    """Refuse a machine that has our name and not our tags."""
    ec2: EC2Client = aws.client("ec2")
    filters: Any = [
        {"Name": "tag:Name", "Values": [mine.name]},
        {"Name": "instance-state-name", "Values": list(THERE)},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    for row in (row for page in pages for group in page["Reservations"] for row in group["Instances"]):
        its = tags.from_aws(row.get("Tags"))
        if not tags.is_ours(its) or its.get(BASTION) != mine.identifier:
            raise Refused(
                f"the machine {row['InstanceId']} is called {mine.name} and was not made by inv: rename it, then run this again"
            )


def ensure_machine(aws: Aws, mine: Parts, place: Place, group: str, work: Work, clock: Clock) -> str:
    """Return the id of the bastion, made or started where it is not there or stopped; on a dry run it may be empty."""
    ec2: EC2Client = aws.client("ec2")
    there = find_machines(aws, mine)
    if not there:
        check_namesake(aws, mine)
        made: list[str] = []
        work.do(
            f"make the machine {mine.name} ({CLASS}) in {place.subnet}",
            lambda: made.append(run(aws, mine, place, group, clock)),
        )
        return keep_first(aws, find_machines(aws, mine), work, made[0]) if made else ""
    machine, state = keep_first(aws, there, work), str(there[0]["State"]["Name"])
    if state in ("stopping", "stopped"):

        def start() -> None:
            wait_for(aws, machine, ("stopped", "running"), clock)
            ec2.start_instances(InstanceIds=[machine])

        work.do(f"start {machine}, which is {state}", start)
    return machine


def keep_first(aws: Aws, there: Sequence[Any], work: Work, made: str = "") -> str:
    """Return the bastion that stays, the first in an order that all runs see; those that others made at the same time are ended.

    EC2 tells the second in which a machine was launched: one that was ready before may come behind ours by its id. `made` is
    ours, which EC2 may not list yet. (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html)
    """
    ids = [str(row["InstanceId"]) for row in there]
    first, *others = dict.fromkeys([*ids, *filter(None, [made])])
    for other in others:
        work.do(f"end the machine {other}: {first} was made at the same time, and stays", partial(end, aws, other))
    return first


def end(aws: Aws, machine: str) -> None:
    """End a machine, if it is there."""
    with unless("InvalidInstanceID.NotFound"):
        aws.client("ec2").terminate_instances(InstanceIds=[machine])


def run(aws: Aws, mine: Parts, place: Place, group: str, clock: Clock) -> str:
    """Make the machine and return its id."""
    ec2: EC2Client = aws.client("ec2")
    request = asked(mine, place, group, image(aws))

    def ours() -> str | None:
        there = find_machines(aws, mine)
        return str(there[0]["InstanceId"]) if there else None

    def write() -> str:
        for left in reversed(range(FRESH)):
            try:
                return str(ec2.run_instances(**request)["Instances"][0]["InstanceId"])
            except ec2.exceptions.ClientError as error:
                fresh = code(error) == "InvalidParameterValue" and "nstance" in str(error) and "rofile" in str(error)
                if not fresh or not left:
                    raise
                clock.sleep(PAUSE)
        raise AssertionError

    return calls.surely(write, ours)


def image(aws: Aws) -> str:
    """Return the id of today's Amazon Linux."""
    ssm = aws.client("ssm")
    try:
        return str(ssm.get_parameter(Name=IMAGE)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        raise Problem(f"{aws.region} has no public parameter {IMAGE}: see that the region is right") from None


def asked(mine: Parts, place: Place, group: str, image: str) -> Any:
    """Return the RunInstances request: no key, no way in, no login by the metadata's first version, an encrypted disk."""
    mark = tags.to_aws({"Name": mine.name, **mine.tags})
    return {
        "ImageId": image,
        "InstanceType": CLASS,
        "MinCount": 1,
        "MaxCount": 1,
        "IamInstanceProfile": {"Name": mine.name},
        "InstanceInitiatedShutdownBehavior": "stop",
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": place.subnet,
                "Groups": [group],
                "AssociatePublicIpAddress": place.public,
                "DeleteOnTermination": True,
            }
        ],
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"VolumeSize": DISK_GB, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True},
            }
        ],
        "UserData": user_data.script(),
        "TagSpecifications": [{"ResourceType": kind, "Tags": mark} for kind in ("instance", "volume")],
    }


def state_of(aws: Aws, machine: str) -> str:
    """Return the state of a machine; one that EC2 does not know (any more) is terminated."""
    ec2: EC2Client = aws.client("ec2")
    found: list[Any] = []
    with unless("InvalidInstanceID.NotFound"):
        found = ec2.describe_instances(InstanceIds=[machine])["Reservations"]
    return str(found[0]["Instances"][0]["State"]["Name"]) if found else "terminated"


def wait_for(aws: Aws, machine: str, states: tuple[str, ...], clock: Clock, *, minutes: float = 10) -> None:
    """Wait until a machine is in one of these states; raises `InProgress` at the limit."""
    begun, limit = clock.monotonic(), minutes * 60
    with progress(limit) as show:
        while (state := state_of(aws, machine)) not in states:
            elapsed = clock.monotonic() - begun
            if state == "terminated":
                raise Problem(f"{machine} is gone: AWS or somebody has ended it; run inv rds.bastion again")
            if elapsed >= limit:
                raise InProgress(
                    f"{machine} is still {state} after {minutes:g} minutes: run this again to go on waiting"
                )
            show(f"{machine} is {state}", elapsed)
            clock.sleep(INTERVAL)


def remove_machines(aws: Aws, mine: Parts, work: Work, clock: Clock) -> None:
    """End our bastions and wait until they are gone, since they hold the group."""
    ec2: EC2Client = aws.client("ec2")
    for row in find_machines(aws, mine):
        machine = str(row["InstanceId"])
        work.do(f"end the machine {machine}", partial(end, aws, machine))
    if work.write:
        for machine in going(ec2, mine):
            wait_for(aws, machine, ("terminated",), clock)


def going(ec2: EC2Client, mine: Parts) -> list[str]:
    """Return our machines that are on their way out."""
    filters: Any = [
        {"Name": "tag:ManagedBy", "Values": [tags.MANAGED_BY]},
        {"Name": f"tag:{BASTION}", "Values": [mine.identifier]},
        {"Name": "instance-state-name", "Values": ["shutting-down"]},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    return [str(row["InstanceId"]) for page in pages for group in page["Reservations"] for row in group["Instances"]]
