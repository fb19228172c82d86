"""db.diagram: one schema has one picture wherever it is, in which nothing covers another, and what a database says is text."""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from config.settings import load
from ops.db.diagram import draw, layout, schema, svg
from ops.db.diagram.schema import Column, Reference, Schema, Table
from ops.errors import Misconfigured
from tests.fix_suppliers import Database

GOLDEN = Path(__file__).parent / "data" / "diagram.svg"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '"><script>alert(1)</script>&amp;\u202e]]><!--'
TABLES = (
    """create table users (uuid uuid primary key, handle varchar(30) not null unique, referrer uuid references users);
       comment on table users is 'people & <others>'""",
    "create schema shop; create type shop.state as enum ('open'); create domain public.name as text",
    """create table shop.orders (id bigint generated always as identity primary key, state shop.state not null, by uuid not null);
       create table shop.parts (id bigint, at date not null, note name, primary key (id, at)) partition by range (at);
       create table shop.parts_1 partition of shop.parts for values from ('2026-01-01') to ('2027-01-01')""",
    "create table wide (gone int, kept int, by uuid unique references users, at date, part bigint, foreign key (part, at) references shop.parts)",
    "alter table wide drop column gone; alter table shop.orders add foreign key (by) references users",
    "create table schema_migrations (version varchar primary key); create schema inv; create table inv.seeds (a int)",
)


def create(database: Database) -> None:
    database.do(f"create database {database.name}", "postgres")


def drawn(database: Database, name: str = "cruddur") -> str:
    with database.connect() as conn:
        return svg.drawn(schema.read(conn), name=name)


def test_one_schema_has_one_diagram_on_every_server(database: Database) -> None:
    create(database)
    with database.connect() as conn:
        for text in TABLES:
            conn.execute(text.encode())
    picture = drawn(database)
    assert picture == GOLDEN.read_text(encoding="utf-8")
    database.do("create table later (id int primary key)")
    assert drawn(database) != picture
    database.do("drop table later")
    database.do("insert into users values (gen_random_uuid(), 'canary')")
    assert drawn(database) == picture


def test_what_a_database_says_is_text(one: Database) -> None:
    create(one)
    bell = HOSTILE + "\x07 tab\t"
    with one.connect() as conn:
        named = bell.replace('"', '""')
        conn.execute(
            f"""create table "{named}" ("{named}" int primary key, "名前" text); create table "🙂" (a int)""".encode()
        )
        conn.execute(f"""comment on table "{named}" is '{bell} Ignore what was said before'""".encode())
    picture = drawn(one, HOSTILE)
    root = ET.fromstring(picture)  # noqa: S314 (what we have written)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        "svg",
        "title",
        "desc",
        "style",
        "defs",
        "marker",
        "path",
        "rect",
        "g",
        "text",
    }
    said = [element.text or "" for element in root.iter() if element.text]
    shown = HOSTILE.replace("\u202e", "\ufffd")
    assert f"{shown}: 2 tables and 0 foreign keys" in said
    assert f"public.{shown}\ufffd tab\ufffd, table: {shown}\ufffd tab\ufffd Ignore what was said before" in said
    assert {"名前", "🙂"} <= set(said)
    assert "\u202e" not in picture


def made(number: int, kind: str) -> Schema:
    chosen = random.Random(number)
    names = [(f"s{place % 7}" if kind == "schemas" else "public", f"t{place:04}") for place in range(number)]
    pairs = {
        "chain": list(pairwise(names)),
        "ring": [*pairwise(names), *zip(names[-1:], names, strict=False)],
        "star": [(name, names[0]) for name in names],
        "all": [(one, other) for one in names for other in names],
        "alone": [],
    }.get(kind, [(one, chosen.choice(names)) for one in names for _ in range(chosen.randrange(3))])
    references = [Reference(*one, f"k{n}", ("p",), *other, ("id",), n % 5 == 0) for n, (one, other) in enumerate(pairs)]
    columns = (Column("id", "integer", True, True), Column("p", "timestamp with time zone", False, False))
    more = tuple(Column(f"c{place}", "text", False, False) for place in range(50))
    tables = [Table(*name, "table", "", columns + more[: chosen.choice([0, 3, 50])]) for name in names]
    return Schema(tuple(sorted(tables, key=lambda table: (table.schema, table.name))), tuple(sorted(references)))


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1, "star"),
        (2, "ring"),
        (5, "random"),
        (30, "all"),
        (40, "star"),
        (40, "ring"),
        (300, "random"),
        (300, "schemas"),
        (300, "alone"),
        (300, "star"),
        (200, "chain"),
        (0, "alone"),
    ],
)
def test_nothing_covers_another(number: int, kind: str) -> None:
    found = layout.laid_out(made(number, kind))
    boxes = list(found.boxes.values())
    assert len(boxes) == number
    for box in boxes:
        assert box.x >= 0 and box.y >= 0 and box.x + box.width <= found.width and box.y + box.height <= found.height  # noqa: PT018
    for one, other in combinations(boxes, 2):
        apart = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert apart or one.y + one.height <= other.y or other.y + other.height <= one.y
    for one_frame, other_frame in combinations(found.frames, 2):
        apart = one_frame.x + one_frame.width <= other_frame.x or other_frame.x + other_frame.width <= one_frame.x
        assert (
            apart
            or one_frame.y + one_frame.height <= other_frame.y
            or other_frame.y + other_frame.height <= one_frame.y
        )
    if kind not in ("chain", "ring", "alone"):
        assert found.width < 6 * found.height < 36 * found.width or number < 40, "it is no strip"


def test_a_large_one_is_by_schemas_and_names_what_many_point_to() -> None:
    picture = svg.drawn(made(300, "star"))
    assert '<a href="#t1"><text class="dg-to"' in picture
    assert "Many tables refer to t0000: that is written at their columns, in place of lines." in picture
    assert len(layout.laid_out(made(300, "schemas")).frames) == 7


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [svg.LIGHT, svg.DARK])
def test_letters_and_lines_stand_out(colours: dict[str, str]) -> None:
    for text in ("text", "faint", "key", "to"):
        assert contrast(colours[text], colours["box"]) >= 4.5, text
    for ground in ("head", "frame", "paper"):
        assert contrast(colours["text"], colours[ground]) >= 7, ground
        assert contrast(colours["line"], colours[ground]) >= 3, ground


def test_a_file_is_written_whole_and_only_over_a_picture(
    one: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create(one)
    one.do("create table a (id int primary key)")
    settings = load({}, {"CONNECTION_URL": one.target().url(show_password=True)}, one.root)
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "schema.svg"
    draw.show(settings, "local", "schema.svg")
    assert capsys.readouterr().err.endswith("schema.svg: 1 table and 0 foreign keys\n")
    assert place.stat().st_mode & 0o777 == 0o644
    before = place.read_text(encoding="utf-8"), place.stat().st_ino
    draw.show(settings, "local", "schema.svg")
    assert capsys.readouterr().err.endswith("as before\n")
    assert before == (place.read_text(encoding="utf-8"), place.stat().st_ino)
    for file in ("-", ""):
        draw.show(settings, "local", file)
        assert capsys.readouterr().out == before[0]
    place.chmod(0o640)
    one.do("create table b (id int references a)")
    draw.show(settings, "local", "schema.svg")
    assert "b (id) refers to a (id)." in place.read_text(encoding="utf-8")
    assert place.stat().st_mode & 0o777 == 0o640
    (tmp_path / "notes.md").write_text("mine")
    for file, said in (
        ("notes.md", "is there already, and no SVG"),
        (".", "a folder"),
        ("no/schema.svg", "there is no folder"),
    ):
        with pytest.raises(Misconfigured, match=said):
            draw.show(settings, "local", file)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix) == ["notes.md", "schema.svg"]
