"""Which instance, or cluster, is which while one is restored and swapped: the names of all three, and the tags that prove them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from config.rds import Rds
from ops.cloud import tags
from ops.cloud.facts import Row
from ops.console import option
from ops.errors import Misconfigured, Refused
from ops.rds import instance, server
from ops.rds.server import LONGEST

RESTORED, PREV = "-restored", "-prev"
BESIDE, SOURCE, AS = "inv:beside", "inv:restored-from", "inv:restored-as"
"""Of a restored instance: the one that it was made beside, from what, and under which name."""
PREV_OF = "inv:prev-of"
"""Of an instance that another has taken the place of: the name that it had."""


@dataclass(frozen=True)
class Names:
    """The instance of the settings, the one that is restored beside it, and the one before."""

    live: str
    beside: str
    prev: str


def names(rds: Rds, beside: str = "") -> Names:
    """Return the names for an instance; raises `Misconfigured` for one that RDS would not take."""
    found = Names(rds.identifier, (beside or rds.identifier + RESTORED).lower(), rds.identifier + PREV)
    its, longest = server.of(rds), LONGEST - (len("-1") if rds.is_cluster else 0)  # its instances' are longer
    for name in (found.beside, found.prev):
        if len(name) > longest or not re.fullmatch(r"[a-z](-?[a-z0-9])*", name):
            new = option("as", "--as names the new one; ")
            raise Misconfigured(
                f"{its.article} cannot be called {name}: at most {longest} letters, digits and single hyphens, first a letter "
                f"({new}a shorter rds.identifier leaves room)"
            )
    if found.beside == found.prev:
        raise Misconfigured(f"--as {found.beside}: the name is kept for the {its.word} before a swap: use another")
    return found


def have(row: Row | None) -> dict[str, str]:
    """Return the tags of an instance."""
    return tags.from_aws(row.get("TagList")) if row else {}


def is_restored(row: Row, rds: Rds) -> bool:
    """Whether rds.restore made this instance beside that of the settings."""
    return instance.is_ours(row, rds) and have(row).get(BESIDE) == rds.identifier


def is_prev(row: Row, rds: Rds) -> bool:
    """Whether a swap has moved this instance out of the way of another."""
    return instance.is_ours(row, rds) and have(row).get(PREV_OF) == rds.identifier


def require_prev(row: Row, rds: Rds) -> Row:
    """Return the one before the swap; raises `Refused` for one that only has its name."""
    if not is_prev(row, rds):
        raise Refused(
            f"{row['DBInstanceIdentifier']} is not the {server.of(rds).word} that a swap has moved away: nothing was renamed; "
            "it is somebody else's, give it another name"
        )
    return row


def of(name: str, text: str) -> str:
    """Return advice of rds.* tasks as it is for another instance than that of the settings."""
    return text.replace("inv rds.create", "this again").replace("inv rds.", f"INVOKE_RDS_IDENTIFIER={name} inv rds.")
