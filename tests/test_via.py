"""The way to a target: how it is written, where it stands, what it means for what is known of the target."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import via
from config.settings import load
from config.targets import Target, resolve
from config.via import Via
from ops.errors import Misconfigured
from ops.targets import identity, production_guard
from ops.targets.tunnel import ssh
from ops.targets.tunnel.ends import Ends

URL = "postgresql://u:hushhush@{}:5432/cruddur"
GOOD = {
    "ssh://me@bastion.example": Via("ssh", "bastion.example", "me"),
    "ssh://bastion": Via("ssh", "bastion"),
    "ssh://me@bastion:2222/": Via("ssh", "bastion", "me", "2222"),
    "ssh://me@[::1]:22": Via("ssh", "::1", "me", "22"),
    "ssm://i-0123456789abcdef0": Via("ssm", "i-0123456789abcdef0"),
    "ssm://mi-0123456789abcdef0": Via("ssm", "mi-0123456789abcdef0"),
}
BAD = [
    "ssh://",
    "bastion",
    "ssh://-oProxyCommand=evil",
    "ssh://-l@bastion",
    "ssh://me@-bastion",
    "ssh://me@bastion:0",
    "ssh://me@bastion:65536",
    "ssh://me@bastion/x",
    "ssh://me@a b",
    "ssm://bastion",
    "ssm://i-xyz",
    "https://bastion",
]


def staging(root: Path, about: dict[str, str], **environ: str) -> Target:
    values = {"STAGING_CONNECTION_URL": URL.format("db.internal"), **environ}
    found = resolve(load({"targets": {"staging": about}}, values, root).on("staging"), "staging")
    assert found
    return found


@pytest.mark.parametrize("text", GOOD)
def test_a_way_is_read(text: str) -> None:
    assert via.read(text, "X") == GOOD[text]
    assert via.read(str(GOOD[text]), "X") == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_way_is_refused_before_ssh_could_misread_it(text: str) -> None:
    with pytest.raises(Misconfigured, match="X: is no way to a server: write it as ssh://user@bastion"):
        via.read(text, "X")


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(Misconfigured) as told:
        via.read("ssh://me:hushhush@bastion", "STAGING_DB_VIA")
    assert str(told.value).startswith("STAGING_DB_VIA: holds a password")
    assert "hushhush" not in str(told.value)


def test_the_variable_goes_over_the_setting(root: Path) -> None:
    assert staging(root, {}).via is None
    assert staging(root, {"via": "ssh://a"}).via == Via("ssh", "a")
    assert staging(root, {"via": "ssh://a"}, STAGING_DB_VIA="ssh://b").via == Via("ssh", "b")
    values = {"PROD_CONNECTION_URL": URL.format("db"), "PROD_DB_VIA": "ssh://c"}
    prod = resolve(load({}, values, root), "prod")
    assert prod
    assert prod.via == Via("ssh", "c")
    assert prod.address == "u@db:5432/cruddur via ssh://c"


@pytest.mark.parametrize(
    ("about", "environ", "told"),
    [
        ({"via": "bastion"}, {}, "targets.staging in invoke.yaml: via: is no way to a server"),
        ({}, {"STAGING_DB_VIA": "nowhere"}, "STAGING_DB_VIA: is no way to a server"),
        (
            {"via": "ssh://b"},
            {"STAGING_CONNECTION_URL": "postgresql:///cruddur?host=/run"},
            "STAGING_CONNECTION_URL names no host",
        ),
    ],
)
def test_what_cannot_be_meant_is_said(root: Path, about: dict[str, str], environ: dict[str, str], told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        staging(root, about, **environ)


def test_another_machines_localhost_is_not_this_one(root: Path) -> None:
    far = staging(root, {"via": "ssh://b"}, STAGING_CONNECTION_URL=URL.format("localhost"))
    near = staging(root, {}, STAGING_CONNECTION_URL=URL.format("localhost"))
    assert (far.loopback, near.loopback) == (False, True)
    assert (production_guard.is_elsewhere(far), production_guard.is_elsewhere(near)) == (True, False)
    assert not identity.is_same_address(far, near)
    assert identity.is_same_address(far, far)


def test_the_command_line_checks_the_host_whatever_the_users_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    words = ssh.command(Ends(Via("ssh", "bastion", "me", "2222"), "::1", 5432), 6543, 7)
    assert words[-7:] == ["-L", "127.0.0.1:6543:[::1]:5432", "-p", "2222", "-l", "me", "bastion"]
    for option in ("StrictHostKeyChecking=yes", "BatchMode=yes", "ExitOnForwardFailure=yes", "ConnectTimeout=7"):
        assert option in words
    with pytest.raises(Misconfigured, match="no host name"):
        ssh.command(Ends(Via("ssh", "bastion"), "a b,c", 5432), 6543, 7)
