"""Policies of IAM as they are written: what may stand as one value stands as a list here."""

from __future__ import annotations

from typing import Any


def listed(value: Any) -> list[Any]:
    """Return what a policy may write as one value, as a list of them, or not at all."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
