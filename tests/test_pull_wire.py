"""db.pull: what crosses the wire, and what is left of it anywhere: of 40 people in every column, nothing."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from config.settings import load
from ops.db.pull import keys, pull
from ops.db.pull.pull import How
from ops.errors import Problem
from ops.yaml_file import compose
from tests.fix_suppliers import Database, made, supply
from tests.tcp_relay import Tap

PEOPLE = range(40)
TEXTS = ("email", "name", "note", "tag", "doc", "blob", "street")
SCHEMA = """
create table people (id bigint generated always as identity primary key, email text not null unique, name varchar(80), note text,
  tags text[], doc jsonb, blob bytea, street text, phone bigint, born date);
create table mails (person_id bigint references people, email text references people (email), at timestamptz default now());
create materialized view known as select email, name from people;
create index on people (lower(name));
create statistics pairs (mcv) on name, street from people
"""
MASKS = """\
safe_types: [timestamptz]
tables:
  people:
    columns:
      email: {fake: email}
      name: {fake: name}
      note: {fake: text}
      tags: {fake: text}
      doc: {sql: "jsonb_build_object('keys', (select count(*) from jsonb_object_keys(doc)))"}
      blob: hash
      street: {fake: address}
      phone: {fake: phone}
      born: {fake: date}
  mails: {columns: {email: {fake: email}}}
"""
BARE = """\
safe_types: [timestamptz]
tables:
  people: {columns: {email: {keep: a control}, name: keep, note: keep, tags: keep, doc: keep, blob: keep, street: keep, phone: keep, born: keep}}
  mails: {columns: {email: {keep: a control}}}
"""


def canary(kind: str, number: int) -> str:
    return f"canary-{kind}-{number:02}-qzx" + ("@people.test" if kind == "email" else "")


def phone(number: int) -> str:
    return f"7731950{number:04}17"


def forms(text: str) -> set[bytes]:
    """Return how a text may stand among bytes: raw, in hex, in base64 at each place of a group of three, and backwards."""
    raw = text.encode()
    encoded = {base64.b64encode(bytes(pad) + raw)[(0, 2, 3)[pad] : -4] for pad in range(3)}
    return {raw, raw[::-1], raw.hex().encode(), raw.hex().upper().encode(), *encoded}


CANARIES = {kind: {number: forms(canary(kind, number)) for number in PEOPLE} for kind in TEXTS}
CANARIES["phone"] = {number: forms(phone(number)) for number in PEOPLE}


MARKS = re.compile(b"|".join(re.escape(mark) for mark in sorted(forms("canary-") | forms("7731950"))))
"""What is common to all of them: where it is nowhere, none of them is."""


def seen(data: bytes) -> dict[str, int]:
    """Return of how many people something is among these bytes, by column."""
    if not MARKS.search(data):
        return NOTHING
    return {
        kind: sum(any(form in data for form in one) for one in people.values()) for kind, people in CANARIES.items()
    }


NOTHING = dict.fromkeys(CANARIES, 0)
EVERYBODY = dict.fromkeys(CANARIES, len(PEOPLE))


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A source without TLS that logs every statement and its parameters."""
    logs = ("log_statement=all", "log_min_duration_statement=0", "log_connections=on", "log_error_verbosity=verbose")
    for server in supply("embedded", logs):
        for database in made(server, tmp_path_factory.mktemp("source")):
            database.do(f'create database "{database.name}"', "postgres")
            database.do(SCHEMA)
            with database.connect() as conn:
                for number in PEOPLE:
                    values = {kind: canary(kind, number) for kind in TEXTS}
                    conn.execute(
                        "insert into people (email, name, note, tags, doc, blob, street, phone, born) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                        [values["email"], values["name"], values["note"], [values["tag"]], json.dumps({values["doc"]: 1}),
                         values["blob"].encode(), values["street"], phone(number), "1970-01-01"],
                    )  # fmt: skip
                    conn.execute("insert into mails values (%s, %s)", [number + 1, values["email"]])
            database.do("refresh materialized view known; analyze")
            yield database


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database on a server of its own, whose files and log are looked through."""
    for server in supply("embedded", ("log_statement=all", "wal_level=logical")):
        yield from made(server, tmp_path_factory.mktemp("landing"))


def run(source: Database, landing: Database, masks: str) -> tuple[bytes, pull.Pulled]:
    """Make a copy; return what crossed the wire to the source, both ways, and what was told of the copy."""
    (landing.root / "sql").mkdir(exist_ok=True)
    (landing.root / "sql" / "masks.yaml").write_text(masks, encoding="utf-8")
    with Tap(source.server.port) as tap:
        url = source.target(port=str(tap.port), sslmode="disable").url(show_password=True)
        settings = load({}, {"CONNECTION_URL": landing.url, "PROD_CONNECTION_URL": url}, landing.root)
        pulled = pull.pull(settings, compose, "prod", "local", How())
    return bytes(tap.bytes), pulled


def files(home: Path) -> Iterable[bytes]:
    """Yield the content of each file of a server: data, WAL, statistics, log."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and "share" not in path.parts and "pginstall" not in path.parts:
            yield path.read_bytes()


def test_nothing_of_anybody_crosses_the_wire_or_stays(
    talkative: Database, landing: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    tapped, pulled = run(talkative, landing, MASKS)
    assert sum(each.rows for each in pulled.tables) == 80
    assert seen(tapped) == NOTHING
    assert len(tapped) > 10_000
    told = capfd.readouterr()
    assert seen((told.out + told.err).encode()) == NOTHING
    landing.do("checkpoint")
    assert landing.server.home
    assert seen(b"\n".join(files(landing.server.home))) == NOTHING
    assert (
        seen(str(landing.query("select * from pg_stats") + landing.query("select * from pg_stats_ext")).encode())
        == NOTHING
    )
    # two columns with one value keep one
    assert (
        landing.scalar("select count(*) from mails m join people p on p.id = m.person_id and p.email = m.email") == 40
    )
    assert landing.scalar("select count(*) from known join people using (email, name)") == 40
    # the key is nowhere but here
    system = talkative.scalar("select system_identifier::text from pg_control_system()")
    key = keys.of_source(landing.root, system, talkative.name)
    secrets = {key.encode(), keys.own(landing.root).encode()}
    assert talkative.server.home
    everywhere = b"\n".join([*files(talkative.server.home), *files(landing.server.home), tapped])
    assert not [1 for secret in secrets if secret in everywhere]
    log = (talkative.server.home / "log").read_text(encoding="utf-8", errors="replace")
    assert "inv.mask_key" in log


def test_the_control_without_masks_finds_everybody(talkative: Database, landing: Database) -> None:
    tapped, _ = run(talkative, landing, BARE)
    assert seen(tapped) == EVERYBODY


def test_an_error_over_rows_carries_nobody(talkative: Database, landing: Database) -> None:
    fails = MASKS.replace("name: {fake: name}", 'name: {sql: "(name::int)::text"}')
    with pytest.raises(Problem, match=r"public.people: invalid text representation \(22P02\)") as error:
        run(talkative, landing, fails)
    assert seen(str(error.value).encode()) == NOTHING
    assert error.value.__suppress_context__
