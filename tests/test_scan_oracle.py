"""The scan against Postgres' own lexer and parser, and against psql, on texts made at random.

ORACLE_EXAMPLES (default 800) says how many; 100000 is a night's worth.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, reject, settings
from pglast import parser

from ops.db import load
from ops.db.sql_file.scan import scan, skip_blank
from ops.db.sql_file.script import Script
from ops.errors import Misconfigured, Problem
from ops.targets import opening
from tests import fix_texts
from tests.fix_suppliers import Database
from tests.test_metacommands import psqls

EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "800"))
# thousands of texts through the lines that other tests count; fewer of them with --quick
pytestmark = [pytest.mark.no_cover, pytest.mark.counted]
settings.register_profile("oracle", deadline=None, database=None, suppress_health_check=list(HealthCheck))


def starts(text: str, *, with_parser: bool) -> list[int]:
    """Return the byte offset at which each statement starts, as Postgres has it."""
    data = text.encode()
    slices = parser.split(text, with_parser=with_parser, only_slices=True)
    return [skip_blank(data, len(text[: part.start].encode())) for part in slices]


@settings(settings.get_profile("oracle"), max_examples=EXAMPLES // 2)
@given(fix_texts.TEXTS)
def test_finds_each_statement_that_the_parser_finds(text: str) -> None:
    try:
        expected = starts(text, with_parser=True)
    except parser.ParseError:
        reject()
    assert list(scan(text.encode()).statements) == expected


@settings(settings.get_profile("oracle"), max_examples=EXAMPLES // 4)
@given(fix_texts.MISTAKES)
def test_finds_each_statement_that_the_lexer_finds_around_a_mistake(text: str) -> None:
    assert list(scan(text.encode()).statements) == starts(text, with_parser=False)


STATE = """
select array(select relname::text from pg_class where relnamespace = 'public'::regnamespace order by 1)
    || array(select proname::text from pg_proc where pronamespace = 'public'::regnamespace order by 1)
    || array(select nspname::text from pg_namespace order by 1) as found
"""


def test_a_text_is_loaded_whole_or_not_at_all(database: Database) -> None:
    database.do(f'create database "{database.name}"', "postgres")
    told: list[str] = []
    outcomes = {"refused": 0, "failed": 0, "loaded": 0}
    with (
        opening.open_target(database.settings(), "local", "db.schema-load", writes=True) as at,
        database.connect() as theirs,
    ):

        @settings(settings.get_profile("oracle"), max_examples=max(250, EXAMPLES // 8))  # of fewer, none may load
        @given(fix_texts.TEXTS)
        def check(text: str) -> None:
            before = theirs.execute(STATE.encode()).fetchone()
            try:
                plan = load.plan(Script("x.sql", text.encode()), {}, rebuilds="cruddur")
            except Misconfigured:
                outcomes["refused"] += 1
                return
            with at.connect() as conn:
                try:
                    load.load_file(at, conn, plan)
                except Problem as error:
                    outcomes["failed"] += 1
                    told.append(str(error))
                else:
                    outcomes["loaded"] += 1
                    theirs.execute("drop schema public cascade; drop schema if exists s cascade; create schema public")
                    return
            assert theirs.execute(STATE.encode()).fetchone() == before

        check()
    assert not [each for each in told if "ended the transaction" in each]
    assert min(outcomes.values()) > 0, outcomes


@pytest.mark.parametrize("psql", psqls(), ids=lambda path: "wheel" if ".venv" in path else "machine")
def test_finds_each_query_that_psql_sends(psql: str, one: Database, tmp_path: Path) -> None:
    """Each query answers with its number; in what psql prints are those that the server ran."""
    one.do(f"create database {one.name}", "postgres")
    one.do("create table t (a text)")
    file, counts = tmp_path / "x.sql", {"ran": 0, "found": 0}

    @settings(settings.get_profile("oracle"), max_examples=EXAMPLES // 10)
    @given(fix_texts.MARKED)
    def check(parts: list[tuple[str, ...]]) -> None:
        text = fix_texts.psql_text(parts)
        file.write_bytes(text.encode())
        done = subprocess.run(
            [psql, "-XAt", "-f", file, one.url], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        ran = [int(number) for number in re.findall(r"\bk(\d+);", done.stdout)]
        found = [
            int(number[1])
            for start in scan(text.encode()).statements
            if (number := re.match(rb"select 'k(\d+);'", text.encode()[start:]))
        ]
        assert set(ran) <= set(found), done.stdout + done.stderr
        counts["ran"] += len(set(ran))
        counts["found"] += len(found)

    check()
    assert 0.5 * counts["found"] < counts["ran"], counts  # else the texts were no test
