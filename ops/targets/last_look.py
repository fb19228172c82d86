"""What a target was at the last look from this clone, kept in .local/looked.json: bare `inv` tells it, and connects to nothing."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.paths import local_dir, write_private
from config.settings import Settings
from ops import own_files
from ops.errors import Problem

if TYPE_CHECKING:
    from config.targets import Target

NAME = "looked.json"
_noting = threading.Lock()


def time(content: Any) -> bool:
    """Whether a JSON value is a time in ISO 8601 with its offset."""
    try:
        return datetime.fromisoformat(content).tzinfo is not None
    except (TypeError, ValueError):
        return False


SHAPE = {
    "at": time,
    "address": str,
    "embedded": bool,
    "there": bool,
    "kept": bool,
    "built": lambda value: value is None or time(value),
    "major?": int,
    "applied?": [str],
    "roles?": [str],
}
"""An entry of looked.json: by env file, since another one means other servers, then by target."""


@dataclass(frozen=True)
class Look:
    """A database as it was seen last."""

    at: datetime
    """When, in UTC."""
    address: str
    """user@host:port/database, for people."""
    embedded: bool
    """Whether it was on the embedded server."""
    there: bool
    kept: bool
    """Whether a previous one was kept beside it, which db.undo brings back."""
    built: datetime | None
    """When db.setup has built it from here, in UTC."""
    major: int | None = None
    """The server's major version; None where an older suite looked."""
    applied: list[str] | None = None
    """The versions of the migrations that it had; None where nobody has looked at those."""
    roles: list[str] | None = None
    """The roles of ours that it had, by their keys in sql/roles.yaml; None where there were none."""


def recalled(settings: Settings) -> dict[str, Look]:
    """Return the last look at each target, by name; what cannot be read is no look."""
    return {
        name: Look(
            **{
                **entry,
                "at": datetime.fromisoformat(entry["at"]),
                "built": datetime.fromisoformat(entry["built"]) if entry["built"] else None,
            }
        )
        for name, entry in read(settings.root).get(str(settings.vars.env_file), {}).items()
        if own_files.is_shaped(entry, SHAPE) and entry.keys() <= {key.rstrip("?") for key in SHAPE}
    }


def remember(
    settings: Settings,
    target: Target,
    *,
    there: bool,
    kept: bool,
    built: bool = False,
    major: int | None = None,
    applied: Sequence[str] | None = None,
    roles: Sequence[str] = (),
) -> None:
    """Note how a target is now; `built` says that it has just been built from the files, `applied` which migrations it has."""
    with _noting:
        content = read(settings.root)
        entries = content.setdefault(str(settings.vars.env_file), {})
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        before: Any = entries.get(target.name)
        same = own_files.is_shaped(before, SHAPE) and before["there"] and before["address"] == target.address
        entries[target.name] = {
            "at": now,
            "address": target.address,
            "embedded": target.embedded,
            "there": there,
            "kept": kept,
            "built": now if built else before["built"] if same and there else None,
        }
        if known := major or (before.get("major") if same else None):
            entries[target.name]["major"] = known
        if roles:
            entries[target.name]["roles"] = list(roles)
        had = before.get("applied") if same and there and not built else None
        if (versions := had if applied is None else list(applied)) is not None:
            entries[target.name]["applied"] = versions
        write(settings.root, content)


def forget(root: Path, env_file: Path, name: str = "") -> None:
    """Take a target out, whose server is gone for good, or all targets of an env file."""
    content = read(root)
    entries = content.get(str(env_file), {})
    if name in entries:
        del entries[name]
    elif not name and entries:
        del content[str(env_file)]
    else:
        return
    write(root, content)


def read(root: Path) -> dict[str, dict[str, Any]]:
    """Return the file's content; an odd one is made anew by the next look, so nothing is said of it."""
    try:
        content = own_files.read(root / ".local" / NAME, dict, "")
    except Problem:
        return {}
    return {key: entries for key, entries in (content or {}).items() if isinstance(entries, dict)}


def write(root: Path, content: Mapping[str, Any]) -> None:
    """Write the file by a rename; a folder that cannot be written is no reason to stop."""
    with contextlib.suppress(OSError, Problem):
        write_private(local_dir(root) / NAME, json.dumps(content, indent=2), lasting=False)
