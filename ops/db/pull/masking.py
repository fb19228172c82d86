"""A column's mask as SQL, computed by the source itself, so that what it stands for never leaves it.

Keyed masks are SHA-256 over a key and the value, cut to half its length and less: without the key nobody computes it, the cut
keeps the hash from being extended, and the server has it built in since PostgreSQL 11, while an HMAC would cost twice as much
and needs an extension. md5 would be a quarter faster, and is broken
(https://www.postgresql.org/docs/current/functions-binarystring.html).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ops.db.pull.columns import Column

How = Literal["keep", "null", "constant", "hash", "fake", "sql"]
KEY = "inv.mask_key"
"""The setting of the session that has the key, for the length of a transaction."""


@dataclass(frozen=True)
class Rule:
    """What becomes of a column's values."""

    how: How
    what: str = ""
    """The constant, the kind of fake, the expression; why it may be kept."""
    at: str = ""
    """Where it stands, as path:line:column; empty where it stands nowhere."""


KEEP, NULL = Rule("keep"), Rule("null")

TEXTS = ("text", "varchar", "bpchar", "citext")
WHOLE = {"int2": 32767, "int4": 2147483647, "int8": 9223372036854775807}
TIMES = ("date", "timestamp", "timestamptz")
FAKES = ("name", "email", "handle", "address", "phone", "text", "url", "ip", "date", "number")
FITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("name", "email", "handle", "address", "text", "url"), TEXTS),
    "phone": (*TEXTS, "int8", "numeric"),
    "ip": (*TEXTS, "inet"),
    "date": TIMES,
    "number": (*WHOLE, "numeric", "float4", "float8"),
}
"""The types that each fake is for."""
HASHES = (*TEXTS, *WHOLE, "numeric", "uuid", "bytea")
NEEDS = {"email": 29, "url": 36, "phone": 13, "ip": 15}
"""Letters that a fake has at least, since less would be none."""
EVEN = 16
"""Hexadecimal digits that tell values apart: 64 bits, for some hundred million of them."""

FIRST = (
    "Ada Bela Cleo Dario Edda Femi Gita Hugo Ines Jun Kaya Lars Mina Nils Orla Pavel Quinn Rosa Sami Tara Umar Vera Wim Xenia Yuri Zora "
    "Anton Bruna Carlo Dunja Emil Fleur"
)
LAST = (
    "Abel Brook Castle Dale Ember Field Grove Hill Isle Jasper Knoll Lake Marsh North Orchard Pine Quarry Reed Stone Thorn Upton Vale Wood "
    "Yarrow Birch Cliff Dune Elm Ford Glen Heath Ivy"
)
STREETS = "Harbour Garden Mill Station Church Market River Forest Meadow Castle Bridge School Park Spring Field Hill"
TOWNS = (
    "Northwick Easton Southby Westholm Millbrook Fairhaven Oakridge Stonebury Lakewood Ashford Brightwell Coldharbour"
)
LOREM = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua ut enim "
    "ad minim veniam quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat duis aute irure dolor in "
    "reprehenderit in voluptate velit esse cillum dolore eu fugiat nulla pariatur excepteur sint occaecat cupidatat non proident "
)


def element(column: Column) -> str:
    """Return the type that is masked: of an array its elements'."""
    return column.element or column.base


def limit(column: Column) -> int:
    """Return the most letters of what is masked; 0 for any number."""
    if column.element in ("varchar", "bpchar") and column.modifier > 4:
        return column.modifier - 4
    return column.limit


def why_not(column: Column, rule: Rule) -> str:
    """Return why a rule cannot be applied to a column's type, with the mend; empty where it can."""
    kind = element(column)
    others = "null, {constant: …} or {sql: …}"
    if rule.how == "hash" and kind not in HASHES:
        return f"hash makes no {column.type}: {others}"
    if rule.how == "hash" and kind == "numeric" and column.modifier >= 4:
        return f"hash would not fit into {column.type}: {{fake: number}}"
    if rule.how != "fake":
        return ""
    if kind not in FITS[rule.what]:
        fitting = [name for name in FAKES if kind in FITS[name]]
        told = f"{{fake: {' or '.join(fitting)}}}, " if fitting else ""
        return f"fake: {rule.what} makes no {column.type}: {told}{others}"
    if kind == "numeric" and rule.what == "phone" and column.modifier >= 4:
        return f"fake: phone would not fit into {column.type}: {{fake: number}}"
    if 0 < limit(column) < NEEDS.get(rule.what, 0):
        return f"fake: {rule.what} has {NEEDS[rule.what]} letters, {column.type} has fewer: hash or {others}"
    return ""


def is_injective(column: Column, rule: Rule) -> bool:
    """Whether different values stay different. What an expression of the file does is not known: it is taken at its word."""
    if rule.how in ("keep", "sql"):
        return True
    most = limit(column)
    if column.element:
        return False
    match rule.how, rule.what:
        case "hash", _:
            return column.base in ("uuid", "bytea", "int8", "numeric") or (column.base in TEXTS and not 0 < most < EVEN)
        case "fake", "email" | "url":
            return True
        case "fake", "handle":
            return not 0 < most <= EVEN
        case _:
            return False


def instead(column: Column) -> str:
    """Return the rules by which different values of a column stay different."""
    rules = [(Rule("hash"), "hash"), (Rule("fake", "email"), "{fake: email}"), (Rule("fake", "handle"), "{fake: handle}")]  # fmt: skip
    fitting = [name for rule, name in rules if not why_not(column, rule) and is_injective(column, rule)]
    return ", ".join([*fitting, "keep or {sql: …}"])


def made(column: Column, rule: Rule) -> str:
    """Return what becomes of a value whatever column it stands in: two columns that agree in this agree in all values."""
    if rule.how == "keep":
        return "x"
    if rule.how == "sql":
        return f"sql {rule.what}"
    return of_value(column, rule, "x")


def expression(column: Column, rule: Rule) -> str:
    """Return the SQL that the source gives in the place of a column; null stays null but under a constant."""
    if rule.how == "keep":
        return column.quoted
    if rule.how == "sql":
        # Text that the column would refuse for its length is cut, as a cast says
        cast = f"::{column.base_type}" if column.limit else ""
        return f"(\n{rule.what}\n){cast}"
    return of_value(column, rule, column.quoted)


def of_value(column: Column, rule: Rule, value: str) -> str:
    """Return the mask of a value; of an array, of each element."""
    if rule.how == "null":
        return f"null::{column.base_type}"
    if rule.how == "constant":
        return f"{literal(rule.what)}::{column.type}"
    if column.element:
        one = masked(column, rule, "u.v")
        return (
            f"case when {value} is not null then coalesce((select array_agg({one} order by u.n)"
            f" from unnest({value}) with ordinality as u (v, n)), '{{}}')::{column.base_type} end"
        )
    return f"{masked(column, rule, value)}::{column.base_type}"


def literal(text: str) -> str:
    """Return a text as SQL, whatever the session takes a backslash for."""
    quoted = text.replace("'", "''").replace("\\", "\\\\")
    return f"E'{quoted}'"


def masked(column: Column, rule: Rule, value: str) -> str:
    """Return the keyed mask of one value that is no array."""
    kind, most = element(column), limit(column)
    same = normal(kind, value)
    if rule.how == "hash":
        return hashed(kind, same, most)
    match rule.what:
        case "email":
            return f"('u' || {digits(same)} || '@example.org')"
        case "url":
            return f"('https://example.org/' || {digits(same)})"
        case "handle":
            return f"('u' || {digits(same, min(EVEN, most - 1) if most else EVEN)})"
        case "name":
            return cut(f"(select {word(FIRST, 'h')} || ' ' || {word(LAST, 'h / 64')} from {once(same)})", most)
        case "address":
            parts = f"(1 + h % 199) || ' ' || {word(STREETS, 'h / 256')} || ' Street, ' || {word(TOWNS, 'h / 8192')}"
            return cut(f"(select {parts} from {once(same)})", most)
        case "phone":
            number = f"lpad(({number_of(same)} % 1000000000)::text, 9, '0')"
            return f"('+999' || {number})" if kind in TEXTS else f"('999' || {number})"
        case "ip":
            host = f"(inet '10.0.0.0' + ({number_of(same)} % 16777216))"
            return f"host({host})" if kind in TEXTS else host
        case "date":
            return f"(date '1950-01-01' + ({number_of(same)} % 20000)::int)"
        case "number":
            return numbered(kind, value, same)
        case _:
            size = f"length({value}::text)"
            piece = f"substr(repeat('{LOREM}', 2 + {size} / {len(LOREM)}), (1 + {number_of(same)} % {len(LOREM)})::int, {size})"
            # a letter or two may be such a piece themselves; no piece is made of dashes
            return f"coalesce(nullif({piece}, {value}::text), repeat('-', {size}))"


def normal(kind: str, value: str) -> str:
    """Return the text of a value: the same for values that are equal."""
    if kind == "citext":
        return f"lower({value}::text)"
    if kind == "numeric":
        return f"trim_scale({value})::text"
    return f"{value}::text"


def digest(text: str) -> str:
    """Return the keyed hash of a text, 32 bytes."""
    return f"sha256(convert_to((select current_setting('{KEY}')) || {text}, 'UTF8'))"


def digits(text: str, count: int = EVEN) -> str:
    """Return hexadecimal digits of the keyed hash; of half of it at most."""
    return f"left(encode({digest(text)}, 'hex'), {min(count, 32)})"


def number_of(text: str) -> str:
    """Return a whole number of 63 bits, of the keyed hash."""
    return f"(('x' || {digits(text)})::bit(64)::bigint & 9223372036854775807)"


def once(text: str) -> str:
    """Return a relation of one row that has the number of a text as h, computed once."""
    return f"(select {number_of(text)} as h offset 0) as d"


def word(words: str, number: str) -> str:
    """Return one of some words, by a number."""
    listed = words.split()
    return f"('{{{','.join(listed)}}}'::text[])[(1 + ({number}) % {len(listed)})::int]"


def cut(text: str, most: int) -> str:
    return f"left({text}, {most})" if most else text


def hashed(kind: str, text: str, most: int) -> str:
    """Return a hash in the form of a type."""
    if kind in TEXTS:
        return digits(text, min(most, 32) if most else 32)
    if kind == "uuid":
        return f"{digits(text, 32)}::uuid"
    if kind == "bytea":
        return f"substr({digest(text)}, 1, 16)"
    if kind in ("int2", "int4"):
        return f"({number_of(text)} % {WHOLE[kind]})"
    return number_of(text)


def numbered(kind: str, value: str, text: str) -> str:
    """Return another number with as many digits before the point, and the same sign."""
    length = f"length(trunc(abs({value}::numeric))::text)"
    size = f"(10::numeric ^ ({length} - 1))"
    number = f"(trunc({size}) + {number_of(text)} % (trunc({size}) * 9))"
    if kind in WHOLE:
        number = f"least({number}, {WHOLE[kind]})"
    return f"(sign({value}::numeric) * {number})"
