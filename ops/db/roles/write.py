"""db.roles: what differs is told, and written in one transaction; passwords of logins are tried, made and kept.

Killed anywhere, the server has all of it or nothing. A password is kept here before it is sent: where only that was done,
the next run tries it in vain, and sends it again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from config.settings import Settings
from config.sign_up import ROLE as FUNCTIONS
from ops import postgres, row_values
from ops.console import as_json, result, say
from ops.db import lock
from ops.db.migrations import patience
from ops.db.roles import words
from ops.db.roles.compare import Change, Compared, Difference, Scope, compare
from ops.errors import Differs, LoginFailed, Misconfigured, NotAllowed, Problem
from ops.targets import opening, production_guard
from ops.targets.open_target import OpenTarget
from ops.targets.roles import declared, names, passwords
from ops.targets.roles.declared import Declared, Role

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow
    from psycopg.sql import Composed

TRIES, PAUSE = 8, 0.1
"""How often a write is begun again that another one, from another database of the server, came between; and seconds to the next."""
WHAT = "db.roles"


@dataclass(frozen=True)
class RoleState:
    """A declared role."""

    role: str
    """Its key in the file."""
    name: str
    """What it is called on the server."""
    exists: bool
    """Whether it is there when the task ends."""
    login: Literal["none", "password", "token"]
    """How one logs in as it, on this server."""
    password_known: bool | None
    """Whether its password is known here; null where it needs none."""


@dataclass(frozen=True)
class Roles:
    """The declared roles of a database, and where they are not as declared."""

    target: str
    """As it is given to --target."""
    database: str
    """Its name."""
    roles: list[RoleState]
    """In the order of the file."""
    differences: list[Difference]
    """What was found, and whether it was ended."""
    notes: list[str]
    """What is declared and cannot be given yet, in words."""


def run(settings: Settings, target: str, confirm: str, *, dry_run: bool, check: bool, strict: bool, json: bool) -> None:
    """Compare the declared roles with those of a target, and write what differs; with `strict` also take away what nobody declared.

    Raises `Differs` with `check`, `Refused` for a stranger's role of the same name, and `Problem` for what this login may not do.
    """
    if dry_run and check:
        raise Misconfigured("give one of --dry-run, --check")
    said = declared.read(settings)
    if not said.roles:
        raise Misconfigured(f"{said.name}: no role is declared there: write who may do what (docs/access.md)")
    with opening.open_target(settings, target, WHAT, writes=not (dry_run or check)) as at:
        at.required()
        scope = Scope(names.database_of(at.target))
        with at.connect() as conn:
            found = compare(conn, said, scope)
        logins = password_changes(at, said, found)
        changes = [*found.changes, *logins]
        wanted = [each for each in changes if strict or each.declared]
        if not dry_run and not check and wanted:
            tell(changes)
            production_guard.confirm(at, "roles", confirm)
            with lock.hold_lock(at):
                write(at, said, scope, strict=strict)
            for each in wanted:
                each.difference.done = True
        elif not json:
            tell(changes, plainly=True)
        for note in found.notes:
            say(f"note: {note}")
        tell_passwords(at, said, found)
        if json:
            as_json(answer(at, said, found, changes))
        finish(at, changes, wanted, check=check, dry_run=dry_run, strict=strict)


def tell(changes: Sequence[Change], *, plainly: bool = False) -> None:
    """Print each difference: as the result of a look, or beside a write."""
    for each in changes:
        (result if plainly else say)(str(each.difference))


def finish(
    at: OpenTarget, changes: Sequence[Change], wanted: Sequence[Change], *, check: bool, dry_run: bool, strict: bool
) -> None:
    """Say what has become of the differences; raises `Differs` for a check that has found some."""
    if check and changes:
        raise Differs(
            f"{len(changes)} differences: the roles of {at.name} are not as declared: inv db.roles --dry-run, then inv db.roles"
        )
    if not changes:
        say(f"the roles of {at.name} are as declared: nothing to do")
        return
    left = len(changes) - len(wanted)
    if dry_run:
        say(f"{len(wanted)} differences would be ended; nothing was written")
    elif wanted:
        say(f"{len(wanted)} differences were ended: the roles of {at.name} are as declared")
    if left and not strict:
        say(f"{left} that nobody declared are left: declare them, or --strict takes them away")


# --- written ------------------------------------------------------------------------------


def write(at: OpenTarget, said: Declared, scope: Scope, *, strict: bool) -> None:
    """Write what differs, as it is by then; raises `Problem` for what this login may not do, and for what stays as it was."""
    import psycopg

    at.work.by_steps = False
    limits = patience.limits(at)
    for number in range(TRIES):
        try:
            patience.run_patiently(at, partial(in_transaction, at, said, scope, strict), what=WHAT, limits=limits)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject, psycopg.errors.UndefinedObject, psycopg.errors.InternalError) as error:  # fmt: skip
            # another run on this server has made or changed the same role, or table, in between
            if number + 1 == TRIES:
                raise
            del error
            time.sleep(PAUSE * (1 + random.random()))  # noqa: S311
        else:
            break
    at.work.done = True
    at.look_again()


def in_transaction(at: OpenTarget, said: Declared, scope: Scope, strict: bool, conn: Connection[DictRow]) -> None:
    """Write what differs now, in the transaction of a session, and see that nothing is left."""
    for once in (True, False):
        found = compare(conn, said, scope)
        changes = [each for each in found.changes if (strict or each.declared) and each.statements]
        if not once:
            break
        send(at, conn, changes)
        send(at, conn, password_changes(at, said, found, make=True))
    if changes:
        raise Problem(
            f"nothing was changed, since one would stay: {changes[0].difference}: another role has given it: "
            f"inv db.connect -t {at.target.name} --write, and take it away as that one"
        )


def send(at: OpenTarget, conn: Connection[DictRow], changes: Sequence[Change]) -> None:
    """Run the statements of some changes; raises `Problem` with the statement that this login may not run."""
    import psycopg

    for change in changes:
        for statement in change.statements:
            try:
                conn.execute(statement)
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidGrantOperation) as error:
                user = at.target.params.get("user", "this user")
                shown = "" if change.difference.kind == "password" else f" ({statement.as_string(conn)[:200]})"
                raise Problem(
                    f"{user} may not end this, and nothing was changed: {change.difference}: {row_values.message(error.diag)}{shown}: "
                    "run this as the owner of what it is about who has CREATEROLE, as RDS's master user is"
                ) from None


# --- passwords ----------------------------------------------------------------------------


def is_by_token(role: Role, found: Compared) -> bool:
    """Whether one logs in as a role by a token: it asks for that, and the server knows what that is."""
    return role.iam and words.BY_TOKEN in found.there.me["predefined"]


def by_password(said: Declared, found: Compared) -> list[Role]:
    """Return the roles that log in by a password; the function's is lambda.deploy's to make."""
    return [role for role in said.logins() if not is_by_token(role, found) and role.key != FUNCTIONS]


def password_changes(at: OpenTarget, said: Declared, found: Compared, *, make: bool = False) -> list[Change]:
    """Return the logins whose password is known here, or ours to make, and that it does not let in; with `make` what sets it."""
    changes = []
    for role in by_password(said, found):
        name = found.names[role.key]
        known = passwords.password_of(at.settings, at.target, role.key)
        if not known and not passwords.is_kept(at.settings, at.target):
            continue
        there = found.there.roles.get(name)
        if known and there and there["login"] and lets_in(at, name, known):
            continue
        change = Change(
            Difference(name, "password", "wrong" if there else "missing", "has not the password that is known here", [])
        )
        if make:
            change.statements.append(set_password(at, role, name, known))
        changes.append(change)
    return changes


def set_password(at: OpenTarget, role: Role, name: str, known: str | None) -> Composed:
    """Return what sets a password, kept here first if it is new: what is sent is what Postgres stores, and not the password itself."""
    from psycopg import sql

    if not known:
        known = passwords.make_password()
        passwords.keep_password(at.settings, at.target, role.key, known)
    verifier = at.conn.pgconn.encrypt_password(known.encode(), name.encode(), b"scram-sha-256").decode()
    return sql.SQL("alter role {} password {}").format(sql.Identifier(name), sql.Literal(verifier))


def lets_in(at: OpenTarget, name: str, password: str) -> bool:
    """Whether the server takes a password, tried over the way by which we reach it ourselves; where that is not known, it counts as taken."""
    try:
        postgres.connect(
            at.target.on(user=name, password=password), task=at.task, timeout=at.settings.connect_timeout
        ).close()
    except LoginFailed as error:
        return isinstance(error, NotAllowed)
    except Problem:
        return True
    return True


def tell_passwords(at: OpenTarget, said: Declared, found: Compared) -> None:
    """Say which logins have a password that is not known here."""
    lacking = [
        role
        for role in by_password(said, found)
        if not passwords.password_of(at.settings, at.target, role.key) and not passwords.is_kept(at.settings, at.target)
    ]
    if lacking:
        variables = ", ".join(passwords.variable(at.target.name, role.key) for role in lacking)
        say(
            f"note: no password is known for {', '.join(found.names[role.key] for role in lacking)}: set {variables}, then inv db.roles; until then tasks go on as the target's own user"
        )


def answer(at: OpenTarget, said: Declared, found: Compared, changes: Sequence[Change]) -> Roles:
    """Return what was found, and done, as JSON."""
    made = {each.difference.role for each in changes if each.difference.kind == "role" and each.difference.done}
    states = []
    for role in said.roles.values():
        name = found.names[role.key]
        how: Literal["none", "password", "token"] = (
            "none" if not role.login else "token" if is_by_token(role, found) else "password"
        )
        known = passwords.password_of(at.settings, at.target, role.key) is not None if how == "password" else None
        states.append(RoleState(role.key, name, name in found.there.roles or name in made, how, known))
    return Roles(at.target.name, at.name, states, [each.difference for each in changes], found.notes)
