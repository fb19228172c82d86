"""Which findings stop a migration on its way to production, which only warn, and which have no place here, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning"]
MISSING, UNREAD = "squawk-missing", "not-read"


@dataclass(frozen=True)
class Policy:
    """How a rule is taken."""

    level: Level | Literal["off"]
    why: str
    scales: bool = False
    """Whether its harm grows with the table: of one that is known to be small it is a warning."""
    fades: bool = False
    """Whether it has no meaning for what the same migrations have only just made."""


def stalls(why: str) -> Policy:
    return Policy("error", why, scales=True, fades=True)


def breaks(why: str) -> Policy:
    return Policy("error", why, fades=True)


SQUAWK = {
    "require-concurrent-index-creation": stalls("writers wait until the whole index is built"),
    "require-concurrent-reindex": stalls("everybody waits until the whole index is built"),
    "constraint-missing-not-valid": stalls("everybody waits until all rows are looked at"),
    "adding-foreign-key-constraint": stalls("writers of both tables wait until all rows are looked at"),
    "disallowed-unique-constraint": stalls("everybody waits until the whole index is built"),
    "adding-serial-primary-key-field": stalls("everybody waits until the whole index is built"),
    "adding-not-nullable-field": stalls("everybody waits until all rows are looked at"),
    "adding-field-with-default": stalls("everybody waits until the whole table is written anew"),
    "changing-column-type": stalls("everybody waits until the whole table is written anew"),
    "require-concurrent-partition-detach": breaks(
        "a plain DETACH locks the partitioned table against everybody: a query on any other partition waits behind it, "
        "as long as it waits itself; DETACH … CONCURRENTLY, in a file with transaction:false, lets them through"
    ),
    "adding-required-field": breaks(
        "it fails where there are rows, and inserts of the release that runs fail after it"
    ),
    "ban-drop-column": breaks("the release that runs may still read it: let one that does not go out before"),
    "ban-drop-table": breaks("the release that runs may still read it: let one that does not go out before"),
    "ban-drop-view": breaks("the release that runs may still read it: let one that does not go out before"),
    "ban-drop-function": breaks("the release that runs may still call it: let one that does not go out before"),
    "ban-drop-type": breaks("the release that runs may still name it: let one that does not go out before"),
    "ban-drop-schema": breaks("the release that runs may still read what is in it"),
    "ban-set-schema": breaks("the release that runs looks for it where it was"),
    "renaming-column": breaks(
        "the release that runs knows it by the old name: add a new one, fill it, drop the old one later"
    ),
    "renaming-table": breaks("the release that runs knows it by the old name: leave a view of that name"),
    "ban-truncate-cascade": breaks("rows of tables that it does not name are gone, too"),
    "ban-drop-database": Policy("error", "it is never a migration"),
    "ban-concurrent-index-creation-in-transaction": Policy("error", "Postgres refuses it in a transaction"),
    "transaction-nesting": Policy("error", "it would end the transaction that db.migrate has begun"),
    "syntax-error": Policy("error", "the server would refuse it"),
    # What has no place here
    "require-lock-timeout": Policy("off", "db.migrate sets one for each try, and tries again"),
    "require-statement-timeout": Policy("off", "db.migrate takes back what holds a lock for too long"),
    "require-timeout-settings": Policy("off", "as the two above"),
    "prefer-robust-stmts": Policy(
        "off",
        "a migration is one transaction, so there is no half of it to run again; and IF NOT EXISTS passes over an "
        "invalid index, or a table of another shape",
    ),
    "prefer-text-field": Policy("off", "to widen a varchar costs nothing; to narrow one is changing-column-type"),
    "prefer-bigint-over-smallint": Policy("off", "nobody takes a smallint by habit"),
    "require-enum-value-ordering": Policy("off", "the end is where a new value belongs, if nothing else is said"),
}
"""By squawk's names. What is not here warns."""

OURS = {
    "syntax-error": Policy("error", "Postgres's parser refuses it"),
    "column-in-use": breaks("what uses the column is in the way, or goes along"),
    "table-in-use": breaks("what uses the table is in the way, or goes along"),
    "goes-with-column": Policy(
        "warning", "indexes, constraints and triggers go with their column, and Postgres does not say so"
    ),
    "named-in-function": Policy("warning", "Postgres keeps the text of a function, and does not look into it"),
    "rewrites-table": stalls("everybody waits until the whole table is written anew"),
    "refresh-locks": breaks(
        "its readers wait until the query behind it has run; REFRESH … CONCURRENTLY, with a unique index, lets them read"
    ),
    "writes-all-rows": stalls(
        "each row stays locked until the end, and the table doubles: write in batches, each a transaction of its own"
    ),
    "empties-table": breaks("all rows are gone, and a TRUNCATE locks readers out"),
    "validates-under-lock": breaks(
        "VALIDATE looks at all rows while the transaction holds a lock that keeps others out: give it a file of its own"
    ),
    "locks-several-tables": Policy(
        "warning", "the lock on the first is held while the next is waited for: a file for each table", fades=True
    ),
    "enum-value-in-same-transaction": Policy(
        "error", "a new value cannot be used before its transaction has ended (55P04)"
    ),
    "several-statements": Policy(
        "error", "with transaction:false each is kept by itself: what is done when the second fails is known to nobody"
    ),
    "drop-cascade": Policy("warning", "CASCADE drops what depends on it, unnamed", fades=True),
    "no-such-table": Policy("warning", "it is not in the database, and none of these migrations makes it"),
    "no-such-column": Policy("warning", "the table has none of that name, and none of these migrations makes it"),
    "not-seen": Policy("warning", "write it as plain statements, where it can be looked at"),
    "missing-down": Policy("warning", "db.rollback has nothing to take it back by"),
    "reason-missing": Policy("error", "who reads the file later has to know why it was allowed"),
    MISSING: Policy("error", "what it would have found is not known"),
    UNREAD: Policy("error", "what it does is not known"),
}
"""By our own names: what squawk does not look at, or cannot know without the database."""

SAYS_LESS = {"require-concurrent-partition-detach"}
"""Rules of squawk's whose own advice says less than ours."""
COVERED = {"adding-foreign-key-constraint", "disallowed-unique-constraint", "adding-serial-primary-key-field"}
"""Rules of squawk's that say better what constraint-missing-not-valid says of the same place."""


def policy(rule: str) -> Policy:
    """Return how a rule is taken."""
    return OURS.get(rule) or SQUAWK.get(rule) or Policy("warning", "")
