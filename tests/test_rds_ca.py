"""The bundle that RDS servers are checked against: over HTTPS only, each certificate a CA and in date."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ops.errors import Problem
from ops.rds import ca
from tests.fix_aws import Configure
from tests.fix_echo import Echo

# Real roots of RDS: the one of 2019, which has expired, and the three that are in use
ROOTS = (Path(__file__).parent / "data" / "rds-roots-ca-central-1.pem").read_text()
NOW = ssl.cert_time_to_seconds("Nov 22 12:00:00 2026 GMT")


def fetched(configure: Configure, echo: Echo, path: str = "bundle.pem") -> Path:
    return ca.fetch(configure({"ca_url": echo.url + path}))


def test_the_real_roots_are_taken_and_the_expired_one_left_out(
    configure: Configure, echoes: tuple[Echo, Echo], capsys: pytest.CaptureFixture[str]
) -> None:
    echoes[0].says(ROOTS)
    path = fetched(configure, echoes[0])
    kept = path.read_text()
    assert kept.removesuffix(ca.public_roots()).count("BEGIN CERTIFICATE") == 3
    assert kept.endswith(ca.public_roots())
    assert path == configure().root / ".local" / "rds-ca.pem"
    ssl.create_default_context(cafile=str(path))
    assert "left out 1 certificates that are not in date" in capsys.readouterr().err


def test_a_python_without_authorities_of_its_own_goes_by_those_of_botocore(
    configure: Configure, echoes: tuple[Echo, Echo], authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the Python of python.org comes on macOS."""
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(cafile=None, capath=None))
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr("botocore.httpsession.where", lambda: str(authority / "ca.pem"))
    echoes[0].says(ROOTS)
    assert fetched(configure, echoes[0]).exists()


@pytest.mark.parametrize(("year", "left"), [("2019", 1), ("2020", 1), ("2023", 4), ("2026", 3), ("2062", 2)])
def test_only_what_is_in_date_is_kept(year: str, left: int) -> None:
    now = ssl.cert_time_to_seconds(f"Nov 22 12:00:00 {year} GMT")
    assert len(ca.check_bundle(ROOTS, "bundle", now)) == left


def test_nothing_in_date_is_refused() -> None:
    with pytest.raises(Problem, match="none of its 4 certificates is in date"):
        ca.check_bundle(ROOTS, "bundle", ssl.cert_time_to_seconds("Nov 22 12:00:00 2200 GMT"))


def bad_bundles(authority: Path) -> dict[str, tuple[str, int, str]]:
    leaf = (authority / "server.pem").read_text()
    first = ROOTS.index("-----END")
    return {
        "a page": ("<html>sign in to the WLAN</html>", 200, "holds no certificate"),
        "nothing": ("", 200, "holds no certificate"),
        "a server's certificate": (ROOTS + leaf, 200, "certificate 5 of 5 is no CA"),
        "damaged": (ROOTS[: first - 40] + ROOTS[first:], 200, "certificate 1 of 4 cannot be read"),
        "an error": (ROOTS, 503, "answers 503"),
        "a redirect": (ROOTS, 302, "answers 302"),
        "too long": ("x" * (ca.LONGEST + 1), 200, "not a bundle"),
    }


@pytest.mark.parametrize(
    "kind", ["a page", "nothing", "a server's certificate", "damaged", "an error", "a redirect", "too long"]
)
def test_what_is_no_bundle_changes_nothing(
    configure: Configure, echoes: tuple[Echo, Echo], authority: Path, kind: str
) -> None:
    path = ca.bundle(configure())
    path.parent.mkdir()
    path.write_text("as it was")
    body, status, expected = bad_bundles(authority)[kind]
    echoes[0].says(body, status, **({"Location": "http://127.0.0.1/x"} if status == 302 else {}))
    with pytest.raises(Problem, match=expected):
        fetched(configure, echoes[0])
    assert path.read_text() == "as it was"
    assert list(path.parent.glob("rds-ca.*")) == [path]


def test_a_service_that_nobody_vouches_for_is_not_asked(
    configure: Configure, echoes: tuple[Echo, Echo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(Path(ca.__file__)))
    echoes[0].says(ROOTS)
    with pytest.raises(Problem, match=r"were not fetched from .*CERTIFICATE_VERIFY_FAILED"):
        fetched(configure, echoes[0])
    assert echoes[0].asked == 0


def test_plain_http_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(Problem, match="must be an https"):
        ca.download("http://truststore.example.com/bundle.pem")


def test_a_whole_bundle_is_read_at_once() -> None:
    """Some 120 certificates: reading them must not be felt."""
    begun = time.perf_counter()
    ca.check_bundle(ROOTS * 30, "bundle", NOW)
    assert time.perf_counter() - begun < 2
