"""A token that is signed with the standard library is botocore's, byte for byte; and what the sandbox's front says to each."""

from __future__ import annotations

import datetime as dt
import functools
import re
import string
import time
from collections.abc import Mapping
from typing import Any

import botocore.auth
import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.post_confirmation import iam
from ops.sandbox import tokens

HOST = "cruddur-db-instance.aaaaaaaaaa.ca-central-1.rds.amazonaws.com"
KEY = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
NOW = 1_793_322_000.0
"""A moment, in seconds since 1970."""


def by_botocore(host: str, port: str, user: str, region: str, environ: Mapping[str, str], now: float) -> str:
    """Return the token of the SDK, at a moment."""
    session = botocore.session.Session()
    session.set_credentials(
        environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], environ.get("AWS_SESSION_TOKEN")
    )
    made = client()
    made._request_signer._credentials = session.get_credentials()
    with pytest.MonkeyPatch.context() as patch:
        moment = dt.datetime.fromtimestamp(now, dt.timezone.utc)
        patch.setattr(botocore.auth, "get_current_datetime", lambda: moment)
        return str(made.generate_db_auth_token(host, int(port), user, region))


@functools.cache
def client() -> Any:
    """Return one for all: to make it takes longer than to sign a hundred times."""
    key = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
    return botocore.session.Session().create_client("rds", region_name="us-east-1", **key)


LABEL = st.text(string.ascii_letters + string.digits, min_size=1, max_size=20)
REGION = st.sampled_from(["ca-central-1", "us-gov-west-1", "cn-north-1", "ap-southeast-5"])
PRINTABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=63)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=LABEL,
    region=REGION,
    port=st.integers(1, 65535).map(str) | st.sampled_from(["80", "443", "5432"]),
    user=PRINTABLE,
    key=st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=20),
    secret=st.text(string.ascii_letters + string.digits + "+/", min_size=40, max_size=40),
    session=st.none() | st.text(string.ascii_letters + string.digits + "+/=", min_size=1, max_size=2000),
    now=st.integers(0, 4_102_444_800).map(float),
)
def test_the_token_is_botocores_byte_for_byte(
    name: str, region: str, port: str, user: str, key: str, secret: str, session: str | None, now: float
) -> None:
    china = region.startswith("cn-")
    host = (
        f"{name}.aaaaaaaaaa.rds.{region}.amazonaws.com.cn" if china else f"{name}.aaaaaaaaaa.{region}.rds.amazonaws.com"
    )
    environ = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    environ |= {"AWS_SESSION_TOKEN": session} if session else {}
    assert iam.signed(host, port, user, environ, now) == by_botocore(host, port, user, region, environ, now)


@pytest.mark.parametrize(
    ("host", "environ", "why"),
    [
        ("db.example.com", KEY, "own name"),
        ("x.rds.amazonaws.com", KEY, "own name"),
        (HOST, {}, "AWS_ACCESS_KEY_ID is not set"),
        (HOST, {"AWS_ACCESS_KEY_ID": "x"}, "AWS_SECRET_ACCESS_KEY is not set"),
    ],
)
def test_what_cannot_be_signed_is_named(host: str, environ: dict[str, str], why: str) -> None:
    with pytest.raises(iam.Unsigned, match=why):
        iam.signed(host, "5432", "reader", environ, NOW)


# --- as the front checks them -----------------------------------------------------------

DOOR = tokens.Door(HOST, 5432, "ca-central-1", "arn:aws:rds-db:ca-central-1:1:dbuser:db-A/reader", "reader")
ROOT = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "no-secret-at-all"}


def signed(host: str = HOST, port: str = "5432", user: str = "reader", now: float = NOW, **environ: str) -> str:
    return iam.signed(host, port, user, {**ROOT, **environ}, now)


ELSEWHERE = HOST.replace("ca-central-1", "us-east-1")


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        (signed(), ""),
        (signed(now=NOW - 899), ""),
        (signed(now=NOW - 901), "expired 1 s ago"),
        (signed(now=NOW + 299), ""),
        (signed(now=NOW + 301), "301 s ahead"),
        (signed(user="app"), "for the user app"),
        (signed(port="5433"), "it is for .*:5433"),
        (signed(host=f"x{HOST}"), "it is for x"),
        (signed(host=ELSEWHERE), "it is for"),
        (signed(host=ELSEWHERE).replace(ELSEWHERE, HOST), "not for rds-db in ca-central-1"),
        (signed(AWS_ACCESS_KEY_ID="AKIAOTHER"), "no such key"),
        (signed(AWS_SECRET_ACCESS_KEY="another"), "the signature is wrong"),
        (signed().replace("Expires=900", "Expires=90000"), "would last 90000 s"),
        (signed().replace("Expires=900", "Expires=899"), "the signature is wrong"),
        (signed()[:-1] + "g", "the signature is wrong"),
        (signed().replace("&X-Amz-Date=", "&X-Amz-Date=x"), "signed for|no time"),
        (signed(AWS_SESSION_TOKEN="of nobody"), "no such key"),
        ("a password", "it is none"),
        ("", "it is none"),
    ],
)  # fmt: skip
def test_each_part_of_a_token_is_checked(token: str, fault: str) -> None:
    found = tokens.fault(token, DOOR, NOW)
    assert re.search(fault, found) if fault else not found
    assert signed()[-64:] not in found


@pytest.mark.parametrize(
    ("resource", "condition", "may"),
    [
        (DOOR.resource, {}, True),
        (DOOR.resource.replace("reader", "*"), {}, True),
        ("*", {}, True),
        (DOOR.resource.replace("reader", "read?r"), {}, True),
        (DOOR.resource.replace("reader", "app"), {}, False),
        (DOOR.resource.replace("db-A", "db-B"), {}, False),
        (DOOR.resource.replace("reader", "${*}"), {}, False),
        (DOOR.resource, {"DateLessThan": {"aws:CurrentTime": "2100-01-01T00:00:00Z"}}, False),
    ],
)
def test_the_right_is_for_one_user_of_one_instance(resource: str, condition: dict[str, Any], may: bool) -> None:
    statement = {"Effect": "Allow", "Action": "rds-db:connect", "Resource": [resource], "Condition": condition}
    assert tokens.may(tokens.Key("x", None, ({"Statement": statement},)), DOOR.resource) is may
    deny = {"Effect": "Deny", "Action": "rds-db:*", "Resource": "*"}
    assert not tokens.may(tokens.Key("x", None, ({"Statement": [statement, deny]},)), DOOR.resource)


def test_the_clock_of_this_machine_is_the_one_that_signs() -> None:
    assert tokens.fault(signed(now=time.time()), DOOR, time.time()) == ""
