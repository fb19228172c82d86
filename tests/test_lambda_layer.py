"""The zip files: right for the Python and the processor of Lambda, and the same bytes at each build."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
import ssl
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from ops.errors import Misconfigured, Problem
from ops.lambdas.package import archive, elf, function_code, interpreters, layer, runtimes, sbom, uv
from tests.fix_aws import Configure
from tests.fix_cli import SUITE

TARGETS = [
    ("3.10", "x86_64"),
    ("3.11", "x86_64"),
    ("3.12", "x86_64"),
    ("3.12", "arm64"),
    ("3.13", "x86_64"),
    ("3.13", "arm64"),
    ("3.14", "x86_64"),
    ("3.14", "arm64"),
]
IMPORT = "import psycopg, sys; print(sys.version_info[1], psycopg.pq.__impl__, psycopg.__version__, psycopg.__file__)"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for layers, each built once for all tests."""
    return tmp_path_factory.mktemp("layers")


@functools.cache
def make(built: Path, python: str, architecture: str) -> archive.Artifact:
    return layer.build(python, architecture, built)


@pytest.mark.spread(most=2)
@pytest.mark.slow
@pytest.mark.parametrize(("python", "architecture"), TARGETS)
def test_two_builds_in_two_folders_are_byte_equal(
    built: Path, tmp_path: Path, python: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(built, python, architecture)
    if (python, architecture) == ("3.13", "x86_64"):
        time.sleep(2)  # the grain of a zip file's times: once is enough
    previous = os.umask(0o077)
    try:
        monkeypatch.setenv("UV_COMPILE_BYTECODE", "1")
        second = layer.build(python, architecture, tmp_path / "a folder with spaces")
    finally:
        os.umask(previous)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert (first.sha256, first.sources, first.unpacked) == (second.sha256, second.sources, second.unpacked)
    assert first.sha256 == hashlib.sha256(first.read()).hexdigest()
    assert sbom.place(first).read_bytes() == sbom.place(second).read_bytes()


@pytest.mark.parametrize(("python", "architecture"), TARGETS)
def test_the_layer_holds_psycopg_for_its_target_and_nothing_of_this_machine(
    built: Path, python: str, architecture: str
) -> None:
    made = make(built, python, architecture)
    machine = {"x86_64": "x86_64", "arm64": "aarch64"}[architecture]
    assert f"python/psycopg_binary/_psycopg.cpython-{python.replace('.', '')}-{machine}-linux-gnu.so" in made.names
    assert "python/psycopg-3.3.9.dist-info/METADATA" in made.names  # psycopg reads its version there
    stray = ("RECORD", "INSTALLER", "REQUESTED", "uv_", ".lock", "direct_url")
    assert not [name for name in made.names if any(part in name for part in stray)]
    assert all(name.startswith("python/") for name in made.names)
    assert made.size < archive.UPLOAD
    assert made.unpacked < 25_000_000
    # typing_extensions is needed before 3.13 only: by the target's markers, not by those of the Python that builds
    assert ("python/typing_extensions.py" in made.names) == (int(python[2:]) < 13)


@pytest.mark.parametrize(("python", "architecture"), [("3.12", "x86_64"), ("3.13", "arm64")])
def test_a_layer_tells_what_is_in_it(built: Path, python: str, architecture: str) -> None:
    made = make(built, python, architecture)
    text = sbom.place(made).read_text(encoding="utf-8")
    check_schema(text)
    told = json.loads(text)
    expected = {"pkg:pypi/psycopg@3.3.9", "pkg:pypi/psycopg-binary@3.3.9"}
    expected |= {"pkg:pypi/typing-extensions@4.16.0"} if python == "3.12" else set()
    assert {each["purl"] for each in told["components"]} == expected
    assert all(each["licenses"] for each in told["components"])
    assert told["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": made.sha256}]
    # each library that came inside a wheel is named, by its content
    inside = {each["name"]: each for of in told["components"] for each in of.get("components", [])}
    with zipfile.ZipFile(made.path) as opened:
        brought = {name.rpartition("/")[2]: opened.read(name) for name in opened.namelist() if ".libs/" in name}
    assert any(name.startswith("libpq") for name in brought)
    assert {name: inside[name]["hashes"][0]["content"] for name in brought} == {
        name: hashlib.sha256(content).hexdigest() for name, content in brought.items()
    }
    assert any(each.get("purl", "").startswith("pkg:rpm/") for each in inside.values()), "what the wheel says itself"


def check_schema(document: str) -> None:
    """Hold a list against the schema of its version, by the library of those who publish it."""
    reason = "cyclonedx-bom is not here: pip install -r requirements-dev.txt"
    validation = pytest.importorskip("cyclonedx.validation.json", reason=reason)
    from cyclonedx.schema import SchemaVersion

    version = SchemaVersion.from_version(json.loads(document)["specVersion"])
    assert validation.JsonStrictValidator(version).validate_str(document) is None


@pytest.mark.parametrize(("python", "architecture"), TARGETS)
def test_the_layer_imports_where_this_machine_has_its_python(
    built: Path, tmp_path: Path, python: str, architecture: str
) -> None:
    interpreter = interpreters.find(python)
    if interpreter is None or not interpreters.fits(architecture):
        assert_headers(make(built, python, architecture), python, architecture)
        return
    with zipfile.ZipFile(make(built, python, architecture).path) as made:
        made.extractall(tmp_path)
    done = subprocess.run(
        [interpreter, "-S", "-s", "-c", IMPORT],
        env={"PYTHONPATH": str(tmp_path / "python")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [python[2:], "binary", "3.3.9", str(tmp_path / "python/psycopg/__init__.py")]


def assert_headers(made: archive.Artifact, python: str, architecture: str) -> None:
    """Look at the libraries with readelf-like eyes of our own: the machine is the two bytes at 18."""
    machine = {"x86_64": 62, "arm64": 183}[architecture]
    with zipfile.ZipFile(made.path) as opened:
        libraries = [name for name in made.names if ".so" in name]
        heads = [opened.read(name)[:20] for name in libraries]
    assert len(libraries) > 10
    assert {int.from_bytes(head[18:20], "little") for head in heads} == {machine}
    tags = {name.split(".cpython-")[1][:3] for name in libraries if ".cpython-" in name}
    assert tags == {python.replace(".", "")}


def test_the_running_python_is_one_of_those_that_import() -> None:
    """Else the test above would look at headers only."""
    assert interpreters.find(interpreters.RUNNING) == Path(sys.executable)


def test_a_layer_for_the_machine_itself_imports(tmp_path: Path) -> None:
    made = layer.build_here(tmp_path)
    with zipfile.ZipFile(made.path) as opened:
        opened.extractall(tmp_path)
    code = "import psycopg; print(psycopg.pq.__impl__)"
    argv = [sys.executable, "-S", "-s", "-c", code]
    env = {"PYTHONPATH": str(tmp_path / "python")}
    assert subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout == "binary\n"


def test_a_pin_without_a_wheel_for_the_target_is_told_and_nothing_older_is_taken(tmp_path: Path) -> None:
    """Amazon Linux 2 has glibc 2.26; the wheel for arm64 wants 2.27, an older version does not."""
    with pytest.raises(Problem, match=r"layer for python3\.11 on arm64 cannot be built") as raised:
        layer.build("3.11", "arm64", tmp_path)
    assert "psycopg-binary==3.3.9" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_not_pinned_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("psycopg==3.3.9\n")
    monkeypatch.setattr(function_code, "REQUIREMENTS", requirements)
    with pytest.raises(Problem, match=r"needs typing_extensions, too: add typing_extensions==4\.\d+\.\d+ to"):
        layer.build("3.12", "x86_64", tmp_path)


def test_a_source_package_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("psycopg2==2.9.10\n")  # has no Linux wheels
    monkeypatch.setattr(function_code, "REQUIREMENTS", requirements)
    with pytest.raises(Problem, match="cannot be built"):
        layer.build("3.13", "x86_64", tmp_path)


def test_a_network_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uv, "TIMEOUT", 0.01)
    with pytest.raises(Problem, match="did not end within"):
        layer.build("3.13", "x86_64", tmp_path)


@pytest.mark.parametrize(
    ("python", "architecture", "said"),
    [("3.99", "x86_64", "Lambda has no Python 3.99"), ("3.13", "riscv", "to x86_64 or arm64")],
)
def test_what_lambda_has_not_is_refused(tmp_path: Path, python: str, architecture: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        layer.build(python, architecture, tmp_path)


def test_the_versions_are_those_that_boto3_knows() -> None:
    assert runtimes.pythons()[:2] == ("3.6", "3.7")
    assert {"3.9", "3.10", "3.13", "3.14"} <= set(runtimes.pythons())
    assert runtimes.Runtime("3.13", "arm64").name == "python3.13"


@pytest.mark.parametrize(
    ("python", "architecture", "told"),
    [
        ("3.12", "x86_64", "is for Python 3.13"),
        ("3.13", "arm64", "is for the processor x86_64"),
        ("3.13", "x86_64", ""),
    ],
)
def test_a_library_for_another_target_is_found(built: Path, python: str, architecture: str, told: str) -> None:
    name = "python/psycopg_binary/_psycopg.cpython-313-x86_64-linux-gnu.so"
    with zipfile.ZipFile(make(built, "3.13", "x86_64").path) as opened:
        content = opened.read(name)
    assert elf.fault(name, content, runtimes.Runtime(python, architecture)) == told


def test_a_library_that_wants_a_newer_c_library_is_found(built: Path) -> None:
    with zipfile.ZipFile(make(built, "3.13", "arm64").path) as opened:
        faults = {
            elf.fault(name, opened.read(name), runtimes.Runtime("3.11", "arm64"))
            for name in opened.namelist()
            if ".libs/" in name
        }
    assert faults & {f"needs glibc 2.{minor}, and python3.11 has 2.26" for minor in (27, 28)}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.cpython-313-darwin.so", b"\xcf\xfa\xed\xfe" + b"\0" * 60, "is no Linux library"),
        ("x.cp313-win_amd64.pyd", b"MZ" + b"\0" * 60, "is no Linux library"),
        ("x.so.1", b"", "is no Linux library"),
        ("x.so", b"\x7fELF", "is a broken library"),
        ("x.so", b"\x7fELF\x02\x01\x01" + b"\0" * 57, "is for the processor none"),
        ("x.py", b"import this", ""),
        ("about.so.txt", b"words", ""),
    ],
)
def test_what_is_no_library_of_linux_is_found(name: str, content: bytes, told: str) -> None:
    assert elf.fault(name, content, runtimes.Runtime("3.13", "x86_64")) == told


def test_a_layer_with_a_wrong_library_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = runtimes.Runtime("3.13", "x86_64")
    monkeypatch.setattr(runtimes, "find", lambda *_: runtimes.Runtime("3.13", "arm64"))
    real = layer.wheels
    monkeypatch.setattr(layer, "wheels", lambda _, site: real(wrong, site))
    with pytest.raises(Problem, match=r"do not fit: psycopg_binary.* is for the processor x86_64"):
        layer.build("3.13", "arm64", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_lambda_would_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="Lambda takes 50 and 250"):
        archive.write({"big": b"\0" * (archive.UPLOAD + 1)}, tmp_path / "big.zip")
    half = b"\0" * (archive.UPLOAD // 2)
    with pytest.raises(Problem, match="Lambda takes 50 and 250"):
        archive.write({"half": half}, tmp_path / "big.zip", {"compiled": half})
    assert list(tmp_path.iterdir()) == []


def test_the_function_holds_its_modules_and_the_certificates(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    shutil.copy(SUITE / "tests" / "data" / "rds-roots-ca-central-1.pem", roots)
    made = function_code.build(roots, tmp_path / "out")
    assert made.names == tuple(
        f"post_confirmation/{name}" for name in ("__init__.py", "handler.py", "iam.py", "people.py", "rds-ca.pem")
    )
    with zipfile.ZipFile(made.path) as opened:
        trusted = opened.read("post_confirmation/rds-ca.pem").decode()
        modes = {info.external_attr >> 16 for info in opened.infolist()}
        assert modes == {0o100644}
        assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert trusted.startswith(roots.read_text().rstrip())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trusted)
    held = json.dumps(context.get_ca_certs())
    assert all(f"Amazon Root CA {number}" in held for number in (1, 2, 3, 4)), "by which RDS Proxy is known"
    roots.touch()
    again = function_code.build(roots, tmp_path / "other")
    assert again.read() == made.read()
    assert again.code_sha256 == made.code_sha256
    assert len(made.code_sha256) == 44
    roots.write_text("another")
    assert function_code.build(roots, tmp_path / "other").sha256 != made.sha256


def test_the_certificates_are_those_that_prod_is_checked_against(configure: Configure, tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_text("x")
    assert function_code.certificates(configure(PROD_DB_SSLROOTCERT=str(own))) == own
    with pytest.raises(Misconfigured, match="PROD_DB_SSLROOTCERT: there is no file"):
        function_code.certificates(configure(PROD_DB_SSLROOTCERT="/no/such"))
    plain = configure()
    with pytest.raises(Problem, match=r"rds\.ca_url"):  # which leads nowhere in tests
        function_code.certificates(plain)
    (plain.root / ".local").mkdir(exist_ok=True)
    fetched = plain.root / ".local" / "rds-ca.pem"
    fetched.write_text("x")
    assert function_code.certificates(plain) == fetched


def test_the_store_of_this_machine_is_no_file_and_not_in_the_package(configure: Configure) -> None:
    settings = configure(PROD_DB_SSLROOTCERT="system")
    fetched = settings.root / ".local" / "rds-ca.pem"
    fetched.parent.mkdir(exist_ok=True)
    fetched.write_text("x")
    assert function_code.certificates(settings) == fetched


def test_another_python_is_looked_for_on_the_path_and_behind_pyenvs_shims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    program(tmp_path / "shims/python3.98", "exit 127")
    real = program(tmp_path / "versions/3.98.1/bin/python3.98", "echo 3.98")
    program(tmp_path / "shims/python3.97", "exit 127")
    program(tmp_path / "shims/python3.96", "echo 3.11")
    program(tmp_path / "bin/python3.95", "echo 3.95")
    program(tmp_path / "bin/python3.94", "echo 3.1")
    monkeypatch.setenv("PATH", f"{tmp_path}/shims:{tmp_path}/bin:{os.environ['PATH']}")
    assert interpreters.find("3.98") == real
    assert interpreters.find("3.97") is None
    assert interpreters.find("3.96") is None
    assert interpreters.find("3.95") == tmp_path / "bin/python3.95"
    assert interpreters.find("3.94") is None
    (tmp_path / "bin/python3.92").write_bytes(b"\x7fELF for another machine")
    (tmp_path / "bin/python3.92").chmod(0o755)
    assert interpreters.find("3.92") is None
    assert interpreters.find("3.93") is None


def test_libraries_of_lambda_run_on_linux_of_that_processor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [interpreters.fits(name) for name in ("x86_64", "arm64")].count(True) == (platform.system() == "Linux")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert not interpreters.fits("x86_64")
    assert not interpreters.fits("arm64")
