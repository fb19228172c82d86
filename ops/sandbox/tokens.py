"""Tokens of IAM at the sandbox's front, as RDS checks them: for which instance and user, how old, by whose key, with which right.

A user with rds_iam gets in by a token alone. The signature is made anew by botocore, with the secret of the key that moto has
made: of a user of IAM, of a role that was assumed, or the sandbox's own, which may do everything. What is wrong stays in the log:
as at RDS, the client hears "PAM authentication failed" (RDS User Guide, "Troubleshooting for IAM DB authentication").
"""

from __future__ import annotations

import fnmatch
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl

from ops.cloud.policies import listed
from ops.sandbox import shell

ACTION = "rds-db:connect"
SECONDS = 900
EARLY = 300
"""Seconds that a token may come from a clock that is ahead."""
MEMBER = """
select not rolsuper and pg_has_role(oid, 'rds_iam', 'usage') as by_token
from pg_roles where rolname = %s and exists (select from pg_roles where rolname = 'rds_iam')
"""
"""Whether a user is in rds_iam, also by other roles; whoever may only hand it out (the master) is not."""


@dataclass(frozen=True)
class Door:
    """The instance that a client is at, and as whom."""

    host: str
    port: int
    region: str
    resource: str
    """The ARN that the right to come in is for."""
    user: str


@dataclass(frozen=True)
class Key:
    """A key of AWS's, and what its owner may do."""

    secret: str
    session: str | None = None
    policies: tuple[Mapping[str, Any], ...] | None = None
    """None: everything."""


def fault(token: str, door: Door, now: float) -> str:
    """Return what is wrong with a token at a moment, in seconds since 1970; nothing where it is good."""
    address, _, query = token.partition("/?")
    signed, _, signature = query.rpartition("&X-Amz-Signature=")
    pairs = parse_qsl(signed, keep_blank_values=True)
    fields = dict(pairs)
    if not signed or len(fields) != len(pairs):
        return "it is none"
    if address != f"{door.host}:{door.port}":
        return f"it is for {address}, not {door.host}:{door.port}"
    if fields.get("Action") != "connect" or fields.get("DBUser") != door.user:
        return f"it is for the user {fields.get('DBUser')}"
    key_id, *scope = fields.get("X-Amz-Credential", "").split("/")
    date = fields.get("X-Amz-Date", "")
    if scope[1:] != [door.region, "rds-db", "aws4_request"] or scope[0] != date[:8]:
        return f"it is signed for {'/'.join(scope)}, not for rds-db in {door.region}"
    if old := age_fault(date, fields.get("X-Amz-Expires", ""), now):
        return old
    key = key_of(key_id, fields.get("X-Amz-Security-Token"))
    if key is None:
        return "there is no such key, or session"
    if not hmac.compare_digest(signature_of(address, signed, date, key_id, key, door.region), signature):
        return "the signature is wrong"
    return "" if may(key, door.resource) else f"its key may not {ACTION} on {door.resource}"


def age_fault(date: str, seconds: str, now: float) -> str:
    """Return what is wrong with the time of a token."""
    try:
        since = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
        lasts = int(seconds)
    except ValueError:
        return "it says no time"
    if not 0 < lasts <= SECONDS:
        return f"it would last {lasts} s, {SECONDS} s are the most"
    if now > since + lasts:
        return f"it has expired {now - since - lasts:.0f} s ago"
    return f"it is from {since - now:.0f} s ahead" if since > now + EARLY else ""


def signature_of(address: str, query: str, date: str, key_id: str, key: Key, region: str) -> str:
    """Return the signature that a query must have."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("GET", f"https://{address}/?{query}")
    request.context["timestamp"] = date
    auth = SigV4Auth(Credentials(key_id, key.secret), "rds-db", region)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def key_of(key_id: str, session: str | None) -> Key | None:
    """Return a key of the sandbox's AWS, with what its owner may do now; None where there is none, or not for that session."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.iam.access_control import CreateAccessKeyFailure, IAMPolicy, create_access_key

    if key_id == shell.KEY_ID:
        return None if session else Key(shell.SECRET)
    headers = {"X-Amz-Security-Token": session} if session is not None else {}
    try:
        found = create_access_key(DEFAULT_ACCOUNT_ID, "aws", key_id, headers)
    except CreateAccessKeyFailure:
        return None
    credentials = found.create_credentials()
    policies = tuple(IAMPolicy(policy) for policy in found.collect_policies())
    documents = tuple(one._policy_json for one in policies)  # noqa: SLF001 - moto has no other name for it
    return Key(str(credentials.secret_key), session, documents)


def may(key: Key, resource: str) -> bool:
    """Whether the owner of a key may connect: some policy allows it, and none denies it."""
    if key.policies is None:
        return True
    effects = {s["Effect"] for policy in key.policies for s in listed(policy["Statement"]) if holds(s, resource)}
    return effects == {"Allow"}


def holds(statement: Mapping[str, Any], resource: str) -> bool:
    """Whether a statement is about connecting to a resource; one with a condition is not, since IAM knows none for that."""
    if "Action" not in statement or "Resource" not in statement or statement.get("Condition"):
        return False
    action = any(fnmatch.fnmatchcase(ACTION, str(pattern)) for pattern in listed(statement["Action"]))
    return action and any(matches(str(pattern), resource) for pattern in listed(statement["Resource"]))


def matches(pattern: str, resource: str) -> bool:
    """Whether a resource fits IAM's pattern: * and ? stand for others, ${*} and its like for themselves."""
    parts = re.split(r"(\$\{[*?$]\}|[*?])", pattern)
    words = {"*": ".*", "?": "."}
    text = "".join(words.get(one) or re.escape(one[2] if one.startswith("${") else one) for one in parts)
    return re.fullmatch(text, resource) is not None
