"""The schema of a database as a file: the same text for the same schema, whatever server, pg_dump, setting or machine it comes from.

What pg_dump writes is loaded into the embedded server and written once more from there: so all come from one version, and each
expression is as that prints it. Then what is no part of a schema goes: settings of the session, names of versions, comments.
A file is written only where our line at its top says that we made it: one that somebody wrote keeps its comments and order.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from config.paths import make_folders
from config.settings import Settings
from ops import postgres, process
from ops.console import say
from ops.db import load
from ops.db.copies import beside, programs, relay
from ops.db.drift import catalog, compare, kinds, scratch, spelling
from ops.db.drift.catalog import Catalog
from ops.db.migrations import history, objects
from ops.db.sql_file.script import Script, checked
from ops.errors import Problem
from ops.targets.open_target import OpenTarget

MADE = "-- Made by inv"
HEAD = f"""\
{MADE} from the migrations, written anew after each: change it by one (inv db.migration-new), not here.
SET check_function_bodies = false;
SELECT pg_catalog.set_config('search_path', '', false);
"""
OPTIONS = (
    "--schema-only", "--no-owner", "--no-subscriptions", "--no-security-labels", "--exclude-schema=inv", "--encoding=UTF8",
    "--lock-wait-timeout=10s",
)  # fmt: skip
"""Of pg_dump (https://www.postgresql.org/docs/current/app-pgdump.html); rights and comments stay."""
# What the newer ones write about the reader, and not about the schema
PROGRAMS_OWN = re.compile(rb"^\\(un)?restrict .*\n", re.MULTILINE)
COMMENTS = re.compile(r"(\s*(--[^\n]*)?\n)*(\s*--[^\n]*)?\s*\Z")
SESSION = re.compile(
    r"SET (?!default_table_access_method|default_tablespace)\w+ = |SELECT pg_catalog\.set_config\('search_path'"
)
USUAL = {"SET default_table_access_method = heap;", "SET default_tablespace = '';"}
SWITCHED = re.compile(r"SET default_(table_access_method|tablespace) = ")
NOT_OURS = re.compile(r"COMMENT ON EXTENSION |(GRANT|REVOKE) .* (TO|FROM) lambda_signup;\Z", re.DOTALL)
"""A comment on an extension is its own, and only its owner may write it; rights of the function are given by lambda.deploy."""
NOT_NULL = re.compile(
    r'^(    (?P<column>"(?:[^"]|"")+"|\S+) .*?) CONSTRAINT "?(?P<name>(?:[^"]|"")*?)"? NOT NULL', re.MULTILINE
)
"""PostgreSQL 18 knows the constraint of a NOT NULL by name: one that a partition has by its parent's name, older servers do not tell."""
ALL_RIGHTS = re.compile(r"\b(GRANT|REVOKE) ([A-Z]+(?:,[A-Z]+){6}) ON (TABLES?) ")
"""All that there are on a table of a server before 17, which has no MAINTAIN: GRANT ALL there and here."""
HISTORY = "select name, to_regclass(name) is not null as there from format('%%I.schema_migrations', %s::text) as name"


NO_SECRETS = "-- Values of options that may be passwords are left out: give them with ALTER … OPTIONS (SET …)."
OF_OTHERS = re.compile(r"(CREATE (?P<mapping>USER MAPPING)|CREATE SERVER|(CREATE|ALTER) FOREIGN)\b")
"""What has options for other servers. Their names stay, by which a mapping is compared; subscriptions are not dumped at all."""
OPTION = re.compile(
    r"(?P<name>\"(?:[^\"]|\"\")+\"|\w+) (?!'(?:true|false|on|off)')E?'(?P<value>(?:[^']|'')*)'", re.IGNORECASE
)
SECRET = re.compile(kinds.HIDDEN_NAMES, re.IGNORECASE)
HOLDS = re.compile(kinds.HIDDEN_VALUES, re.IGNORECASE)


def is_generated(path: Path) -> bool:
    """Whether a schema file was made by us: then it may be written anew."""
    try:
        with path.open("rb") as file:
            return file.read(len(MADE)) == MADE.encode()
    except FileNotFoundError:
        return False


def write(at: OpenTarget, path: Path, *, force: bool = False) -> bool:
    """Write the schema of a database into its file, if that is ours, is not there, or `force` says so; whether it is now as it should be.

    A file that says the same already is not touched. Raises `Problem` where the schema cannot be dumped.
    """
    if path.exists() and not force and not is_generated(path):
        return False
    text = dump(at)
    real = path.resolve()
    if real.exists() and real.read_bytes() == text.encode():
        return True
    make_folders(path.parent)
    beside.write(path, text.encode(), overwrite=True)
    return True


def keep(path: Path) -> Path:
    """Copy a file to beside itself, under a name that no other has, and return that."""
    real = path.resolve()
    numbers = itertools.chain([""], itertools.count(2))
    for kept in (real.with_name(f"{real.name}.before{number}") for number in numbers):
        if not os.path.lexists(kept):
            beside.write(kept, real.read_bytes(), overwrite=False)
            return kept
    raise AssertionError


def dump(at: OpenTarget) -> str:
    """Return the schema of a database as SQL: the same for the same schema.

    Raises `Problem` where there is no pg_dump for the server. Where the embedded server lacks what the schema needs, an
    extension mostly, the text is as this server's own pg_dump writes it, and that is said.
    """
    with at.connect() as conn:
        schema = history.schema_of(conn)
    first = dumped(at, schema)
    try:
        with scratch.open_scratch(at.settings, at.task) as again:
            script = checked(Script("the schema", first.encode()))
            with again.connect() as conn:
                load.load_file(again, conn, load.plan(script, {}))
            return dumped(again, schema)
    except Problem as error:
        say(
            f"note: the schema file is as the pg_dump for this server writes it, and may change with that: {error.args[0]}"
        )
        return first


def pg_dump(at: OpenTarget, *options: str) -> str:
    """Return what pg_dump writes of a target's schema; raises `Problem` with its words, and where no program fits the server."""
    client = programs.find_programs(at.conn.info.server_version // 10000)
    with relay.open_way(at, client) as env:
        done = process.run([client.pg_dump, *options], env)
    if done.returncode:
        raise Problem(f"the schema of {at.name} could not be dumped: {' '.join(done.stderr.split())}")
    return done.stdout


def dumped(at: OpenTarget, schema: str = "public") -> str:
    """Return what pg_dump writes of a database, without what changes from one to the next; `schema` has the history."""
    made = pg_dump(at, *OPTIONS)
    if at.conn.info.server_version < 170000:
        made = ALL_RIGHTS.sub(r"\1 ALL ON \3 ", made)
    text = HEAD + "".join(f"\n{statement}\n" for statement in statements(made))
    with at.connect() as conn:
        found = postgres.row(conn, HISTORY, schema)
        ordered = f'select version from {found["name"]} order by version collate "C"'.encode()
        versions = [row["version"] for row in conn.execute(ordered)] if found["there"] else []
    if versions:
        rows = ",\n".join(f"    ('{version}')" for version in versions)
        text += f"\nINSERT INTO {found['name']} (version) VALUES\n{rows};\n"
    return text


def statements(text: str) -> Iterator[str]:
    """Yield the statements of a dump that make the schema."""
    data = PROGRAMS_OWN.sub(b"", text.encode())
    contents = Script("a dump", data).contents
    starts = [*contents.statements, len(data)]
    found = []
    for start, end in itertools.pairwise(starts):
        statement = COMMENTS.sub("", data[start:end].decode())
        if statement.startswith("CREATE TABLE"):
            statement = NOT_NULL.sub(usual, statement)
        if not SESSION.match(statement) and not NOT_OURS.match(statement):
            found.append(without_secrets(statement))
    if {each for each in found if SWITCHED.match(each)} <= USUAL:
        found = [each for each in found if each not in USUAL]
    yield from found


def without_secrets(statement: str) -> str:
    """Return a statement without what may be a password: the file is committed. All that a user mapping says is one."""
    of_others = OF_OTHERS.match(statement)
    if not of_others:
        return statement

    def left_out(option: re.Match[str]) -> str:
        secret = of_others["mapping"] or SECRET.search(option["name"]) or HOLDS.search(option["value"])
        return f"{option['name']} '{kinds.LEFT_OUT}'" if secret else option[0]

    head, options, values = statement.partition("OPTIONS (")
    made = head + options + OPTION.sub(left_out, values)
    return f"{NO_SECRETS}\n{made}" if f"'{kinds.LEFT_OUT}'" in made else statement


def usual(found: re.Match[str]) -> str:
    """Return a column's NOT NULL without the name of its constraint, if that is one that Postgres gives."""
    return f"{found[1]} NOT NULL" if found["name"].endswith(f"{found['column'].strip(chr(34))}_not_null") else found[0]


@dataclass(frozen=True)
class Held:
    """A schema file (left) held against what the migrations make (right), by object."""

    differing: list[compare.Difference]
    base: list[compare.Difference]
    """What is only in the file, and no migration makes or takes away: they begin with it."""
    unbuilt: str = ""
    """Why the migrations build no database by themselves: then nothing is compared."""


def against_migrations(
    settings: Settings,
    content: scratch.Content,
    apply: Callable[[OpenTarget], None],
    gone: AbstractSet[str] = frozenset(),
) -> Held:
    """Return where a schema file is not what the migrations make.

    `apply` applies them all to an empty database; `gone` are the names in what they drop and rename. Raises `Problem`
    where the file does not load.
    """
    bare: list[Catalog] = []

    def fill(empty: OpenTarget) -> None:
        with empty.connect() as conn:
            bare.append(catalog.read(conn))
        apply(empty)

    try:
        with scratch.open_passing(settings, fill) as filled, filled.connect() as other:
            right = catalog.read(other)
    except Problem as error:
        return Held([], [], str(error.args[0]))
    with scratch.open_built(settings, content) as (built, _), built.connect() as one:
        left = catalog.read(one)
        found = compare.differences(left, right, spelling.Speller(one, left, right))
    base = [each for each in found if is_base(each, left, bare[-1], gone)]
    return Held([each for each in found if each not in base], base)


SCHEMA = re.compile(r'("(?:[^"]|"")+"|[^".]+)\.')


def is_base(found: compare.Difference, left: Catalog, bare: Catalog, gone: AbstractSet[str]) -> bool:
    """Whether a difference is of what the migrations begin with: only in the file, while they leave it as it is in an empty database."""
    if found.what == compare.EXISTS:
        thing = left.things.get(found.key)
        own = SCHEMA.sub("", found.name.partition("(")[0], count=1)
        return bool(thing and not thing.inside and not gone & objects.words(own))
    return found.key in bare.things and bare.things[found.key].facets.get(found.what) == found.right
