"""Which login a task takes: of those that db.roles has made, the one that may do what the task does, and no more.

A database without those roles, and one whose password is not known here, is opened as the target's own user.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from config.settings import Settings
from config.targets import Target
from ops.console import hide, say
from ops.targets import last_look
from ops.targets.roles import names, passwords

Key = Literal["reader", "app", "migrator"]
"""A role of sql/roles.yaml, by its key there; a file that has none of a name has no login for the tasks that would take it."""


def least(settings: Settings, own: Target, key: Key | None) -> Target | None:
    """Return the target with the login of a role in the place of its own user; None: there is none, as far as is known here.

    No server is asked. What the migrator makes is the owner's (ops/targets/roles/acting.py).
    """
    if not key or not settings.least_login:
        return None
    if is_persons(settings, own):
        return None
    password = passwords.password_of(settings, own, key)
    if password is None and not (own.rds and key in seen(settings, own)):
        return None
    from ops.targets.roles import declared

    role = declared.read(settings).roles.get(key)
    if not role or not role.login:
        return None
    login = own.on(user=role.name(names.database_of(own)))
    if password is None:
        from ops.targets import iam

        return iam.by_token(settings, login) if role.iam else None
    hide(password)
    return replace(login.on(password=password), token=None)


def is_persons(settings: Settings, own: Target) -> bool:
    """Whether a target's own user is a login that db.grant-access has given: it has the rights of one role, and no other's to take."""
    from ops.targets.roles import declared

    database, user = names.database_of(own), own.params.get("user", "")
    given = user.startswith(names.role_name(database, ""))
    return given and user not in {role.name(database) for role in declared.read(settings).roles.values()}


def seen(settings: Settings, own: Target) -> list[str]:
    """Return the roles of ours that the database had at the last look, by their keys."""
    look = last_look.recalled(settings).get(own.name)
    return look.roles or [] if look and look.address == own.address else []


def tell_without(settings: Settings, own: Target, key: Key | None, there: list[str]) -> None:
    """Say that a task does without the login that is there for it; `there`: the keys of the database's roles."""
    if (
        not key
        or not settings.least_login
        or key not in there
        or is_persons(settings, own)
        or passwords.password_of(settings, own, key)
    ):
        return
    from ops.targets.roles import declared

    role = declared.read(settings).roles.get(key)
    if not (own.rds and role and role.iam):  # by token it is tried from now on: the database is known to have it
        login = names.role_name(names.database_of(own), key)
        say(
            f"note: as {own.params.get('user') or 'its own user'}, since no password of {login} is known here "
            f"({passwords.variable(own.name, key)}; inv db.roles makes one)"
        )


def tell_refused(refused: Target, own: Target) -> None:
    """Say that the login for a task was not let in."""
    say(
        f"note: as {own.params.get('user') or 'its own user'}, since the server does not let {refused.params['user']} in: "
        "inv db.roles makes that login, and its password, anew"
    )
