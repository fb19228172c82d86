"""A target behind Session Manager: the session asked for as documented, its token in no command line, each fault told."""

from __future__ import annotations

import os
import re

import pytest

from config.settings import Settings, load
from ops import postgres
from ops.aws_errors import errors, explain
from ops.errors import NoTunnel, Problem, Unreachable
from ops.targets import opening
from ops.targets.tunnel import ssm, stay, way
from tests.fix_ssm import TOKEN, Manager
from tests.fix_suppliers import Database


def behind(one: Database, manager: Manager, **params: str) -> Settings:
    one.do(f'create database "{one.name}"', "postgres")
    about = {"targets": {"staging": {"via": manager.via}}}
    url = one.target(**params).url(show_password=True)
    return load(about, {**os.environ, "STAGING_CONNECTION_URL": url}, one.root)


def test_a_session_is_asked_for_and_given_to_the_plugin(one: Database, manager: Manager) -> None:
    with opening.open_target(behind(one, manager), "staging", "t") as at:
        assert postgres.row(at.conn, "select 1 as one")["one"] == 1
    [request] = manager.requests
    assert request["Target"] == manager.instance
    assert request["DocumentName"] == "AWS-StartPortForwardingSessionToRemoteHost"
    assert request["Parameters"]["host"] == ["127.0.0.1"]
    assert request["Parameters"]["portNumber"] == [str(one.server.port)]
    seen = manager.seen
    assert seen["argv"][1:4] == ["AWS_SSM_START_SESSION_RESPONSE", "ca-central-1", "StartSession"]
    assert seen["argv"][6] == manager.front.url
    assert TOKEN not in " ".join(seen["argv"])
    assert seen["answer"]["TokenValue"] == TOKEN
    assert "STAGING_CONNECTION_URL" not in seen["variables"]
    way.shut()
    assert (manager.home / "over").exists()  # the session was ended, and not left to its timeout


@pytest.mark.parametrize(
    ("refusal", "says", "kind", "told"),
    [
        ("TargetNotConnected", "", Unreachable, "is not at Session Manager: inv rds.bastion starts one of ours"),
        ("AccessDeniedException", "", Problem, "AccessDenied"),
        ("", "Failed to setup data channel: dial tcp: lookup x: no such host", Unreachable, "by port 443"),
        ("", "Failed to process KMS key", NoTunnel, "kms:GenerateDataKey"),
        ("", "something else", NoTunnel, r"does not come up \(something else\)"),
    ],
)
def test_a_tunnel_that_does_not_come_up_says_why(
    one: Database, manager: Manager, refusal: str, says: str, kind: type[Problem], told: str
) -> None:
    manager.refusal = refusal
    manager.plugin(says=says)
    with pytest.raises((kind, *errors())) as error, opening.open_target(behind(one, manager), "staging", "t"):
        pass
    text = str(error.value if isinstance(error.value, Problem) else explain(error.value))
    assert "\n" not in text
    assert TOKEN not in text
    assert re.search(told, text)


def test_without_the_plugin_it_says_how_to_have_it(
    one: Database, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manager.home / "session-manager-plugin").unlink()
    monkeypatch.setattr(ssm, "PLACES", ())
    with (
        pytest.raises(NoTunnel, match=r"session-manager-plugin, which is not here: install it by https://docs.aws"),
        opening.open_target(behind(one, manager), "staging", "t"),
    ):
        pass
    assert manager.requests == []


def test_an_old_plugin_is_told(one: Database, manager: Manager) -> None:
    manager.plugin(says="Cannot perform start session: invalid character 'A'", version="1.2.463.0")
    with (
        pytest.raises(NoTunnel, match=r"is 1.2.463.0, older than 1.2.497.0"),
        opening.open_target(behind(one, manager), "staging", "t"),
    ):
        pass


def test_a_server_that_is_not_reached_from_there_is_told(one: Database, manager: Manager) -> None:
    with (
        pytest.raises(Unreachable, match=r"is not reached from there: .* security group lets the bastion's in"),
        opening.open_target(behind(one, manager, port="1"), "staging", "t"),
    ):
        pass


def test_it_stays_open_and_is_ended_in_order(one: Database, manager: Manager) -> None:
    settings = behind(one, manager)
    stay.start(settings, "staging")
    for _ in range(2):
        with opening.open_target(settings, "staging", "t"):
            pass
        way.shut()
    assert len(manager.requests) == 1
    assert not (manager.home / "over").exists()
    stay.stop(settings, "")
    assert (manager.home / "over").exists()
