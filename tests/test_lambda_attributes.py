"""Whatever attributes come: the event comes back, and the table has at most one row of them."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from functions.post_confirmation import handler
from functions.post_confirmation.people import clean
from tests.fix_people import NARROW, OURS, PLAIN, STRICT, Make, Users, handling

EXAMPLES = int(os.environ.get("ATTRIBUTE_EXAMPLES", "30"))
"""Sign-ups for each table."""
MEGABYTE = 1_000_000
SQL = (
    "'; drop table public.users; --",
    "x') returning (select pg_sleep(9))::text; --",
    "%s %(name)s {} $1 :x \\",
    "E'\\x00' || chr(0)",
    '"; delete from public.users; "',
    "null",
    "{a,b}",
)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(categories=("Cs", "Cc", "Cf", "Zs", "Mn")), max_size=20),
    st.sampled_from(SQL),
    st.builds(lambda text, at: f"{text[:at]}\0{text[at:]}", st.text(max_size=20), st.integers(0, 20)),
    st.builds(lambda letter: letter * MEGABYTE, st.characters()),
    st.builds(lambda word: (word * MEGABYTE)[:MEGABYTE], st.text(min_size=1, max_size=5000)),
)
VALUES = st.one_of(TEXTS, TEXTS, TEXTS, st.none(), st.booleans(), st.integers(), st.lists(TEXTS, max_size=2))
KNOWN = ("name", "given_name", "family_name", "preferred_username", "email", "phone_number", "custom:note")
SUBS = st.one_of(st.uuids().map(str), st.uuids().map(str), st.uuids().map(str), VALUES)
ATTRIBUTES = st.builds(
    lambda known, other, sub: {**other, **known, **({} if sub is None else {"sub": sub})},
    st.dictionaries(st.sampled_from(KNOWN), VALUES),
    st.dictionaries(st.text(max_size=10), VALUES, max_size=2),
    SUBS,
)


@pytest.fixture(params=[OURS, PLAIN, NARROW, STRICT], ids=["ours", "plain", "narrow", "strict"])
def table(request: pytest.FixtureRequest, make_users: Make) -> Iterator[Users]:
    with handling(make_users(request.param)) as users:
        yield users


def rows(table: Users) -> int:
    return int(table.database.scalar("select count(*) from public.users"))


def names(table: Users, sub: Any) -> list[str]:
    """Return the names of all rows of a sub."""
    with table.connect() as conn:
        found = conn.execute("select display_name from public.users where cognito_user_id = %s", [sub]).fetchall()
    return [row["display_name"] for row in found]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # to shrink a megabyte takes longer than to read it
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
@given(attributes=ATTRIBUTES, user_name=VALUES, again=VALUES)
def test_any_attributes_come_back_and_are_one_row_at_most(
    table: Users, capsys: pytest.CaptureFixture[str], attributes: dict[str, Any], user_name: Any, again: Any
) -> None:
    sent = {"triggerSource": handler.SIGN_UP, "userName": user_name, "request": {"userAttributes": attributes}}
    before, count = copy.deepcopy(sent), rows(table)
    capsys.readouterr()
    assert handler.handler(sent, None) is sent
    assert sent == before
    line = json.loads(capsys.readouterr().out)
    sub = attributes.get("sub")
    storable = isinstance(sub, str) and sub.strip() and clean(sub) == sub and len(sub) == 36
    assert line["outcome"] in (("inserted", "present") if storable else ("inserted", "present", "failed")), line
    stored = [] if line["outcome"] == "failed" else names(table, sub)
    assert len(stored) == (line["outcome"] != "failed")
    assert rows(table) == count + (line["outcome"] == "inserted")
    if (
        line["outcome"] == "inserted"
        and "display_name" not in line["changed"]
        and isinstance(attributes.get("name"), str)
    ):
        name = clean(attributes["name"])
        assert not name.strip() or stored == [name]
    # the same person comes again, having changed their name
    attributes["preferred_username"] = again
    assert handler.handler(sent, None) is sent
    assert rows(table) == count + (line["outcome"] == "inserted")
