"""A query as it may be shown: what it does, and nobody's data.

Its values are people's, and so are its comments; a statement that is none of reading and writing rows (CREATE ROLE,
COPY, SET …) may hold a password or a whole query as an argument, and is shown by its kind alone. The texts come from
the server (`pg_stat_activity`), which may have cut them off anywhere.
"""

from __future__ import annotations

import re

from ops.db.sql_file import scan

VALUE = "?"
UNREADABLE = "a statement that is none"
"""A password that was typed at the wrong prompt is a query, too."""

ROWS = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE", "("))
"""How statements begin that are shown but for their values."""
# https://www.postgresql.org/docs/current/sql-commands.html; psql's completion has the same list (sql_commands)
_KINDS = re.compile(
    "ABORT|ALTER|ANALYZE|BEGIN|CALL|CHECKPOINT|CLOSE|CLUSTER|COMMENT|COMMIT|COPY|CREATE|DEALLOCATE|DECLARE|"
    "DISCARD|DO|DROP|END|EXECUTE|EXPLAIN|FETCH|GRANT|IMPORT|LISTEN|LOAD|LOCK|MOVE|NOTIFY|PREPARE|REASSIGN|"
    "REFRESH|REINDEX|RELEASE|RESET|REVOKE|ROLLBACK|SAVEPOINT|SECURITY|SET|SHOW|START|TRUNCATE|UNLISTEN|VACUUM"
)
_OF_OBJECT = re.compile("ALTER|COMMENT|CREATE|DROP|IMPORT|REFRESH|REINDEX|SECURITY")
# What is made, changed or dropped, as it stands behind these
_OBJECTS = re.compile(
    "ACCESS|AGGREGATE|CAST|CLASS|COLLATION|COLUMN|CONCURRENTLY|CONFIGURATION|CONSTRAINT|CONVERSION|DATA|"
    "DATABASE|DEFAULT|DICTIONARY|DOMAIN|EVENT|EXTENSION|FAMILY|FOREIGN|FUNCTION|GROUP|INDEX|LABEL|LANGUAGE|"
    "LARGE|MAPPING|MATERIALIZED|METHOD|OBJECT|ON|OPERATOR|OR|OWNED|PARSER|POLICY|PRIVILEGES|PROCEDURE|"
    "PUBLICATION|RECURSIVE|REPLACE|ROLE|ROUTINE|RULE|SCHEMA|SEARCH|SEQUENCE|SERVER|STATISTICS|SUBSCRIPTION|"
    "SYSTEM|TABLE|TABLESPACE|TEMP|TEMPLATE|TEMPORARY|TEXT|TRANSFORM|TRIGGER|TYPE|UNIQUE|UNLOGGED|USER|VIEW|"
    "WRAPPER"
)
_PIECE = re.compile(
    rb"(?P<string>(?:[eEbBxXnN]|[uU]&)?')|(?P<name>\"(?:[^\"]|\"\")*\"?)|(?P<dollar>\$)|(?P<end>;)"
    rb"|(?P<number>(?:[0-9]|\.[0-9])[\w.]*)|(?P<word>[A-Za-z_\x80-\xff][\w$\x80-\xff]*)|(?P<other>.)",
    re.DOTALL,
)
_PARAMETER = re.compile(rb"\$[0-9]+")
_PLAIN_NAME = re.compile(rb"\"[A-Za-z_][A-Za-z0-9_$ ]*\"")
_MANY = re.compile(r"\?(?:\s*,\s*\?)+")


def without_values(query: str, longest: int = 200) -> str:
    """Return what a query does, on one line of at most so many letters: each value is `?`, other statements are their kind.

    >>> without_values("select * from users where email = 'zoe@example.com' and id in (1, 2)")
    'select * from users where email = ? and id in (?)'
    >>> without_values("create role zoe password 'x'")
    'CREATE ROLE'
    """
    text = "; ".join(filter(None, map(one, statements(query.encode()))))
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def statements(data: bytes) -> list[list[str]]:
    """Return the words of each statement, values replaced; what follows a piece without an end is left out."""
    found: list[list[str]] = [[]]
    position = 0
    while position < len(data):
        if (after := scan.skip_blank(data, position)) > position:
            found[-1].append(" ")
            position = after
            continue
        piece = _PIECE.match(data, position)
        assert piece is not None
        text, position = piece[0].decode(errors="replace"), piece.end()
        match piece.lastgroup:
            case "string":
                position = after_string(data, piece)
                text = VALUE
            case "dollar":
                parameter = _PARAMETER.match(data, piece.start())
                position = parameter.end() if parameter else scan.after_dollar(data, piece.start())
                text = parameter[0].decode() if parameter else VALUE
            case "name" if not _PLAIN_NAME.fullmatch(piece[0]):  # some take these quotes for those of a value
                text = VALUE
            case "number":
                text = VALUE
            case "end":
                found.append([])
                continue
        found[-1].append(text)
    return found


def after_string(data: bytes, opening: re.Match[bytes]) -> int:
    r"""Return the offset behind a string, from its opening quote.

    A backslash before a quote is a letter or not by a setting of that session (standard_conforming_strings): then
    all that follows counts as the string.
    """
    if opening[0][:1] in b"eE":
        return scan.after_escaped(data, opening.end())
    close = opening.end()
    while (close := data.find(b"'", close)) >= 0:
        if data[close - 1 : close] == b"\\":
            return len(data)
        if data[close + 1 : close + 2] != b"'":
            return close + 1
        close += 2
    return len(data)


def one(words: list[str]) -> str:
    """Return a statement as it may be shown; empty where there is none."""
    text = "".join(words).strip()
    plain = [word for word in words if word != " "]
    if not plain:
        return ""
    first = plain[0].upper()
    if first in ROWS:
        return _MANY.sub(VALUE, text)
    if not _KINDS.fullmatch(first):
        return UNREADABLE
    kind = [first]
    for word in plain[1:] if _OF_OBJECT.fullmatch(first) else []:
        if not _OBJECTS.fullmatch(word.upper()):
            break
        kind.append(word.upper())
    return " ".join(kind)
