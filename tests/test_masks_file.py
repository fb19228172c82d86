"""The masks file by itself, without a server: each fault with its place, and what becomes of each column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from config.settings import load
from ops.db.pull import masks_file
from ops.db.pull.columns import Column, Foreign, Table, Unique
from ops.db.pull.masking import KEEP, Rule
from ops.db.pull.masks_file import Decided, Masks, TableRules
from ops.errors import Misconfigured
from ops.yaml_file import compose

FILE = "sql/masks.yaml"


def read(root: Path, text: str | bytes) -> Masks:
    path = root / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return masks_file.read(load({}, {}, root), compose)


def told(error: pytest.ExceptionInfo[Misconfigured]) -> list[str]:
    return str(error.value).splitlines()


# --- read ---------------------------------------------------------------------------------

GOOD = """\
safe_types: [numeric, timestamptz]
tables:
  users:
    rows: 12.5 %
    where: id > 3
    columns: {a: keep, b: hash, c: null, d: "null", e: {keep: nobody's}, f: {constant: x y}, g: {fake: email}, h: {sql: id + 1}}
  notes: skip
  empty: {}
  more: {columns: {a: ~}}
"""


def test_what_each_word_says(root: Path) -> None:
    def at(letters: str) -> str:
        return f"{FILE}:6:{GOOD.splitlines()[5].index(letters) + 1}"

    rules = {
        "a": Rule("keep", "", at("keep, b")), "b": Rule("hash", "", at("hash")), "c": Rule("null", "", at("null,")),
        "d": Rule("null", "", at('"null"')), "e": Rule("keep", "nobody's", at("nobody's")), "f": Rule("constant", "x y", at("x y")),
        "g": Rule("fake", "email", at("email")), "h": Rule("sql", "id + 1", at("id + 1")),
    }  # fmt: skip
    places = {name: at(f"{name}: ") for name in "abcdefgh"}
    assert read(root, GOOD) == Masks(
        FILE,
        [("numeric", f"{FILE}:1:14"), ("timestamptz", f"{FILE}:1:23")],
        {
            "users": TableRules("users", f"{FILE}:3:3", False, 0.125, "id > 3", f"{FILE}:5:12", rules, places),
            "notes": TableRules("notes", f"{FILE}:7:3", skip=True),
            "empty": TableRules("empty", f"{FILE}:8:3"),
            "more": TableRules(
                "more", f"{FILE}:9:3", columns={"a": Rule("null", "", f"{FILE}:9:23")}, columns_at={"a": f"{FILE}:9:20"}
            ),
        },
    )
    assert read(root, "") == read(root, "tables:\n") == Masks(FILE)


BAD = """\
nonsense: 1
safe_types: text
tables:
  users: gone
  orders:
    rows: 5
    where: {a: b}
    kind: x
    columns: [a]
  ? [a]
  : skip
  orders: skip
  nothing:
  more: {rows: [5%], columns: {}}
  notes:
    columns:
      a: {fake: nobody}
      b: {constant: ' '}
      c: {hash: x}
      d: [keep]
      e: maybe
      f: {fake: name, sql: x}
      g: {fake: [name]}
      h: {? [x] : y}
      i: keep
      j: {null: x}
  list: [a]
"""
NO_RULE = "is no rule: write keep, null, hash, {constant: …}, {fake: email}, or {sql: …}"
NO_TABLE_WORD = "no such word here, use columns, rows or where"
SAID = [
    "1:1: nonsense: no such word here, use tables or safe_types",
    "2:13: safe_types is no list: write [boolean, timestamptz]",
    "4:10: gone: write skip, or columns:, rows: and where: below users",
    "6:11: 5: give a share of the rows, like 5%",
    "7:12: where of orders is no text: write a condition of SQL in quotes",
    f"8:5: kind: {NO_TABLE_WORD}",
    "9:14: columns of orders is no mapping: write a name, a colon, and what it has below it",
    "10:5: this is no name",
    "12:3: orders stands here twice: take one out",
    "13:11: nothing: write skip, or columns:, rows: and where: below nothing",
    "14:16: this: give a share of the rows, like 5%",
    "17:17: nobody: there is no such fake, use one of name, email, handle, address, phone, text, url, ip, date, number",
    "18:21: constant: give it a value",
    f"19:11: hash {NO_RULE}",
    f"20:10: this {NO_RULE}",
    f"21:10: maybe {NO_RULE}",
    f"22:10: this {NO_RULE}",
    "23:17: fake: give it a value",
    f"24:13: this {NO_RULE}",
    f"26:11: null {NO_RULE}",
    "27:9: list is no mapping: write a name, a colon, and what it has below it",
]


def test_every_fault_is_told_at_once_in_the_order_of_the_file(root: Path) -> None:
    with pytest.raises(Misconfigured) as error:
        read(root, BAD)
    assert told(error) == [f"{FILE}: {len(SAID)} faults, no row was read", *(f"{FILE}:{one}" for one in SAID)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tables: [a]", ":1:9: tables is no mapping: write a name, a colon, and what it has below it"),
        ("[a]", ":1:1: the file is no mapping: write a name, a colon, and what it has below it"),
        ("tables: {a: 1", ":1:14: expected ',' or '}', but got '<stream end>': correct it"),
        (b"\xff", ": it is not UTF-8: correct paths.masks in invoke.yaml, or the file"),
    ],
    ids=["list of tables", "list", "open", "latin"],
)
def test_a_file_that_is_none(root: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(Misconfigured) as error:
        read(root, text)
    assert told(error) == [f"{FILE}{says}"]


def test_a_file_that_is_not_there(root: Path) -> None:
    settings = load({}, {}, root)
    for there, says in (
        (False, "no such file, and without it no row of production is copied"),
        (True, "Is a directory"),
    ):
        if there:
            settings.masks.mkdir(parents=True)
        with pytest.raises(Misconfigured, match=f"^{FILE}: {says}"):
            masks_file.read(settings, compose)
    assert masks_file.shown(Path("/elsewhere/masks.yaml"), root) == "/elsewhere/masks.yaml"


def test_a_place_is_read_in_a_path_of_any_name() -> None:
    assert masks_file.place("a:b/masks.yaml:10:2") == ("a:b/masks.yaml", 10, 2)


# --- held against the source --------------------------------------------------------------

KINDS = {
    "int4": ("integer", "N"), "int8": ("bigint", "N"), "text": ("text", "S"), "varchar": ("character varying", "S"), "bool": ("boolean", "B"),
    "date": ("date", "D"), "timestamptz": ("timestamp with time zone", "D"), "jsonb": ("jsonb", "U"),
}  # fmt: skip


def column(name: str, kind: str, *, filled: bool = False, numbered: bool = False, **more: bool) -> Column:
    plain, category = KINDS[kind]
    flags = {"computed": False, "mails": False, **more}
    return Column(
        "", name, name, plain, plain, (1, 1), kind, plain, category, "", -1, filled, numbered=numbered, **flags
    )


def table(name: str, columns: Sequence[Column], *, schema: str = "public", **keys: Any) -> Table:
    quoted = f"{schema}.{name}"
    named = {each.name: Column(**{**vars(each), "table": quoted}) for each in columns}
    return Table(schema, name, quoted, True, False, False, 0, 0, [], False, named, **keys)


ID = column("id", "int8", filled=True, numbered=True)
MAIN = Unique("main", ("id",), True, False, True)


def source() -> dict[str, Table]:
    """Return people, what they say, and what belongs to neither."""
    people = [
        ID, column("email", "text", mails=True), column("handle", "varchar"), column("active", "bool"), column("born", "date"),
        column("boss", "int8"), column("upper", "text", computed=True), column("seen", "timestamptz"),
    ]  # fmt: skip
    said = [ID, column("by", "int8"), column("words", "varchar"), column("handle", "varchar")]
    found = [
        table("people", people, unique=[MAIN, Unique("handles", ("handle",), False, False, True)],
              foreign=[Foreign("bosses", "public.people", ("boss",), ("id",))]),
        table("said", said, unique=[MAIN], foreign=[
            Foreign("speaker", "public.people", ("by",), ("id",)), Foreign("handle_of", "public.people", ("handle",), ("handle",))]),
        table("log", [column("at", "date")], schema="own"),
    ]  # fmt: skip
    return {each.quoted: each for each in found}


RULES = """safe_types: [timestamptz, text]
tables:
  people:
    columns: {email: {fake: email}, handle: hash, born: {fake: date}}
  said:
    columns: {words: {fake: text}, handle: hash}
  own.log:
    columns: {at: keep}
"""


def decide(root: Path, text: str, tables: dict[str, Table]) -> dict[str, Decided]:
    masks = read(root, text)
    masks.safe_types, types = [], masks.safe_types  # only a server knows which types there are
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks_file, "check_types", lambda _, given: given.safe_types.extend(types) or [])
        return masks_file.decide(None, masks, tables, "prod")  # type: ignore[arg-type] # asked for no expression


def test_what_becomes_of_each_column(root: Path) -> None:
    found = decide(root, RULES, source())
    people, said, log = found.values()
    assert {name: (each.rule.how, each.rule.what, each.basis) for name, each in people.columns.items()} == {
        "id": ("keep", "", "generated_key"), "email": ("fake", "email", "rule"), "handle": ("hash", "", "rule"), "active": ("keep", "", "boolean"),
        "born": ("fake", "date", "rule"), "boss": ("keep", "", "foreign_key"), "upper": ("keep", "", "computed"), "seen": ("keep", "", "safe_type"),
    }  # fmt: skip
    assert people.masked == ["email", "handle", "born"]
    assert {name: each.basis for name, each in said.columns.items()} == {
        "id": "generated_key", "by": "foreign_key", "words": "rule", "handle": "rule",
    }  # fmt: skip
    assert (log.columns["at"].rule, log.skip, log.share, log.where) == (
        Rule("keep", "", f"{FILE}:8:19"),
        False,
        None,
        "",
    )
    assert said.columns["by"].rule == KEEP


def wrong(root: Path, text: str, tables: dict[str, Table] | None = None) -> list[str]:
    with pytest.raises(Misconfigured) as error:
        decide(root, text, tables or source())
    return told(error)


ALIKE = "gives several rows the same value, and public.people (handle) is unique by handles: hash, {fake: email}, {fake: handle}, keep or {sql: …}"
APART = "public.said.handle points to public.people.handle by handle_of, and the two become different values: give both one rule"
FAULTS = {
    "a table that is not there": ("own.log:", "peple: skip\n  own.log:", ["7:3: prod has no table peple, do you mean people?"]),
    "one like no other": ("own.log:", "zzz: skip\n  own.log:", ["7:3: prod has no table zzz: take it out"]),
    "a table twice": ("own.log:", "public.said: skip\n  own.log:", ["7:3: public.said is named above already: take one out"]),
    "a column that is not there": ("born:", "borrn: keep, born:", ["4:51: public.people has no column borrn in prod, do you mean born?"]),
    "one unlike any": ("born:", "zzz: keep, born:", ["4:51: public.people has no column zzz in prod: take it out"]),
    "a computed one": ("born:", "upper: keep, born:", ["4:58: upper is generated from other columns, and will be from what they become: take it out"]),
    "an address by its values": (
        "{fake: email}", "keep", ["4:22: keep for public.people.email, which looks like an e-mail address (its values do): {fake: email}, or {keep: why it is nobody's}"],
    ),
    "an address of a type that is safe": (
        "email: {fake: email}, ", "",
        ["1:14: keep for public.people.email, which looks like an e-mail address (its values do): {fake: email}, or {keep: why it is nobody's}"],
    ),
    "a type that is none for it": ("{fake: date}", "{fake: phone}", ["4:64: public.people.born: fake: phone makes no date: {fake: date}, null, {constant: …} or {sql: …}"]),
    "what becomes the same": ("hash", "{fake: name}", [f"4:52: fake: name {ALIKE}", f"6:44: {APART}"]),
    "what points elsewhere": ("handle: hash}", "handle: keep}", [f"6:44: {APART}"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_at_its_place(root: Path, name: str) -> None:
    old, new, says = FAULTS[name]
    several = [f"{FILE}: {len(says)} faults, no row was read"] if len(says) > 1 else []
    assert wrong(root, RULES.replace(old, new, 1)) == [*several, *(f"{FILE}:{one}" for one in says)]


def test_a_table_that_is_skipped_is_pointed_to_by_none(root: Path) -> None:
    text = RULES.replace(
        "people:\n    columns: {email: {fake: email}, handle: hash, born: {fake: date}}", "people: skip"
    )
    by = f"{FILE}:5:29: public.said points to public.people by speaker, which is skipped: skip both, or mask by with null"
    handle = f"{FILE}:5:44: public.said points to public.people by handle_of, which is skipped: skip both, or mask handle with null"
    assert wrong(root, text) == [f"{FILE}: 2 faults, no row was read", by, handle]
    text = text.replace("handle: hash}", 'handle: "null"}')
    assert wrong(root, text) == [by]
    assert decide(root, text.replace('"null"}', '"null", by: "null"}'), source())["public.people"].skip


LACKS = ", which prod has: no row was read; below tables, add what fits, as these lines or others:"


def test_columns_without_a_rule_are_proposed(root: Path) -> None:
    assert wrong(root, "safe_types: [timestamptz]\n") == [
        f"{FILE}: no rule for public.people.email, public.people.handle, public.people.born and 3 more{LACKS}",
        *("    public.people:", "      columns:", "        email: {fake: email}", "        handle: {fake: handle}", "        born: {fake: date}"),
        *("    public.said:", "      columns:", "        words: {fake: text}", "        handle: {fake: handle}"),
        *("    own.log:", "      columns:", "        at: {fake: date}"),
    ]  # fmt: skip
    text = RULES.replace("words: {fake: text}, ", "")
    lacks = [
        f"{FILE}:5:3: no rule for public.said.words{LACKS}",
        "    public.said:",
        "      columns:",
        "        words: {fake: text}",
    ]
    assert wrong(root, text) == lacks
    said = [f"{FILE}: 3 faults, no row was read", f"{FILE}:4:52: fake: name {ALIKE}", f"{FILE}:6:23: {APART}", *lacks]
    assert wrong(root, text.replace("hash, born", "{fake: name}, born")) == said
    like = RULES.replace("handle: hash}", "x: keep}").replace("x: keep", "by: keep")
    assert wrong(root, like)[-1] == "        handle: hash", "as what it points to"


@pytest.mark.parametrize(
    ("safe", "kind", "expected"),
    [
        ("TimestampTZ", "timestamptz", True), ("timestamp with time zone", "timestamptz", True), ("timestamp", "timestamptz", False),
        ("bigint", "int8", True), ("int8", "int8", True), ("Varchar", "varchar", True), ("text", "varchar", False), ("date", "date", True), ("", "text", False),
    ],
)  # fmt: skip
def test_a_type_is_known_by_either_name(safe: str, kind: str, expected: bool) -> None:
    assert masks_file.is_safe(column("c", kind), Masks(FILE, [(safe, "")])) is expected
    limited = Column(**{**vars(column("c", kind)), "type": "Special(3)"})
    assert masks_file.is_safe(limited, Masks(FILE, [("special(3)", "")]))


def test_what_else_a_table_may_have(root: Path) -> None:
    """Names of another schema, addresses by their names, keys that point to what is masked, and to what is masked by nothing."""
    assert wrong(root, RULES.replace("own.log", "log"))[0] == f"{FILE}: 2 faults, no row was read"
    assert wrong(root, RULES.replace("own.log", "log"))[1] == f"{FILE}:7:3: prod has no table log: take it out"
    mail = table("t", [column("by_mail", "varchar"), column("mail_id", "int4"), column("told", "bool", mails=True)])
    assert wrong(root, "tables: {t: {columns: {by_mail: keep, mail_id: keep}}}", {mail.quoted: mail}) == [
        f"{FILE}:1:33: keep for public.t.by_mail, which looks like an e-mail address (its name says so): {{fake: email}}, or {{keep: why it is nobody's}}"
    ]
    assert decide(root, "tables: {t: {columns: {by_mail: {keep: ours}, mail_id: keep}}}", {mail.quoted: mail})
    tables = source()
    tables["public.said"].unique.append(Unique("once", ("by",), False, False, True))
    masked = RULES.replace("{email", "{id: {fake: number}, email")
    assert [line.partition(": ")[2] for line in wrong(root, masked, tables)[1:]] == [
        "fake: number gives several rows the same value, and public.people (id) is unique by main: hash, keep or {sql: …}",
        "fake: number gives several rows the same value, and public.said (by) is unique by once: hash, keep or {sql: …}",
    ]
    both = RULES.replace("handle: hash}", 'handle: keep, by: "null"}')
    assert wrong(root, both) == [f"{FILE}:6:44: {APART}"], "a null points nowhere, and the next key is looked at"
    by_type = source()
    by_type["public.people"].columns["id"] = Column(
        **{**vars(by_type["public.people"].columns["id"]), "numbered": False}
    )
    found = decide(root, RULES.replace("text]", "text, bigint]"), by_type)
    assert {found[name].columns[key].basis for name, key in (("public.people", "id"), ("public.said", "by"))} == {
        "safe_type"
    }
    assert found["public.said"].columns["by"].rule == KEEP
    assert found["public.said"].masked == ["words", "handle"]


def test_keys_of_several_columns_and_nulls(root: Path) -> None:
    def one(*unique: Unique, foreign: Sequence[Foreign] = ()) -> dict[str, Table]:
        made = table("t", [column("a", "text"), column("b", "text")], unique=list(unique), foreign=list(foreign))
        return {made.quoted: made}

    text = "tables: {t: {columns: {a: %s, b: %s}}}"
    pair = Unique("pair", ("a", "b"), False, False, True)
    for rules, keys, says in (
        (("{fake: name}", "keep"), [pair], 1),
        (("{fake: name}", "hash"), [pair, Unique("b", ("b",), False, False, True)], 0),
        (("{fake: name}", "hash"), [pair, Unique("b", ("b",), False, False, False)], 1),
        (("{fake: name}", "{fake: name}"), [pair], 2),
        (('"null"', "keep"), [pair], 0),
        (('"null"', "keep"), [pair._replace(nulls_alike=True)], 1),
        (('"null"', "keep"), [pair._replace(main=True)], 1),
    ):
        if says:
            assert len([line for line in wrong(root, text % rules, one(*keys)) if "several rows" in line]) == says
        else:
            assert decide(root, text % rules, one(*keys))
