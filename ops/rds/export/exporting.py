"""rds.export: what the suite has made, as Terraform would have made it, with what has Terraform take it over.

AWS is only read. The file says what is there and not what the settings want, so that the first plan finds nothing to change.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from config.settings import Settings
from ops.aws import Aws
from ops.console import say
from ops.errors import Misconfigured
from ops.rds import instance
from ops.rds.export import database, function, hcl, proxies, schedules
from ops.rds.export.hcl import Block
from ops.rds.export.resources import Found, Import

NAME = "main.tf"
HEAD = "# Made by inv rds.export from what AWS has."
REQUIRED, PROVIDER = ">= 1.5", ">= 6.15"
"""Terraform has import blocks since 1.5; the provider has all these arguments by 6.15, the newest being default_auth_scheme."""


class HasPath(Protocol):
    """What is written in the place of another."""

    @property
    def path(self) -> Path: ...


OpenBeside = Callable[..., AbstractContextManager[HasPath]]
"""ops.db.copies.beside.open_beside, which stands above this room."""


@dataclass(frozen=True)
class Exported:
    """What Terraform is given."""

    identifier: str
    """The instance's name."""
    file: str | None
    """Where the configuration was written; null where it was not."""
    written: bool
    """False where the file holds just this already, or none was asked for."""
    imports: list[Import]
    """All that Terraform takes over."""
    left_out: list[str]
    """What is there and not in it, in words with the reason."""
    configuration: str
    """The text of the file."""


def export(settings: Settings, aws: Aws, folder: str, open_beside: OpenBeside, *, overwrite: bool) -> Exported:
    """Read AWS and write the configuration into a folder, if one is given."""
    found = read(settings, aws)
    text = "\n".join([HEAD, "", hcl.written(blocks(aws, found, settings))])
    place = Path(folder) / NAME if folder else None
    written = place is not None and put(place, text, open_beside, overwrite=overwrite)
    for line in found.left_out:
        say(f"left out: {line}")
    imports = [Import(one.address, one.id) for one in found.resources]
    return Exported(settings.rds.identifier, str(place) if place else None, written, imports, found.left_out, text)


def read(settings: Settings, aws: Aws) -> Found:
    """Return all that is there of the instance, its function and its proxy."""
    row = instance.require_instance(aws, settings.rds)
    there = function.find(aws, settings.lambdas)
    found = Found()
    proxy = proxies.find(aws, found, settings)
    groups = [str(one["VpcSecurityGroupId"]) for one in row.get("VpcSecurityGroups", [])]
    database.add_groups(aws, found, groups, database.INSTANCE)
    if there is not None:
        own = there["Configuration"].get("VpcConfig", {}).get("SecurityGroupIds", [])
        database.add_groups(aws, found, [one for one in own if one not in groups], function.FUNCTION)
    if proxy is not None:
        database.add_groups(aws, found, proxy.get("VpcSecurityGroupIds", []), proxies.PROXY)
    database.add_rules(aws, found)
    database.add_instance(found, row)
    if there is not None:
        function.add_function(aws, found, settings.lambdas, there)
    if proxy is not None:
        proxies.add_proxy(aws, found, settings, proxy)
    schedules.add_schedules(aws, found, row)
    return found


def blocks(aws: Aws, found: Found, settings: Settings) -> list[Block]:
    """Return the file's blocks in their order."""
    account = instance.require_instance(aws, settings.rds)["DBInstanceArn"].split(":")[4]
    provider = {"source": "hashicorp/aws", "version": PROVIDER}
    head = [
        Block("terraform", (), [("required_version", REQUIRED), Block("required_providers", (), [("aws", provider)])]),
        Block("provider", ("aws",), [("region", aws.region), ("allowed_account_ids", [account])]),
    ]
    return [*head, *found.variables, *(block for one in found.resources for block in one.blocks)]


def put(place: Path, text: str, open_beside: OpenBeside, *, overwrite: bool) -> bool:
    """Write the file, whole or not at all; False where it holds this already. Raises `Misconfigured` for another's."""
    if not place.parent.is_dir():
        with open_beside(place.parent, folder=True, overwrite=False) as new:
            (new.path / place.name).write_text(text, encoding="utf-8")
        return True
    try:
        have = place.read_text(encoding="utf-8") if place.is_file() or place.is_dir() else None  # no pipe is waited for
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{place} is there and cannot be read: give another folder") from error
    if have == text:
        return False
    if have is not None and not (overwrite and have.startswith(HEAD)):
        raise Misconfigured(
            f"{place} is there already, and differs: --overwrite replaces one that rds.export has made, or give another folder"
        )
    with open_beside(place, folder=False, overwrite=have is not None) as new:
        new.path.write_text(text, encoding="utf-8")
    return True


def told(done: Exported) -> str:
    """Return what to tell where a file was asked for."""
    state = "written" if done.written else "as it was, nothing to change"
    return (
        f"{done.file}: {state}, {len(done.imports)} things of AWS's to take over; next: terraform init, terraform plan"
    )
