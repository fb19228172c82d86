"""Which server this is, and whether its database is production, whatever it is called."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from config.paths import local_dir, write_private
from config.settings import Settings
from config.targets import Target, prod
from ops import own, postgres
from ops.console import hide, say
from ops.errors import Misconfigured, Problem

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

STAMP = "[inv: prod]"
"""Marks a database as production, inside its comment."""
KEPT = "[inv: kept]"
"""Marks a database beside ours as put there by the suite, so that nobody else's is ever removed."""
SUFFIXES = NEXT, PREV, OLD = ("__next", "__prev", "__old")
SIGNUP = "lambda_signup"
"""The role by which the function of lambda.* writes; its rights belong to a database, and are carried over to a new one."""
UNSEEN, SEEN = 2.0, 0.5
"""Seconds that a dangerous act elsewhere waits for prod to say who it is: never seen from here, or seen before."""

FACTS = """
select pg_backend_pid() as pid, split_part(current_setting('server_version'), ' ', 1) as version,
       current_setting('server_version_num')::int as version_num,
       current_setting('is_superuser') = 'on' as superuser,
       current_setting('wal_level') = 'logical' as logical,
       case when current_setting('is_superuser') = 'on'
            then current_setting('data_directory') end as data_directory,
       (select system_identifier::text from pg_control_system()) as system_id,
       (select coalesce(jsonb_object_agg(datname, to_jsonb(d) || jsonb_build_object(
                 'comment', shobj_description(d.oid, 'pg_database'),
                 'owner', pg_get_userbyid(datdba),
                 'charset', pg_encoding_to_char(encoding),
                 'space', (select spcname from pg_tablespace t where t.oid = dattablespace))), '{}')
          from pg_database d where datname = any(%s)) as databases
"""


def facts(conn: Connection[DictRow], name: str) -> dict[str, Any]:
    """Ask the server for everything a command needs to know, in one round trip."""
    import psycopg

    names = [name, *(name + suffix for suffix in SUFFIXES), "template1"]
    try:
        return dict(postgres.row(conn, FACTS, names))
    except psycopg.errors.InsufficientPrivilege:
        # a service that keeps pg_control_system() to itself has no identity to compare
        query = FACTS.replace("(select system_identifier::text from pg_control_system())", "null::text")
        return dict(conn.execute(query, [names]).fetchone() or {})


class Watch:
    """Asks prod who it is, beside the work on another target.

    A tunnel leads to production under a local name; only the server's own
    identifier tells, and that changes when production is made anew. The
    embedded server is known to be our own, so work there waits for nobody.
    """

    def __init__(self, settings: Settings, target: Target) -> None:
        self.settings = settings
        self.prod: Target | None = None
        self.thread: threading.Thread | None = None
        if target.name == "prod" or target.embedded:
            return
        try:
            self.prod = prod(settings)
        except Misconfigured:  # no prod configured, or not readable: nothing to compare with
            return
        hide(self.prod.password)
        self.thread = threading.Thread(target=self.identify, daemon=True)
        self.thread.start()

    def identify(self) -> None:
        assert self.prod is not None
        with contextlib.suppress(Exception):
            conn = postgres.connect(self.prod, task="identify", dbname="postgres", timeout=round(UNSEEN))
            with conn:
                note(self.settings.root, facts(conn, self.prod.dbname)["system_id"], self.prod)

    def wait(self) -> None:
        """Give prod the time to answer, or say that it did not and is not known from before."""
        if self.thread and self.prod:
            self.thread.join(SEEN if self.known() else UNSEEN)
            if not self.known():
                say(f"note: prod ({self.prod.address}) does not answer: whether this is the same server is not known")

    def known(self) -> bool:
        return any(self.prod and entry["address"] == self.prod.address for entry in seen(self.settings.root))


def why_prod(settings: Settings, target: Target, known: dict[str, Any], watch: Watch | None) -> str:
    """Return the reason why a database is production, or nothing."""
    if target.name == "prod":
        return "the target says so"
    if target.rds:
        return f"{target.source} names an RDS host"
    for row in known["databases"].values():
        if row["datname"] != "template1" and STAMP in (row["comment"] or ""):
            return f"{row['datname']} carries the stamp {STAMP} in its comment"
    if watch and watch.prod and same_address(watch.prod, target):
        return f"{watch.prod.source} names the same database"
    if watch:
        watch.wait()
    for entry in seen(settings.root):
        if entry["system_id"] and (entry["system_id"], entry["dbname"]) == (known["system_id"], base(target.dbname)):
            return f"it is the database of {entry['address']}, seen as prod before (.local/prod.json)"
    return ""


def same_address(one: Target, other: Target) -> bool:
    """Whether two targets name one database without asking any server."""

    def key(target: Target) -> tuple[str, int, str]:
        host = target.params.get("hostaddr") or target.host.lower().rstrip(".")
        return ("loopback" if target.loopback else host, target.port, base(target.dbname))

    return key(one) == key(other)


def base(name: str) -> str:
    """Return the name that a database beside another one belongs to."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


SHAPE = [{"system_id": (str, NoneType), "dbname": str, "address": str}]
"""prod.json."""


def seen(root: Path) -> list[dict[str, Any]]:
    """Return the production databases seen from this clone."""
    advice = "remove it, then run inv db.status -t prod"
    return own.read(root / ".local" / "prod.json", SHAPE, advice) or []


def note(root: Path, system_id: str | None, target: Target) -> None:
    """Add one identity to .local/prod.json, by a rename."""
    entry = {"system_id": system_id, "dbname": base(target.dbname), "address": target.address}
    entries = seen(root)
    if entry in entries:
        return
    entries = [other for other in entries if other["address"] != entry["address"]]  # production was made anew
    try:
        write_private(local_dir(root) / "prod.json", json.dumps([*entries, entry], indent=2))
    except (OSError, Problem) as error:  # looking at production must not need a disk to write to
        why = error.strerror if isinstance(error, OSError) else error
        say(f"note: production's identity is not remembered: {why}")
