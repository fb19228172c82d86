"""The door of RDS beside the AWS CLI, both at the sandbox."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from bench.measure import Command, Comparison, Unavailable
from bench.place import Bench, output

CLI = "aws ec2 modify-security-group-rules"
ADDRESS, OTHER = "8.8.4.4", "8.8.8.8"
FLOOR = "floor: boto3 asks RDS and EC2 once each, without invoke"
ASK = """
import gc
gc.disable()
import boto3
boto3.client("rds").describe_db_instances()
boto3.client("ec2").describe_security_group_rules()
"""
NOTE = (
    "The CLI is told group, rule and port and writes blindly, as the script did that this task replaces. The task is "
    "told nothing: it finds them, leaves a rule that is right as it is, keeps its expiry in tags, and tries the port. "
    "Its floor is importing boto3 and having it read its descriptions of RDS and EC2, which alone is more than half of "
    "what the CLI takes: that stands on the same library, and so its half is out of reach for anything that does."
)


def unchanged(at: Bench) -> Comparison:
    """The same address again."""
    return beside(at, "inv rds.allow-my-ip, address unchanged", ADDRESS)


def changed(at: Bench) -> Comparison:
    """A new address, as at each start of a cloud workspace."""
    return beside(at, "inv rds.allow-my-ip, address changed", OTHER)


def beside(at: Bench, what: str, before: str) -> Comparison:
    """Return the comparison of letting an address in where another one was before."""
    aws = Path(sys.executable).parent / "aws"
    if not aws.exists():
        raise Unavailable("the AWS CLI is not here: pip install -r requirements-dev.txt")
    env = at.sandbox

    def allow(address: str) -> Command:
        return at.inv("rds.allow-my-ip", "--ip", address, env=env)

    allow(before)()
    [rule] = json.loads(output(at.inv("rds.rules", "--json", env=env)))
    wanted = {
        "IpProtocol": "tcp",
        "FromPort": rule["from_port"],
        "ToPort": rule["to_port"],
        "CidrIpv4": f"{ADDRESS}/32",
        "Description": rule["description"],
    }
    change = json.dumps([{"SecurityGroupRuleId": rule["rule"], "SecurityGroupRule": wanted}])
    argv = [str(aws), *CLI.split()[1:], "--group-id", rule["group"], "--security-group-rules", change]
    ready = allow(before)
    floor = Command([sys.executable, "-c", ASK], at.folder, env, before=ready)
    return Comparison(
        what,
        at.inv("rds.allow-my-ip", "--ip", ADDRESS, env=env, before=ready),
        {CLI: Command(argv, at.folder, env, before=ready), FLOOR: floor},
        {CLI: 0.5},
        note=NOTE,
        probe=lambda: calls(at),
        versions={"AWS CLI": version("awscli"), "boto3": version("boto3")},
    )


@contextlib.contextmanager
def calls(at: Bench) -> Iterator[list[str]]:
    """Count the calls that the sandbox sees."""
    log = at.folder / ".local" / "sandbox" / "calls.log"
    before = log.read_text(encoding="utf-8").count("\n")
    facts: list[str] = []
    yield facts
    made = log.read_text(encoding="utf-8").count("\n") - before
    facts.append(f"{made} call{'s' if made > 1 else ''}")
