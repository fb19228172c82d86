"""What is exported: each thing of AWS's with its arguments, and the id by which Terraform takes it over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.cloud import tags
from ops.rds.export.hcl import Block, Body, Expression


@dataclass(frozen=True)
class Import:
    """What Terraform takes over."""

    address: str
    """What it is called there: aws_db_instance.database."""
    id: str
    """By what AWS's provider finds it."""


@dataclass(frozen=True)
class Resource:
    """A thing of AWS's under Terraform's names."""

    type: str
    name: str
    id: str
    """What an import of this type asks for ("Import" on its page of the AWS provider's documentation)."""
    body: Body
    comment: str = ""

    @property
    def address(self) -> str:
        return f"{self.type}.{self.name}"

    @property
    def blocks(self) -> list[Block]:
        to = [("to", Expression(self.address)), ("id", self.id)]
        return [Block("import", (), to), Block("resource", (self.type, self.name), self.body, self.comment)]


@dataclass
class Found:
    """What is exported so far."""

    resources: list[Resource] = field(default_factory=list)
    variables: list[Block] = field(default_factory=list)
    """For what is secret, and in no file."""
    references: dict[str, str] = field(default_factory=dict)
    """What stands for an id or an ARN of AWS's: aws_security_group.database.id."""
    left_out: list[str] = field(default_factory=list)
    """What is there and not exported, with the reason."""

    def add(self, resource: Resource, **attributes: str) -> None:
        """Take a resource up; `attributes` are those of its values that others name: id="sg-…"."""
        self.resources.append(resource)
        for name, value in attributes.items():
            self.references[value] = f"{resource.address}.{name}"

    def refer(self, value: str) -> Any:
        """Return what stands for an id or an ARN: a reference, or itself where the thing is not exported."""
        return Expression(self.references[value]) if value in self.references else value

    def refer_all(self, values: Iterable[str]) -> list[Any]:
        """Return the same for several, in an order that does not depend on AWS's."""
        return [self.refer(value) for value in sorted(values)]

    def secret(self, name: str, about: str) -> Expression:
        """Return what stands for a value that is in no file."""
        body = [("description", about), ("type", Expression("string")), ("sensitive", True), ("default", "")]
        self.variables.append(Block("variable", (name,), body))
        return Expression(f"var.{name}")


def present(items: Iterable[tuple[str, Any]]) -> list[tuple[str, Any] | Block]:
    """Return arguments without those that AWS does not tell: their defaults are the provider's own."""
    return [(name, value) for name, value in items if value not in (None, "", [])]


def tag_map(have: Mapping[str, str]) -> dict[str, str]:
    """Return tags without AWS's own, which nobody else can set."""
    return {key: have[key] for key in sorted(have) if not key.startswith("aws:")}


def tagged(have: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Return the argument for tags."""
    return [("tags", kept)] if (kept := tag_map(have)) else []


def are_ours(have: Mapping[str, str]) -> bool:
    return tags.is_ours(have)
