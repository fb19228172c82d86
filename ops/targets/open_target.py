"""A target, resolved and reached: the server behind it and what that says of itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from config.targets import Target
from ops import postgres
from ops.errors import (
    NoDatabase,
)
from ops.targets import git_branch, last_look, outcome
from ops.targets.identity import PREV, Reason, facts

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow


SWAPPED = 2.0
"""Seconds that a database which the server has named may not be found: another takes its place just then."""


@dataclass(frozen=True)
class OpenTarget:
    """A target with a connection to its server's maintenance database."""

    settings: Settings
    target: Target
    task: str
    conn: Connection[DictRow] = field(repr=False)
    facts: dict[str, Any] = field(repr=False)
    prod: Reason
    """Why this is production, in words; empty where it is not."""
    own: Target | None = None
    """The target with its own user, where the task has the login of a role."""
    work: outcome.Work = field(default_factory=outcome.Work, repr=False)
    role: str = ""
    """The role that sessions on our database begin as; empty: the login's own."""

    @property
    def name(self) -> str:
        return self.target.dbname

    def database(self, suffix: str = "") -> dict[str, Any] | None:
        """Return pg_database's row of our database, or of one beside it."""
        row: dict[str, Any] | None = self.facts["databases"].get(self.name + suffix)
        return row

    def required(self) -> None:
        """See that our database exists, that of a git branch by making it now; raises `NoDatabase`."""
        if not self.database() and self.target.branch and not self.database(PREV) and git_branch.first_use:
            git_branch.first_use(self)
            self.look_again()
        if not self.database():
            raise NoDatabase(f"{self.target.address}: {self.missing}")

    @property
    def missing(self) -> str:
        """What to do about a database that is not there, in words."""
        if self.database(PREV):
            return f"the database was dropped: inv db.undo -t {self.target.name} brings it back"
        if self.target.branch:
            return f"there is no database for {self.target.branch} yet: inv db.branch makes it, inv db.setup builds it from the files"
        return f"the database is not there yet: inv db.setup -t {self.target.name}"

    def look_again(self) -> None:
        """Read the facts anew, once the lock is ours."""
        self.facts.update(facts(self.conn, self.name))

    def connect(self, suffix: str = "", options: str = "") -> Connection[DictRow]:
        """Open a connection to our database, or to one beside it; one whose name is being changed is asked for again.

        `options` are settings of the session, as `postgres.connect` takes them.
        """
        deadline = time.monotonic() + SWAPPED
        while True:
            try:
                conn = postgres.connect(
                    self.target,
                    task=self.task,
                    dbname=self.name + suffix,
                    timeout=self.settings.connect_timeout,
                    options=options,
                    role=self.role,
                )
            except NoDatabase:
                if not self.database(suffix) or time.monotonic() > deadline:
                    raise
            else:
                self.work.pids.append(conn.info.backend_pid)
                return conn
            time.sleep(0.02)

    def remember(
        self, *, there: bool, kept: bool | None = None, built: bool = False, applied: Sequence[str] | None = None
    ) -> None:
        """Note for bare `inv` how the database is now.

        `kept`: whether one is beside it that db.undo brings back; `applied`: the versions of the migrations that it has.
        """
        kept = self.database(PREV) is not None if kept is None else kept
        major = self.facts["version_num"] // 10000
        last_look.remember(
            self.settings,
            self.own or self.target,
            there=there,
            kept=kept,
            built=built,
            major=major,
            applied=applied,
            roles=self.facts["roles"],
        )

    def begin(self) -> None:
        """Note that the database is made now, or gets its name or loses it: who breaks off from here on asks the server."""
        live = self.database()
        self.work.begun = self.work.names = self.work.closing = True
        self.work.before = int(live["oid"]) if live else None
