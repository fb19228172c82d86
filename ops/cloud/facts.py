"""What AWS tells of a thing, and facts about one as the lines of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from mypy_boto3_rds.type_defs import DBInstanceTypeDef

Row: TypeAlias = "DBInstanceTypeDef"
"""An instance as RDS describes it, under RDS's own names (DescribeDBInstances); the types are mypy-boto3-rds's."""


def table_rows(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the facts as lines of a table; a list takes one line for each of its items."""
    words = {True: "yes", False: "no"}
    lines = []
    for about, value in facts.items():
        items = value if isinstance(value, list) else [value]
        for item in items or [None]:
            shown = words[item] if isinstance(item, bool) else item
            lines.append({"about": about, "value": "none" if shown in (None, "") else shown})
    return lines
