"""The masks by themselves: what each makes of each type, what is proposed, and the key's file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import load
from ops.db.pull import columns, first_file, keys, masking, masks_file, pull
from ops.db.pull.masking import FITS, HASHES, Rule
from ops.db.pull.pull import How
from ops.errors import Misconfigured, Problem
from ops.yaml_file import compose
from tests.fix_cli import SUITE
from tests.fix_suppliers import Database, made
from tests.servers import Server

VALUES = {
    "text": "Zoë O'Hara, 12 Elm", "varchar(40)": "a\\b", "char(20)": "abc", "citext": "AbC", "int2": "123", "int4": "-45678", "int8": "9007199254740993",
    "numeric": "12.50", "numeric(8,2)": "-123456.78", "float4": "1.5", "float8": "-0.25", "uuid": "5d6e3ad4-6c5a-4e80-8c0f-0a6d4b1e7a11", "bytea": "\\x00ff",
    "date": "1970-03-04", "timestamp": "1970-03-04 05:06", "timestamptz": "1970-03-04 05:06+07", "inet": "10.9.8.7/8",
    "text[]": '{"a b",NULL,c}', "int4[]": "{1,2}", "uuid[]": "{}", "date[]": "{1970-03-04}",
}  # fmt: skip
RULES = [Rule("hash"), *(Rule("fake", kind) for kind in masking.FAKES)]


@pytest.fixture(scope="module")
def typed(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    for database in made(postgres, tmp_path_factory.mktemp("typed")):
        database.do(f'create database "{database.name}"', "postgres")
        database.do("create extension citext")
        database.do(f"create table t ({', '.join(f'c{n} {kind}' for n, kind in enumerate(VALUES))})")
        with database.connect() as conn:
            marks = ", ".join(["%s"] * len(VALUES))
            conn.execute(
                f"insert into t values ({marks}), ({marks})".encode(), [*VALUES.values(), *[None] * len(VALUES)]
            )
        yield database


def ask(database: Database, key: str, expressions: list[str]) -> list[dict[str, Any]]:
    listed = ", ".join(f"({each})::text as c{n}, pg_typeof({each})::text as t{n}" for n, each in enumerate(expressions))
    with database.connect() as conn, conn.transaction():
        conn.execute("select set_config('inv.mask_key', %s, true)", [key])
        return conn.execute(f"select {listed} from t".encode()).fetchall()


def test_each_mask_fits_each_type_that_it_is_for(typed: Database) -> None:
    with typed.connect() as conn:
        table = columns.read(conn)["public.t"]
    pairs = [(column, rule) for column in table.columns.values() for rule in RULES]
    fitting = [(column, rule) for column, rule in pairs if not masking.why_not(column, rule)]
    assert {rule.what or rule.how for _, rule in fitting} == {"hash", *masking.FAKES}
    assert len(fitting) > 60
    for column, rule in pairs:
        kind = masking.element(column)
        told = masking.why_not(column, rule)
        assert bool(told) or kind in (HASHES if rule.how == "hash" else FITS[rule.what])
    expressions = [masking.expression(column, rule) for column, rule in fitting]
    ones, others = (ask(typed, key * 32, expressions) for key in "ab")
    assert ones == ask(typed, "a" * 32, expressions)
    types = [column.base_type for column, _ in fitting]
    for number, (column, rule) in enumerate(fitting):
        value, same, null = ones[0][f"c{number}"], others[0][f"c{number}"], ones[1][f"c{number}"]
        what = (column.type, rule.what or rule.how, value)
        assert null is None, what
        assert re.sub(r"\(.*?\)", "", types[number]) == ones[0][f"t{number}"], what
        assert value is not None, what
        if value != "{}":
            assert value != VALUES[list(VALUES)[int(column.name[1:])]], what
            assert value != same or rule.what in ("name", "number", "text"), what
        if rule.what == "text" and column.base == "text":
            assert len(value) == len(VALUES["text"])
        if rule.what == "number" and column.base == "int4":
            assert len(value) == len(VALUES["int4"])
            assert value[0] == "-"


def test_what_is_told_apart_stays_told_apart(typed: Database) -> None:
    with typed.connect() as conn:
        table = columns.read(conn)["public.t"]
        conn.execute("create temporary table t as select n::text as c0, n::int8 as c6, n::numeric as c7, md5(n::text)::uuid as c11 from generate_series(1, 20000) n")  # fmt: skip
        conn.execute("select set_config('inv.mask_key', %s, false)", ["0" * 32])
        for column in (table.columns[name] for name in ("c0", "c6", "c7", "c11")):
            for rule in RULES:
                if not masking.why_not(column, rule) and masking.is_injective(column, rule):
                    row = conn.execute(
                        f"select count(distinct {masking.expression(column, rule)}) as n from t".encode()
                    ).fetchone()
                    assert row == {"n": 20000}, (column.type, rule)


@pytest.mark.parametrize(
    ("kind", "rule", "injective"),
    [
        ("c0", Rule("hash"), True), ("c0", Rule("fake", "name"), False), ("c0", Rule("fake", "email"), True), ("c0", Rule("constant", "x"), False),
        ("c4", Rule("hash"), False), ("c5", Rule("hash"), False), ("c6", Rule("hash"), True), ("c0", Rule("sql", "left(c0, 1)"), True), ("c17", Rule("hash"), False),
    ],
)  # fmt: skip
def test_which_masks_keep_values_apart(typed: Database, kind: str, rule: Rule, injective: bool) -> None:
    with typed.connect() as conn:
        column = columns.read(conn)["public.t"].columns[kind]
    assert masking.is_injective(column, rule) is injective


GOLDEN = SUITE / "tests" / "data" / "masks.json"
EDGES = {f"varchar({most})": "Zoë O'Hara"[:most] for most in (1, 10, 12, 13, 14, 15, 16, 17, 28, 29, 31, 32, 33, 35, 36)} | {
    "varchar(20)[]": "{a,b}", "numeric(4,0)": "12", "int4[][]": "{{1,2},{3,4}}", "jsonb": "{}", "bool": "t",
}  # fmt: skip
EVERY = [*RULES, Rule("keep"), Rule("null"), Rule("constant", "7"), Rule("sql", "null")]


def test_what_each_mask_makes_by_a_known_key(typed: Database) -> None:
    """Copies agree with those of before, whatever release made them; WRITE_GOLDEN=1 writes the file anew."""
    every = {**VALUES, **EDGES}
    with typed.connect() as conn:
        conn.execute(f"create table m ({', '.join(f'c{n} {kind}' for n, kind in enumerate(every))})".encode())
        conn.execute(f"insert into m values ({', '.join(['%s'] * len(every))})".encode(), [*every.values()])
        table = columns.read(conn)["public.m"]
        conn.execute("set timezone = 'UTC'")  # as hold_snapshot does
        conn.execute("select set_config('inv.mask_key', %s, false)", ["0" * 32])
        found: dict[str, dict[str, Any]] = {}
        for kind, column in zip(every, table.columns.values(), strict=True):
            told = found[kind] = {"instead": masking.instead(column)}
            for rule in EVERY:
                name = f"{rule.how} {rule.what}".strip()
                told[name] = masking.why_not(column, rule)
                if told[name] or (rule.how == "constant" and kind not in ("text", "int4", "float8")):
                    continue
                sql = f"select ({masking.expression(column, rule)})::text as value from m".encode()
                [row] = conn.execute(sql).fetchall()
                told[name] = [row["value"], masking.is_injective(column, rule)]
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if "WRITE_GOLDEN" in os.environ:
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_another_number_stays_within_its_type(typed: Database) -> None:
    """The largest has as many digits as some that are larger still."""
    with typed.connect() as conn:
        table = columns.read(conn)["public.t"].columns
        for column in (each for each in table.values() if each.base in masking.WHOLE and not each.element):
            most = masking.WHOLE[column.base]
            for sign, key in ((sign, key) for sign in (1, -1) for key in "0123456789abcdef"):
                conn.execute("select set_config('inv.mask_key', %s, false)", [key * 32])
                value = f"(select ({sign * most})::{column.base} as {column.quoted}) as t"
                sql = f"select {masking.expression(column, Rule('fake', 'number'))} as n from {value}"
                [row] = conn.execute(sql.encode()).fetchall()
                assert 0 < sign * row["n"] <= most


@pytest.mark.parametrize("text", ["it's", "a\\b", "'; drop table t; --", "\\'", "''", "Zoë", ""])
@pytest.mark.parametrize("conforming", ["on", "off"])
def test_a_constant_is_that_text_whatever_a_backslash_means(typed: Database, text: str, conforming: str) -> None:
    with typed.connect() as conn:
        column = columns.read(conn)["public.t"].columns["c0"]
        conn.execute("select set_config('standard_conforming_strings', %s, false)", [conforming])
        [row] = conn.execute(
            f"select {masking.expression(column, Rule('constant', text))} as value".encode()
        ).fetchall()
    assert row["value"] == text


def test_columns_that_agree_in_what_is_made_of_them_agree_in_all_values(typed: Database) -> None:
    with typed.connect() as conn:
        table = columns.read(conn)["public.t"]
    text, other, number = (table.columns[name] for name in ("c0", "c1", "c5"))
    assert masking.made(text, Rule("keep")) == masking.made(number, Rule("keep")) == "x"
    assert masking.made(text, Rule("sql", "a")) == "sql a"
    assert masking.made(text, Rule("hash")) == masking.expression(text, Rule("hash")).replace(text.quoted, "x")
    assert masking.made(text, Rule("hash")) != masking.made(other, Rule("hash"))
    assert masking.expression(text, Rule("sql", "left(c0, 1)")) == "(\nleft(c0, 1)\n)"
    assert masking.expression(other, Rule("sql", "c0")) == f"(\nc0\n)::{other.base_type}"


# --- the proposal -------------------------------------------------------------------------

ODD = """
create table people (id int generated always as identity primary key, "e-mail" text unique, contact text, first_name text, phone int8 unique, dob date,
  settings jsonb not null, cv bytea not null, place point, login_count int, "from" inet, "null" text, password_digest varchar(20) not null unique);
create table notes (person int references people, mail text references people ("e-mail"), body text, tags text[] not null default '{quiet}');
comment on table people is 'Alice and Bob';
insert into people ("e-mail", contact, first_name, phone, settings, cv, password_digest)
  select 'p' || n || '@people.test', 'q' || n || '@people.test', 'Zed' || n, n, '{}', '', n from generate_series(1, 50) n;
analyze
"""


def test_the_first_file_is_proposed_without_a_value_and_works(
    postgres: Server, tmp_path: Path, one: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    for source in made(postgres, tmp_path):
        source.do(f'create database "{source.name}"', "postgres")
        source.do(ODD)
        settings = load({}, {"CONNECTION_URL": one.url, "PROD_CONNECTION_URL": source.url}, one.root)
        first_file.write(settings, "prod")
        text = settings.masks.read_text(encoding="utf-8")
        told = capfd.readouterr()
        assert "people.test" not in text + told.out + told.err
        assert "Zed" not in text
        for line in (
            '"e-mail": {fake: email}', "contact: {fake: email}", "first_name: {fake: name}", "phone: hash", "dob: {fake: date}", "settings: {constant: '{}'}",
            "login_count: keep", "mail: {fake: email}", '"null": {fake: text}', "password_digest: hash", "tags: {fake: text}", 'place: "null"',
            "#   comment: table people", "#   default: default value for column tags of table notes",
        ):  # fmt: skip
            assert line in text, line
        pulled = pull.pull(settings, compose, "prod", "local", How())
        assert {each.table: each.rows for each in pulled.tables} == {"public.notes": 0, "public.people": 50}
        assert one.scalar("select count(*) from people where contact like '%@people.test'") == 0
        kept = text.replace("contact: {fake: email}", "contact: keep").replace(
            '"null": {fake: text}', '"null": {keep: quiet}'
        )
        for other, told_of in (
            (kept, r":17:16: keep for public.people.contact, which looks like an e-mail address \(its values do\)"),
            (kept.replace("      contact: keep\n", "").replace("[]", "[text]", 1), r":6:14: keep for public.people.contact, .* \(its values do\)"),
        ):  # fmt: skip
            settings.masks.write_text(other, encoding="utf-8")
            with pytest.raises(Misconfigured, match=told_of):
                pull.pull(settings, compose, "prod", "local", How())
        settings.masks.write_text(text, encoding="utf-8")
        with pytest.raises(Misconfigured, match="is there already, and stays as it is"):
            first_file.write(settings, "prod")
        assert settings.masks.read_text(encoding="utf-8") == text
        assert not [
            path
            for path in settings.masks.parent.iterdir()
            if path.name.startswith("masks.") and path != settings.masks
        ]


def test_the_file_of_the_page_and_the_one_that_comes_along_fit_the_sample(
    postgres: Server, tmp_path: Path, one: Database
) -> None:
    page = (SUITE / "docs" / "pull.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for source in made(postgres, tmp_path):
        source.do(f'create database "{source.name}"', "postgres")
        source.do((SUITE / "sql" / "schema.sql").read_text(encoding="utf-8"))
        settings = load({}, {"CONNECTION_URL": one.url, "PROD_CONNECTION_URL": source.url}, one.root)
        for text, what in ((shown, "part"), ((SUITE / "sql" / "masks.yaml").read_text(encoding="utf-8"), "all")):
            settings.masks.write_text(text, encoding="utf-8")
            pulled = pull.pull(settings, compose, "prod", "local", How(dry_run=True))
            assert [each.what for each in pulled.tables] == [what, "all"]
            assert not pulled.done


# --- the key ------------------------------------------------------------------------------


def test_a_key_is_of_its_source_and_no_others(root: Path) -> None:
    first = keys.of_source(root, "1", "shop")
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first == keys.of_source(root, "1", "shop")
    assert len({first, keys.of_source(root, "2", "shop"), keys.of_source(root, "1", "other"), keys.own(root)}) == 4
    assert [path.name for path in (root / ".local").glob("mask*")] == ["mask.key"]


@pytest.mark.parametrize("kind", ["damaged", "empty", "open", "link"])
def test_a_key_that_is_not_as_we_left_it_is_not_used(root: Path, kind: str) -> None:
    keys.own(root)
    path = root / ".local" / "mask.key"
    match kind:
        case "damaged":
            path.write_text("x" * 64)
        case "empty":
            path.write_text("")
        case "open":
            path.chmod(0o644)
        case "link":
            path.rename(root / "elsewhere")
            path.symlink_to(root / "elsewhere")
    with pytest.raises(Problem, match=r"is damaged: remove it|may be read by others: chmod 600|is a link or not ours"):
        keys.own(root)


def test_shares_are_read_as_people_write_them() -> None:
    assert [masks_file.share_of(text) for text in ("5%", " 0.5 %", "100%")] == [0.05, 0.005, 1.0]
    for text in ("5", "0%", "101%", "five", "-1%"):
        with pytest.raises(ValueError, match="give a share of the rows"):
            masks_file.share_of(text)
