"""By which way the function logs in: by token where its role is declared so and the instance takes tokens, else by password."""

from __future__ import annotations

from config.settings import Settings
from config.sign_up import ROLE
from config.targets import Target
from ops.aws import Aws
from ops.cloud.facts import Row
from ops.console import hide, say
from ops.rds.proxy import parts
from ops.targets.roles import declared


def tokens_wanted(settings: Settings, row: Row) -> bool:
    """Whether the function is to log in by token: its role is declared so, and the instance takes tokens."""
    said = next((one for one in declared.read(settings).roles.values() if one.own_name == ROLE), None)
    if not (said and said.iam):
        return False
    if not row.get("IAMDatabaseAuthenticationEnabled"):
        say(f"note: logins by IAM are off on {row['DBInstanceIdentifier']} (rds.iam_auth): {ROLE} gets a password")
        return False
    return True


def login_to_aws(aws: Aws, target: Target) -> dict[str, str]:
    """Return Lambda's variables of a role, with this machine's own login to AWS, where a function has a token to sign for a target.

    Behind a tunnel it is told for which port: RDS takes a token for the instance's own alone.
    """
    if target.password or not target.rds:
        return {}
    aws.login.ensure()
    key = aws.login.load()
    assert key is not None
    held = key.get_frozen_credentials()
    hide(held.secret_key)
    found = {"AWS_ACCESS_KEY_ID": held.access_key, "AWS_SECRET_ACCESS_KEY": held.secret_key}
    if held.token:
        hide(held.token)
        found["AWS_SESSION_TOKEN"] = held.token
    host = target.host.lower().rstrip(".")
    if parts.is_endpoint(host):
        found["DB_IAM"] = f"{host}:{parts.PORT}"
    elif target.via:
        found["DB_IAM"] = f"{host}:{target.port}"
    return found
