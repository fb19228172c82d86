"""This workspace's address: what is taken for one, and what two services must do to be believed."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from ops import web
from ops.errors import Misconfigured, Problem
from ops.rds.security_group import own_address
from tests.fix_echo import Echo


@pytest.mark.parametrize(
    "text", ["8.8.4.4", "203.0.114.1", "1.1.1.1", "223.255.255.254", "2600:1f18::1", "2a00:1450::"]
)
def test_a_public_address_is_taken(text: str) -> None:
    found = own_address.parse(text, "--ip")
    assert str(found) == text
    assert own_address.network(found) == f"{text}/{32 if found.version == 4 else 128}"


BAD = (
    "0.0.0.0 127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 100.127.255.255 192.0.2.1 "
    "198.51.100.7 203.0.113.7 198.18.0.1 192.0.0.8 192.88.99.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 "
    "::  ::1 fe80::1 fe80::1%eth0 fc00::1 fd12::1 fec0::1 ff02::1 2001:db8::1 3fff::1 2002:808:404::1 64:ff9b::808:404 "
    "::ffff:8.8.4.4 100::1 5f00::1 2001::1 "
    "8.8.4.4/32 0.0.0.0/0 8.8.4 8.8.4.4.4 008.8.4.4 8.8.4.256 0x8080404 134743044 ٨.8.4.4 8.8.4.4, localhost <html>"
)


@pytest.mark.parametrize("text", [*BAD.split(), "", " ", "8.8.4.4 ", "8.8.4.4\n8.8.8.8", "8.8.4.4 1.1.1.1"])
def test_anything_else_is_refused_on_one_line(text: str) -> None:
    with pytest.raises(Misconfigured) as error:
        own_address.parse(text, "--ip")
    assert str(error.value).startswith("--ip: ")
    assert "\n" not in str(error.value)


def test_the_option_wins_over_the_variable_and_no_service_is_asked() -> None:
    services = ["https://localhost:1/"]
    assert str(own_address.find("8.8.4.4", "1.1.1.1", services)) == "8.8.4.4"
    assert str(own_address.find(None, "1.1.1.1", services)) == "1.1.1.1"


def test_an_empty_option_is_an_error_and_not_a_reason_to_go_on() -> None:
    with pytest.raises(Misconfigured, match="--ip"):
        own_address.find("", "1.1.1.1", [])


def test_two_services_that_agree_are_believed(echoes: tuple[Echo, Echo]) -> None:
    echoes[0].says("8.8.4.4\n")
    echoes[1].says("8.8.4.4\r\n")
    assert str(own_address.find(None, "", [e.url for e in echoes])) == "8.8.4.4"
    assert [e.asked for e in echoes] == [1, 1]


def test_two_services_that_differ_are_not(echoes: tuple[Echo, Echo]) -> None:
    echoes[0].says("8.8.4.4")
    echoes[1].says("8.8.8.8")
    with pytest.raises(Misconfigured, match=r"do not agree .*8\.8\.4\.4.*8\.8\.8\.8.*--ip"):
        own_address.find(None, "", [e.url for e in echoes])


@pytest.mark.parametrize("status", [301, 302, 204, 403, 404, 500, 503])
def test_a_service_that_is_down_is_said_and_the_other_believed(
    echoes: tuple[Echo, Echo], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    echoes[0].says(b"" if status == 204 else "8.8.8.8", status, Location="http://localhost/")
    echoes[1].says("8.8.4.4")
    assert str(own_address.find(None, "", [e.url for e in echoes])) == "8.8.4.4"
    assert f"does not answer over IPv4 (status {status})" in capsys.readouterr().err


BODIES = [
    "<html>8.8.4.4</html>",
    "<!DOCTYPE html><html><body>Please log in to this network</body></html>" * 20,
    "",
    "\n",
    "8.8.4.4 ",
    "8.8.4.4\n\n",
    "8.8.4.4, 10.0.0.1",
    '{"ip": "8.8.4.4"}',
    "10.0.0.1",
    "100.64.0.1",
    "203.0.113.7",
    "2600:1f18::1",  # asked over IPv4
    "0.0.0.0/0",
    b"\xff\xfe8\x00",
    b"8.8.4.4\x00",
]


@pytest.mark.parametrize("body", BODIES)
def test_a_service_that_answers_no_address_ends_it(echoes: tuple[Echo, Echo], body: str | bytes) -> None:
    """Status 200 and something else is a portal in the way: the other answer is not to be believed either."""
    echoes[0].says(body)
    echoes[1].says("8.8.4.4")
    with pytest.raises(Misconfigured) as error:
        own_address.find(None, "", [e.url for e in echoes])
    assert "\n" not in str(error.value)
    assert str(error.value).isprintable()


def test_no_service_at_all_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Problem, match="no echo service answers") as error:
        own_address.find(None, "", ["https://localhost:1/", "https://localhost:2/"])
    assert error.value.code == 1
    assert capsys.readouterr().err.count("going on without it") == 4


def test_a_service_whose_certificate_is_not_trusted_is_not_believed(
    authority: Path, echoes: tuple[Echo, Echo], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ops.sandbox import certificates

    certificates.make(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    echoes[0].says("8.8.4.4")
    with pytest.raises(Problem, match="no echo service answers"):
        own_address.find(None, "", [echoes[0].url])
    assert echoes[0].asked == 0


def test_a_certificate_for_another_name_is_not_believed(echoes: tuple[Echo, Echo]) -> None:
    echoes[0].says("8.8.4.4")
    with pytest.raises(Problem, match="no echo service answers"):
        own_address.find(None, "", [echoes[0].url.replace("localhost", "127.0.0.1")])


def test_a_service_that_is_listed_twice_is_asked_once(echoes: tuple[Echo, Echo]) -> None:
    echoes[0].says("8.8.4.4")
    own_address.find(None, "", [echoes[0].url, echoes[0].url])
    assert echoes[0].asked == 1


def test_ipv6_is_asked_where_ipv4_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback has no IPv6 everywhere, so the asking itself is replaced here."""
    asked: list[tuple[str, int]] = []

    def ask(service: str, version: int) -> str:
        asked.append((service, version))
        if version == 4:
            raise OSError("no route")
        return "2600:1f18::1"

    monkeypatch.setattr(own_address, "ask", ask)
    found = own_address.find(None, "", ["https://a/", "https://b/"])
    assert own_address.network(found) == "2600:1f18::1/128"
    assert asked == [("https://a/", 4), ("https://b/", 4), ("https://a/", 6), ("https://b/", 6)]


@pytest.mark.parametrize(
    "service",
    ["http://a.example/", "a.example", "https://", "ftp://a.example", "https://a:port/", "https://u@a/", "https://[1"],
)
def test_only_https_services_are_asked(service: str) -> None:
    with pytest.raises(Misconfigured, match=r"door\.echo"):
        own_address.find(None, "", [service])


def test_a_python_without_certificates_of_the_system_uses_those_of_botocore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As python.org's Python is on macOS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nowhere"))
    assert len(web.trust().get_ca_certs()) > 50


def test_a_rule_for_one_address_is_never_a_network() -> None:
    for text in ("8.8.4.4", "2600:1f18::1"):
        assert ipaddress.ip_network(own_address.network(ipaddress.ip_address(text))).num_addresses == 1
