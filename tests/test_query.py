"""db.query: the application's SQL files from the command line, where they can change nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.settings import Settings
from ops.db import query
from ops.errors import Misconfigured, Problem
from tests.fix_app import filled
from tests.fix_cli import SUITE, Cli
from tests.fix_suppliers import Database


@pytest.fixture
def settings(one: Database) -> Settings:
    """The sample feed, and the suite's own queries beside some of this test's."""
    filled(one)
    folder = one.root / "sql" / "queries"
    (folder / "users").mkdir(parents=True)
    for name in ("home.sql", "users.sql"):
        (folder / name).write_bytes((SUITE / "sql" / "queries" / name).read_bytes())
    return one.settings()


def shown(
    settings: Settings, capsys: pytest.CaptureFixture[str], name: str, limit: str = "20", **variables: str
) -> list[dict[str, object]]:
    capsys.readouterr()
    query.show(settings, name, "local", limit, variables, json=True)
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_the_feed_as_the_application_reads_it(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(settings, capsys, "home")
    assert [row["handle"] for row in found][:3] == ["hanako", "andrewbrown", "zoe"]
    assert len(found) == 9
    assert shown(settings, capsys, "home", "2") == found[:2]
    after = {"before": str(found[1]["created_at"]), "before_uuid": str(found[1]["uuid"])}
    assert shown(settings, capsys, "home", "3", **after) == found[2:5]
    assert len(shown(settings, capsys, "home", hide_expired="true")) == 7


def test_a_table_for_people_that_cannot_steer_their_terminal(
    settings: Settings, one: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    one.do("update users set display_name = E'\\x1b[2J\\x07Zo\\u0085\\u00eb' where handle = 'zoe'")
    capsys.readouterr()
    query.show(settings, "users", "local", "20", {}, json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["handle", "display_name", "email", "created_at"]
    assert [line.split()[0] for line in lines[1:]] == ["andrewbrown", "bayko", "hanako", "londo", "zoe"]
    assert "\ufffd[2J\ufffdZo\ufffdë" in lines[-1]
    assert "\x1b" not in "".join(lines)


def test_templates_as_people_have_them(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an end, in folders, with CRLF, with a mark at the beginning, with what is no parameter."""
    (settings.queries / "users" / "short.sql").write_bytes(
        b"\xef\xbb\xbfSELECT users.handle, '{}'::json as more\r\nFROM public.users\r\nWHERE users.handle = %(handle)s"
    )
    assert shown(settings, capsys, "users/short", handle="zoe") == [{"handle": "zoe", "more": {}}]
    assert shown(settings, capsys, "users/short", handle="'; drop table users; --") == []
    (settings.queries / "semicolon.sql").write_text("select 1 as one, 'a' like '%' as all;\n")
    assert shown(settings, capsys, "semicolon") == [{"one": 1, "all": True}]


@pytest.mark.parametrize(
    "sql", ["delete from activities", "update users set email = null returning handle", "drop table activities"]
)
def test_nothing_can_be_changed(
    settings: Settings, one: Database, sql: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings.queries / "evil.sql").write_text(sql)
    with pytest.raises(Problem, match=r"evil\.sql: cannot execute .* in a read-only transaction"):
        query.show(settings, "evil", "local", "20", {}, json=True)
    assert one.scalar("select count(*) from activities") == 9
    assert one.scalar("select count(email) from users") == 4


def test_a_query_without_rows_and_one_without_columns(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (settings.queries / "none.sql").write_text("select handle from users where false")
    assert shown(settings, capsys, "none") == []
    (settings.queries / "do.sql").write_text("do $$ begin end $$")
    assert shown(settings, capsys, "do") == []


def test_those_there_are_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"there is no query nope in .*: use one of home, users$"):
        query.template(settings.queries, "nope")
    with pytest.raises(Misconfigured, match=r"there are no queries in .*: set paths\.queries"):
        query.template(tmp_path / "nothing", "home")
    (settings.queries / "latin.sql").write_bytes(b"select '\xe9'")
    with pytest.raises(Misconfigured, match=r"latin\.sql:1:9: is not UTF-8 here"):
        query.template(settings.queries, "latin")


def test_from_the_command_line_on_production_too(inv: Cli, one: Database) -> None:
    filled(one)
    production = {"PROD_CONNECTION_URL": one.url}
    done = inv("db.query", "users", "-t", "prod", "--json", "--limit", "1", env=production)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["handle"] == "andrewbrown"
    assert "PRODUCTION" in done.stderr
    done = inv("db.query", "home", "-t", "prod", env=production, cwd=inv.root / "sql")
    assert done.stdout.splitlines()[0].split()[:3] == ["uuid", "display_name", "handle"]


def test_a_file_with_a_second_statement_can_change_nothing_either(settings: Settings, one: Database) -> None:
    sneaky = "select 1; commit; set default_transaction_read_only = off; delete from activities; select 2"
    (settings.queries / "sneaky.sql").write_text(sneaky)
    with pytest.raises(Problem, match=r"sneaky\.sql: cannot insert multiple commands"):
        query.show(settings, "sneaky", "local", "20", {}, json=True)
    (settings.queries / "plain.sql").write_text("delete from activities")
    with pytest.raises(Problem, match="read-only transaction"):
        query.show(settings, "plain", "local", "20", {}, json=True)
    assert one.scalar("select count(*) from activities") == 9


def test_a_limit_of_many_digits_is_one_line(settings: Settings) -> None:
    with pytest.raises(Misconfigured, match="give a whole number above 0"):
        query.show(settings, "home", "local", "9" * 5000, {}, json=True)


def test_what_the_terminal_cannot_show_is_escaped(inv: Cli, one: Database) -> None:
    filled(one)
    env = {"CONNECTION_URL": one.url, "PYTHONIOENCODING": "ascii"}
    assert "Zo\\xeb" in inv.ok("db.query", "users", env=env)


@pytest.mark.parametrize(
    ("sql", "place", "under"),
    [
        ("select handle,\n  nope from users", "2:3", "nope"),
        ("select handle from users where handle = %(a)s\n  and nope = %(limit)s", "2:7", "nope"),
        ("select %(a)s::text, %(b)s::text, %(a)s::text,\n '{}' like '%%', nope", "2:18", "nope"),
        ("select '日本' as \"é\", nope, %(a)s::text", "1:21", "nope"),
        ("select 1 +\n;", "2:1", ";"),
    ],
)
def test_a_mistake_in_the_file_is_pointed_at(settings: Settings, sql: str, place: str, under: str) -> None:
    """The server counts in what it was sent, where each parameter is $1 or $2."""
    (settings.queries / "wrong.sql").write_text(sql)
    with pytest.raises(Problem, match=rf"wrong\.sql:{place}: ") as failed:
        query.show(settings, "wrong", "local", "20", {}, json=True)
    line, caret = failed.value.detail[:2]
    assert failed.value.code == 1
    assert caret.strip() == "^"
    assert not line.isascii() or line[caret.index("^") :].startswith(under)


def test_what_python_and_json_have_no_value_for(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (settings.queries / "odd.sql").write_text(
        "select timestamptz 'infinity' as ever, date '0044-03-15 BC' as ides, 'NaN'::float8 as x, '-inf'::float4 as y,"
        " 'NaN'::numeric as z, timestamp '99999-01-01' as far, 1.5::float8 as plain, timestamptz '2026-01-02 03:04Z' as now"
    )
    (found,) = shown(settings, capsys, "odd")
    assert found["ever"] == "infinity"
    assert found["ides"] == "0044-03-15 BC"
    assert (found["x"], found["y"], found["z"]) == ("NaN", "-Infinity", "NaN")
    assert found["far"] == "99999-01-01 00:00:00"
    assert found["plain"] == 1.5
    assert str(found["now"]).startswith("2026-01-02T")
    query.show(settings, "odd", "local", "20", {}, json=False)
    assert "0044-03-15 BC" in capsys.readouterr().out
