"""The only place that reads YAML: with what invoke itself reads its settings with, so that there is one reader."""

from __future__ import annotations

from typing import Any


def compose(text: str) -> Any:
    """Return the nodes of a YAML text, which know their places; None for an empty one. Raises `ValueError` with `line:column: what`."""
    from invoke import util

    yaml: Any = util.yaml  # type: ignore[attr-defined] # invoke's own
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"{mark.line + 1}:{mark.column + 1}: {error.problem or error.context}: correct it") from None
    except yaml.YAMLError as error:
        raise ValueError(f"1:1: {' '.join(str(error).split())}: correct it") from None
