"""What we bring along: every package by its hash, for each Python that is promised; the layer the same everywhere, and told what is in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ops.lambdas.package import archive, sbom

SUITE = Path(__file__).parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
LOCK = SUITE / "requirements-lock.txt"
PINNED = re.compile(r"^([\w.-]+)==(\S+)(?: ; (.+?))?(?: \\)?$", re.MULTILINE)


def locked() -> list[tuple[str, str, Marker | None, list[str]]]:
    """Return of each line of the lock file the package, its version, where it holds, and its hashes."""
    found: list[tuple[str, str, Marker | None, list[str]]] = []
    for entry in re.split(r"\n(?=\S)", LOCK.read_text(encoding="utf-8")):
        if line := PINNED.match(entry):
            marker = Marker(line[3]) if line[3] else None
            found.append(
                (str(canonicalize_name(line[1])), line[2], marker, re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry))
            )
    return found


def pinned(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def on(python: str) -> dict[str, str]:
    """Return what markers ask of a Python on this machine."""
    return {
        **{k: str(v) for k, v in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
    }


def test_every_package_has_its_hashes() -> None:
    found = locked()
    assert len(found) > 100
    assert [name for name, _, _, hashes in found if not hashes] == []
    entries = [
        line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith((" ", "#"))
    ]
    assert len(entries) == len(found), "each line is a package at one version"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_what_ci_passes_with(python: str) -> None:
    """requirements-lock.txt has the versions of constraints.txt, and all that requirements-dev.txt asks for."""
    env = on(python)
    lock = {name: version for name, version, marker, _ in locked() if marker is None or marker.evaluate(env)}
    lines = (SUITE / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = {
        str(canonicalize_name(r.name)): str(r.specifier).removeprefix("==")
        for r in pinned(lines)
        if r.marker is None or r.marker.evaluate(env)
    }
    differing = {name: (lock[name], wanted[name]) for name in lock.keys() & wanted.keys() if lock[name] != wanted[name]}
    assert differing == {}, ANEW
    assert lock.keys() <= wanted.keys(), "constraints.txt pins each"
    asked = [
        line
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in (SUITE / name).read_text(encoding="utf-8").splitlines()
    ]
    missing = [
        r.name
        for r in pinned(asked)
        if (r.marker is None or r.marker.evaluate(env)) and canonicalize_name(r.name) not in lock
    ]
    assert missing == [], ANEW


ANEW = "uv pip compile --universal --python-version 3.10 --generate-hashes -c constraints.txt requirements-dev.txt -o requirements-lock.txt"


def test_the_command_that_makes_it_is_documented() -> None:
    assert ANEW in (SUITE / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("\n  ", " ")


# --- what is in a layer, and in a release ---------------------------------------------------


def test_a_list_of_another_layer_is_written_anew(tmp_path: Path) -> None:
    files = {"python/a-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: a\nVersion: 1\nLicense: MIT\n and more\n"}
    first = archive.write(files, tmp_path / "layer.zip")
    path = sbom.ensure(first)
    written = path.stat().st_mtime_ns
    assert sbom.ensure(first) == path
    assert path.stat().st_mtime_ns == written
    assert json.loads(path.read_text(encoding="utf-8"))["components"][0]["licenses"] == [{"license": {"name": "MIT"}}]
    second = archive.write({**files, "python/b.py": b""}, tmp_path / "layer.zip")
    sbom.ensure(second)
    assert second.sha256 in path.read_text(encoding="utf-8")


RELEASE = "cyclonedx-py requirements --output-reproducible requirements-lock.txt"


def test_the_list_of_a_release_is_written_by_ci() -> None:
    for file in (".ci/run", "docs/security.md"):
        assert RELEASE in (SUITE / file).read_text(encoding="utf-8")


@pytest.mark.nightly  # it is checked against its schema by what makes it, which takes seconds
def test_a_release_tells_what_it_takes() -> None:
    """The list that CI writes: each package of the lock at its version, with the hash of each of its files."""
    pytest.importorskip("cyclonedx_py", reason="cyclonedx-bom is not here: pip install -r requirements-dev.txt")
    argv = [sys.executable, "-m", *RELEASE.replace("-py", "_py").split()]
    first, second = (
        subprocess.run(argv, cwd=SUITE, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert first == second
    told = {
        (str(canonicalize_name(each["name"])), each["version"]): {
            found["content"] for of in each["externalReferences"] for found in of.get("hashes", [])
        }
        for each in json.loads(first)["components"]
    }
    assert told == {(name, version): set(hashes) for name, version, _, hashes in locked()}
