"""The look: section of invoke.yaml, parsed and checked: by which names the page of inv look is asked besides this machine's own."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from config.section import Section, refuse

PORT = "{port}"
"""Stands in a name for the port of the page, which is another one each time."""


def hosts(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Read look.hosts: names in small letters, each whole but for the port in it; a pattern would let in names that are others'."""
    s = Section("look", config)
    found = [name for name in re.split(r"[\s,]+", (s.optional("hosts") or "").lower()) if name]
    for name in found:
        if not is_name(name.replace(PORT, "1")):
            s.fault(
                "hosts", f"{name} is no host name: write it whole, like {PORT}-me.example.com, without a port behind it"
            )
    refuse("invoke.yaml", s.faults)
    return tuple(dict.fromkeys(found))


def is_name(text: str) -> bool:
    """Whether a text is a name of the DNS with a dot in it, which is no address and not one that everybody has."""
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) < 254 and bool(re.fullmatch(rf"({label}\.)+(?![0-9]+$){label}", text, re.ASCII))
    return False


def of_workspace(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the name of an online workspace's port, as `hosts` has it; none elsewhere.

    Gitpod has them as PORT-WORKSPACE.CLUSTER (`gp url PORT`), Codespaces as NAME-PORT.DOMAIN
    (https://docs.github.com/en/codespaces/developing-in-a-codespace/forwarding-ports-in-your-codespace).
    """
    found = []
    if workspace := urlsplit(environ.get("GITPOD_WORKSPACE_URL", "")).hostname:
        found.append(f"{PORT}-{workspace}")
    if codespace := environ.get("CODESPACE_NAME"):
        domain = environ.get("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN") or "app.github.dev"
        found.append(f"{codespace}-{PORT}.{domain}".lower())
    return tuple(name for name in found if is_name(name.replace(PORT, "1")))
