"""Which server this is, and whether its database is production, whatever it is called."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from config.declared import Kind
from config.paths import local_dir, write_private
from config.settings import Settings
from config.targets import Target, resolve
from ops import own_files, postgres
from ops.console import hide, say
from ops.errors import Misconfigured, Problem
from ops.targets import persons

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from config.via import Via

Why = Literal["declared", "rds_host", "stamp", "same_address", "same_database"]
STAMP = "[inv: prod]"
"""Marks a database as production, inside its comment."""
NOT_PROD = "[inv: not production]"
"""Says of a database on RDS that it is none, in the same place."""
KEPT = "[inv: kept]"
"""Marks a database beside ours as put there by the suite, so that nobody else's is ever removed."""
PLANS = "[inv: plans]"
"""Marks a database without rows that shows another one's plans: its files are holes, and a copy would fill them."""
SINCE = re.compile(r"\[inv: since ([^\]]*)\]")
"""Says when that was, beside the mark: ISO 8601."""
SUFFIXES = NEXT, PREV, OLD = ("__next", "__prev", "__old")
UNSEEN, SEEN = 2.0, 0.5
"""Seconds that a dangerous act elsewhere waits for prod to say who it is: never seen from here, or seen before."""

FACTS = r"""
select pg_backend_pid() as pid, split_part(current_setting('server_version'), ' ', 1) as version,
       current_setting('server_version_num')::int as version_num,
       current_setting('is_superuser') = 'on' as superuser,
       current_setting('wal_level') = 'logical' as logical,
       case when current_setting('is_superuser') = 'on' or pg_has_role('pg_read_all_settings', 'usage')
            then current_setting('data_directory') end as data_directory,
       (select system_identifier::text from pg_control_system()) as system_id,
       (select coalesce(jsonb_object_agg(datname, to_jsonb(d) || jsonb_build_object(
                 'comment', shobj_description(d.oid, 'pg_database'),
                 'owner', pg_get_userbyid(datdba),
                 'owner_comment', shobj_description(datdba, 'pg_authid'),
                 'charset', pg_encoding_to_char(encoding),
                 'space', (select spcname from pg_tablespace t where t.oid = dattablespace))), '{}')
          from pg_database d where datname = any(%s)) as databases,
       (select coalesce(array_agg(split_part(m.mark, ' ', 3) order by m.mark), '{}')
          from (select substring(description from '\[inv: role \S+ of [^]]*\]') as mark
                  from pg_shdescription where classoid = 'pg_authid'::regclass) m
         where m.mark = '[inv: role ' || split_part(m.mark, ' ', 3) || ' of ' || %s || ']') as roles,
       ({ended}) as ended
""".replace("{ended}", persons.ENDED)
OLDEST = 80000
"""The version_num of PostgreSQL 8.0: before that there was none to ask for."""
FACTS_SHAPE = {
    "pid": int,
    "version": lambda found: isinstance(found, str) and re.fullmatch(r"\d[!-~]*", found),
    "version_num": lambda found: own_files.is_shaped(found, int) and found >= OLDEST,
    "superuser": bool,
    "logical": bool,
    "data_directory?": (str, NoneType),
    "system_id?": (str, NoneType),
    "databases": lambda found: isinstance(found, dict) and own_files.is_shaped([*found.values()], [dict]),
    "roles": [str],
    "ended?": (list, NoneType),
}
"""How the facts look of every PostgreSQL."""


def facts(conn: Connection[DictRow], name: str, trunk: str = "") -> dict[str, Any]:
    """Ask the server for everything a command needs to know, in one round trip.

    With `trunk`, the main database beside that of a git branch, its rows are under that key.
    """
    import psycopg

    names, beside = ([each, *(each + suffix for suffix in SUFFIXES)] for each in (name, trunk))
    wanted = [*names, "template1", *(beside if trunk else ())]
    try:
        found = answered(conn, FACTS, [wanted, *[trunk or name] * 2])
    except psycopg.errors.InsufficientPrivilege:
        # a service that keeps pg_control_system() to itself has no identity to compare
        query = FACTS.replace("(select system_identifier::text from pg_control_system())", "null::text")
        found = answered(conn, query, [wanted, *[trunk or name] * 2])
    if trunk:
        rows = found["databases"]
        found["trunk"] = {each: rows.pop(each) for each in beside if each in rows}
    return found


def answered(conn: Connection[DictRow], query: str, values: Sequence[object]) -> dict[str, Any]:
    """Return the facts; raises `Problem` where some are missing that every PostgreSQL has, or are what none has."""
    found = conn.execute(query.encode(), values).fetchone() or {}
    return dict(postgres.shaped(conn, found, FACTS_SHAPE))


class Watch:
    """Asks each protected target who it is, beside the work on another one.

    A tunnel leads to production under a local name; only the server's own
    identifier tells, and that changes when production is made anew. The
    embedded server is known to be our own, so work there waits for nobody.
    """

    def __init__(self, settings: Settings, target: Target) -> None:
        self.settings = settings
        self.protected: list[Target] = []
        self.threads: list[threading.Thread] = []
        others = [each.name for each in settings.targets.values() if each.protected and each.name != target.name]
        for name in () if target.protected or target.kind is Kind.EMBEDDED else others:
            with contextlib.suppress(Misconfigured):  # not configured, or not readable: nothing to compare with
                found = resolve(settings, name)
                assert found is not None
                hide(found.password)
                if found.via:
                    from ops.targets.tunnel import way

                    found = way.led(settings, found)
                self.protected.append(found)
        for found in self.protected:
            self.threads.append(threading.Thread(target=self.identify, args=[found], daemon=True))
            self.threads[-1].start()

    def identify(self, target: Target) -> None:
        if target.via and target.via.kind == "ssm":  # work elsewhere calls no AWS
            return
        with contextlib.suppress(Exception):
            conn = postgres.connect(target, task="identify", dbname="postgres", timeout=round(UNSEEN))
            with conn:
                note(self.settings.root, facts(conn, target.dbname)["system_id"], target)

    def wait(self) -> None:
        """Give each the time to answer, or say that it did not and is not known from before."""
        begun = time.monotonic()
        for target, thread in zip(self.protected, self.threads, strict=True):
            patience = SEEN if self.known(target) else UNSEEN
            thread.join(max(0.0, begun + patience - time.monotonic()))
            if not self.known(target):
                say(
                    f"note: {target.name} ({target.address}) does not answer: whether this is the same server is not known"
                )

    def known(self, target: Target) -> bool:
        return any(entry["address"] == target.address for entry in seen(self.settings.root))

    def same(self, target: Target) -> str:
        """Return the variable of a protected target that names the same database, or nothing."""
        return next((other.source for other in self.protected if is_same_address(other, target)), "")


class Reason(NamedTuple):
    """Why a database is production; false where it is not."""

    word: Why | None = None
    """The word for it in JSON."""
    text: str = ""
    """The same for people."""

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        return self.text


def why_prod(settings: Settings, target: Target, known: dict[str, Any], watch: Watch | None) -> Reason:
    """Return the reason why a database is production, or nothing.

    One on RDS is, until its own comment says otherwise (db.mark): whoever has a
    second one there has a first one, and a wrong guess costs more than a word.
    What a declaration, a stamp or the identity of production says is stronger.
    """
    if target.protected:
        return Reason("declared", "the target says so")
    comments = {name: row["comment"] or "" for name, row in known["databases"].items() if name != "template1"}
    no_more = any(NOT_PROD in comment for comment in comments.values())
    if target.rds and not no_more:
        return Reason("rds_host", f"{target.source} names an RDS host")
    for name, comment in comments.items():
        if STAMP in comment:
            return Reason("stamp", f"{name} carries the stamp {STAMP} in its comment")
    if watch and (source := watch.same(target)):
        return Reason("same_address", f"{source} names the same database")
    if watch:
        watch.wait()
    for entry in seen(settings.root):
        if no_more and entry["address"] == target.address:  # noted before somebody said so
            continue
        if entry["system_id"] and (entry["system_id"], entry["dbname"]) == (known["system_id"], base(target.dbname)):
            seen_before = f"it is the database of {entry['address']}, seen as prod before (.local/prod.json)"
            return Reason("same_database", seen_before)
    return Reason()


def is_same_address(one: Target, other: Target) -> bool:
    """Whether two targets name one database without asking any server."""

    def key(target: Target) -> tuple[Via | None, str, int, str]:
        host = target.params.get("hostaddr") or target.host.lower().rstrip(".")
        return (target.via, "loopback" if target.loopback else host, target.port, base(target.dbname))

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
    return own_files.read(root / ".local" / "prod.json", SHAPE, advice) or []


def forget(root: Path, system_id: str | None, target: Target) -> None:
    """Take the identity of a database out of .local/prod.json: it is no production after all."""
    entries = seen(root)
    left = [e for e in entries if e["address"] != target.address and e["system_id"] != system_id]
    if left != entries:
        write_private(local_dir(root) / "prod.json", json.dumps(left, indent=2))


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
