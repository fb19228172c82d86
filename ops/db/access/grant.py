"""db.grant-access and db.revoke-access: a login for one person, until a time."""

from __future__ import annotations

import glob
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from config.paths import UNFINISHED, local_dir, private_folder, write_private
from config.settings import Settings
from ops import own_files, postgres
from ops.console import as_json, result, say
from ops.db.access import ends, logins, schedule
from ops.db.access.logins import Wanted
from ops.errors import Problem
from ops.targets import opening, persons, production_guard
from ops.targets.roles import names, passwords
from ops.times import in_utc

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

    from ops.targets.open_target import OpenTarget

FOLDER = "access"
"""In .local: the URLs of people that were not printed, each for its owner's eyes alone."""


@dataclass(frozen=True)
class Granted:
    """A login that a person was given."""

    person: str
    """The name that was given."""
    login: str
    """Its role on the server."""
    role: str
    """The declared role whose rights it has."""
    until_at: datetime
    """When it ends."""
    url: str | None
    """By which it logs in, with the password where there is one; null without --show-password."""
    file: str | None
    """Where that is written, for its owner alone; null where it is printed."""


def grant(
    settings: Settings,
    target: str,
    name: str,
    role: str,
    expires: str,
    confirm: str,
    *,
    show_password: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Give a person a login with the rights of a declared role, which ends after a length of time.

    A login that the person has is changed, and gets a new password. The server is told a verifier, never the password.
    Raises `Refused` for a role of that name which is not ours.
    """
    lasts = ends.length(expires)
    with opening.open_target(settings, target, "db.grant-access", writes=True) as at:
        at.required()
        login = logins.login_of(at, name)
        about, group = logins.role_of(settings, at, role)
        found = logins.find(at, at.conn, login)
        by_token = about.iam and logins.takes_tokens(at.conn)
        until = persons.server_time(at.conn) + lasts
        words = f"{login}: {role} of {names.database_of(at.target)} for {ends.words(lasts)}, until {in_utc(until, seconds=True)}"  # fmt: skip
        if dry_run:
            say(f"would {'change' if found else 'make'} {words}: nothing was done")
            return
        production_guard.confirm(at, "grant-access", confirm)
        scheduled = schedule.ensure_job(at)
        password = "" if by_token else passwords.make_password()
        write(at, Wanted(login, persons.mark(names.database_of(at.target), role, until), until, group, bool(about.becomes), verifier(at, login, password)))  # fmt: skip
        say(f"{'changed' if found else 'made'} {words}")
        if not scheduled:
            say(f"note: {schedule.look(at).note}")
        path = kept(at, login, password) if password and not show_password else None
        url = None if path else at.target.on(user=login, password=password).url(show_password=True)
        if json:
            as_json(Granted(name, login, role, until, url, str(path) if path else None))
        else:
            result(url or str(path))
        tell(path, password)


def verifier(at: OpenTarget, login: str, password: str) -> str | None:
    """Return what Postgres stores of a password: that itself reaches neither the server nor its log."""
    if not password:
        return None
    return at.conn.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()


def write(at: OpenTarget, wanted: Wanted) -> None:
    """Make a login what it is to be, in one transaction."""
    at.work.left = "it has a new password that nobody knows: run this again for another"
    with at.conn.transaction():
        xid = postgres.row(at.conn, "select pg_catalog.pg_current_xact_id()::text as xid")["xid"]
        at.work.load(at.conn.info.backend_pid, xid, closing=True)
        persons.lock(at.conn, names.database_of(at.target))
        found = logins.find(at, at.conn, wanted.login)
        for statement in logins.statements(at.conn, wanted, found):
            at.conn.execute(statement)
    at.work.done = True


def kept(at: OpenTarget, login: str, password: str) -> Path:
    """Write the URL by which a person logs in where only its owner reads, and return where."""
    path = file_of(at, login)
    private_folder(path.parent)
    write_private(path, at.target.on(user=login, password=password).url(show_password=True) + "\n")
    return path


def tell(path: Path | None, password: str) -> None:
    """Say what to do with what was printed."""
    if path:
        say("the URL with the password is in that file, for you alone: hand it over, then remove it (--show-password prints it instead)")  # fmt: skip
    elif not password:
        say("it logs in by token, which whoever has the AWS rights for it signs for 15 minutes; there is no password")


def file_of(at: OpenTarget, login: str) -> Path:
    """Return where the URL of a person is written."""
    return local_dir(at.settings.root) / FOLDER / f"{at.target.name}-{login}.url".replace("/", "_")


# --- taken away ---------------------------------------------------------------------------


def revoke(settings: Settings, target: str, name: str, *, dry_run: bool = False) -> None:
    """Take a person's login away: shut at once, with its open sessions, then removed.

    Each step holds by itself: from the first on the next run of anything of ours, or pg_cron, does the second. Raises
    `Refused` for a role that is not ours, and `Problem` for one that owns something: it stays, and nobody logs in as it.
    """
    with opening.open_target(settings, target, "db.revoke-access", writes=True) as at:
        login = logins.login_of(at, name)
        found = logins.find(at, at.conn, login)
        if not found:
            forget(at, login)
            say(f"{login}: there is no such login: nothing to do")
            return
        if dry_run:
            say(f"would remove {login}, {found.access.role} until {in_utc(found.access.until)}, and end {found.sessions} sessions of it: nothing was done")  # fmt: skip
            return
        at.work.by_steps = at.work.begun = True
        end_now(at, login)
        shut(at, login)
        drop(at, login)
        forget(at, login)
        say(f"removed {login}" + (f", and ended {found.sessions} sessions of it" if found.sessions else ""))
        if not others(at.conn, names.database_of(at.target)):
            schedule.remove_job(at)


def end_now(at: OpenTarget, login: str) -> None:
    """Set the end of a login to this moment, by which whatever shuts those that have ended shuts it."""
    from psycopg import sql

    with at.conn.transaction():
        persons.lock(at.conn, names.database_of(at.target))
        found = logins.find(at, at.conn, login)
        if not found:
            return
        until = min(persons.server_time(at.conn), found.access.until)
        mark = persons.mark(names.database_of(at.target), found.access.role, until)
        role, when = sql.Identifier(login), sql.Literal(until.isoformat())
        at.conn.execute(sql.SQL("alter role {} with nologin valid until {}").format(role, when))
        at.conn.execute(sql.SQL("comment on role {} is {}").format(role, sql.Literal(mark)))


def shut(at: OpenTarget, login: str) -> None:
    """Take away what a login may, and end its sessions; raises `Problem` where this user may not."""
    deadline = time.monotonic() + at.settings.lock_timeout
    while True:
        left, said = persons.shut(at.conn, names.database_of(at.target))
        mine = [one for one in left if one.startswith(f"{login}, ")]
        if not mine:
            return
        why = persons.about(mine[0], said)
        if why or time.monotonic() > deadline:  # else somebody else is at it just now
            limit = f"its sessions do not end within {at.settings.lock_timeout:.0f} s (db.lock_timeout)"
            raise Problem(
                f"{login} cannot be shut ({'; '.join(why) or limit}): run this as a superuser, or as the user "
                "who has given the access"
            )


def drop(at: OpenTarget, login: str) -> None:
    """Remove a login that is shut; raises `Problem` for one that owns something."""
    import psycopg
    from psycopg import sql

    try:
        with at.conn.transaction():
            persons.lock(
                at.conn, names.database_of(at.target)
            )  # another run may just have looked, and go on to change it
            if logins.find(at, at.conn, login):
                at.conn.execute(sql.SQL("drop role {}").format(sql.Identifier(login)))
    except psycopg.errors.DependentObjectsStillExist as error:
        what = " ".join((error.diag.message_detail or "it owns something").split())
        raise Problem(
            f'{login} may not log in any more, and is still needed ({what}): "reassign owned by" gives what it owns to another, "drop owned by" '
            "takes its rights away; then run this again"
        ) from None


def others(conn: Connection[DictRow], database: str) -> bool:
    """Whether there are logins of people for a database."""
    from ops.db.access import standing

    return bool(standing.people(conn, database))


def forget(at: OpenTarget, login: str) -> None:
    """Remove the file that holds the URL of a person."""
    path = file_of(at, login)
    if path.parent.is_dir():
        own_files.remove(path.parent, [glob.escape(path.name), f"{glob.escape(path.stem)}.*{UNFINISHED}"])


def forget_all(root: Path, target: str, database: str) -> None:
    """Remove the files with the URLs of people for a database of a target whose server's data is gone."""
    folder = root / ".local" / FOLDER
    if folder.is_dir():
        prefix = f"{target}-{names.role_name(database, '')}".replace("/", "_")
        own_files.remove(folder, [f"{glob.escape(prefix)}*.url", f"{glob.escape(prefix)}*{UNFINISHED}"])
