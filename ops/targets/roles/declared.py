"""sql/roles.yaml: who may do what in the database, in words; read with the place of each.

What a word means in SQL is told by ops/db/roles/words.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from config.settings import Settings
from ops.errors import Misconfigured
from ops.targets.roles import names
from ops.yaml_file import compose

Login = Literal["none", "password", "token"]
Word = Literal[
    "own everything", "read rows", "write rows", "empty tables", "maintain tables", "run functions", "see sessions",
    "end sessions",
]  # fmt: skip
WORDS = ("own everything", "become ROLE", "read rows", "write rows", "empty tables", "maintain tables", "run functions", "see sessions", "end sessions", "PRIVILEGE on SCHEMA.TABLE")  # fmt: skip
"""All that a role may, as the file says it."""
PLAIN = tuple(word for word in WORDS if word == word.lower())
PRIVILEGES = ("select", "insert", "update", "delete", "truncate", "references", "trigger", "maintain")
"""Those of a table: https://www.postgresql.org/docs/current/ddl-priv.html."""
LOGINS = {"none": "cannot log in", "password": "by password", "token": "by IAM token on RDS, by password elsewhere"}


@dataclass(frozen=True)
class OnTable:
    """Rights in one table; who may insert may also take numbers from the sequences of its columns."""

    privileges: tuple[str, ...]
    """In lower case."""
    table: str
    """As schema.table, without quotes."""


@dataclass(frozen=True)
class Role:
    """A role as it is declared."""

    key: str
    """Its name in the file."""
    login: bool
    """Whether one can log in as it."""
    iam: bool
    """Whether that is by an IAM token, where the server is of RDS; elsewhere it is by password."""
    words: frozenset[str] = frozenset()
    becomes: tuple[str, ...] = ()
    """Keys of the roles that it may SET ROLE to; it has none of their rights before it does."""
    tables: tuple[OnTable, ...] = ()
    own_name: str = ""
    """What it is called on the server, where that is not `<database>_<key>`: one for all databases there."""
    at: str = ""
    """Its place in the file."""

    def name(self, database: str) -> str:
        """Return what it is called on the server of a database."""
        return self.own_name or names.role_name(database, self.key)

    def mark(self, database: str) -> str:
        """Return what its comment holds."""
        return names.mark("" if self.own_name else database, self.key)

    def is_marked(self, database: str, comment: str | None) -> bool:
        """Whether a comment on a role of its name says that we have made it; one that databases share, lambda.deploy may have."""
        text = comment or ""
        return self.mark(database) in text or bool(self.own_name and text.startswith(names.FUNCTION))


@dataclass(frozen=True)
class Declared:
    """The file."""

    name: str
    """Its path as it is shown."""
    schemas: tuple[str, ...]
    """Where the rows are that the words are about."""
    roles: dict[str, Role] = field(default_factory=dict)
    """By key, in the order of the file."""

    @property
    def owner(self) -> Role | None:
        """The role that owns everything."""
        return next((role for role in self.roles.values() if "own everything" in role.words), None)

    def logins(self) -> list[Role]:
        return [role for role in self.roles.values() if role.login]


def read(settings: Settings) -> Declared:
    """Return what the file says; without roles where there is no file. Raises `Misconfigured` with the place of all that cannot be read."""
    path = settings.roles
    name = shown(path, settings.root)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Declared(name, ())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured(f"{name}: {why}: correct paths.roles in invoke.yaml, or the file") from None
    try:
        node = compose(text)
    except ValueError as error:
        raise Misconfigured(f"{name}:{error}") from None
    return Reader(name).file(node)


def shown(path: Path, root: Path) -> str:
    """Return a path as people know it."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


class Reader:
    """Turns nodes of YAML into roles; what cannot be read is a fault at its place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[str] = []

    def at(self, node: Any) -> str:
        return f"{self.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def fault(self, node: Any, what: str) -> None:
        self.faults.append(f"{self.at(node)}: {what}")

    def pairs(self, node: Any, what: str) -> Iterator[tuple[str, Any, Any]]:
        """Yield the keys of a mapping, each with its own node and its value's; a key twice is a fault."""
        if node is None or node.id != "mapping":
            if node is not None:
                self.fault(node, f"{what} is no mapping: write a name, a colon, and what it has below it")
            return
        seen = set()
        for key, value in node.value:
            if key.id != "scalar" or key.value in seen:
                self.fault(key, f"{key.value if key.id == 'scalar' else 'this'} stands here twice, or is no name")
                continue
            seen.add(key.value)
            yield key.value, key, value

    def items(self, node: Any, what: str) -> list[Any]:
        """Return the words of a list."""
        if node.id == "sequence" and all(each.id == "scalar" for each in node.value):
            return list(node.value)
        self.fault(node, f"{what} is no list: write [one, another]")
        return []

    def file(self, node: Any) -> Declared:
        schemas: tuple[str, ...] = ("public",)
        roles: dict[str, Role] = {}
        for word, key, value in self.pairs(node, "the file"):
            match word:
                case "schemas":
                    schemas = tuple(each.value for each in self.items(value, "schemas"))
                case "roles":
                    roles = {name: self.role(name, own, about) for name, own, about in self.pairs(value, "roles")}
                case _:
                    self.fault(key, f"{word}: no such word here, use schemas or roles")
        declared = Declared(self.name, schemas, roles)
        if not self.faults:
            self.check(declared)
        if self.faults:
            head = [self.faults[0]] if len(self.faults) == 1 else [f"{self.name}: {len(self.faults)} faults", *self.faults]  # fmt: skip
            raise Misconfigured(*head)
        return declared

    def check(self, declared: Declared) -> None:
        """Note what each for itself is right and together is not."""
        owners = [role for role in declared.roles.values() if "own everything" in role.words]
        if declared.roles and len(owners) != 1:
            where = owners[1].at if owners else declared.name
            self.faults.append(f"{where}: one role, and one only, may own everything: {len(owners)} do")
        for role in declared.roles.values():
            for other in role.becomes:
                if other not in declared.roles or other == role.key:
                    self.faults.append(f"{role.at}: {role.key} may become {other}, which is no other role of this file")
            if role in owners and role.login:
                self.faults.append(f"{role.at}: {role.key} owns everything, and nobody logs in as it: login: none")

    def role(self, key: str, node: Any, about: Any) -> Role:
        at = self.at(node)
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,29}", key):
            self.fault(node, f"{key}: name a role in at most 30 lower-case letters, digits and _, a letter first")
        login: Login = "none"
        own, words = "", list[Any]()
        for word, word_node, value in self.pairs(about, key):
            match word:
                case "login" if value.id == "scalar" and value.value in LOGINS:
                    login = cast("Login", value.value)
                case "login":
                    self.fault(value, f"login: write {', '.join(f'{w} ({what})' for w, what in LOGINS.items())}")
                case "name" if value.id == "scalar" and 0 < len(value.value.encode()) <= names.LONGEST:
                    own = value.value
                case "name":
                    self.fault(value, f"name: give a name of at most {names.LONGEST} bytes")
                case "may":
                    words = self.items(value, "may")
                case _:
                    self.fault(word_node, f"{word}: no such word here, use login, may or name")
        found, becomes, tables = set[str](), list[str](), list[OnTable]()
        for each in words:
            text = " ".join(each.value.split())
            if text in PLAIN:
                found.add(text)
            elif become := re.fullmatch(r"become (\w+)", text):
                becomes.append(become[1])
            elif on := re.fullmatch(r"([a-z, ]+) on ([^.\s]+\.[^.\s]+)", text):
                tables.append(OnTable(self.privileges(each, on[1]), on[2]))
            else:
                self.fault(each, f"{text}: no such right, use {', '.join(WORDS)}")
        return Role(key, login != "none", login == "token", frozenset(found), tuple(becomes), tuple(tables), own, at)

    def privileges(self, node: Any, text: str) -> tuple[str, ...]:
        given = tuple(each for each in re.split(r"[, ]+", text) if each and each != "and")
        for each in given:
            if each not in PRIVILEGES:
                self.fault(node, f"{each}: no such privilege of a table, use {', '.join(PRIVILEGES)}")
        return given
