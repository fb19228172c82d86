"""The page in a real browser: what a person sees in each state, with mouse, keyboard and a phone."""

from __future__ import annotations

import os
import re

import pytest

if not os.environ.get("REQUIRE_CHROMIUM"):
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -r requirements-dev.txt")

from playwright.sync_api import Browser, Page, expect

from config.paths import local_dir
from tests.fix_app import filled, serve
from tests.fix_browser import contrast
from tests.fix_cli import SUITE
from tests.fix_suppliers import Database
from tests.servers import free_port

pytestmark = pytest.mark.xdist_group("page")  # one browser

POST = "insert into activities (user_uuid, message, created_at) select uuid, %s, now() from users where handle = 'zoe'"
MANY = """insert into activities (user_uuid, message, created_at)
select (select uuid from users where handle = 'zoe'), 'number ' || n, now() - interval '1 year' - n * interval '1 hour'
from generate_series(1, {}) n"""


def post(database: Database, *messages: str) -> None:
    with database.connect() as conn:
        for message in messages:
            conn.execute(POST, [message])


def test_a_person_sees_who_said_what_and_when(page: Page, one: Database) -> None:
    with serve(filled(one).url) as url:
        page.goto(url)
        cards = page.get_by_role("article")
        expect(cards).to_have_count(9)
        expect(page).to_have_title(re.compile("Cruddur"))
        newest = cards.first
        expect(newest).to_contain_text("山田 花子")
        expect(newest).to_contain_text("@hanako")
        expect(newest).to_contain_text("はじめまして。よろしくお願いします。")
        expect(newest.locator("time")).to_have_text("20m ago")
        expect(newest.locator("time")).to_have_attribute("title", re.compile(r"\d\d/\d\d/\d{4}, \d\d:\d\d"))
        expect(newest).to_contain_text("0 replies")
        expect(newest).to_contain_text("4 likes")
        expect(cards.nth(2)).to_contain_text("1 reply")
        expect(cards.nth(2)).to_contain_text("1 like")
        reply = cards.nth(1)
        expect(reply).to_contain_text("↩ A reply to @zoe")
        expect(cards.last).to_contain_text("This one is over")
        expect(cards.last).to_contain_text("expired")
        expect(cards.last.locator("time")).to_have_text("3d ago")
        expect(page.get_by_role("status")).to_have_text("That is all.")
        expect(page.get_by_role("button", name="Older")).to_be_hidden()
        expect(page.get_by_role("alert")).to_be_hidden()
        page.screenshot(path=local_dir(SUITE) / "feed.png", full_page=True)
        reply.get_by_role("link", name="@zoe").click()
        expect(page).to_have_url(re.compile(r"#activity-[0-9a-f-]{36}$"))


def test_older_ones_follow_page_by_page_to_the_end(page: Page, one: Database) -> None:
    filled(one).do(MANY.format(36))
    with serve(one.url) as url:
        page.goto(url)
        cards, older = page.get_by_role("article"), page.get_by_role("button", name="Older")
        expect(cards).to_have_count(20)
        expect(cards.nth(9)).to_contain_text("number 1")
        expect(cards.nth(9).locator("time")).to_have_text("1y ago")
        post(one, "posted meanwhile")
        older.click()
        expect(cards).to_have_count(40)
        expect(cards.nth(20)).to_be_focused()  # reading goes on where the new ones begin
        older.click()
        expect(cards).to_have_count(45)
        expect(older).to_be_hidden()
        expect(page.get_by_role("status")).to_have_text("That is all.")
        texts = [text for text in cards.locator(".message").all_text_contents() if text.startswith("number")]
        assert texts == [f"number {n}" for n in range(1, 37)]
        page.get_by_role("button", name="Newest").click()
        expect(cards.first).to_contain_text("posted meanwhile")
        expect(cards.first.locator("time")).to_have_text("just now")
        expect(cards).to_have_count(20)


def test_a_reply_is_named_once_what_it_replies_to_is_there(page: Page, one: Database) -> None:
    filled(one).do(MANY.format(30))
    one.do(
        """insert into activities (user_uuid, message, reply_to_activity_uuid)
        select (select uuid from users where handle = 'londo'), 'to an old one', uuid from activities where message = 'number 25'"""
    )
    with serve(one.url) as url:
        page.goto(url)
        reply = page.get_by_role("article").first.locator(".reply")
        expect(reply).to_have_text("↩ A reply")
        page.get_by_role("button", name="Older").click()
        expect(reply).to_have_text("↩ A reply to @zoe")


def test_an_empty_feed_says_so(page: Page, one: Database) -> None:
    filled(one).do("truncate activities cascade")
    with serve(one.url) as url:
        page.goto(url)
        expect(page.get_by_role("status")).to_have_text("Nothing has been posted yet.")
        expect(page.get_by_role("article")).to_have_count(0)
        post(one, "the first")
        page.get_by_role("button", name="Newest").click()
        expect(page.get_by_role("article")).to_have_count(1)


def test_when_the_server_is_down_it_says_so_and_tries_again(page: Page, one: Database) -> None:
    port = free_port()
    with serve(filled(one).url, port) as url:
        page.goto(url)
        expect(page.get_by_role("article")).to_have_count(9)
    page.get_by_role("button", name="Newest").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server does not answer.")
    expect(page.get_by_role("article")).to_have_count(9)  # what was read stays readable
    page.screenshot(path=local_dir(SUITE) / "feed-error.png")
    with serve(one.url, port):
        page.get_by_role("button", name="Try again").click()
        expect(alert).to_be_hidden()
        expect(page.get_by_role("article")).to_have_count(9)


def test_when_the_database_is_away_it_says_so_and_tries_again(page: Page, one: Database) -> None:
    """Its absence is that of the tables here, and then of the server's port."""
    filled(one).do("alter table activities rename to away")
    with serve(one.url) as url:
        page.goto(url)
        expect(page.get_by_role("alert")).to_contain_text("the database has no such tables yet: inv db.setup")
        one.do("alter table away rename to activities")
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("article")).to_have_count(9)
        expect(page.get_by_role("alert")).to_be_hidden()
    with serve(f"postgresql://u:hushhush@127.0.0.1:{free_port()}/d", DB_POOL_TIMEOUT="0.5") as url:
        page.goto(url)
        expect(page.get_by_role("alert")).to_contain_text("the database is not reachable: try again in a moment")
        assert "hushhush" not in page.content()


NASTY = [
    "<script>alert(1)</script>",
    "'; drop table activities; --",
    '<img src=x onerror="alert(2)">',
    "<style>*{display:none}</style></p></article><h1>Not yours</h1>",
    "javascript:alert(3) {{7*7}} ${7*7} &lt;b&gt;",
    "\u202eright to left\u202c and שלום",
]


def test_markup_and_sql_are_shown_as_text(page: Page, one: Database) -> None:
    filled(one)
    one.do("update users set display_name = '<b>Zoë</b>', handle = '\"><i>zoe' where handle = 'zoe'")
    with one.connect() as conn:
        for message in NASTY:
            conn.execute(POST.replace("handle = 'zoe'", "handle like '%%zoe'").encode(), [message])
    with serve(one.url) as url:
        page.goto(url)
        cards = page.get_by_role("article")
        expect(cards).to_have_count(9 + len(NASTY))
        for number, message in enumerate(reversed(NASTY)):
            assert cards.nth(number).locator(".message").text_content() == message
            expect(cards.nth(number).locator(".name")).to_have_text("<b>Zoë</b>")
            expect(cards.nth(number)).to_be_visible()
        expect(page.locator("#feed :is(script, img, style, h1, b, i)")).to_have_count(0)
    assert one.scalar("select count(*) from activities") == 9 + len(NASTY)


def test_the_keyboard_is_enough(page: Page, one: Database) -> None:
    filled(one).do(MANY.format(30))
    with serve(one.url) as url:
        page.goto(url)
        cards = page.get_by_role("article")
        expect(cards).to_have_count(20)
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the feed")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")  # from the feed's beginning to the first link in it
        expect(page.get_by_role("link", name="@zoe")).to_be_focused()
        older = page.get_by_role("button", name="Older")
        for _ in range(5):
            page.keyboard.press("Tab")
            if older.evaluate("node => node === document.activeElement"):
                break
        expect(older).to_be_focused()
        assert older.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        expect(cards).to_have_count(39)
        expect(cards.nth(20)).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(chromium: Browser, one: Database, scheme: str) -> None:
    post(filled(one), "w" * 300, "https://example.com/" + "long/" * 60, "two\nlines")
    one.do(f"update users set display_name = '{'N' * 120}', handle = '{'h' * 80}' where handle = 'zoe'")
    context = chromium.new_context(
        viewport={"width": 320, "height": 568},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
        color_scheme="dark" if scheme == "dark" else "light",
    )
    phone = context.new_page()
    with serve(one.url) as url:
        phone.goto(url)
        expect(phone.get_by_role("article")).to_have_count(12)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 320
        for button in phone.get_by_role("button").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 44
        assert (
            float(phone.locator(".message").first.evaluate("node => parseFloat(getComputedStyle(node).fontSize)")) >= 16
        )
        assert phone.locator(".message").first.bounding_box()["height"] > 40  # type: ignore[index]
        for selector in (".message", ".handle", ".counts", "#newest"):
            assert contrast(phone, selector) >= 4.5, selector
        phone.screenshot(path=local_dir(SUITE) / f"feed-phone-{scheme}.png")
    context.close()


def test_the_readme_shows_both_pages() -> None:
    readme = (SUITE / "README.md").read_text(encoding="utf-8")
    images = re.findall(r"!\[[^\]]+\]\((docs/[\w.-]+\.png)\)", readme)
    assert images == ["docs/feed.png", "docs/look.png"]
    assert all((SUITE / image).read_bytes().startswith(b"\x89PNG") for image in images)
