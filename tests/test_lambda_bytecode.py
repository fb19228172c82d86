"""The layer compiled beforehand: what is in the files, that they are used, and that machines do not undo each other."""

from __future__ import annotations

import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ops.lambdas import publish
from ops.lambdas.package import archive, bytecode, interpreters, layer, uv
from ops.lambdas.plan import Plan
from tests.fix_cli import Cli
from tests.fix_lambda import Stage

RUNNING = interpreters.RUNNING
TAG = sys.implementation.cache_tag


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> archive.Artifact:
    """A layer for the Python that is certainly here."""
    return layer.build_here(tmp_path_factory.mktemp("here"))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A small package, with a file for a Python that is none of ours."""
    site = tmp_path / "site"
    (site / "pack" / "inner").mkdir(parents=True)
    (site / "pack" / "__init__.py").write_text("'''Words.'''\nassert True\nNAMES = {'a', 'b', 'c'} & {'d'}\n")
    (site / "pack" / "inner" / "deep.py").write_text("def f(x):\n    return x in {'one', 'two', 'three'}\n")
    (site / "pack" / "newer.py").write_text("this is no Python of today\n")
    return site


def test_the_function_imports_what_is_compiled_and_reads_no_source_for_it(
    built: archive.Artifact, tmp_path: Path
) -> None:
    with zipfile.ZipFile(built.path) as opened:
        opened.extractall(tmp_path)
    for source in tmp_path.rglob("*.py"):
        source.write_text("raise SystemExit('compiled here, at the start')")
    code = "import psycopg; print(psycopg.pq.__impl__, psycopg.connect.__code__.co_filename)"
    argv = [sys.executable, "-S", "-s", "-c", code]
    done = subprocess.run(
        argv, env={"PYTHONPATH": str(tmp_path / "python")}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["binary", str(tmp_path / "python" / "psycopg" / "connection.py")]


def test_each_module_is_compiled_and_knows_nothing_of_where(built: archive.Artifact) -> None:
    with zipfile.ZipFile(built.path) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    compiled = {name for name in files if name.endswith(f".{TAG}.pyc")}
    missing = set()
    for name in files:
        folder, _, file = name.rpartition("/")
        if file.endswith(".py") and f"{folder}/__pycache__/{file[:-3]}.{TAG}.pyc" not in compiled:
            missing.add(name)
    assert missing <= {"python/psycopg/_tstrings.py"}  # the syntax of 3.14
    assert len(compiled) > 80
    for name in compiled:
        assert int.from_bytes(files[name][4:8], "little") == 0b01, name  # by hash, unchecked (PEP 552)
        assert b"/opt/python/" in files[name]
        assert b"layer-" not in files[name]


def test_what_is_set_on_this_machine_changes_nothing_of_it(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bytecode.compiled(sources, interpreters.running())
    assert sorted(first) == [f"pack/__pycache__/__init__.{TAG}.pyc", f"pack/inner/__pycache__/deep.{TAG}.pyc"]
    (tmp_path / "py_compile.py").write_text("raise SystemExit('another one')")
    for name, value in {
        "PYTHONHASHSEED": "7",
        "PYTHONOPTIMIZE": "2",
        "PYTHONPATH": str(tmp_path),
        "PYTHONPYCACHEPREFIX": str(tmp_path / "elsewhere"),
        "PYTHONWARNINGS": "error",
        "SOURCE_DATE_EPOCH": "1",
    }.items():
        monkeypatch.setenv(name, value)
    for path in first:
        (sources / path).unlink()
    moved = sources.rename(tmp_path / "a folder with spaces")
    assert bytecode.compiled(moved, interpreters.running()) == first
    assert b"Words." in first[f"pack/__pycache__/__init__.{TAG}.pyc"]


@pytest.mark.parametrize("words", ["exit 3", "sleep 60", ""])
def test_without_a_python_that_works_nothing_is_compiled(
    sources: Path, tmp_path: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "TIMEOUT", 0.5)
    program = tmp_path / "python3.98"
    if words:  # one that tells its version, and then fails or hangs
        program.write_text(f'#!/bin/sh\ncase "$*" in *py_compile*) {words};; esac\necho 3.98\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (interpreters.find("3.98") is not None) == bool(words)
    assert bytecode.compiled(sources, interpreters.find("3.98")) == {}


def test_what_stands_for_a_layer_is_the_same_where_it_cannot_be_compiled(
    built: archive.Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "compiled", lambda *_: {})
    plain = layer.build_here(tmp_path)
    assert (built.compiled, plain.compiled) == (True, False)
    assert built.sources == plain.sources == plain.sha256
    assert built.sha256 != plain.sha256
    assert set(plain.names) < set(built.names)


def test_a_python_that_uv_has_installed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path))
    assert uv.python(RUNNING) is None
    system = f"{platform.system().lower()}-{platform.machine()}-{'gnu' if platform.system() == 'Linux' else 'none'}"
    home = tmp_path / f"cpython-{platform.python_version()}-{system}"
    home.mkdir()
    for part in ("bin", "lib"):
        (home / part).symlink_to(Path(sys.base_prefix) / part)
    found = uv.python(RUNNING)
    assert found is not None
    assert Path(found).is_relative_to(home)
    assert interpreters.version(found) == RUNNING
    monkeypatch.setattr(uv, "LOOK", 0.0001)
    assert uv.python(RUNNING) is None  # what does not answer is none


def test_what_to_type_is_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert uv.typed() == f"{sys.executable} -m uv"
    (tmp_path / "uv").touch(0o755)
    assert uv.typed() == "uv"


def test_a_compiled_version_serves_every_machine_and_an_uncompiled_one_is_replaced_once(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lam, source = stage.settings().lambdas, {"python/a.py": b"1"}
    plain = archive.write(source, tmp_path / "plain.zip")
    one = archive.write(source, tmp_path / "one.zip", {"python/__pycache__/a.pyc": b"of 3.13.1"})
    other = archive.write(source, tmp_path / "other.zip", {"python/__pycache__/a.pyc": b"of 3.13.2"})
    said = []
    versions = []
    for built in (plain, plain, one, plain, other, one, plain):
        versions.append(publish.ensure_layer(stage.aws, lam, built, Plan())[-2:])
        said.append("uv python install 3.13" in capsys.readouterr().err)
    assert versions == [":1", ":1", ":2", ":2", ":2", ":2", ":2"]
    assert said == [True, False, False, False, False, False, False]
    newest, oldest = publish.versions(stage.aws, lam)
    assert oldest["Description"] == f"psycopg for python3.13 x86_64, sha256:{plain.sha256}"
    assert newest["Description"] == f"{oldest['Description']}, compiled"


def test_the_task_says_whether_the_layer_is_compiled(inv: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    here = inv("lambda.layer", env={"INVOKE_LAMBDA_PYTHON": RUNNING})
    assert here.returncode == 0, here.stderr
    assert "x86_64, compiled, sha256:" in here.stderr
    assert "note" not in here.stderr
    version = "3.14" if RUNNING != "3.14" else "3.13"
    if interpreters.find(version):
        pytest.skip(f"this machine has Python {version}, too")
    nothing = {"INVOKE_LAMBDA_PYTHON": version, "PATH": "/usr/bin:/bin", "UV_PYTHON_INSTALL_DIR": str(inv.root)}
    other = inv("lambda.layer", env=nothing)
    assert other.returncode == 0, other.stderr
    assert f"note: no Python {version} is here to compile the layer with" in other.stderr
    assert Path(other.stdout.strip()).is_file()
