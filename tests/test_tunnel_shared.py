"""db.tunnel: a tunnel that stays open for all tasks of a clone, known by more than a number, and ended."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path

import pytest

from config.settings import Settings, load
from ops.errors import Misconfigured, NoTunnel, Unreachable
from ops.targets import opening
from ops.targets.tunnel import shared, stay, way
from tests.fix_bastion import Bastion
from tests.fix_suppliers import Database


@pytest.fixture
def settings(one: Database, bastion: Bastion) -> Settings:
    one.do(f'create database "{one.name}"', "postgres")
    about = {"targets": {"staging": {"via": bastion.via}}}
    return load(about, {"STAGING_CONNECTION_URL": one.url}, one.root)


def logins(bastion: Bastion) -> int:
    return (bastion.home / "log").read_text().count("Accepted publickey")


def use(settings: Settings) -> None:
    with opening.open_target(settings, "staging", "db.status") as at:
        at.conn.execute("select 1")


def kept(settings: Settings) -> Path:
    return settings.root / ".local" / shared.NAME


def test_it_is_opened_once_used_by_all_and_ended(
    settings: Settings, bastion: Bastion, capsys: pytest.CaptureFixture[str]
) -> None:
    stay.start(settings, "staging")
    (entry,) = shared.read(settings.root).values()
    assert f"is open, at 127.0.0.1:{entry.port}" in capsys.readouterr().err
    assert kept(settings).stat().st_mode & 0o777 == 0o600
    assert entry.log(settings.root).stat().st_mode & 0o777 == 0o600
    stay.start(settings, "staging")
    assert f"is open already, at 127.0.0.1:{entry.port}" in capsys.readouterr().err
    for _ in range(3):
        use(settings)
        way.shut()
    assert logins(bastion) == 1
    assert entry.is_open()
    stay.stop(settings, "staging")
    assert "ended the tunnel to staging" in capsys.readouterr().err
    assert bastion.left() == []
    assert not entry.log(settings.root).exists()
    stay.stop(settings, "")
    assert "no tunnel is open: nothing to do" in capsys.readouterr().err
    use(settings)
    assert logins(bastion) == 2


def test_other_programs_get_its_near_end_by_the_url(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    plain = opening.resolve_target(settings, "staging", shown=True).url()
    assert "inv db.tunnel -t staging opens it for other programs, too" in capsys.readouterr().err
    stay.start(settings, "staging")
    (entry,) = shared.read(settings.root).values()
    url = opening.resolve_target(settings, "staging", shown=True).url()
    assert plain != url
    assert re.search(rf"@127.0.0.1:{entry.port}/t\w+\?hostaddr=127.0.0.1$", url)
    stay.stop(settings, "")


def test_one_that_has_ended_is_forgotten_and_a_task_opens_its_own(settings: Settings, bastion: Bastion) -> None:
    stay.start(settings, "staging")
    (entry,) = shared.read(settings.root).values()
    bastion.cut()
    while entry.is_open():
        pass
    use(settings)
    way.shut()
    assert logins(bastion) == 2
    stay.start(settings, "staging")
    (new,) = shared.read(settings.root).values()
    assert new.mark != entry.mark
    assert not entry.log(settings.root).exists()
    stay.stop(settings, "")


def test_a_number_that_another_process_has_now_is_not_believed(settings: Settings, bastion: Bastion) -> None:
    stay.start(settings, "staging")
    content = json.loads(kept(settings).read_text())
    (key,) = content
    real = content[key]["pid"]
    content[key]["pid"] = os.getpid()
    kept(settings).write_text(json.dumps(content))
    use(settings)
    way.shut()
    assert logins(bastion) == 2
    stay.stop(settings, "")  # this process is not ended
    content[key]["pid"] = real
    kept(settings).write_text(json.dumps(content))
    stay.stop(settings, "")
    assert bastion.left() == []


@pytest.mark.parametrize(
    "content", ["", "[]", '{"x": 1}', '{"x": {"port": 1, "pid": 1, "mark": "../../x", "target": "t"}}']
)
def test_a_damaged_note_is_none(settings: Settings, bastion: Bastion, content: str) -> None:
    (settings.root / ".local").mkdir(exist_ok=True)
    kept(settings).write_text(content)
    assert shared.read(settings.root) == {}
    use(settings)
    assert logins(bastion) == 1


def test_two_at_once_make_one(settings: Settings, bastion: Bastion) -> None:
    threads = [threading.Thread(target=stay.start, args=[settings, "staging"]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert logins(bastion) == 1
    stay.stop(settings, "")


def test_what_cannot_be_opened_leaves_nothing(settings: Settings, bastion: Bastion) -> None:
    bastion.stop()
    with pytest.raises(Unreachable, match="no sshd answers"):
        stay.start(settings, "staging")
    assert bastion.left() == []
    assert shared.read(settings.root) == {}
    assert list((settings.root / ".local").glob("*.log")) == []


def test_broken_off_before_it_is_let_go_it_ends(
    settings: Settings, bastion: Bastion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shared, "note", stop)
    with pytest.raises(KeyboardInterrupt):
        stay.start(settings, "staging")
    assert bastion.left() == []


def test_a_target_without_a_way_has_none(settings: Settings) -> None:
    with pytest.raises(Misconfigured, match="local has no tunnel: it is reached straight"):
        stay.start(settings, "local")
    assert NoTunnel.code == 1
