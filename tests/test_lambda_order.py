"""A deployment beside sign-ups: cut off at any write, what is deployed then still stores who signs up."""

from __future__ import annotations

import json
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.targets import parse, reached
from ops.lambdas import function, local, publish
from ops.lambdas.package import archive, function_code, interpreters, layer
from ops.lambdas.runtime_api import Answer, Sandbox
from tests.fix_aws import outcome
from tests.fix_lambda import NAME, Stage
from tests.fix_people import event

PATIENT = 60.0


def files(artifact: archive.Artifact) -> dict[str, bytes]:
    with zipfile.ZipFile(artifact.path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


class Releases:
    """Two releases: the code of the second one needs what only its own layer brings."""

    def __init__(self, stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage, self.monkeypatch = stage, monkeypatch
        roots = folder / "roots.pem"
        roots.touch()
        libraries, code = files(layer.build_here(folder)), files(function_code.build(roots, folder))
        needs = {**code, "post_confirmation/__init__.py": b"import needed\n"}
        self.layers = [
            archive.write(libraries, folder / "l1.zip"),
            archive.write({**libraries, "python/needed.py": b""}, folder / "l2.zip"),
        ]
        self.functions = [archive.write(code, folder / "f1.zip"), archive.write(needs, folder / "f2.zip")]
        self.client = local.client(folder, interpreters.running(), interpreters.RUNNING)

    def deploy(self, number: int) -> list[str]:
        self.monkeypatch.setattr(layer, "build", lambda *_: self.layers[number])
        self.monkeypatch.setattr(function_code, "build", lambda *_: self.functions[number])
        return self.stage.deploy()

    def versions(self) -> list[Any]:
        return publish.versions(self.stage.aws, self.stage.settings().lambdas)

    def forget(self, number: int) -> None:
        """Remove what is published of a release's layer."""
        for one in self.versions():
            if self.layers[number].sources in one["Description"]:
                self.stage.client("lambda").delete_layer_version(
                    LayerName=f"{NAME}-psycopg", VersionNumber=one["Version"]
                )

    def signs_up(self, number: int) -> Answer:
        """Let somebody sign up, as far as AWS has come."""
        have = self.stage.function()["Configuration"]
        [code] = [one for one in self.functions if one.code_sha256 == have["CodeSha256"]]
        [version] = function.layers(have)
        described = {one["LayerVersionArn"]: one["Description"] for one in self.versions()}
        [libraries] = [one for one in self.layers if one.sources in described[version]]
        login = reached(self.stage.settings(), parse(self.stage.url(), "CONNECTION_URL", "prod"))
        parts = local.Parts(code, libraries, self.client, interpreters.running(), NAME, 256, PATIENT)
        with closing(Sandbox(parts, {"CONNECTION_URL": login.url(show_password=True)})) as sandbox:
            return sandbox.invoke(event(number))


@pytest.fixture
def releases(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Releases:
    return Releases(stage, tmp_path, monkeypatch)


@pytest.mark.spread(most=2)
@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "lost"])
def test_whatever_was_written_last_a_sign_up_is_stored(releases: Releases, how: str) -> None:
    stage = releases.stage
    releases.deploy(0)
    stage.attach(stage.make_pool())
    url = stage.url()
    for number in range(1, 5):
        releases.deploy(0)
        releases.forget(1)
        # somebody's own URL, too, so that the login is written as well
        stage.client("lambda").update_function_configuration(
            FunctionName=NAME, Environment={"Variables": {"CONNECTION_URL": url.replace("verify-full", "require")}}
        )
        came_so_far = stage.cloud.cut(number, how)
        outcome(lambda: releases.deploy(1))
        stage.cloud.mend()
        answer = releases.signs_up(number)
        assert answer.returned == event(number)
        assert [json.loads(line)["outcome"] for line in answer.logs] == ["inserted"]
        assert came_so_far() == (number < 4)  # layer, configuration, code; and once without a cut
    assert stage.database.scalar("select count(*) from users where handle like 'handle_'") == 4


@pytest.mark.parametrize(("config", "noted"), [({"architecture": "arm64"}, True), ({"memory_mb": "1024"}, False)])
def test_what_cannot_be_changed_in_one_step_is_said(
    stage: Stage, config: dict[str, str], noted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.deploy()
    capsys.readouterr()
    stage.deploy(config)
    assert ("a sign-up meanwhile is not stored; inv lambda.sync-users" in capsys.readouterr().err) == noted


def test_a_function_made_by_hand_has_another_handler_and_that_is_said(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.deploy()
    stage.client("lambda").update_function_configuration(FunctionName=NAME, Handler="lambda_function.lambda_handler")
    capsys.readouterr()
    assert stage.deploy() == ["configuration"]
    assert "note" not in capsys.readouterr().err
    stage.client("lambda").update_function_configuration(FunctionName=NAME, Handler="lambda_function.lambda_handler")
    stage.client("lambda").update_function_code(FunctionName=NAME, ZipFile=b"PK\5\6" + b"\0" * 18)
    assert stage.deploy() == ["configuration", "code"]
    assert "a sign-up meanwhile is not stored" in capsys.readouterr().err
