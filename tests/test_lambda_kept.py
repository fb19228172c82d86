"""A layer that is there is taken where it would come out the same, and made anew where it would not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops.errors import Problem
from ops.lambdas.package import archive, function_code, layer, layer_cache, sbom

HERE = ("3.13", "x86_64")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> archive.Artifact:
    """A layer that was built, on a machine that has no wheels any more."""
    artifact = layer.build(*HERE, tmp_path)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return artifact


def test_the_same_layer_is_taken_as_it_is(made: archive.Artifact, tmp_path: Path) -> None:
    written = made.path.stat().st_mtime_ns
    assert layer.build(*HERE, tmp_path) == made
    assert made.path.stat().st_mtime_ns == written
    told = sbom.place(made).read_bytes()
    sbom.place(made).unlink()
    layer.build(*HERE, tmp_path)
    assert sbom.place(made).read_bytes() == told, "the list of what is in it, where that was lost"


def test_other_pins_make_another(made: archive.Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text(function_code.REQUIREMENTS.read_text("utf-8") + "\n# another\n", "utf-8")
    monkeypatch.setattr(function_code, "REQUIREMENTS", pins)
    with pytest.raises(Problem, match="cannot be built"):
        layer.build(*HERE, tmp_path)


@pytest.mark.parametrize("harm", ["zip", "none", "note", "list", "field"])
def test_one_that_somebody_wrote_to_is_made_anew(made: archive.Artifact, tmp_path: Path, harm: str) -> None:
    note = layer_cache.beside(made.path)
    match harm:
        case "zip":
            made.path.write_bytes(made.read()[:-1] + b"x")
        case "none":
            made.path.unlink()
        case "note":
            note.write_text("{", "utf-8")
        case "list":
            note.write_text("[]", "utf-8")
        case "field":
            note.write_text(json.dumps({**json.loads(note.read_text("utf-8")), "more": 1}), "utf-8")
    with pytest.raises(Problem, match="cannot be built"):
        layer.build(*HERE, tmp_path)


def test_another_release_of_the_interpreter_is_another_layer(tmp_path: Path) -> None:
    from ops.lambdas.package import runtimes

    runtime, program = runtimes.find(*HERE), tmp_path / "python"
    program.touch()
    assert (
        len(
            {
                layer_cache.mark(runtime, None),
                layer_cache.mark(runtime, program),
                layer_cache.mark(runtimes.find("3.12", "x86_64"), program),
            }
        )
        == 3
    )
