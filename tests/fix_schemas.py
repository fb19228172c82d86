"""Schemas by the number, each as two people would write it."""

from __future__ import annotations

import random
from pathlib import Path

TEXT = (Path(__file__).parent / "data" / "drift-parts.sql").read_text(encoding="utf-8")
PARTS = [tuple(part.split("\n-- or\n")) for part in TEXT.strip().split("\n\n")[1:]]
"""What means the same in two ways, and stands alone, whatever is beside it."""
FIRST = "alter default privileges"
"""What is made behind it gets rights, so it is the first in both."""


def shapes(number: int) -> tuple[str, str]:
    """Return one schema in two ways: the same parts, each in its own words and another order."""
    dice = random.Random(number)
    parts = sorted(dice.sample(PARTS, dice.randint(6, 14)), key=lambda part: not part[0].startswith(FIRST))
    first = sum(part[0].startswith(FIRST) for part in parts)
    others = parts[:first] + dice.sample(parts[first:], len(parts) - first)
    return "\n".join(one for one, _ in parts), "\n".join(other for _, other in others)
