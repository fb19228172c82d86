"""One trigger of a user pool changed, and nothing else of it: read whole, written whole, compared after."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from config.paths import local_dir, make, own_folder, write_private
from config.settings import Settings
from ops import own_files
from ops.aws import Aws
from ops.aws_errors import code
from ops.console import option, say
from ops.errors import Misconfigured, Problem
from ops.lambdas.user_pool import pool_request
from ops.lambdas.user_pool.pool_request import TRIGGER, Facts

TRIES, PAUSE = 5, 1.0
UNPROVED = "-unproved"
MFA = ("SmsMfaConfiguration", "SoftwareTokenMfaConfiguration", "EmailMfaConfiguration", "WebAuthnConfiguration")


def is_configured(settings: Settings) -> bool:
    """Whether a variable names the pool."""
    return any(settings.vars.get(name) for name in settings.focus.names.pools)


def identifier(settings: Settings, given: str = "") -> str:
    """Return the pool's id: --pool, else a variable; its ARN will do too."""
    names = settings.focus.names.pools
    name = next((name for name in names if settings.vars.get(name)), names[0])
    text = given or settings.vars.get(name)
    if not text:
        raise Misconfigured(
            f"no user pool: set {name}, like ca-central-1_AbCdEfGhI{option('pool', ', or give --pool')}"
        )
    text = text.rpartition("/")[2] if text.startswith("arn:") else text
    if not re.fullmatch(r"[\w-]+_[0-9a-zA-Z]+", text):
        raise Misconfigured(f"{'--pool' if given else name}: {text} is no id like ca-central-1_AbCdEfGhI")
    return text


class Missing(Misconfigured):
    """There is no such pool."""

    def __init__(self, pool_id: str, region: str) -> None:
        where = option("pool", "its variable or --pool", "its variable")
        super().__init__(f"there is no user pool {pool_id} in {region}: correct {where}, or AWS_DEFAULT_REGION")


class Pool:
    """A user pool, read whole and written whole."""

    def __init__(self, aws: Aws, identifier: str, folder: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self.client = aws.client("cognito-idp")
        self.model = self.client.meta.service_model
        self.id = identifier
        self.folder = folder
        self.sleep = sleep

    def read(self) -> Facts:
        """Return the pool as it came over the wire; raises `Problem` where this SDK does not know all of it."""
        raw: list[bytes] = []

        def keep(response_dict: Mapping[str, Any], **_: Any) -> None:
            raw.append(response_dict["body"])

        event = "before-parse.cognito-idp.DescribeUserPool"
        self.client.meta.events.register(event, keep)
        try:
            self.client.describe_user_pool(UserPoolId=self.id)
        except self.client.exceptions.ResourceNotFoundException as error:
            raise Missing(self.id, self.client.meta.region_name) from error
        finally:
            self.client.meta.events.unregister(event, keep)
        facts: Facts = json.loads(raw[-1])["UserPool"]
        if strange := sorted(pool_request.unknown(facts, self.model.shape_for("UserPoolType"))):
            raise Problem(
                f"the pool has settings that this boto3 does not know, and would reset ({', '.join(strange)}): "
                "nothing was done; pip install --upgrade boto3, then run this again"
            )
        return facts

    def read_mfa(self) -> Facts:
        """Return the pool's second factors, as SetUserPoolMfaConfig takes them."""
        found = self.client.get_user_pool_mfa_config(UserPoolId=self.id)
        return {key: value for key, value in found.items() if key in (*MFA, "MfaConfiguration")}

    def write(self, facts: Facts, arn: str | None) -> None:
        """Send the pool as it is, but for the trigger: `arn`, or none."""
        wanted = pool_request.build(facts, arn, self.model)
        while True:
            try:
                self.client.update_user_pool(**wanted)
                return
            except self.client.exceptions.InvalidParameterException as error:
                if not pool_request.relaxed(wanted, str(error)):
                    raise

    def set_trigger(self, arn: str | None, wanted: Callable[[Facts], bool]) -> None:
        """Give the trigger another function, or none, and prove that nothing else has changed.

        `wanted` looks at the pool as it is right before, and returns whether to
        go on. Raises `Problem` after putting back what AWS has changed beyond the trigger.
        """
        for left in reversed(range(TRIES)):
            before = self.read()
            if not wanted(before):
                return
            mfa = self.read_mfa()
            backup = self.save(before, mfa)
            try:
                self.write(before, arn)
                break
            except self.client.exceptions.ClientError as error:
                if is_refused(error):  # nothing was changed, so there is nothing to prove later
                    backup.unlink()
                if code(error) != "ConcurrentModificationException" or not left:
                    raise
                say("somebody else is changing the pool: reading it anew")
                self.sleep(PAUSE)
        self.prove(before, mfa, arn, backup)
        backup.rename(backup.with_name(backup.name.replace(UNPROVED, "")))

    def prove(self, before: Facts, mfa: Facts, arn: str | None, backup: Path) -> None:
        """Compare the pool with what it was; what differs is put back."""
        if self.read_mfa() != mfa:
            self.client.set_user_pool_mfa_config(UserPoolId=self.id, **mfa)
        after = self.read()
        changed = pool_request.differing(before, after, self.model)
        if not changed and trigger(after) == arn:
            return
        if not changed:
            raise Problem(f"the pool {self.id} calls {trigger(after) or 'nothing'}: somebody else has set it just now")
        self.write(before, trigger(before))
        if self.read_mfa() != mfa:
            self.client.set_user_pool_mfa_config(UserPoolId=self.id, **mfa)
        left = pool_request.differing(before, self.read(), self.model, but="")
        state = f"not all of it could be put back ({', '.join(left)})" if left else "all was put back as it was"
        raise Problem(
            f"setting the trigger changed other settings of the pool ({', '.join(changed)}): {state}; "
            f"what it was is in {backup}"
        )

    def save(self, facts: Facts, mfa: Facts) -> Path:
        """Write the pool to .local before it is touched; the name says that the change is not proved yet."""
        make(self.folder, 0o777)
        path = self.folder / f"{self.id}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S-%f}{UNPROVED}.json"
        write_private(path, json.dumps({"UserPool": facts, "MfaConfig": mfa}, indent=2, default=str))
        return path

    def resume(self) -> None:
        """Prove the change of a run that was cut off before it could; raises `Problem` naming what it finds.

        Written is one thing only: a second factor that our own update has turned off. What somebody else has set since stays.
        """
        for backup in sorted(self.folder.glob(f"{self.id}-*{UNPROVED}.json")):
            saved = own_files.read(backup, SAVED, "remove it, once the pool's settings are as they should be")
            if saved is None:  # another run was first
                continue
            before, now, mfa = saved["UserPool"], self.read(), self.read_mfa()
            off = mfa.get("MfaConfiguration", "OFF") == "OFF" and mfa != saved["MfaConfig"]
            if off and trigger(now) != trigger(before):
                self.client.set_user_pool_mfa_config(UserPoolId=self.id, **saved["MfaConfig"])
                now, mfa = self.read(), self.read_mfa()
            changed = pool_request.differing(before, now, self.model)
            if changed or mfa != saved["MfaConfig"]:
                changed = sorted({*changed, "MfaConfiguration"} if mfa != saved["MfaConfig"] else changed)
                raise Problem(
                    f"a run was cut off while it set the trigger, and other settings of the pool differ since "
                    f"({', '.join(changed)}): put them back as they are in {backup}, or remove that file if they are meant"
                )
            backup.rename(backup.with_name(backup.name.replace(UNPROVED, "")))


SAVED = {"UserPool": dict, "MfaConfig": dict}
"""A backup of a pool."""


def is_refused(error: Any) -> bool:
    """Whether AWS certainly has not done what it was asked: its own refusal, at the first attempt."""
    told = error.response.get("ResponseMetadata", {})
    return 400 <= int(told.get("HTTPStatusCode", 0)) < 500 and not told.get("RetryAttempts")


def open_pool(settings: Settings, aws: Aws, given: str = "") -> Pool:
    """Return the pool that the settings name."""
    return Pool(aws, identifier(settings, given), own_folder(local_dir(settings.root) / "pools"))


def trigger(facts: Facts) -> str | None:
    """Return the ARN of the function that the trigger calls, or None."""
    found = (facts.get("LambdaConfig") or {}).get(TRIGGER)
    return str(found) if found else None
