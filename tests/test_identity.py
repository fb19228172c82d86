"""What makes a database production, by tables and without a server: so that every wrong change of it is tried at night."""

from __future__ import annotations

import contextlib
import errno
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.declared import BUILT_IN, Kind
from config.settings import Settings, load
from config.targets import Target
from config.via import Via
from ops import console
from ops.errors import Problem, Refused
from ops.targets import identity, production_guard
from ops.targets.identity import NOT_PROD, STAMP, Reason, Watch
from ops.targets.open_target import OpenTarget
from ops.targets.tunnel import way

PARAMS = {"host": "db.example.com", "port": "5433", "user": "u", "dbname": "shop"}
HERE = Target("local", "CONNECTION_URL", PARAMS)
RDS = HERE.on(host="shop.c1.eu-west-1.rds.amazonaws.com")
OF_PROD = replace(HERE, name="prod", source="PROD_CONNECTION_URL", declared=BUILT_IN["prod"])
BASTION = Via("ssh", "bastion.example.com")


def known(system_id: str | None = "7", **comments: str | None) -> dict[str, Any]:
    """What the server says of itself: its identifier, and the comment of each database beside ours."""
    return {"system_id": system_id, "databases": {name: {"comment": each} for name, each in comments.items()}}


def settings_of(root: Path, **environ: str) -> Settings:
    return load({}, environ, root)


@pytest.mark.parametrize(
    ("target", "there", "seen", "word", "text"),
    [
        (OF_PROD, known(shop=f"{NOT_PROD}"), [], "declared", "the target says so"),
        (RDS, known(shop=None), [], "rds_host", "CONNECTION_URL names an RDS host"),
        (RDS, known(shop=f"ours {NOT_PROD}"), [], None, ""),
        (RDS, known(shop__prev=NOT_PROD, shop=""), [], None, ""),
        (RDS, known(template1=NOT_PROD, shop=""), [], "rds_host", "CONNECTION_URL names an RDS host"),
        (HERE, known(shop=f"our shop {STAMP}"), [], "stamp", f"shop carries the stamp {STAMP} in its comment"),
        (HERE, known(shop="", shop__prev=STAMP), [], "stamp", f"shop__prev carries the stamp {STAMP} in its comment"),
        (HERE, known(template1=STAMP, shop=None), [], None, ""),
        (RDS, known(shop=NOT_PROD, shop__prev=STAMP), [], "stamp", f"shop__prev carries the stamp {STAMP} in its comment"),
        (HERE, known(), [("7", "shop", "prod:1/shop")], "same_database",
         "it is the database of prod:1/shop, seen as prod before (.local/prod.json)"),
        (HERE.on(dbname="shop__prev"), known(), [("7", "shop", "prod:1/shop")], "same_database",
         "it is the database of prod:1/shop, seen as prod before (.local/prod.json)"),
        (HERE, known(), [("8", "shop", "a"), ("7", "other", "b")], None, ""),
        (HERE, known(), [("8", "shop", "a"), ("7", "shop", "b")], "same_database",
         "it is the database of b, seen as prod before (.local/prod.json)"),
        (HERE, known(None), [(None, "shop", "prod:1/shop")], None, ""),
        (HERE, known(shop=NOT_PROD), [("7", "shop", HERE.address)], None, ""),
        (HERE, known(shop=""), [("7", "shop", HERE.address)], "same_database",
         f"it is the database of {HERE.address}, seen as prod before (.local/prod.json)"),
        (HERE, known(shop=NOT_PROD), [("7", "shop", HERE.address), ("7", "shop", "prod:1/shop")], "same_database",
         "it is the database of prod:1/shop, seen as prod before (.local/prod.json)"),
    ],
)  # fmt: skip
def test_why_a_database_is_production(
    root: Path,
    target: Target,
    there: dict[str, Any],
    seen: list[tuple[str | None, str, str]],
    word: str | None,
    text: str,
) -> None:
    (root / ".local").mkdir()
    entries = [dict(zip(("system_id", "dbname", "address"), each, strict=True)) for each in seen]
    (root / ".local" / "prod.json").write_text(json.dumps(entries))
    found = identity.why_prod(settings_of(root), target, there, None)
    assert (found.word, str(found), bool(found)) == (word, text, bool(word))


def test_an_address_that_production_has_is_production_before_anybody_answers(root: Path) -> None:
    settings = settings_of(root, PROD_CONNECTION_URL="postgresql://p:secret@db.example.com:5433/shop")
    watch = Watch(settings, replace(HERE, kind=Kind.EMBEDDED))  # asks nobody
    watch.protected = [OF_PROD]
    assert identity.why_prod(settings, HERE, known(), watch).word == "same_address"
    assert identity.why_prod(settings, HERE, known(), watch).text == "PROD_CONNECTION_URL names the same database"
    assert watch.same(HERE.on(dbname="other")) == ""


AWAY = "postgresql://p:{}@127.0.0.1:1/shop"  # where nobody listens


@pytest.mark.parametrize(
    ("target", "prod", "asked"),
    [
        (HERE, AWAY, ["prod", "staging"]),
        (HERE, "", ["staging"]),
        (HERE, "postgresql://p:raw/@127.0.0.1:1/shop", ["staging"]),
        (replace(HERE, name="staging"), AWAY, ["prod"]),
        (replace(HERE, kind=Kind.EMBEDDED), AWAY, []),
        (OF_PROD, AWAY, []),
    ],
)
def test_which_targets_are_asked_whether_they_are_this_one(
    root: Path, target: Target, prod: str, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    targets = {"staging": {"url": "STAGING_URL", "protected": "yes"}, "dev": {"url": "DEV_URL"}}
    passwords = [f"hidden-{number}-{target.name}-{len(asked)}" for number in range(3)]
    urls = dict(zip(("PROD_CONNECTION_URL", "STAGING_URL", "DEV_URL"), (prod, AWAY, AWAY), strict=True))
    environ = {name: url.format(password) for (name, url), password in zip(urls.items(), passwords, strict=True) if url}
    watch = Watch(load({"targets": targets}, environ, root), target)
    assert [each.name for each in watch.protected] == asked
    assert all(thread.daemon for thread in watch.threads)
    watch.wait()
    assert [thread.is_alive() for thread in watch.threads] == [False] * len(asked)
    told = "note: {} (p@127.0.0.1:1/shop) does not answer: whether this is the same server is not known\n"
    said = [line for line in capsys.readouterr().err.splitlines(keepends=True) if line.startswith("note: ")]
    assert said == [told.format(name) for name in asked]
    for name, password in zip(("prod", "staging"), passwords, strict=False):
        assert (console.redact(password) == "****") is (name in asked)


@pytest.mark.parametrize(("via", "asked"), [("ssm://i-0123456789abcdef0", 0), ("ssh://bastion.example.com", 1)])
def test_one_behind_a_bastion_is_not_asked_where_that_would_call_aws(
    root: Path, via: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def no_way(tunnel: object) -> int:
        opened.append(tunnel)
        raise Problem("it is shut")

    monkeypatch.setattr(way.Tunnel, "open", no_way)
    watch = Watch(load({}, {"PROD_CONNECTION_URL": AWAY.format("x"), "PROD_DB_VIA": via}, root), HERE)
    [found] = watch.protected
    assert (found.name, str(found.via)) == ("prod", via)
    watch.threads[0].join()
    assert opened == [found.way] * asked


class Patience:
    """Stands in the place of a thread that asks for ever, and of the clock."""

    def __init__(self) -> None:
        self.now, self.waited = 100.0, list[float]()

    def join(self, timeout: float) -> None:
        self.waited.append(timeout)
        self.now += timeout

    def monotonic(self) -> float:
        return self.now


def test_whom_production_was_seen_to_be_is_waited_for_shortly(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patience = Patience()
    monkeypatch.setattr(identity, "time", patience)
    watch = Watch(load({}, {}, root), OF_PROD)
    new, seen, other = (replace(OF_PROD, name=name).on(host=f"{name}.example.com") for name in ("new", "seen", "other"))
    identity.note(root, "7", seen)
    for protected, waited in (([seen], [0.5]), ([new, other], [2.0, 0.0]), ([seen, new], [0.5, 1.5])):
        patience.waited.clear()
        watch.protected, watch.threads = protected, [patience] * len(protected)  # type: ignore[list-item]
        watch.wait()
        assert patience.waited == waited
        told = capsys.readouterr().err
        assert [name in told for name in ("new (", "seen (", "other (")] == [
            each in protected and each != seen for each in (new, seen, other)
        ]
    assert [watch.known(each) for each in (new, seen, other)] == [False, True, False]


@pytest.mark.parametrize(
    ("target", "same"),
    [
        (HERE, True),
        (HERE.on(user="another", password="p"), True),
        (HERE.on(host="DB.Example.COM."), True),
        (HERE.on(dbname="shop__prev"), True),
        (HERE.on(dbname="shop__next"), True),
        (HERE.on(dbname="other"), False),
        (HERE.on(port="5432"), False),
        (HERE.on(host="xdb.example.com"), False),
        (HERE.on(hostaddr="10.0.0.1"), False),
        (replace(HERE, via=BASTION), False),
    ],
)
def test_which_names_are_one_database(target: Target, same: bool) -> None:
    assert identity.is_same_address(target, HERE) is same
    assert identity.is_same_address(HERE, target) is same


def test_this_machine_has_many_names_and_one_address_is_one() -> None:
    names = [HERE.on(host=host) for host in ("localhost", "127.0.0.1", "::1", "/tmp", "127.9.9.9")]
    assert all(identity.is_same_address(names[0], each) for each in names)
    one, other = (HERE.on(host=host, hostaddr="10.0.0.1") for host in ("a.example.com", "b.example.com"))
    assert identity.is_same_address(one, other)
    assert not identity.is_same_address(names[0], HERE)


@pytest.mark.parametrize(
    ("name", "of"),
    [("shop", "shop"), ("shop__next", "shop"), ("shop__prev", "shop"), ("shop__old", "shop"), ("__prev__shop", "__prev__shop"), ("shop__older", "shop__older")],
)  # fmt: skip
def test_whose_name_it_is(name: str, of: str) -> None:
    assert identity.base(name) == of


def test_what_is_remembered_of_production_and_forgotten(root: Path) -> None:
    file = root / ".local" / "prod.json"
    here, there = HERE.on(dbname="shop__prev"), HERE.on(host="other.example.com")
    identity.note(root, "7", here)
    assert identity.seen(root) == [{"system_id": "7", "dbname": "shop", "address": here.address}]
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.stat().st_mtime_ns, file.stat().st_ino
    identity.note(root, "7", here)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before, "it is there, and not written again"
    identity.note(root, "8", here)
    identity.note(root, "9", there)
    assert [(each["system_id"], each["address"]) for each in identity.seen(root)] == [("8", here.address), ("9", there.address)]  # fmt: skip
    before = file.stat().st_mtime_ns, file.stat().st_ino
    identity.forget(root, "1", HERE.on(port="1"))
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before
    identity.forget(root, "9", HERE.on(port="1"))
    assert [each["system_id"] for each in identity.seen(root)] == ["8"]
    identity.forget(root, None, here)
    assert identity.seen(root) == []
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (Problem("no folder"), "no folder"),
    ],
)
def test_looking_at_production_needs_no_disk_to_write_to(
    root: Path, error: Exception, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(identity, "write_private", full)
    identity.note(root, "7", HERE)
    assert capsys.readouterr().err == f"note: production's identity is not remembered: {why}\n"


@pytest.mark.parametrize(
    ("params", "via", "elsewhere"),
    [
        ({}, None, True),
        ({"host": "db"}, None, False),
        ({"host": "localhost"}, None, False),
        ({"host": "localhost"}, BASTION, True),
        ({"host": "10.1.2.3"}, None, False),
        ({"host": "8.8.8.8"}, None, True),
        ({"host": "db", "hostaddr": "8.8.8.8"}, None, True),
        ({"hostaddr": "10.1.2.3"}, None, False),
        ({"host": "/tmp/my.socket"}, None, False),
        ({"host": ""}, None, False),
    ],
)
def test_which_servers_are_out_on_the_network(params: dict[str, str], via: Via | None, elsewhere: bool) -> None:
    assert production_guard.is_elsewhere(replace(HERE.on(**params), via=via)) is elsewhere


def test_a_damaged_memory_is_named_with_the_mend(root: Path) -> None:
    (root / ".local").mkdir()
    (root / ".local" / "prod.json").write_text("{}")
    with pytest.raises(Problem, match=r"prod\.json is damaged: remove it, then run inv db\.status -t prod$"):
        identity.seen(root)


def opened(root: Path, target: Target, reason: Reason) -> OpenTarget:
    """A target of a server that has no database of that name yet, so that nothing is asked of it."""
    return OpenTarget(settings_of(root), target, "db.drop", None, known(), reason)  # type: ignore[arg-type]


SHOP, STRANGER = HERE.on(host="db"), HERE.on(host="8.8.8.8")
WHY = Reason("declared", "the target says so")


@pytest.mark.parametrize(
    ("target", "reason", "given", "told"),
    [
        (SHOP, Reason(), "", ""),
        (SHOP, Reason(), "shop", ""),
        (SHOP, Reason(), "other", "--confirm other is not the name of this database, which is shop: nothing was done"),
        (SHOP, WHY, "shop", ""),
        (SHOP, WHY, "SHOP", "--confirm SHOP is not the name of this database, which is shop: nothing was done"),
        (STRANGER, Reason(), "shop", ""),
        (SHOP, WHY, "", "drop on production (u@db:5433/shop: the target says so): nothing was done; if a person has decided to, add --confirm shop"),
        (STRANGER, Reason(), "", "drop on another machine (u@8.8.8.8:5433/shop): nothing was done; if a person has decided to, add --confirm shop"),
    ],
)  # fmt: skip
def test_a_dangerous_act_wants_the_name(root: Path, target: Target, reason: Reason, given: str, told: str) -> None:
    with pytest.raises(Refused, match=f"^{re.escape(told)}$") if told else contextlib.nullcontext():
        production_guard.confirm(opened(root, target, reason), "drop", given)


@pytest.mark.parametrize(
    ("target", "seen", "told"),
    [
        (HERE, [], ""),
        (HERE, [("7", "shop", HERE.address)], ""),
        (HERE, [("8", "shop", "a"), ("7", "other", "b")], ""),
        (HERE, [("8", "shop", "a"), ("7", "shop", "b")], "b, seen as prod before, names this very database: it is production"),
        (HERE.on(dbname="shop__prev"), [("7", "shop", "b")], "b, seen as prod before, names this very database: it is production"),
        (HERE.on(host="127.0.0.1", port="1"), [], "PROD_CONNECTION_URL names this very database: it is production"),
        (OF_PROD, [], "prod is declared as production: give the database a target of its own (targets: in invoke.yaml)"),
    ],
)  # fmt: skip
def test_what_is_stronger_than_a_word(root: Path, target: Target, seen: list[tuple[str, str, str]], told: str) -> None:
    (root / ".local").mkdir()
    entries = [dict(zip(("system_id", "dbname", "address"), each, strict=True)) for each in seen]
    (root / ".local" / "prod.json").write_text(json.dumps(entries))
    place = replace(opened(root, target, Reason()), settings=settings_of(root, PROD_CONNECTION_URL=AWAY.format("x")))
    with pytest.raises(Refused, match=f"^{re.escape(told)}$") if told else contextlib.nullcontext():
        production_guard.require_none(place)


@pytest.mark.parametrize(("typed", "done"), [("shop", True), ("Shop", False), ("", False)])
def test_a_person_is_asked_for_the_name(root: Path, typed: str, done: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(console, "interactive", lambda: True)

    def answer(question: str) -> str:
        asked.append(question)
        return typed

    monkeypatch.setattr(console, "ask", answer)
    with (
        contextlib.nullcontext() if done else pytest.raises(Refused, match="the name does not match: nothing was done")
    ):
        production_guard.confirm(opened(root, SHOP, WHY), "drop", "")
    assert asked == ["drop on PRODUCTION (u@db:5433/shop: the target says so). Type the database's name to go on:"]


class Answering:
    """A connection that has one answer."""

    info = SimpleNamespace(host="db.example.com", port=5433)

    def __init__(self, row: dict[str, Any] | None) -> None:
        self.row = row

    def execute(self, *_: object) -> Any:
        return SimpleNamespace(fetchone=lambda: self.row)


WHOLE: dict[str, Any] = {"pid": 1, "version": "18.1", "version_num": 180001, "superuser": False, "logical": False,
                         "databases": {}, "roles": []}  # fmt: skip


NONE_HAS: list[tuple[str, Any]] = [
    ("pid", "1"), ("version", "one"), ("version", "18\x1b[2J"), ("version_num", -1), ("version_num", True),
    ("databases", [1]), ("databases", {"shop": 1}), ("roles", [1]), ("system_id", 7),
]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [None, {}, *({**WHOLE, name: None} for name in WHOLE), *({**WHOLE, name: value} for name, value in NONE_HAS)],
)
def test_what_answers_without_facts_that_every_postgres_has_is_none(row: dict[str, Any] | None) -> None:
    with pytest.raises(Problem, match=r"^db\.example\.com:5433 answers as no PostgreSQL does: see what listens there"):
        identity.answered(cast("Any", Answering(row)), "select", [])


def test_facts_that_may_be_missing_are_no_fault() -> None:
    row = {**WHOLE, "system_id": None, "ended": None}
    assert identity.answered(cast("Any", Answering(row)), "select", []) == row
