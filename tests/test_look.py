"""inv look: who is let in, what each path answers, and what a target that is dead or hangs does to the others."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import Settings, load
from ops import console
from ops.db import lifecycle, sessions
from ops.db.diagnose import report
from ops.errors import Misconfigured, Refused
from ops.look import panels, saved, serve, watch
from ops.look.app import create_app
from ops.look.door import Door
from ops.look.watch import Looker
from tests.fix_app import filled, get
from tests.fix_cli import SUITE, Cli
from tests.fix_isolation import suite_sql
from tests.fix_look import Served, served
from tests.fix_suppliers import Database, made
from tests.servers import Server, free_port

HOSTILE = """
create table "<img src=x onerror=alert(1)>" ("</script><script>alert(2)</script>" int primary key);
comment on table "<img src=x onerror=alert(1)>" is '<script>alert(3)</script>';
create index "</style><h1>" on "<img src=x onerror=alert(1)>" ("</script><script>alert(2)</script>");
"""


@pytest.fixture(scope="module")
def seen(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with the sample feed, that the tests of this file only look at."""
    for database in made(postgres, suite_sql(tmp_path_factory.mktemp("seen") / "repo")):
        (database.root / "sql" / "migrations").mkdir()
        yield filled(database)


def settings_of(database: Database, config: dict[str, Any] | None = None, **environ: str) -> Settings:
    found = load(config or {}, {"CONNECTION_URL": database.url, **environ}, database.root)
    return replace(found, queries=SUITE / "sql" / "queries")


@pytest.fixture(scope="module")
def page(seen: Database) -> Iterator[Served]:
    with served(settings_of(seen), "local") as found:
        yield found


# --- who is let in -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["", "look.js", "look.css", "icon.svg", "api/targets", "api/local/status", "api/local/now", "?token=no", "no"],
)
def test_without_the_cookie_there_is_nothing(page: Served, path: str) -> None:
    for cookie in ("", f"{page.door.cookie}=no", f"{page.door.cookie}="):
        for base in (f"{page.url}/", page.home):
            found = get(f"{base}{path}", Cookie=cookie)
            assert (found.status, found.body[:4]) == (401, b"401:")


def test_the_token_is_good_once(seen: Database) -> None:
    with served(settings_of(seen), "local") as page:
        first = get(page.entry)
        assert first.status == 200
        attributes = first.headers["Set-Cookie"].partition(";")[2].lower()
        assert {"httponly", "samesite=strict", f"path={page.door.path.lower()}"} <= {
            each.strip() for each in attributes.split(";")
        }
        assert page.door.token not in first.body.decode() + first.headers["Set-Cookie"]
        assert get(page.entry).status == 401
        cookie = first.headers["Set-Cookie"].partition(";")[0]
        assert page.door.path not in get(page.entry).body.decode()
        assert get(f"{page.home}api/targets", Cookie=cookie).json == [{"name": "local", "cloud": False}]
        assert get(f"{page.url}/api/targets", Cookie=cookie).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"}, {"Host": "127.0.0.1"}, {"Host": "127.0.0.1.attacker.example:{port}"}, {"Host": "[::1]:{port}"},
        {"Origin": "http://attacker.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "https://127.0.0.1:{port}"},
        {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
    ],
)  # fmt: skip
def test_another_name_or_page_gets_nothing(page: Served, headers: dict[str, str]) -> None:
    port = page.url.rpartition(":")[2]
    found = page.get("api/local/status", **{k: v.format(port=port) for k, v in headers.items()})
    assert (found.status, found.body[:4]) == (403, b"403:")
    assert "Access-Control-Allow-Origin" not in found.headers


def test_a_forwarded_name_is_let_in_and_no_other(seen: Database) -> None:
    """That of an online workspace's port, and those of look.hosts: whole ones, so that none is another one's."""
    settings = settings_of(
        seen, {"look": {"hosts": "Look.example.com, {port}-me.example.com"}},
        GITPOD_WORKSPACE_URL="https://me-abc.ws-eu1.gitpod.io", CODESPACE_NAME="funny-name",
    )  # fmt: skip
    with served(settings, "local") as page:
        port = page.url.rpartition(":")[2]
        ours = [
            "look.example.com",
            f"{port}-me.example.com",
            f"{port}-me-abc.ws-eu1.gitpod.io",
            f"funny-name-{port}.app.github.dev",
        ]
        assert get(page.url, Host=ours[0]).status == 401, "by the token all the same"
        first = get(page.entry, Host=ours[2], X_Forwarded_Proto="https", Sec_Fetch_Site="cross-site")
        assert (first.status, "; Secure" in first.headers["Set-Cookie"]) == (200, True)
        page.cookie = first.headers["Set-Cookie"].partition(";")[0]
        for host in ours:
            for more in ({}, {"Origin": f"https://{host}"}, {"Host": f"{host}:443"}, {"Host": host.upper()}):
                assert page.get("api/targets", **{"Host": host, **more}).status == 200, (host, more)
            for more in (
                {"Origin": "https://attacker.example"},
                {"Sec_Fetch_Site": "same-site"},
                {"Host": f"a.{host}"},
                {"Host": f"{host}."},
            ):
                assert page.get("api/targets", **{"Host": host, **more}).status == 403, (host, more)
        assert page.get("api/targets", Host="1-me.example.com").status == 403


@pytest.mark.parametrize(
    "hosts",
    [
        "*",
        ".example.com",
        "*.example.com",
        "localhost",
        "10.0.0.1",
        "a.example.com:80",
        "https://a.b",
        "a.1",
        "::1",
        "é.example",
    ],
)
def test_what_is_no_whole_name_is_refused(tmp_path: Path, hosts: str) -> None:
    with pytest.raises(Misconfigured, match=r"look\.hosts \(INVOKE_LOOK_HOSTS\): .* is no host name"):
        assert load({"look": {"hosts": hosts}}, {}, tmp_path).look_hosts


def test_nothing_can_be_written(page: Served) -> None:
    page.get("api/targets")
    for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"):
        host = page.url.removeprefix("http://")
        with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))) as conn:
            conn.sendall(
                b"%s /status HTTP/1.0\r\nHost: %s\r\nCookie: %s\r\n\r\n" % (method, host.encode(), page.cookie.encode())
            )
            assert b" 405 " in conn.recv(200)


def test_the_answers_say_what_a_browser_may_do(page: Served) -> None:
    for path in ("", "api/targets", "look.js", "nothing"):
        headers = page.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.fixture
def by_waitress(seen: Database, caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    """The page as inv look serves it, by waitress with its limits."""
    with socket.create_server(("127.0.0.1", 0)) as listener, console.muted():
        door, looker = Door(listener.getsockname()[1]), Looker(settings_of(seen), ["local"])
        server = serve.server_of(create_app(looker, door), listener)
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                server.asyncore.loop(timeout=0.1, map=server._map, count=1)  # as server.run() does without an end
            server.task_dispatcher.shutdown()
            server.asyncore.close_all(server._map)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield Served(f"http://127.0.0.1:{door.hosts[0].rpartition(':')[2]}", door, looker)
        looker.close(5)
        over.set()
        thread.join(10)
        assert not caplog.records, "what a stranger sends is no news at the terminal"


def sent(page: Served, data: bytes) -> bytes:
    """Return how an answer to these bytes begins; nothing where there is none within a second."""
    with socket.create_connection(("127.0.0.1", int(page.url.rpartition(":")[2]))) as conn:
        conn.settimeout(10)
        conn.sendall(data)
        return conn.recv(15)


def test_a_stranger_fills_nothing_and_holds_nothing_up(by_waitress: Served) -> None:
    """Who has no token sends bodies, endless headers and no requests at all, on as many connections as there may be."""
    page, port = by_waitress, int(by_waitress.url.rpartition(":")[2])
    assert page.answer("targets") == [{"name": "local", "cloud": False}]
    host = f"Host: 127.0.0.1:{port}\r\n".encode()
    assert sent(page, b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 1000000000\r\n\r\n").endswith(b" 413 Re")
    chunked = (
        b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n"
    )
    assert sent(page, chunked * 2).endswith(b" 413 Re")
    assert sent(page, b"GET / HTTP/1.1\r\n" + host + b"X: y\r\n" * 5000).endswith(b" 431 Re")
    for bad in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1",
        b"GET http://[ HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: \xff",
        b"GET /\0 HTTP/1.1",
    ):
        assert sent(page, bad + b"\r\n\r\n")[9:10] in (b"4", b""), bad
    with contextlib.ExitStack() as stack:
        for _ in range(serve.LIMITS["connection_limit"] + 20):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(b"GET /")
        assert page.answer("targets") == [{"name": "local", "cloud": False}]


# --- what is answered --------------------------------------------------------------------


def told(value: Any) -> Any:
    return json.loads(console.json_text(value))


def test_a_part_is_what_the_task_prints(page: Served, seen: Database, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_of(seen)
    lifecycle.show(settings, "local", json=True)
    assert page.answer("local/status") == json.loads(capsys.readouterr().out)
    report.show(settings, "local", fail_on="", json=True)
    found, printed = page.answer("local/diagnose"), json.loads(capsys.readouterr().out)
    assert [line["check"] for line in found["lines"]] == [line["check"] for line in printed["lines"]]
    assert found.keys() == printed.keys()
    assert page.answer("local/migrations") == []
    assert page.answer("local/rehearsals") == []
    assert "users" in page.answer("local/diagram")
    with psycopg.connect(seen.url) as conn:
        conn.execute("select 'CANARY'")
        [mine] = [each for each in page.answer("local/sessions") if each["pid"] == conn.info.backend_pid]
    assert (mine["query"], mine["blocked_by"], mine["state"]) == ("select ?", [], "idle in transaction")
    assert mine.keys() == {field.name for field in sessions.Session.__dataclass_fields__.values()}


def test_tables_have_columns_and_indexes(page: Served) -> None:
    found = {each["name"]: each for each in page.answer("local/tables")}
    assert set(found) == {"activities", "users"}
    [primary] = [each for each in found["users"]["indexes"] if each["primary"]]
    assert primary["definition"].startswith("CREATE UNIQUE INDEX")
    column = next(each for each in found["users"]["columns"] if each["name"] == "handle")
    assert (column["type"], column["nullable"], column["generated"]) == ("text", False, False)


def test_what_is_empty_missing_and_vacuumed_is_told_of_each_table(one: Database) -> None:
    """As db.diagnose has it, also of small tables: 5,000 rows of which four fifths have gone, and a foreign key without an index."""
    one.do(f'create database "{one.name}"', "postgres")
    one.do(
        """create table people (id int primary key, name text); create table posts (id int primary key, by int references people);
        insert into people select n, repeat('x', 100) from generate_series(1, 5000) n;
        insert into posts select n, n from generate_series(1, 2000) n; delete from people where id > 2000 and id % 5 > 0"""
    )
    one.do("vacuum analyze")
    found = {each.name: each for each in panels.tables(settings_of(one), "local")}
    people, posts = found["people"], found["posts"]
    assert people.empty_bytes > people.size_bytes / 3
    assert posts.empty_bytes < posts.size_bytes / 10
    assert people.vacuumed_at
    assert [each.empty_bytes is not None for each in people.indexes] == [True]
    [missing] = posts.missing_indexes
    assert missing.statement == "create index concurrently on public.posts (by)"
    assert people.missing_indexes == []


def test_each_query_of_the_application_has_a_plan(page: Served) -> None:
    found = {each["name"]: each for each in page.answer("local/queries")}
    assert found.keys() == {"home", "users"}
    assert found["users"]["plan"][0]["QUERY PLAN"][0]["Plan"]["Node Type"] == "Limit"


def test_slow_queries_are_there_or_it_is_said_how(page: Served) -> None:
    found = page.answer("local/slow")
    assert found["statements"] is None
    assert "shared_preload_libraries = 'pg_stat_statements'" in found["note"]


def test_who_blocks_whom_is_told(page: Served, one: Database) -> None:
    filled(one)
    with psycopg.connect(one.url) as first, psycopg.connect(one.url, autocommit=True) as second:
        first.execute("lock users")
        pid = second.info.backend_pid
        waiting = threading.Thread(target=second.execute, args=["select count(*) from users"])
        waiting.start()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            rows = [each for each in page.answer("local/sessions") if each["pid"] == pid]
            if rows[0]["blocked_by"]:
                break
        assert rows[0]["blocked_by"] == [first.info.backend_pid]
        first.rollback()
        waiting.join()


def test_it_looks_as_long_as_somebody_does(seen: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PERIOD", 0.05)
    monkeypatch.setattr(watch, "UNWATCHED", 0.5)
    monkeypatch.setattr(watch, "KEPT", 5)
    ours = "select count(*) from pg_stat_activity where application_name like 'inv look %'"
    with served(settings_of(seen), "local") as page:
        until = time.monotonic() + 20
        while len(found := page.answer("local/now")) < 5 and time.monotonic() < until:
            time.sleep(0.02)
        assert found[-1]["reachable"]
        assert found[0]["transactions"] is None or len(found) == 5
        assert found[-1]["connections"] >= 1
        assert 0 <= found[-1]["hit_ratio"] <= 1 if found[-1]["hit_ratio"] is not None else True
        while seen.scalar(ours) and time.monotonic() < until:
            time.sleep(0.05)
        assert seen.scalar(ours) == 0, "nobody looks any more, so no session is held"


def test_it_writes_nothing(page: Served, seen: Database) -> None:
    """The session is one that cannot; the reader's login is that of db.status."""
    for opened in (panels.once, panels.reading):
        with opened(settings_of(seen), "local") as (_, conn), pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            with conn.transaction():
                conn.execute("create table t ()")


# --- a target that is dead, or hangs -----------------------------------------------------


def test_a_target_that_is_dead_or_hangs_holds_up_no_other(seen: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked many times, by as many as there are threads: the live one answers all the while."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        port = hole.getsockname()[1]
        settings = load(
            {"targets": {"hangs": {"url": "HANGS_URL"}, "dead": {"url": "DEAD_URL"}}, "db": {"connect_timeout": "30"}},
            {
                "CONNECTION_URL": seen.url,
                "HANGS_URL": f"postgresql://u:hushhush@127.0.0.1:{port}/d",
                "DEAD_URL": f"postgresql://u:hushhush@127.0.0.1:{free_port()}/d",
            },
            seen.root,
        )
        monkeypatch.setattr("ops.look.app.PATIENCE", 0.05)
        with served(settings, "local", "hangs", "dead") as page:
            for _ in range(3):
                for panel in ("status", "diagnose", "sessions", "tables"):
                    assert page.get(f"api/hangs/{panel}").status == 202
            assert page.answer("local/status")["running"]
            while (dead := page.get("api/dead/status")).status == 202:
                pass
            assert dead.status == 502
            assert dead.json["exit_code"] == 1
            assert "nothing answers at" in dead.json["error"]
            until = time.monotonic() + 20
            while not (page.answer("local/now") and page.answer("dead/now")) and time.monotonic() < until:
                time.sleep(0.02)
            assert page.answer("local/now")[-1]["reachable"]
            assert not page.answer("dead/now")[-1]["reachable"]
            assert page.answer("hangs/now") == []
            waiting = page.get("api/hangs/status").json
            assert waiting["waiting_seconds"] >= 0
            page_text = json.dumps([dead.json, page.answer("dead/now")])
            assert "hushhush" not in page_text


def test_who_asks_again_for_what_hangs_is_not_kept(seen: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wait is one for all: by then each further question is answered at once, so that threads are left for the others."""
    let_go = threading.Event()
    monkeypatch.setitem(panels.PANELS, "status", lambda *_: let_go.wait(60))
    looker = Looker(settings_of(seen), ["local"])
    try:
        first = looker.ask("local", "status", 0.3)
        assert time.monotonic() >= first.begun + 0.3
        waits: list[float] = []
        monkeypatch.setattr(first.done, "wait", waits.append)
        assert all(looker.ask("local", "status", 0.3) is first for _ in range(20))
        assert waits == [0.0] * 20
    finally:
        let_go.set()
        looker.close(5)


def test_the_embedded_server_is_not_started_to_be_looked_at(tmp_path: Path) -> None:
    settings = load({}, {}, tmp_path)
    assert panels.status(settings, "local").running is False
    for name in set(panels.OF_DATABASE) - {"status", "rehearsals", "advice"}:
        with pytest.raises(Exception, match=r"the embedded server does not run: inv db\.up"):
            panels.PANELS[name](settings, "local")
    assert not (tmp_path / ".local" / "postgres").exists()


def test_which_targets_are_looked_at(tmp_path: Path) -> None:
    config: dict[str, Any] = {"targets": {"staging": {}, "other": {}}}
    settings = load(config, {"STAGING_CONNECTION_URL": "postgresql://u:p@127.0.0.1/d"}, tmp_path)
    assert panels.chosen(settings, []) == ["local", "staging"]
    assert panels.chosen(settings, ["prod", "local", "prod"]) == ["prod", "local"]
    assert (panels.is_of_aws(settings, "prod"), panels.is_of_aws(settings, "local")) == (True, False)
    with pytest.raises(Misconfigured, match="there is no target 'nothing'"):
        panels.chosen(settings, ["nothing"])


# --- saved -------------------------------------------------------------------------------


def test_a_saved_page_is_one_file_that_names_nobody(one: Database) -> None:
    filled(one).do(HOSTILE)
    with psycopg.connect(one.url, application_name="annas laptop") as conn:
        conn.execute("select 'CANARY', 'anna@example.com'")
        saved.write(settings_of(one), ["local"], one.root / "report.html")
    text = (one.root / "report.html").read_text("utf-8")
    assert text.startswith(saved.MARK)
    assert not re.search(r'(?:src|href)="(?!#|data:)', text), "it wants no other file"
    for word in ("CANARY", "anna", "postgres@", str(one.root), one.server.params["password"]):
        assert word not in text, word
    assert "<img src=x" not in text.partition('<script type="module">')[0].replace("\\u003cimg", "")
    assert text.count("<script") == 2
    [block] = re.findall(r'<script type="application/json" id="saved">(.*?)</script>', text)
    found = json.loads(block)
    assert found["answers"]["local/status"]["answer"]["running"]
    assert found["answers"]["local/now"]["answer"][0]["reachable"]
    failed = {path: answer["error"] for path, answer in found["answers"].items() if "error" in answer}
    assert failed.keys() == {"local/migrations"}
    assert failed["local/migrations"].startswith("./sql/migrations: no such folder")
    saved.write(settings_of(one), ["local"], one.root / "report.html")
    mine = one.root / "mine.html"
    mine.write_text("mine")
    with pytest.raises(Refused, match="none of inv look"):
        saved.write(settings_of(one), ["local"], mine)
    with pytest.raises(Misconfigured, match=r"the folder .* is not there"):
        saved.write(settings_of(one), ["local"], one.root / "none" / "report.html")
    assert mine.read_text() == "mine"
    for name in ("", "-"):
        with pytest.raises(Misconfigured, match="wants the name of a file"):
            serve.look(settings_of(one), ["local"], save=name, browser=False)
    pipe = one.root / "pipe.html"
    os.mkfifo(pipe)
    with pytest.raises(Misconfigured, match="no regular file"):
        saved.write(settings_of(one), ["local"], pipe)


def test_what_is_waited_for_is_said_while_a_page_is_saved(
    seen: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page of a target that hangs is there all the same, and says so."""
    monkeypatch.setattr(saved, "LIMIT", 2.5)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"postgresql://u:p@127.0.0.1:{hole.getsockname()[1]}/d"
        settings = settings_of(seen, {"targets": {"hangs": {"url": "HANGS_URL"}}}, HANGS_URL=url)
        saved.write(settings, ["hangs"], tmp_path / "report.html")
    told = capsys.readouterr().err
    assert re.search(
        r"waiting for 1[0-2] of 12 answers, [0-2] s at most: hangs/now, hangs/status, .* and [7-9] more\n", told
    )
    assert "no answer within" in (tmp_path / "report.html").read_text()


# --- the command -------------------------------------------------------------------------


def test_the_command_prints_the_address_and_ends_by_ctrl_c(one: Database, inv: Cli) -> None:
    import sys

    argv = [str(Path(sys.executable).parent / "inv"), "look", "--no-browser"]
    env = {**os.environ, "CONNECTION_URL": one.url, "INVOKE_LOOK_HOSTS": "{port}-me.example.com"}
    with subprocess.Popen(
        argv, cwd=inv.root, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr
        line = child.stderr.readline()
        found = re.search(r"look at local: (http://127\.0\.0\.1:\d+)/\?token=[\w-]{40,}", line)
        assert found, line
        port, token = found[1].rpartition(":")[2], line.partition("?token=")[2].partition(" ")[0]
        assert child.stderr.readline().endswith(f": https://{port}-me.example.com/?token={token}\n")
        assert get(found[1]).status == 401
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "", "ended\n")


def test_a_browser_is_opened_where_a_person_sits_before_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a file that only its owner may read: each user of the machine reads command lines."""
    for name in ("SSH_CONNECTION", "CI", "GITPOD_WORKSPACE_ID"):
        monkeypatch.setenv(name, "1")
        assert not serve.has_browser()
        monkeypatch.delenv(name)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with serve.opened(load({}, {}, tmp_path), "http://127.0.0.1:1/?token=secret"):
        [file] = (tmp_path / ".local").glob("look-*.html")
        assert opened == [file.as_uri()]
        assert file.stat().st_mode & 0o777 == 0o600
        assert "url=http://127.0.0.1:1/?token=secret" in file.read_text()
    assert not list((tmp_path / ".local").glob("look-*.html"))
