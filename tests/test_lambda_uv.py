"""What fetches the wheels, behind a company's own CA and where it fails: one line, with the next step."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.errors import Problem
from ops.lambdas.package import uv
from tests.fix_echo import Echo

WHAT = "the layer"


def wheel() -> bytes:
    """A wheel of one module, as an index gives it."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("thing.py", "here = True\n")
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    return memory.getvalue()


class Runs:
    """What uv was run with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.extra: list[dict[str, str]] = []
        real = uv.run

        def seen(argv: Any, timeout: float, cwd: Path | None = None, more: Any = None) -> Any:
            self.extra.append(dict(more or {}))
            return real(argv, timeout, cwd, more)

        monkeypatch.setattr(uv, "run", seen)


@pytest.fixture
def index(authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Echo]:
    """An index over HTTPS, whose certificate is of a CA of its own; its page names one wheel, which it gives."""
    echo = Echo(authority / "server.pem")
    content = wheel()
    name = "thing-1.0-py3-none-any.whl"
    (tmp_path / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    echo.says(f'<a href="{(tmp_path / name).as_uri()}#sha256={digest}">{name}</a>')
    echo.headers = {"Content-Type": "text/html"}
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{echo.url}simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "UV_FIND_LINKS"):
        monkeypatch.delenv(variable, raising=False)
    yield echo
    echo.stop()


def failing(site: Path, *arguments: str) -> str:
    """Return the line with which an installation fails."""
    with pytest.raises(Problem) as raised:
        uv.install(site, *arguments, what=WHAT)
    [line] = str(raised.value).splitlines()
    assert line.startswith("the layer cannot be built: ")
    assert not list(site.rglob("*.py"))
    return line.removeprefix("the layer cannot be built: ")


def test_wheels_come_from_an_index_whose_ca_ssl_cert_file_names(
    index: Echo, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    uv.install(tmp_path / "site", "thing==1.0", what=WHAT)
    assert (tmp_path / "site" / "thing.py").read_text() == "here = True\n"
    assert index.asked > 0


def test_whom_nobody_trusts_is_told_with_the_variable_after_the_systems_store_was_asked(
    index: Echo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(monkeypatch)
    host = index.url.split("/")[2]
    assert failing(tmp_path / "site", "thing==1.0") == (
        f"neither uv nor this system trusts the certificate of {host}: set SSL_CERT_FILE to your company's CA file"
    )
    assert runs.extra == [{}, {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}]
    assert index.asked == 0


def test_wheels_come_from_an_index_that_the_system_trusts_and_uv_does_not(
    index: Echo, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store of this system is not the test's to change: what is read instead of it stands for it."""
    monkeypatch.setattr(uv, "SYSTEM", {**uv.SYSTEM, "SSL_CERT_FILE": str(authority / "ca.pem")})
    runs = Runs(monkeypatch)
    uv.install(tmp_path / "site", "thing==1.0", what=WHAT)
    assert (tmp_path / "site" / "thing.py").exists()
    assert len(runs.extra) == 2


def test_each_failure_is_a_line_with_the_next_step(
    index: Echo, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    site = tmp_path / "site"
    no_version = failing(site, "thing==2.0")
    assert no_version.startswith("Because there is no version of thing==2.0")
    assert no_version.endswith(
        "pin a version that has a wheel for it, or see that your index (UV_DEFAULT_INDEX) has this one"
    )
    assert failing(site, "a b c").endswith(": mend that, then run this again")
    host = index.url.split("/")[2]
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"https://me:s3cret@{host}/simple")
    index.says("", status=503)
    down = failing(site, "thing==1.0")
    assert down.startswith(f"{host} does not give the wheels (")
    assert "503" in down
    assert down.endswith("check the network, HTTPS_PROXY and UV_DEFAULT_INDEX")
    assert "s3cret" not in down
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://nowhere.invalid/simple")
    assert failing(site, "thing==1.0").startswith("nowhere.invalid does not give the wheels (")


def test_a_uv_that_says_nothing_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uv, "run", lambda *_: subprocess.CompletedProcess([], 3, "", ""))
    assert failing(tmp_path / "site", "thing") == "uv gives no reason: mend that, then run this again"
