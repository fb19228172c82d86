"""The door of RDS beside the AWS CLI, both at the sandbox."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from bench.measure import OURS, Command, Comparison, Unavailable
from bench.place import Bench, output

CLI = "aws ec2 modify-security-group-rules"
ADDRESS, OTHER = "8.8.4.4", "8.8.8.8"
NOTE = (
    "The CLI is told group, rule and port and writes blindly, as the script did that this task replaces. The task is "
    "told nothing: it finds them, leaves a rule that is right as it is, keeps its expiry in tags, and tries the port."
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
    sides = {
        OURS: at.inv(*allow(ADDRESS).argv[1:], env=env, before=ready),
        CLI: Command(argv, at.folder, env, before=ready),
    }
    return Comparison(
        what,
        sides[OURS],
        {CLI: sides[CLI]},
        {CLI: 0.5},
        note=NOTE,
        facts=lambda: {label: calls(at, side) for label, side in sides.items()},
        versions={"AWS CLI": version("awscli"), "boto3": version("boto3")},
    )


def calls(at: Bench, side: Command) -> str:
    """Run it once more, and return how many calls the sandbox saw."""
    log = at.folder / ".local" / "sandbox" / "calls.log"
    side.before()
    before = log.read_text(encoding="utf-8").count("\n")
    side()
    made = log.read_text(encoding="utf-8").count("\n") - before
    return f"{made} call{'s' if made > 1 else ''}"
