"""The home feed: every activity once, in order, whatever the size, the schema and what happens meanwhile."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.db import Pool, query
from backend.home_activities import LIMIT, MOST, Cursor, HomeActivities, home
from tests.fix_suppliers import Database

FIELDS = [
    "uuid",
    "display_name",
    "handle",
    "message",
    "replies_count",
    "reposts_count",
    "likes_count",
    "reply_to_activity_uuid",
    "expires_at",
    "created_at",
]

MANY = """
insert into activities (user_uuid, message, created_at)
select (select uuid from users where handle = 'zoe'), 'm' || n, timestamptz '2020-01-01' + n / 7 * interval '1 second'
from generate_series(1, {}) n
"""


def read_to_the_end(limit: int) -> Iterator[dict[str, Any]]:
    """Yield the whole feed, page after page."""
    before: Cursor | None = None
    while True:
        page = home(limit, before)
        yield from page.activities
        before = page.next
        if before is None:
            return


# --- what it returns ----------------------------------------------------------------------


def test_it_is_what_existing_frontends_read(feeds: Database) -> None:
    found = HomeActivities.run()
    assert [list(activity) for activity in found] == [FIELDS] * 9
    assert found[0]["handle"] == "hanako"
    assert found[0]["display_name"] == "山田 花子"
    assert found == sorted(found, key=lambda activity: activity["created_at"], reverse=True)
    assert {activity["message"] for activity in found} >= {"This one is over: it expired yesterday.", "Count me in!"}
    [reply] = [activity for activity in found if activity["message"] == "Count me in!"]
    [to] = [activity for activity in found if activity["uuid"] == reply["reply_to_activity_uuid"]]
    assert (to["handle"], to["replies_count"]) == ("zoe", 1)


def test_it_is_called_as_applications_call_it(feed: Database, caplog: pytest.LogCaptureFixture) -> None:
    everything = HomeActivities.run()
    with caplog.at_level(logging.INFO):
        assert HomeActivities.run(logger=logging.getLogger("app")) == everything
    assert [record.message for record in caplog.records if record.name == "app"] == ["home-activities"]
    assert HomeActivities.run(logging.getLogger("app"), "andrewbrown") == everything
    assert HomeActivities.run(cognito_user_id=None) == everything
    assert HomeActivities.run(cognito_user_id="f73f4b05") == everything
    assert HomeActivities.run(cognito_user="andrewbrown", limit=2) == everything[:2]


def test_an_empty_feed_is_an_empty_list(feed: Database) -> None:
    feed.do("truncate activities cascade")
    assert HomeActivities.run() == []


def test_an_activity_whose_user_is_gone_is_still_shown(feed: Database) -> None:
    feed.do("alter table activities drop constraint activities_user_uuid_fkey; delete from users where handle = 'zoe'")
    found = HomeActivities.run()
    assert len(found) == 9
    assert [activity["display_name"] for activity in found if activity["handle"] is None] == [None, None]


def test_expired_ones_are_left_out_by_a_setting(feed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDE_EXPIRED", "yes")
    feed.do("update activities set expires_at = null where message like 'My dear%'")
    found = [activity["message"] for activity in HomeActivities.run()]
    assert len(found) == 7
    assert not [message for message in found if "expired" in message or "gone by now" in message]
    monkeypatch.setenv("HIDE_EXPIRED", "no")
    assert len(HomeActivities.run()) == 9


@pytest.mark.parametrize("limit", [0, -1, MOST + 1])
def test_a_limit_out_of_bounds_is_refused(feed: Database, limit: int) -> None:
    with pytest.raises(ValueError, match="limit: give a whole number from 1 to 100"):
        HomeActivities.run(limit=limit)


def test_without_a_limit_it_is_a_page(feed: Database) -> None:
    feed.do(MANY.format(200))
    assert len(HomeActivities.run()) == LIMIT


# --- pages --------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 9, 10, 50, 100])
def test_pages_read_to_the_end_give_every_activity_once_in_order(feed: Database, limit: int) -> None:
    """Seven at a time have the same created_at: the uuid decides between them."""
    feed.do(MANY.format(211))
    found = [activity["uuid"] for activity in read_to_the_end(limit)]
    right = feed.query("select uuid::text from activities order by created_at desc, uuid desc")
    assert found == [row["uuid"] for row in right]


@pytest.mark.quick
def test_while_others_post_every_earlier_activity_comes_once(feed: Database) -> None:
    feed.do(MANY.format(300))
    before = {row["uuid"] for row in feed.query("select uuid::text from activities")}
    found = []
    with feed.connect() as conn:
        for number, activity in enumerate(read_to_the_end(10)):
            found.append(activity["uuid"])
            if number % 3 == 0:
                conn.execute(
                    "insert into activities (user_uuid, message) select uuid, 'meanwhile' from users where handle = 'zoe'"
                )
    assert len(found) == len(set(found))
    assert set(found) == before


def test_times_at_the_ends_of_the_calendar_have_their_place(feed: Database) -> None:
    feed.do("truncate activities cascade")
    times = ("infinity", "12026-01-01", "2026-01-01 00:00:00.000001+05:45", "1850-01-01", "0044-03-15 BC", "-infinity")
    for time in times:
        feed.do(
            f"insert into activities (user_uuid, message, created_at) select uuid, '{time}', '{time}' from users limit 1"
        )
    assert [activity["message"] for activity in read_to_the_end(1)] == list(times)


def test_a_cursor_is_opaque_stable_and_safe_in_a_url(feed: Database) -> None:
    first, again = home(3).next, home(3).next
    assert first == again
    assert first is not None
    assert str(first) == str(Cursor.parse(str(first)))
    assert HomeActivities.run(limit=100, before=str(first)) == home(100).activities[3:]
    assert home(9).next is None
    assert home(8).next is not None


@settings(deadline=None)
@given(
    time=st.datetimes().map(lambda at: at.isoformat())
    | st.sampled_from(["infinity", "-infinity", "2026-01-01T00:00:00+00:00"]),
    activity=st.uuids(),
)
def test_a_cursor_comes_back_as_it_went(time: str, activity: uuid.UUID) -> None:
    cursor = Cursor(time, str(activity))
    assert Cursor.parse(str(cursor)) == cursor


@settings(deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_other_text_is_no_cursor(text: str) -> None:
    try:
        found = Cursor.parse(text)
    except ValueError as error:
        assert str(error) == "before: not a cursor that this API has given"  # noqa: PT017
    else:
        assert str(found) == text


# --- schemas of others, and size ----------------------------------------------------------

THEIRS = """
drop table public.activities; drop table public.users;
create table public.users (uuid uuid default gen_random_uuid() primary key, display_name text, handle text,
  cognito_user_id text, created_at timestamp default current_timestamp not null);
create table public.activities (uuid uuid default gen_random_uuid() primary key, user_uuid uuid not null,
  message text not null, replies_count integer default 0, reposts_count integer default 0, likes_count integer default 0,
  reply_to_activity_uuid integer, expires_at timestamp, created_at timestamp default current_timestamp not null);
insert into users (display_name, handle, cognito_user_id) values ('Andrew', 'andrewbrown', 'MOCK');
insert into activities (user_uuid, message, created_at)
select (select uuid from users), 'm' || n, timestamp '2026-10-25 00:00' + n * interval '1 minute' from generate_series(1, 240) n
"""


@pytest.mark.parametrize("index", ["", "create index on activities (created_at desc, uuid desc)"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_a_schema_without_time_zones_and_without_our_index_works_too(feeds: Database, index: str, zone: str) -> None:
    """Also over the hour that clocks show twice, on a server that lives by such clocks."""
    feeds.do(THEIRS)
    feeds.do(f"alter database \"{feeds.name}\" set timezone = '{zone}'")
    if index:
        feeds.do(index)
    found = [activity["message"] for activity in read_to_the_end(20)]
    assert found == [f"m{n}" for n in range(240, 0, -1)]
    assert HomeActivities.run(limit=1)[0]["created_at"] == "2026-10-25T04:00:00"


@pytest.mark.parametrize("before", [False, True])
def test_a_page_reads_as_many_rows_as_it_shows_from_the_index(feed: Database, before: bool) -> None:
    feed.do(MANY.format(20_000) + "; analyze activities")
    cursor = home(100).next if before else None
    assert cursor is not None or not before
    found = plan(feed, cursor)
    scans = [node for node in nodes(found) if node.get("Relation Name") == "activities"]
    assert [scan["Index Name"] for scan in scans] == ["activities_newest"]
    assert scans[0]["Actual Rows"] <= 21
    assert scans[0].get("Rows Removed by Filter", 0) == 0
    assert not [node for node in nodes(found) if node["Node Type"] == "Sort"]


def test_expired_ones_are_not_read_through_where_nearly_all_are(feed: Database) -> None:
    feed.do(
        MANY.format(20_000) + "; update activities set expires_at = now() - interval '1 day' where message ~ '^m[0-9]'"
    )
    feed.do("vacuum analyze activities")
    found = plan(feed, None, hide_expired=True)
    assert sum(node.get("Rows Removed by Filter", 0) for node in nodes(found)) < 100
    assert found["Actual Rows"] == 7


def plan(database: Database, cursor: Cursor | None, *, hide_expired: bool = False) -> dict[str, Any]:
    """Return how Postgres has read a page of twenty, over the application's own pool."""
    parameters = {
        "limit": 21,
        "before": cursor.created_at if cursor else None,
        "before_uuid": cursor.uuid if cursor else None,
        "hide_expired": hide_expired,
    }
    made = Pool(database.url)
    with made.connection() as conn:
        for _ in range(10):  # a prepared statement, with a plan that has settled
            row = conn.execute(f"explain (analyze, format json) {query('home')}".encode(), parameters).fetchone()
    made.close()
    assert row is not None
    found: dict[str, Any] = row[0][0]["Plan"]
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


# --- tracing ------------------------------------------------------------------------------


def test_a_configured_tracer_gets_a_span(feed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        "opentelemetry.sdk", reason="opentelemetry-sdk is not installed: pip install -r requirements-dev.txt"
    )
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    HomeActivities.run()  # not configured: nothing
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    HomeActivities.run()
    [span] = exported.get_finished_spans()
    assert span.name == "home-activities"
    assert span.attributes is not None
    assert str(span.attributes["app.now"]).startswith("20")


def test_without_opentelemetry_it_works(feed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend import home_activities

    monkeypatch.setattr(home_activities, "trace", None)
    assert len(HomeActivities.run()) == 9
