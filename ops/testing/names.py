"""Names of the databases that are ours on a server of tests, by which alone they are told from all others.

CREATE DATABASE takes no comment along, so a stamp there would be missing where a run was killed in between. The name is
the stamp: whose it is (process, start time, machine), and a check sum, which no name has that only looks like one of ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time

from ops.targets.identity import NEXT

TEMPLATE = re.compile(r"(inv_tests_[0-9a-f]{16})_([0-9a-f]{8})")
CLONE = re.compile(r"(inv_test_(p\d+_t\d+_h[0-9a-f]{6})_\d+)_([0-9a-f]{8})")


def checked(name: str) -> str:
    """Return a name with its check sum."""
    return f"{name}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def run_name() -> str:
    """Return what this run is called: its process, since when in seconds, and a mark of the machine."""
    machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
    return f"p{os.getpid()}_t{int(time.time())}_h{machine}"


def template(digest: str) -> str:
    """Return the name of the database that holds a content, of which the clones are made."""
    return checked(f"inv_tests_{digest[:16]}")


def clone(run: str, number: int) -> str:
    """Return the name of a database of a run."""
    return checked(f"inv_test_{run}_{number}")


def run_of(name: str) -> str:
    """Return the run that a clone is of; empty for what is no clone of ours."""
    found = CLONE.fullmatch(name)
    return found[2] if found and checked(found[1]) == name else ""


def is_template(name: str) -> bool:
    """Whether a name is that of a template of ours, whole or unfinished."""
    name = name.removesuffix(NEXT)
    found = TEMPLATE.fullmatch(name)
    return bool(found and checked(found[1]) == name)
