"""The passwords of declared logins: kept here for servers of ours, and in the user's variables for all others."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from config.declared import Kind
from config.paths import local_dir, write_private
from config.settings import Settings
from config.targets import Target
from ops import own_files
from ops.console import hide
from ops.errors import Problem
from ops.targets.embedded import state
from ops.targets.roles import names

FILE = "roles.json"
"""In .local, beside the server's own password."""
COMPOSE, EMBEDDED = "compose", "embedded"
"""The servers that the suite starts, as the file names them."""
SHAPE = [{"server": str, "database": str, "role": str, "password": str}]
ADVICE = "remove it, then run inv db.roles, which makes new passwords"


def variable(target: str, role: str) -> str:
    """Return the variable that holds the password of a role on a server that is not ours: STAGING_READER_PASSWORD."""
    return f"{target}_{role}_password".upper().replace("-", "_")


def is_kept(settings: Settings, target: Target) -> bool:
    """Whether the passwords of a target's roles are made and kept by us: its server is one that the suite starts."""
    return bool(server_of(settings, target))


def server_of(settings: Settings, target: Target) -> str:
    """Return the word for a server that the suite starts; empty for any other."""
    if target.kind is Kind.COMPOSE:
        return COMPOSE
    if target.embedded:
        return EMBEDDED
    if target.kind is Kind.SERVER and target.loopback:  # a URL that db.up has started the embedded server by
        made = state.load(settings.root)
        if made and made.port == target.port:
            return EMBEDDED
    return ""


def make_password() -> str:
    """Return a new password, hidden from all that is printed."""
    made = secrets.token_urlsafe(24)
    hide(made)
    return made


def password_of(settings: Settings, target: Target, role: str) -> str | None:
    """Return the password of a role by its key in the file, as far as it is known here; None: it is not.

    Raises `Problem` for a file of ours that is damaged.
    """
    if given := settings.vars.get(variable(target.name, role)):
        hide(given)
        return given
    if not (server := server_of(settings, target)):
        return None
    for entry in kept(settings):
        if (entry["server"], entry["database"], entry["role"]) == (server, names.database_of(target), role):
            hide(entry["password"])
            return entry["password"]
    return None


def keep_password(settings: Settings, target: Target, role: str, password: str) -> None:
    """Keep the password of a role on a server of ours, for this user's eyes alone."""
    key = {"server": server_of(settings, target), "database": names.database_of(target), "role": role}
    others = [entry for entry in kept(settings) if {**entry, "password": ""} != {**key, "password": ""}]
    text = json.dumps([*others, {**key, "password": password}], indent=2)
    write_private(local_dir(settings.root) / FILE, text)


def kept(settings: Settings) -> list[dict[str, str]]:
    found: list[dict[str, str]] | None = own_files.read(settings.root / ".local" / FILE, SHAPE, ADVICE)
    return found or []


def forget(root: Path, server: str) -> None:
    """Forget the passwords of a server of ours whose data is gone; what cannot be read goes whole."""
    path = root / ".local" / FILE
    try:
        found: list[dict[str, str]] | None = own_files.read(path, SHAPE, ADVICE)
    except Problem:
        found = []
    if found is None:
        return
    left = [entry for entry in found if entry["server"] != server]
    if left:
        write_private(path, json.dumps(left, indent=2))
    else:
        own_files.remove(path.parent, [FILE])
