"""Many small migrations in one round trip, as far as nothing is in their way and nothing is wrong with them.

The server takes a query of several statements one after the other and stops at the first that fails; a BEGIN and COMMIT in it hold
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT). So each is a transaction with its record
as ever. One that does not go at once has done nothing, and is done again by itself, with all the care and words that it wants.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from config.sign_up import ROLE
from ops import postgres, row_values
from ops.console import say
from ops.db import load
from ops.db.migrations import history, patience
from ops.db.migrations.history import History
from ops.db.migrations.patience import Limits
from ops.db.migrations.steps import SETS, Act, fresh
from ops.db.rights import Held
from ops.db.sql_file import diagnostics
from ops.db.sql_file.scan import scan
from ops.targets import outcome
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

COUNT = 25
"""How many go in a round trip: what is done is told as often as that."""
AT_ONCE = 0.2
"""Seconds for a statement; one that takes longer is to be looked at while it runs."""
SIZE, STATEMENTS = 4096, 8
"""Of a migration: bytes and statements."""

_DEFINES = re.compile("(CREATE|ALTER|DROP|COMMENT ON) ")
# For the server all transactions of a query begin when that has come
_BEGUN = "pg_catalog.set_config('inv.begun', extract(epoch from pg_catalog.clock_timestamp())::text, true)"
_TOOK = "extract(epoch from clock_timestamp()) - pg_catalog.current_setting('inv.begun')::numeric"


class Together:
    """The migrations of a run, of which those that stand together may go together."""

    def __init__(
        self,
        at: OpenTarget,
        conn: Connection[DictRow],
        known: History,
        acts: Sequence[Act],
        limits: Limits,
        held: Held,
    ) -> None:
        self.at, self.conn, self.known, self.acts, self.limits, self.held = at, conn, known, acts, limits, held
        self.number, self.query = -1, b""
        """The migration that a query begins with which is prepared, and that."""
        self.alone = 1
        """Up to which each goes by itself: the first tells whether the function has a role here."""

    def take(self, number: int) -> Iterator[float]:
        """Do what can be done from a migration on; yield the seconds of each as soon as it is known to be kept.

        What comes next is made ready while the server is at work. Raises `SessionLost`.
        """
        import psycopg

        if number < self.alone or self.held.role or self.at.prod:
            return
        if self.number != number:
            self.prepare(number)
        if not self.query:
            return
        fresh(self.at, by_steps=True)
        done, notices = number, list[str]()
        told: tuple[bytes, ...] = ()

        def listen(diag: Any) -> None:
            notices.append(load.heard(self.acts[done].script, diag))

        self.conn.add_notice_handler(listen)
        self.conn.pgconn.send_query(self.query)

        try:
            for answer in load.answers(self.conn, partial(self.prepare, number + COUNT)):
                told = load.first_row(answer) or told
                if answer.command_status == b"COMMIT":
                    for text in filter(None, notices):
                        say(text)
                    notices.clear()
                    done += 1
                    yield float(told[0])
        except psycopg.Error as error:
            if outcome.is_lost(error):
                said = row_values.message(error.diag) or str(error)
                raise diagnostics.disconnected(self.acts[done].script, error.sqlstate, said) from None
            self.conn.rollback()
            self.alone = done + COUNT
        except (KeyboardInterrupt, GeneratorExit):  # also where it comes while what was done is told
            load.give_up(self.conn)
            raise
        finally:
            self.conn.remove_notice_handler(listen)
        self.at.work.done = True

    def prepare(self, number: int) -> None:
        """Make the query that begins with a migration; an empty one where that goes by itself. The last one always does."""
        few = self.acts[number : min(number + COUNT, len(self.acts) - 1)]
        fitting = list(takewhile(self.fits, few))
        self.number, self.query = number, b"".join(map(self.whole, fitting)) if len(fitting) == COUNT else b""

    def fits(self, act: Act) -> bool:
        """Whether a migration only defines things, asks for nothing of its own, and ends where the server sees it end.

        What writes rows goes alone: for the server all of a query is at one time, so `now()` is up to some seconds old.
        """
        data, plan = act.script.data, act.plan
        if plan is None or act.way != "up" or act.section.allow or len(data) > SIZE:
            return False
        text, contents = data[: len(data)], act.script.contents
        return (
            not (
                plan.by_psql
                or plan.blanks(0)
                or not all(_DEFINES.match(found.text) for found in contents.remarkable)
                or len(contents.remarkable) != len(contents.statements)
                or b"\\" in text  # which not each server reads alike
                or ROLE.encode() in text.lower()
                or SETS.search(act.section.sql)
                or patience.fitting(self.limits, contents).waits
            )
            and len(contents.statements) < len(scan(text + b"\n;select").statements) <= STATEMENTS
        )

    def whole(self, act: Act) -> bytes:
        """Return a migration as a transaction with its record."""
        assert act.migration is not None
        record = history.note_up(self.conn, self.known, act.migration, postgres.whoami(), _TOOK)
        before = f"{self.limits.begin}; set local statement_timeout = {AT_ONCE * 1000:.0f}; select {_BEGUN};\n"
        return b"".join(
            (before.encode(), act.script.data[:], f"\n;{load.RESET}; {record} returning seconds; commit;\n".encode())
        )
