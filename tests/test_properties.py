"""What must hold of any input: URLs against libpq, the pool's request against botocore's model, cursors, masks.

The scanner's are in tests/test_scan_oracle.py.
"""

from __future__ import annotations

import base64
import re
import uuid
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from backend.home_activities import Cursor
from config import urls
from ops.db.pull import columns, masking
from ops.db.pull.masking import Rule
from ops.errors import Misconfigured
from ops.lambdas.user_pool import pool_request
from tests.fix_suppliers import Database

settings.register_profile("property", deadline=None, database=None, suppress_health_check=list(HealthCheck))
PROFILE = settings.get_profile("property")

# --- URLs --------------------------------------------------------------------------------

SIGNS = st.text("ab1:@/?#[]%&=$ {}()<>+,;'\"\\äé€\t\n\0", max_size=8)
PLAIN = st.text("abcxyz0189._-", min_size=1, max_size=8)
CODED = (
    st.text(max_size=8)
    .filter(lambda text: "\0" not in text)
    .map(lambda text: quote(text.encode("utf-8", "replace").decode(), safe=""))
)
PART = st.one_of(PLAIN, CODED, SIGNS)
PARAMETERS = st.lists(
    st.builds("{}={}".format, st.sampled_from(["sslmode", "host", "hostaddr", "port", "connect_timeout", "application_name", "user", "nope"]), PART),
    max_size=2,
).map("&".join)  # fmt: skip
URLS = st.builds(
    "{}://{}{}{}{}{}/{}{}".format,
    st.sampled_from(["postgresql", "postgres", "postgresql", "postgres", "http"]),
    st.one_of(st.just(""), PART),
    st.one_of(st.just(""), PART.map(":{}".format)),
    st.sampled_from(["@", "@", "@", ""]),
    st.one_of(PLAIN, PART, st.just("[::1]"), st.just("%2Ftmp")),
    st.sampled_from(["", ":5432", ":x", ":0", ":99999"]),
    PART,
    st.one_of(st.just(""), PARAMETERS.map("?{}".format)),
)
WORDS = re.compile(r"[a-z0-9]+")


@settings(PROFILE, max_examples=400)
@given(URLS | st.text(max_size=30))
def test_a_url_means_what_libpq_takes_it_for_or_is_refused(url: str) -> None:
    """libpq's own reader (PQconninfoParse) decides; what is refused beside is refused in words of our own."""
    try:
        read = urls.read(url, "CONNECTION_URL")
    except Misconfigured as error:
        said = str(error)
        assert said.startswith("CONNECTION_URL: ")
        assert "\n" not in said
        return
    assert read == {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    assert read["dbname"]


@settings(PROFILE, max_examples=200)
@given(user=CODED, password=st.text("0123456789", min_size=12, max_size=12), before=SIGNS, after=SIGNS)
def test_no_word_about_a_url_has_a_piece_of_its_password(user: str, password: str, before: str, after: str) -> None:
    said = ""
    try:
        urls.read(f"postgresql://{user}:{before}{password}{after}@host:5432/shop", "CONNECTION_URL")
    except Misconfigured as error:
        said = str(error)
    assert password not in said


@settings(PROFILE, max_examples=300)
@given(password=st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text))
def test_any_password_that_is_percent_encoded_comes_out_as_it_went_in(password: str) -> None:
    assume(password.encode("utf-8", "replace").decode() == password)
    assume(not re.fullmatch(r"<[^<>]*>|\[[A-Za-z _-]*\]", password))
    url = f"postgresql://me:{quote(password, safe='')}@host/shop"
    assert urls.read(url, "CONNECTION_URL")["password"] == password


# --- the pool's request ------------------------------------------------------------------

MODEL = botocore.session.Session().get_service_model("cognito-idp")
ASKED = MODEL.operation_model("UpdateUserPool").input_shape
TOLD = MODEL.operation_model("DescribeUserPool").output_shape.members["UserPool"]
ARN = "arn:aws:lambda:ca-central-1:123456789012:function:inv-post-confirmation"


def values(shape: Any) -> st.SearchStrategy[Any]:
    """Return what a service may answer by its model, with any of its members left out."""
    match shape.type_name:
        case "structure":
            members = {name: values(each) for name, each in shape.members.items()}
            needed = {name: members.pop(name) for name in shape.required_members}
            return st.fixed_dictionaries(needed, optional=members)
        case "list":
            return st.lists(values(shape.member), min_size=1, max_size=2)
        case "map":
            return st.dictionaries(st.text("abc", min_size=1, max_size=5), values(shape.value), max_size=2)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            low, high = int(shape.metadata.get("min", 0)), int(shape.metadata.get("max", 10**6))
            return st.integers(low, min(high, 10**6))
        case "timestamp":
            return st.just("2026-11-30T00:00:00Z")
        case _:
            if shape.metadata.get("enum"):
                return st.sampled_from(shape.metadata["enum"])
            least = int(shape.metadata.get("min", 0))
            return st.text("abcdefghij", min_size=least, max_size=least + 40)


POOLS = values(TOLD).map(lambda facts: {**facts, "Id": "ca-central-1_abcdefghi", "Name": "people"})


def sendable(value: Any, shape: Any) -> Any:
    """Return what of an answer the model of the request has members for: the oracle, by another way than the code's."""
    if shape.type_name == "structure":
        return {
            name: sendable(inner, shape.members[name]) for name, inner in value.items() if name in set(shape.members)
        }
    return [sendable(each, shape.member) for each in value] if shape.type_name == "list" else value


@settings(PROFILE, max_examples=150)
@given(facts=POOLS, arn=st.sampled_from([ARN, None]))
def test_the_request_is_one_that_the_model_takes_and_changes_the_trigger_alone(
    facts: dict[str, Any], arn: str | None
) -> None:
    before = {**facts}
    wanted = pool_request.build(facts, arn, MODEL)
    assert facts == before
    report = ParamValidator().validate(wanted, ASKED)
    assert not report.has_errors(), report.generate_report()
    expected = sendable(facts, ASKED)
    triggers = {**expected.pop("LambdaConfig", {}), "PostConfirmation": arn}
    triggers = {name: value for name, value in triggers.items() if value is not None}
    assert wanted.pop("LambdaConfig", {}) == triggers
    assert wanted == {**expected, "UserPoolId": facts["Id"], "PoolName": facts["Name"]}
    assert not list(pool_request.unknown(facts, TOLD))


# --- cursors -----------------------------------------------------------------------------

TIMES = st.one_of(
    st.datetimes().map(lambda at: at.isoformat()), st.sampled_from(["infinity", "-infinity", "0044-03-15T00:00:00 BC"])
)


@settings(PROFILE, max_examples=300)
@given(time=TIMES, activity=st.uuids(), noise=st.sampled_from(["", "=", "==", "\n", " ", "A"]), form=st.sampled_from(["{}", "{{{}}}", "urn:uuid:{}", "hex", "upper"]))  # fmt: skip
def test_a_cursor_is_one_that_was_given(time: str, activity: uuid.UUID, noise: str, form: str) -> None:
    """Others that mean the same place, as with another spelling of its uuid, are none: nobody makes them up."""
    others = {"hex": activity.hex, "upper": str(activity).upper()}
    shown = others.get(form) or form.format(activity)
    text = base64.urlsafe_b64encode(f"{time}/{shown}".encode()).decode().rstrip("=") + noise
    given = str(Cursor(time, str(activity)))
    if text == given:
        assert Cursor.parse(text) == Cursor(time, str(activity))
        return
    with pytest.raises(ValueError, match="not a cursor that this API has given"):
        Cursor.parse(text)


# --- masks -------------------------------------------------------------------------------

TEXTS = st.lists(st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text), min_size=1, max_size=30, unique=True)  # fmt: skip
RULES = [Rule("hash"), *(Rule("fake", kind) for kind in masking.FAKES if "text" in masking.FITS[kind])]


def test_no_mask_gives_a_value_away_and_the_same_key_makes_the_same(one: Database) -> None:
    """Of texts at random: no mask is the value or has it in it, null stays null, and values stay apart where it is said that they do."""
    one.do(f'create database "{one.name}"', "postgres")
    one.do("create table t (c text, short varchar(20))")
    with one.connect() as conn:
        table = columns.read(conn)["public.t"]
        fitting = [
            (column, rule) for column in table.columns.values() for rule in RULES if not masking.why_not(column, rule)
        ]
        listed = ", ".join(masking.expression(column, rule).replace('"short"', "c").replace("short", "c") + f" as m{n}" for n, (column, rule) in enumerate(fitting))  # fmt: skip
        query = f"select {listed.replace('%', '%%')} from unnest(%s::text[]) with ordinality as t (c, n) order by n".encode()

        @settings(PROFILE, max_examples=40)
        @given(TEXTS)
        @example(["g"])  # which this key would have for its own piece of text
        def check(texts: list[str]) -> None:
            texts = [text.encode("utf-8", "replace").decode() for text in texts]
            assume(len(set(texts)) == len(texts))
            answers = []
            for key in ("a" * 32, "a" * 32, "b" * 32):
                conn.execute("select set_config('inv.mask_key', %s, false)", [key])
                answers.append(conn.execute(query, [[*texts, None]]).fetchall())
            assert answers[0] == answers[1]
            *rows, null = answers[0]
            assert set(null.values()) == {None}
            for n, (column, rule) in enumerate(fitting):
                masks = [row[f"m{n}"] for row in rows]
                assert all(
                    text != mask and (len(text) < 6 or text not in mask)
                    for text, mask in zip(texts, masks, strict=True)
                )
                if masking.is_injective(column, rule):
                    assert len(set(masks)) == len(texts)
                if rule.what in ("email", "handle", "") and len(texts) > 1:
                    assert masks != [row[f"m{n}"] for row in answers[2][:-1]]
                if masking.limit(column):
                    assert max(map(len, masks)) <= masking.limit(column)

        check()
