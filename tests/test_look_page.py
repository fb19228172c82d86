"""The page of inv look in a real browser: what a person sees, with mouse, keyboard, screen reader and a phone."""

from __future__ import annotations

import http.server
import ipaddress
import json
import math
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("REQUIRE_CHROMIUM"):
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -r requirements-dev.txt")

import psycopg
from playwright.sync_api import Browser, Locator, Page, Route, expect

from config.paths import local_dir
from config.settings import Settings
from ops.db import now
from ops.db.rehearsal import advice, remembered
from ops.look import saved
from ops.rds import instance
from ops.rds.security_group import allow, location, own_rule
from tests.fix_app import filled
from tests.fix_browser import contrast
from tests.fix_cli import SUITE
from tests.fix_isolation import suite_sql
from tests.fix_lambda import Stage
from tests.fix_look import Served, served
from tests.fix_suppliers import Database, made
from tests.servers import Server, free_port
from tests.test_look import HOSTILE, settings_of

pytestmark = pytest.mark.xdist_group("page")  # one browser
TURNED = "x\u202ey\u2066z"
"""A name that would turn what stands behind it round."""
PARTS = ("Now", "Health", "Schema", "Change", "Work")


@pytest.fixture(scope="module")
def seen(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with the sample feed, one thing wrong, and names that are markup."""
    for database in made(postgres, suite_sql(tmp_path_factory.mktemp("looked") / "repo")):
        (database.root / "sql" / "migrations").mkdir()
        filled(database).do(HOSTILE)
        database.do("create unlogged table notes (id int primary key)")
        database.do(f'create table "{TURNED}" (id int, "{TURNED}" text)')
        yield database


def three(database: Database, hangs: int) -> Settings:
    """Return the settings with one target that lives, one that hangs and one that is dead."""
    config: dict[str, Any] = {"targets": {"staging": {}, "hangs": {"url": "HANGS_URL"}}}
    return settings_of(
        database,
        config=config,
        STAGING_CONNECTION_URL=f"postgresql://u:p@127.0.0.1:{free_port()}/d",
        HANGS_URL=f"postgresql://u:p@127.0.0.1:{hangs}/d",
    )


@pytest.fixture(scope="module")
def local(seen: Database) -> Iterator[Served]:
    with served(settings_of(seen), "local") as found:
        yield found


def enter(page: Page, at: Served, part: str = "") -> None:
    """Open the page as who started it; the module's page is let in once, and its cookie given to each window."""
    if not at.cookie:
        at.get("api/targets")
    name, _, value = at.cookie.partition("=")
    page.context.add_cookies([{"name": name, "value": value, "url": at.home, "httpOnly": True, "sameSite": "Strict"}])
    page.goto(f"{at.home}{f'#{part}' if part else ''}")


def settled(page: Page) -> None:
    """Wait until each part that is asked for is there."""
    expect(page.locator("[aria-busy]")).to_have_count(0, timeout=30_000)


def test_the_printed_address_lets_in_and_shows_each_target_now(page: Page, seen: Database) -> None:
    """A target that is dead and one that hangs say so in their place, and the live one goes on."""
    with (
        socket.create_server(("127.0.0.1", 0)) as hole,
        served(three(seen, hole.getsockname()[1]), "local", "staging", "hangs") as at,
    ):
        page.goto(at.entry)
        expect(page).to_have_url(at.home)
        card = page.get_by_role("region", name="local")
        expect(card).to_contain_text("answers")
        expect(card).to_contain_text(f"/{seen.name}")
        expect(card).to_contain_text("PostgreSQL 18")
        expect(
            card.get_by_role("img", name=re.compile(r"^Sessions: \d+, at most \d+ in the last ten minutes"))
        ).to_be_visible()
        expect(page.get_by_role("region", name="staging")).to_contain_text("not reachable")
        expect(page.get_by_role("region", name="staging")).to_contain_text("nothing answers at")
        expect(page.get_by_role("region", name="hangs")).to_contain_text("Waiting for an answer")
        paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        assert page.evaluate(paint) > 0
        page.screenshot(path=local_dir(SUITE) / "look-three.png", full_page=True)


def test_another_port_of_this_machine_is_not_told_the_cookie(page: Page, seen: Database) -> None:
    """It may be another user's, and a browser keeps cookies by the name of the machine alone: the page's own is for its path."""
    heard: list[str] = []

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.path} {self.headers['Cookie']} {self.headers['Referer']}")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>a stranger</title>")

        def log_message(self, *_: Any) -> None:
            pass

    with (
        served(settings_of(seen), "local") as at,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger,
    ):
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        page.goto(at.entry)
        expect(page.get_by_role("region", name="local")).to_contain_text("answers")
        for path in ("/", "/api/targets", "/?token=no"):
            page.goto(f"http://127.0.0.1:{stranger.server_port}{path}")
        assert page.evaluate(
            "url => fetch(url, {credentials: 'include', mode: 'no-cors'}).then(() => '', String)", at.home
        )
        stranger.shutdown()
    assert [text for text in heard if "None None" not in text and "favicon" not in text] == []
    assert "inv_look" not in "".join(heard)


def test_a_target_that_dies_while_one_looks(page: Page, seen: Database) -> None:
    with served(settings_of(seen), "local") as at:
        page.goto(at.entry)
        card = page.get_by_role("region", name="local")
        expect(card).to_contain_text("answers")
        end(seen)
        expect(card).to_contain_text("not reachable", timeout=20_000)
        seen.do(f'alter database "{seen.name}_away" rename to "{seen.name}"', "postgres")
        expect(card).to_contain_text("answers", timeout=20_000)


def end(database: Database) -> None:
    """Take a database away from those who are on it."""
    until = time.monotonic() + 20
    while True:
        database.do(
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database.name}'", "postgres"
        )
        try:
            database.do(f'alter database "{database.name}" rename to "{database.name}_away"', "postgres")
        except psycopg.errors.ObjectInUse:
            assert time.monotonic() < until
            time.sleep(0.02)
        else:
            return


def test_each_part_is_reached_by_the_keyboard(page: Page, local: Served) -> None:
    enter(page, local)
    expect(page.get_by_role("region", name="local")).to_contain_text("answers")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for name in PARTS:
        page.keyboard.press("Tab")
        link = page.get_by_role("link", name=name, exact=True)
        expect(link).to_be_focused()
        assert link.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        expect(link).to_have_attribute("aria-current", "page")
        expect(page).to_have_title(f"inv look: {name}")
        settled(page)
        assert page.locator("main .problem").all_text_contents() == []


def test_health_tells_what_is_wrong_and_what_mends_it(page: Page, local: Served) -> None:
    enter(page, local, "health")
    line = page.locator(".line.yellow", has_text="public.notes")
    expect(line).to_contain_text("it is unlogged")
    expect(line.locator("pre")).to_have_text("alter table public.notes set logged")


def test_hostile_names_are_text(page: Page, local: Served) -> None:
    enter(page, local, "schema")
    settled(page)
    name = "<img src=x onerror=alert(1)>"
    page.get_by_role("searchbox").fill("<img")
    one = page.locator("details")
    expect(one).to_have_count(1)
    expect(one.locator("summary strong")).to_have_text(f"public.{name}")
    one.locator("summary").click()
    expect(one).to_contain_text("<script>alert(3)</script>")
    expect(one.get_by_role("cell", name="</script><script>alert(2)</script>", exact=True)).to_be_visible()
    expect(page.locator("main :is(script, h1, [onerror])")).to_have_count(0)
    page.get_by_role("searchbox").fill("x")
    expect(page.locator("summary strong", has_text="public.x\ufffdy\ufffdz")).to_be_visible()
    assert not set(page.locator("main").inner_text()) & set(TURNED[1::2])
    assert page.locator(".diagram img").evaluate("node => node.naturalWidth") > 100


def test_who_waits_for_whom_is_a_tree(page: Page, local: Served, seen: Database) -> None:
    """A look itself stands in no queue: what wants the lock, too, says so at once."""
    queries = page.locator("section", has_text="The application's own queries")
    with psycopg.connect(seen.url) as first, psycopg.connect(seen.url, autocommit=True) as second:
        first.execute("lock users")
        waiting = threading.Thread(target=second.execute, args=["select count(*) from users where handle = 'CANARY'"])
        waiting.start()
        try:
            until = time.monotonic() + 20
            asked = f"select count(*) from pg_stat_activity where pid = {second.info.backend_pid} and wait_event_type = 'Lock'"
            while not seen.scalar(asked) and time.monotonic() < until:
                time.sleep(0.02)
            enter(page, local, "work")
            tree = page.locator("ul.blocked > li", has_text=f"pid {first.info.backend_pid}")
            below = tree.get_by_role("list", name=f"wait for pid {first.info.backend_pid}")
            expect(below).to_contain_text(f"pid {second.info.backend_pid}")
            expect(below).to_contain_text("where handle = ?")
            expect(queries).to_contain_text("lock timeout", timeout=20_000)
            assert "CANARY" not in page.content()
        finally:
            first.rollback()
            waiting.join()
    page.get_by_role("button", name="Look again").click()
    expect(queries).to_contain_text("Limit", timeout=20_000)


def test_the_cloud_part_shows_what_waits_who_is_let_in_and_who_has_no_row(
    page: Page, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an AWS that answers: a change that waits, a rule with its owner and its end, a sign-up that failed."""
    stage.deploy()
    settings = stage.settings(GITPOD_IP="8.8.4.4", GITPOD_WORKSPACE_ID="anna")
    at = location.find_location(stage.aws, settings)
    own_rule.allow(allow.door_of(stage.aws, settings, at, "12h"), ipaddress.ip_address("8.8.4.4"))
    logs, group = stage.client("logs"), settings.lambdas.log_group
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    about = {"function": "post_confirmation", "sub": "CANARY"}
    lines = [
        {**about, "outcome": "inserted"},
        {**about, "outcome": "failed", "error": "OperationalError", "reason": "</b>timeout"},
    ]
    now = int(time.time() * 1000)
    logs.put_log_events(
        logGroupName=group,
        logStreamName="s",
        logEvents=[{"timestamp": now, "message": json.dumps(line)} for line in lines],
    )
    find = instance.require_instance
    waiting = {"PendingModifiedValues": {"DBInstanceClass": "db.t4g.small"}}
    monkeypatch.setattr(instance, "require_instance", lambda *args: {**find(*args), **waiting})  # moto lets none wait
    monkeypatch.setattr("ops.aws.Aws", stage.cloud.aws)
    with served(settings, "prod") as at_prod:
        enter(page, at_prod, "cloud")
        settled(page)
        assert page.locator("main .problem").all_text_contents() == []
        expect(page.get_by_role("region", name="Changes that wait")).to_contain_text("DBInstanceClassdb.t4g.small")
        rule = page.get_by_role("region", name=re.compile("rules? let somebody in")).get_by_role(
            "row", name="8.8.4.4/32"
        )
        for text in ("anna", re.compile("for 1[12](.0)? h more"), "you"):
            expect(rule).to_contain_text(text)
        today = page.get_by_role("region", name=re.compile("^Sign-ups of")).get_by_role("row").nth(1)
        expect(today.get_by_role("cell")).to_have_text([re.compile(r"\d{4}-\d\d-\d\d"), "1", "0", "1", ""])
        failed = page.get_by_role("region", name=re.compile("that left no row")).get_by_role("row").nth(1)
        expect(failed).to_contain_text("OperationalError</b>timeout")
        assert "CANARY" not in page.content()
        answer = at_prod.answer("prod/sign_ups")
    assert [answer["days"][-1][key] for key in ("inserted", "present", "failed")] == [1, 0, 1]


def test_change_shows_where_targets_differ_and_what_a_rehearsal_has_found(
    page: Page, seen: Database, one: Database, tmp_path: Path
) -> None:
    """Of two that live each difference; the one that is dead and the one that hangs say so in their own panels."""
    filled(one).do("alter table users add column bio text; alter table users alter handle set default 'x'")
    step = {"line": 2, "text": "alter table <b> …", "relation": "public.users", "level": "access_exclusive"}
    step |= {"keeps_out": "readers and writers", "held_seconds": 0.5, "estimate_seconds": 12}
    note = {
        "target": "local",
        "version": "7",
        "digest": "",
        "at": "2026-01-01T00:00:00+00:00",
        "told": "kept out",
        "steps": [step],
    }
    kept = local_dir(tmp_path) / remembered.FILE
    kept.write_text(
        json.dumps([note, {key: value for key, value in note.items() if key != "steps"} | {"version": "6"}])
    )
    with socket.create_server(("127.0.0.1", 0)) as hole:
        config: dict[str, Any] = {
            "targets": {name: {"url": f"{name.upper()}_URL"} for name in ("other", "dead", "hangs")}
        }
        urls = {
            "OTHER_URL": one.url,
            "DEAD_URL": f"postgresql://u:p@127.0.0.1:{free_port()}/d",
            "HANGS_URL": f"postgresql://u:p@127.0.0.1:{hole.getsockname()[1]}/d",
        }
        settings = replace(settings_of(seen, config, **urls), root=tmp_path)
        with served(settings, "local", "other", "dead", "hangs") as at:
            enter(page, at, "change")

            def part(name: str) -> Locator:
                return page.locator("section", has=page.get_by_role("heading", name=name, exact=True))

            differences = part("Drift: local and other").get_by_role("row")
            expect(differences.filter(has_text="table column public.users.bio")).to_contain_text(
                "existence", timeout=30_000
            )
            expect(differences.filter(has_text="table column public.users.handle")).to_contain_text("default")
            expect(differences.filter(has_text="table public.notes")).to_have_count(1)
            expect(part("Drift: local and dead")).to_contain_text("nothing answers at", timeout=20_000)
            expect(part("Drift: local and hangs")).to_contain_text("Waiting for an answer")
            bars = (
                part("Rehearsals").get_by_role("region", name=re.compile("^Statements of 7")).get_by_role("row").nth(1)
            )
            for text in (
                "alter table <b> …",
                "access exclusive on public.users",
                "readers and writers",
                "500 ms",
                "12 s",
            ):
                expect(bars).to_contain_text(text)
            expect(bars.locator("svg.bar rect")).to_have_count(1)
            tried = {
                "target": "local",
                "at": note["at"],
                "query": "queries/<i>.sql",
                "statement": "create index on t (x)",
                "used": True,
            }
            tried |= {"before_cost": 1201, "after_cost": 8, "rows_ratio": 0.25}
            kept.with_name(advice.FILE).write_text(json.dumps([tried, {**tried, "query": "other", "used": False}]))
            enter(page, at, "work")
            rows = part("Index advice").get_by_role("row")
            some, any_time = ["create index on t (x)", "1,201", "8"], re.compile("2026")
            expect(rows.nth(1).get_by_role("cell")).to_have_text(["queries/<i>.sql", *some, "", "25.0%", any_time])
            expect(rows.nth(2).get_by_role("cell")).to_have_text(["other", *some, "not taken", "25.0%", any_time])
            answer = at.answer("local/drift/other")
            assert {"in_words", "here", "there"} <= answer["differences"][0].keys()
            assert at.get("api/local/drift/none").status == at.get("api/local/drift/local").status == 404


def test_a_queue_is_drawn_in_its_length_and_a_chain_to_its_end(page: Page, local: Served) -> None:
    """Of thirty who wait for one, each is told to stand behind all before it; two wait for each other."""
    every = rows(30)
    for place, each in enumerate(every):
        each["blocked_by"] = [other["pid"] for other in every[:place]]
    every[3]["blocked_by"] = [3]
    cycle = rows(2)
    for each in cycle:
        each["pid"] += 100
        each["blocked_by"] = [203 - each["pid"]]
    page.route(
        "**/api/local/sessions",
        lambda route: route.fulfill(status=200, content_type="application/json", body=json.dumps([*every, *cycle])),
    )
    enter(page, local, "work")
    settled(page)
    tree = page.locator("ul.tree.blocked")
    told = tree.locator("li > span > strong").all_text_contents()
    assert sorted(told, key=lambda text: int(text[4:])) == [f"pid {each['pid']}" for each in [*every, *cycle]]
    expect(tree.get_by_role("list", name="wait for pid 3", exact=True).locator("> li")).to_have_count(1)
    expect(tree.get_by_role("list", name="wait for pid 102", exact=True)).to_contain_text("pid 101")


def rows(number: int) -> list[dict[str, Any]]:
    """Return as many sessions as the server would tell."""
    about = {"user": "app", "database": "feed", "hidden": False, "client_address": "10.0.0.1", "application": "feed"}
    about |= {"state": "idle", "started_at": "2026-01-01T00:00:00+00:00", "age_seconds": 5, "query": "select ?"}
    return [{"pid": pid, **about, "blocked_by": [1] if pid > 1 else []} for pid in range(1, number + 1)]


def tables(number: int) -> list[dict[str, Any]]:
    column = {
        "name": "id",
        "type": "integer",
        "nullable": False,
        "default": None,
        "identity": True,
        "generated": False,
        "comment": None,
    }
    about: dict[str, Any] = {
        "comment": None,
        "rows": 10,
        "dead_rows": 0,
        "size_bytes": 8192,
        "partitioned": False,
        "partition": False,
        "scans": 1,
    }
    about |= {
        "empty_bytes": None,
        "missing_indexes": [],
        "vacuumed_at": None,
        "analyzed_at": None,
        "columns": [column] * 20,
        "indexes": [],
    }
    return [{"schema": f"part{n % 7}", "name": f"table_{n}", **about} for n in range(number)]


@pytest.mark.parametrize(
    ("part", "path", "answer", "most"),
    [("work", "sessions", rows(10_000), 3000), ("schema", "tables", tables(300), 3000)],
)
def test_much_is_drawn_in_bounds(page: Page, local: Served, part: str, path: str, answer: Any, most: int) -> None:
    """As the server would answer that has so many; the page itself stays small."""

    def much(route: Route) -> None:
        route.fulfill(status=200, content_type="application/json", body=json.dumps(answer))

    page.route(f"**/api/local/{path}", much)
    enter(page, local, part)
    settled(page)
    told = "10,000 sessions" if part == "work" else "300 tables"
    expect(page.locator("main")).to_contain_text(told)
    assert page.evaluate("document.querySelectorAll('main *').length") < (most if part == "schema" else 6000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(chromium: Browser, local: Served, scheme: Any) -> None:
    context = chromium.new_context(
        viewport={"width": 320, "height": 568}, is_mobile=True, has_touch=True, color_scheme=scheme
    )
    page = context.new_page()
    for part in PARTS:
        enter(page, local, part.lower())
        page.reload()
        settled(page)
        if part == "Now":
            expect(page.locator(".badge").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, part
        for button in page.locator("button:visible, select:visible, nav a").all():
            box = button.bounding_box()
            assert box
            assert box["height"] >= 44, part
        for selector in (
            "h2",
            "dt",
            ".badge",
            ".quiet",
            "nav a[aria-current]",
            "nav a:not([aria-current])",
            "caption",
            "code",
        ):
            if page.locator(selector).count():
                assert contrast(page, selector) >= 4.5, (part, selector)
    context.close()


def test_a_screen_reader_is_told_where_it_is(page: Page, local: Served) -> None:
    enter(page, local, "work")
    settled(page)
    tree = page.locator("body").aria_snapshot()
    for text in (
        'heading "inv look" [level=1]',
        'navigation "Parts"',
        "main",
        'heading "Sessions" [level=2]',
        'combobox "Target"',
        "status",
    ):
        assert text in tree, text
    assert page.evaluate("[...document.querySelectorAll('th')].every(each => each.scope === 'col')")
    expect(page.get_by_role("table").first).to_be_visible()


def test_a_saved_page_needs_no_server(page: Page, one: Database) -> None:
    filled(one).do(HOSTILE)
    saved.write(settings_of(one), ["local"], one.root / "report.html")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith("data:") else None)
    page.goto((one.root / "report.html").as_uri())
    expect(page.get_by_role("region", name="local")).to_contain_text("answers")
    for part in PARTS:
        page.get_by_role("link", name=part, exact=True).click()
        settled(page)
        expect(page.locator("main section").first).to_be_visible()
    expect(page.locator("main")).to_contain_text("Nobody waits for a lock.")
    assert len({url.partition("#")[0] for url in asked}) == 1


def some(number: int) -> list[now.Now]:
    """Return looks of the last ten minutes, as a day at work has them."""
    last, found = datetime.now(timezone.utc), []
    for n in range(number):
        busy = 10 + round(6 * math.sin(n / 25) + 3 * math.sin(n / 7))
        oldest = n % 40 / 4 if n % 90 > 50 else 0.2
        at = last - timedelta(seconds=2 * (number - n))
        found.append(
            now.Now(at, True, None, busy, 100, busy // 4, 0, oldest, 20 * busy, 0.97 + busy / 1000, 7_900_000, False, 0)
        )
    return found


def test_the_picture_of_the_documentation(page: Page, seen: Database) -> None:
    """Made anew as .local/look.png, to be copied to docs/look.png where the page looks otherwise."""
    with served(three(seen, free_port()), "local", "staging") as at:
        at.looker.watches["local"].seen.extend(some(280))
        page.set_viewport_size({"width": 900, "height": 720})
        page.goto(at.entry)
        expect(page.get_by_role("region", name="local")).to_contain_text("answers")
        expect(page.get_by_role("region", name="local")).to_contain_text("Size")
        expect(page.get_by_role("region", name="staging")).to_contain_text("not reachable")
        page.screenshot(path=local_dir(SUITE) / "look.png")
    assert (SUITE / "docs" / "look.png").read_bytes().startswith(b"\x89PNG")
