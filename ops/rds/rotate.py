"""rds.rotate-password: a new master password, by RDS or saved as the user's own."""

from __future__ import annotations

import secrets

from config.settings import Settings
from ops.aws import Aws
from ops.console import hide, say
from ops.env.variables import store
from ops.errors import Misconfigured, Problem
from ops.rds import instance, saved
from ops.rds.waiting import HOPELESS, RESTING, Clock, Goal, Row, usable

VARIABLE = "POSTGRES_MASTER_PASSWORD"


def run(settings: Settings, aws: Aws, clock: Clock) -> str:
    """Give the instance a new master password; return what to tell. Sessions that are open stay so."""
    rds = settings.rds
    row = instance.required(aws, rds)
    if not instance.mine(row, rds):
        raise Problem(f"{rds.identifier} was not made by inv: inv rds.create --adopt hands it over first")
    managed = bool(row.get("MasterUserSecret"))
    change = {"RotateMasterUserPassword": True} if managed else {"MasterUserPassword": fresh(settings)}
    aws.client("rds").modify_db_instance(DBInstanceIdentifier=rds.identifier, ApplyImmediately=True, **change)
    after = instance.wait_for(aws, rds, Goal("rds.rotate-password", usable, {**HOPELESS, **RESTING}), clock)
    if not managed:
        save_url(settings, after or row, change["MasterUserPassword"])
    where = "kept in Secrets Manager" if managed else f"saved in {settings.vars.env_file.name}"
    return f"{rds.identifier} has a new master password, {where}"


def fresh(settings: Settings) -> str:
    """Make a password and save it before it is sent: a run that is cut off leaves none that nobody knows."""
    if settings.vars.environ.get(VARIABLE):
        raise Misconfigured(
            f"{VARIABLE} of the environment would hide the new one: keep it in {settings.vars.env_file.name} "
            f"(unset {VARIABLE}), then run this again"
        )
    password = secrets.token_urlsafe(24)
    hide(password)
    store(settings, VARIABLE, password)
    return password


def save_url(settings: Settings, row: Row, password: object) -> None:
    """Renew the URL that rds.create has saved."""
    if saved.host_of(settings.vars.saved.get(saved.URL, "")) == instance.host(row):
        store(settings, saved.URL, saved.url(settings, row, str(password)))
        return
    say(f"note: {saved.URL} is not changed, it is unset or names another server")
