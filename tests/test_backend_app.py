"""The HTTP side: what each request gets, and what it gets when something is wrong."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from backend import settings
from backend.app import create_app
from backend.db import pool
from backend.home_activities import home
from ops.db import build
from tests import fix_suppliers, servers
from tests.fix_app import filled, get, serve
from tests.fix_isolation import suite_sql
from tests.fix_suppliers import Database

HOME = "/api/activities/home"


class Client(FlaskClient):
    """Reads answers to their end, so that the files behind them are closed."""

    def open(self, *args: Any, **options: Any) -> TestResponse:
        return super().open(*args, **{"buffered": True, **options})


def data(answer: TestResponse) -> Any:
    """Return what an answer holds, when it is not only compared."""
    return json.loads(answer.text)


def made() -> FlaskClient:
    app = create_app()
    app.test_client_class = Client
    return app.test_client()


@pytest.fixture(scope="module")
def sample(postgres: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The sample feed, for all tests that only read it."""
    for database in fix_suppliers.made(postgres, suite_sql(tmp_path_factory.mktemp("feed") / "repo")):
        yield filled(database)


@pytest.fixture
def client(sample: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    """The application on the sample feed, which is to be left as it is."""
    monkeypatch.setenv("CONNECTION_URL", sample.url)
    pool.close()
    yield made()
    pool.close()


# --- the feed -----------------------------------------------------------------------------


def test_the_feed_is_a_json_array_that_existing_frontends_read(client: FlaskClient) -> None:
    answer = client.get(HOME)
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert [activity["handle"] for activity in data(answer)][:3] == ["hanako", "andrewbrown", "zoe"]
    assert "Link" not in answer.headers
    assert "はじめまして" in answer.text
    assert answer.text.startswith('[{"uuid":')


def test_the_next_page_is_in_the_link(client: FlaskClient) -> None:
    url, pages = HOME + "?limit=2", []
    while url:
        answer = client.get(url)
        pages.append([activity["uuid"] for activity in data(answer)])
        link = answer.headers.get("Link", "")
        found = re.fullmatch(r'<([^>]+)>; rel="next"', link)
        assert found or not link
        url = found[1] if found else ""
    assert [len(page) for page in pages] == [2, 2, 2, 2, 1]
    assert [uuid for page in pages for uuid in page] == [activity["uuid"] for activity in data(client.get(HOME))]


def test_markup_and_sql_in_messages_travel_as_text(feed: Database) -> None:
    client = made()
    with feed.connect() as conn:
        for text in ("<script>alert(1)</script>", "'; drop table activities; --", '%s %(x)s {} \\ " \u2028'):
            conn.execute("insert into activities (user_uuid, message) select uuid, %s from users limit 1", [text])
    assert [activity["message"] for activity in data(client.get(HOME))][:3] == [
        '%s %(x)s {} \\ " \u2028',
        "'; drop table activities; --",
        "<script>alert(1)</script>",
    ]


GOOD = "MjAyNi0xMS0yMlQxNzoxMTozOC41ODY0ODgrMDA6MDAvYWRkYzcwZTctYzMyNC00ODcwLWE4YzgtYzk2N2U1YzE1ZTcy"


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


UUID = "addc70e7-c324-4870-a8c8-c967e5c15e72"
LIMIT = "limit: give a whole number from 1 to 100"
CURSOR = "before: not a cursor that this API has given"
BAD = [
    *(
        (f"limit={text}", LIMIT)
        for text in ("0", "-1", "101", "99999999999999999999", "1e1", "1.0", "0x10", "", "x", "+5")
    ),
    *(
        (f"limit={quote(text)}", LIMIT)
        for text in (" 5", "5 ", "5\n", "٥", "5\0", "1;drop table activities", "null", "true")
    ),
    ("limit=1&limit=2", "limit: give it once"),
    ("before=a&before=b", "before: give it once"),
    *(
        (f"before={quote(text)}", CURSOR)
        for text in ("", "x", "%00", "' or 1=1 --", "é", "=" * 9, "A" * 300, GOOD + "=", GOOD + "A", GOOD[:-1])
    ),
    *(
        (f"before={cursor(text)}", CURSOR)
        for text in (
            "",
            "/",
            UUID,
            f"/{UUID}",
            f"now/{UUID}",
            f"today/{UUID}",
            f"2026-01-01/{UUID}",
            f"2026-01-01T00:00:00/{UUID.upper()}X",
            f"2026-01-01T00:00:00/{UUID}\0",
            f"2026-01-01T00:00:00'; drop table activities; --/{UUID}",
            "2026-01-01T00:00:00/" + "0" * 31,
            f"2026-01-01T00:00:00/{{{UUID}}} or true",
        )
    ),
    *(
        (f"before={cursor(f'{text}/{UUID}')}", "before: no such time")
        for text in ("2026-13-01T00:00:00", "2026-02-30T00:00:00", "999999-01-01T00:00:00", "2026-01-01T00:00:00+99:00")
    ),
]


@pytest.mark.parametrize(("parameters", "why"), BAD)
def test_a_bad_parameter_is_400_with_the_reason(client: FlaskClient, parameters: str, why: str) -> None:
    answer = client.get(f"{HOME}?{parameters}")
    assert answer.status_code == 400
    assert answer.content_type == "application/json"
    assert answer.json == {"error": why}


def test_after_bad_ones_the_tables_are_still_there(client: FlaskClient) -> None:
    for parameters, _ in BAD:
        client.get(f"{HOME}?{parameters}")
    assert len(data(client.get(HOME))) == 9


@pytest.mark.parametrize(
    "parameters", ["limit=1", "limit=100", "limit=007", f"before={GOOD}", f"limit=5&before={GOOD}", "other=1"]
)
def test_a_good_one_is_200(client: FlaskClient, parameters: str) -> None:
    assert client.get(f"{HOME}?{parameters}").status_code == 200


# --- other requests -----------------------------------------------------------------------


def test_the_page_brings_all_it_needs_from_here(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.content_type.startswith("text/html")
    files = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
    assert len(files) == 3
    for file in files:
        assert client.get(f"/{file}").status_code == 200
    assert "http" not in page.text
    assert not re.findall(r"<script(?![^>]*src=)|<style| on\w+=| style=", page.text)


def test_headers_keep_foreign_scripts_out(client: FlaskClient) -> None:
    for path in ("/", "/static/feed.js", HOME, HOME + "?limit=x", "/nothing"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert client.get(HOME).headers["Cache-Control"] == "no-store"
    assert client.get("/").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/nope", 404), ("POST", HOME, 405), ("DELETE", "/api/health", 405)]
)
def test_errors_of_the_api_are_json(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.content_type == "application/json"
    assert set(data(answer)) == {"error"}
    assert (status == 405) == ("Allow" in answer.headers)


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2f.env", "/.env", "/backend/app.py"]
)
def test_no_other_file_is_served(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


# --- a frontend of another origin ---------------------------------------------------------


def test_without_a_frontend_no_other_origin_is_let_in(client: FlaskClient) -> None:
    answer = client.get(HOME, headers={"Origin": "http://localhost:3000"})
    assert not [name for name in dict(answer.headers) if name.lower().startswith("access-control")]


def test_the_frontend_may_read_the_feed_and_its_link(feed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRONTEND_URL", "https://3000-me.ws.example.com/")
    client = made()
    mine = {"Origin": "https://3000-me.ws.example.com"}
    answer = client.get(f"{HOME}?limit=1", headers=mine)
    assert answer.headers["Access-Control-Allow-Origin"] == mine["Origin"]
    assert answer.headers["Access-Control-Expose-Headers"] == "Link"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    preflight = client.options(
        HOME,
        headers={**mine, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"},
    )
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Headers"] == "authorization"
    assert "POST" not in preflight.headers["Access-Control-Allow-Methods"]
    assert client.get(f"{HOME}?limit=x", headers=mine).headers["Access-Control-Allow-Origin"] == mine["Origin"]
    assert "Access-Control-Allow-Origin" not in client.get("/", headers=mine).headers
    for other in (
        "https://evil.example",
        "https://3000-me.ws.example.com.evil.example",
        "http://3000-me.ws.example.com",
        "null",
    ):
        assert client.get(HOME, headers={"Origin": other}).headers.get("Access-Control-Allow-Origin") in (
            None,
            mine["Origin"],
        )


@pytest.mark.parametrize(
    "url", ["*", "localhost:3000", "http://", "http://*.example.com", "ftp://h", "http://u:p@h", "http://a b"]
)
def test_a_frontend_that_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(settings.Misconfigured, match="FRONTEND_URL: write it like"):
        settings.load({"FRONTEND_URL": url})


# --- a database that is not as it should be -----------------------------------------------


def test_health_is_200_when_the_database_is_reached(client: FlaskClient) -> None:
    answer = client.get("/api/health")
    assert (answer.status_code, data(answer)) == (200, {"database": "reachable"})


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    """The application on a port where nothing answers."""
    monkeypatch.setenv("CONNECTION_URL", f"postgresql://u:hushhush@127.0.0.1:{servers.free_port()}/hush")
    monkeypatch.setenv("DB_POOL_TIMEOUT", "0.5")
    pool.close()
    yield made()
    pool.close()


@pytest.mark.parametrize("path", [HOME, "/api/health"])
def test_without_a_database_it_is_503_and_tells_no_secret(
    away: FlaskClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = away.get(path)
    assert answer.status_code == 503
    assert answer.json == {"error": "the database is not reachable: try again in a moment"}
    assert away.get("/").status_code == 200
    assert "hushhush" not in caplog.text + answer.text


def test_without_tables_the_next_step_is_told(feed: Database) -> None:
    client = made()
    feed.do("drop table activities")
    answer = client.get(HOME)
    assert (answer.status_code, data(answer)) == (503, {"error": "the database has no such tables yet: inv db.setup"})
    assert client.get("/api/health").status_code == 200


def test_without_the_right_to_read_it_is_500_and_the_log_says_why(
    client: FlaskClient, feed: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    feed.do(f"create role reader_{feed.name} login password 'reader'")
    server = feed.server.params
    monkeypatch.setenv(
        "CONNECTION_URL", f"postgresql://reader_{feed.name}:reader@{server['host']}:{server['port']}/{feed.name}"
    )
    pool.close()
    answer = client.get(HOME)
    pool.close()
    feed.do(f"drop role reader_{feed.name}")
    assert (answer.status_code, data(answer)) == (
        500,
        {"error": "the database refused the query; the server's log says why"},
    )
    assert "permission denied" in caplog.text


def test_a_bug_is_500_without_a_word_of_code(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend import app

    monkeypatch.setattr(app, "home", lambda *_: 1 / 0)
    monkeypatch.setenv("FLASK_DEBUG", "1")
    answer = client.get(HOME)
    assert (answer.status_code, data(answer)) == (500, {"error": "Internal Server Error"})
    assert not create_app().config["TESTING"]


def test_a_setup_under_the_running_application_is_hardly_noticed(feed: Database) -> None:
    """inv db.setup ends the pool's idle sessions and swaps the database beneath it."""
    assert len(home(100).activities) == 9
    build.setup(feed.settings(), "local", "", "", {}, "", force=False)
    assert home(100).activities == []


# --- as gunicorn serves it ----------------------------------------------------------------


def test_gunicorn_serves_it_and_ends_cleanly(feed: Database) -> None:
    with serve(feed.url, FLASK_DEBUG="1") as url:
        answer = get(f"{url}{HOME}?limit=1")
        assert answer.status == 200
        assert len(answer.json) == 1
        assert get(f"{url}/api/health").json == {"database": "reachable"}
        assert get(f"{url}/console").status == 404
    assert feed.scalar("select count(*) from pg_stat_activity where application_name = 'cruddur backend'") == 0


def test_the_containers_health_check_asks_the_application(feed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend import health

    with serve(feed.url) as url:
        monkeypatch.setenv("PORT", url.rpartition(":")[2])
        assert health.main() == 0
    assert health.main() == 1
    with serve(f"postgresql://u:p@127.0.0.1:{servers.free_port()}/d", DB_POOL_TIMEOUT="0.5") as url:
        monkeypatch.setenv("PORT", url.rpartition(":")[2])
        assert health.main() == 1


def test_the_containers_health_check_asks_no_proxy(feed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend import health

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serve(feed.url) as url:
        monkeypatch.setenv("PORT", url.rpartition(":")[2])
        assert health.main() == 0
    assert health.main() == 1


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_gunicorn_listens_at_an_address_of_ipv6(feed: Database) -> None:
    with serve(feed.url, HOST="::1") as url:
        assert get(url + HOME).status == 200
