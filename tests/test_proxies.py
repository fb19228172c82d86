"""Behind a company's proxy: this machine is asked past it, the world by it, and one that refuses is named without its password."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from config import proxies
from ops import aws_errors, process, web
from ops.aws import Aws
from ops.errors import Misconfigured, Problem
from ops.lambdas.package import uv
from ops.rds.security_group import own_address
from tests.fix_aws import LOGIN, Configure, Front
from tests.fix_cli import Cli, lines_of
from tests.fix_echo import Echo
from tests.fix_proxy import OUTSIDE, Proxy
from tests.test_lambda_uv import wheel
from tests.test_sandbox import bash

P, Q = "http://me:s3cret@p.example:3128", "http://q.example:8080"


@pytest.fixture(autouse=True)
def no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def put(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


# --- which one, by the environment ------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        ("https://a.example/", {"HTTPS_PROXY": P}, "the proxy p.example:3128 (HTTPS_PROXY)"),
        ("https://a.example/", {"https_proxy": P, "HTTPS_PROXY": Q}, "the proxy p.example:3128 (https_proxy)"),
        ("https://a.example/", {"https_proxy": "", "HTTPS_PROXY": Q}, None),
        ("https://a.example/", {"https_proxy": "", "all_proxy": Q}, "the proxy q.example:8080 (all_proxy)"),
        ("https://a.example/", {"HTTP_PROXY": P}, None),
        ("http://a.example/", {"HTTP_PROXY": P}, "the proxy p.example:3128 (HTTP_PROXY)"),
        ("https://a.example/", {"ALL_PROXY": P, "HTTPS_PROXY": Q}, "the proxy q.example:8080 (HTTPS_PROXY)"),
        ("https://a.example/", {"ALL_PROXY": "p.example:3128"}, "the proxy p.example:3128 (ALL_PROXY)"),
        ("https://a.example/", {"ALL_PROXY": "socks5h://p.example"}, None),
        ("https://a.example/", {"HTTPS_PROXY": P, "NO_PROXY": "b.example, .example"}, None),
        ("https://a.example:8443/", {"HTTPS_PROXY": P, "no_proxy": "a.example:8443"}, None),
        ("https://a.example/", {"HTTPS_PROXY": P, "no_proxy": "*"}, None),
        (
            "https://a.example/",
            {"HTTPS_PROXY": P, "no_proxy": "", "NO_PROXY": "*"},
            "the proxy p.example:3128 (HTTPS_PROXY)",
        ),
        *(
            (f"http://{here}/", {"HTTP_PROXY": P, "ALL_PROXY": P}, None)
            for here in (
                "localhost:5000",
                "127.0.0.1:5000",
                "127.9.9.9",
                "[::1]:5000",
                "0.0.0.0:80",
                "rds.localhost:4566",
            )
        ),
        ("http://127.example/", {"HTTP_PROXY": Q}, "the proxy q.example:8080 (HTTP_PROXY)"),
    ],
)
def test_which_proxy_leads_where(url: str, environ: dict[str, str], expected: str | None) -> None:
    found = proxies.find(url, environ)
    assert (str(found) if found else None) == expected
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    "value",
    [
        "socks5://h:1",
        "http://me:s3cret@h:port",
        "http://me:s3/cret@h",
        "https://:3128",
        "http://[1",
        "ftp://h",
        "http://me:s3cr%C3%A9t@h",
    ],
)
def test_a_variable_that_names_no_proxy_is_told_without_its_value(value: str) -> None:
    with pytest.raises(Misconfigured) as error:
        proxies.find("https://a.example/", {"HTTPS_PROXY": value})
    assert re.match("HTTPS_PROXY( names no proxy|: only ASCII)", str(error.value))
    assert "s3" not in str(error.value)
    proxies.find("http://127.0.0.1/", {"HTTP_PROXY": value})  # nobody asks it
    assert not [word for word in proxies.passwords({"HTTPS_PROXY": value}) if "@" in word]


@pytest.mark.parametrize("value", ["http://[1", "http://me:s3/cret@h", "http://me:s3cret@h:port", "://", "@"])
def test_what_needs_no_proxy_minds_none(clone: Path, value: str) -> None:
    done = Cli(clone)("db.url", env={"https_proxy": value, "CONNECTION_URL": "postgresql://me@h/db"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "postgresql://me@h/db\n", "")


def test_this_machine_is_named_to_libraries_and_programs_beside_what_was_named() -> None:
    assert proxies.spared({"NO_PROXY": "x"}) == {}
    once = proxies.spared({"https_proxy": P, "NO_PROXY": "x, 127.0.0.1"})
    assert once["NO_PROXY"] == once["no_proxy"]
    assert once["NO_PROXY"].split(",")[:3] == ["x", "127.0.0.1", "localhost"]
    assert {"::1", "[::1]", "169.254.169.254", "169.254.170.2"} <= set(once["NO_PROXY"].split(","))
    assert proxies.spared({"https_proxy": P, **once}) == once
    assert proxies.spared({"ALL_PROXY": P, "NO_PROXY": "x", "no_proxy": ""})["no_proxy"].startswith("localhost,")


# --- what goes out, by the proxy --------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_the_roots_of_rds_come_by_it(clone: Path, proxy: Proxy, outside: Echo, outer: Path, name: str) -> None:
    outside.says((outer / "ca.pem").read_bytes())
    environ = {name: f"http://me:s3cr%40t@{proxy.address}", "INVOKE_RDS_CA_URL": f"https://a.{OUTSIDE}/bundle.pem"}
    done = Cli(clone)("rds.ca", env=environ)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("fetched 1 RDS certificates into .local/rds-ca.pem\n")
    assert proxy.asked == [f"CONNECT a.{OUTSIDE}:443"]
    assert proxy.logins == ["Basic bWU6czNjckB0"]


def test_no_proxy_is_honoured(clone: Path, proxy: Proxy, outside: Echo) -> None:
    environ = {**proxy.environ(), "INVOKE_RDS_CA_URL": f"https://a.{OUTSIDE}/bundle.pem", "no_proxy": OUTSIDE}
    done = Cli(clone)("rds.ca", env=environ)
    assert (done.returncode, proxy.asked) == (1, [])
    assert "were not fetched" in done.stderr


def test_the_address_services_are_asked_by_it_and_the_doubt_is_told(
    proxy: Proxy, outside: Echo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(monkeypatch, proxy.environ())
    services = [f"https://{name}.{OUTSIDE}/" for name in ("a", "b")]
    for said in ("8.8.4.4", "2600:1f18::1"):  # over which family is the proxy's choice
        outside.says(said)
        assert str(own_address.find(None, "", services)) == said
        assert "if Postgres is reached from here by another address, give that by --ip" in capsys.readouterr().err
    assert proxy.asked == [f"CONNECT a.{OUTSIDE}:443", f"CONNECT b.{OUTSIDE}:443"] * 2
    proxy.refuses = {f"a.{OUTSIDE}": 403}
    assert str(own_address.find(None, "", services)) == "2600:1f18::1"
    assert f"does not let us through to a.{OUTSIDE} (403 Forbidden)" in capsys.readouterr().err
    proxy.refuses = {"": 403}
    with pytest.raises(
        Problem, match=rf"does not let us through to a\.{OUTSIDE} \(403 Forbidden\): have it allowed .*--ip$"
    ):
        own_address.find(None, "", services)
    assert "going on without it" not in capsys.readouterr().err


def test_wheels_come_by_it(
    proxy: Proxy, outside: Echo, outer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, name = wheel(), "thing-1.0-py3-none-any.whl"
    (tmp_path / name).write_bytes(content)
    link = f"{(tmp_path / name).as_uri()}#sha256={hashlib.sha256(content).hexdigest()}"
    outside.says(f'<a href="{link}">{name}</a>')
    outside.headers = {"Content-Type": "text/html"}
    put(monkeypatch, {**proxy.environ("HTTPS_PROXY"), "UV_DEFAULT_INDEX": f"https://a.{OUTSIDE}/simple"})
    put(monkeypatch, {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_NO_CONFIG": "1"})
    uv.install(tmp_path / "site", "thing==1.0", what="the layer")
    assert (tmp_path / "site" / "thing.py").exists()
    assert set(proxy.asked) == {f"CONNECT a.{OUTSIDE}:443"}


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_aws_is_asked_by_it(
    cloud: Front, configure: Configure, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put(monkeypatch, {"AWS_ENDPOINT_URL": f"http://aws.{OUTSIDE}", **proxy.environ(name)})
    proxy.routes = {f"aws.{OUTSIDE}": int(cloud.url.rpartition(":")[2])}
    assert Aws(configure()).client("rds").describe_db_instances()["DBInstances"] == []
    assert proxy.asked == [f"POST http://aws.{OUTSIDE}/"]


# --- this machine, past it --------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_an_endpoint_on_this_machine_is_asked_past_it(
    cloud: Front, configure: Configure, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    put(monkeypatch, {"AWS_ENDPOINT_URL": cloud.url.replace("127.0.0.1", host), **proxy.environ()})
    proxy.refuses = {"": 403}
    asked = Aws(configure())
    if host == "127.0.0.2":  # where nobody listens
        with pytest.raises(Exception, match="Could not connect to the endpoint"):
            asked.client("rds").describe_db_instances()
    else:
        assert asked.client("rds").describe_db_instances()["DBInstances"] == []
    assert proxy.asked == []


def test_the_sandbox_stands_behind_it(clone: Path, proxy: Proxy, outside: Echo) -> None:
    """Also in a shell that forgot what sandbox.up has said about proxies."""
    outside.says("8.8.4.4")
    environ = {**proxy.environ(login="me:s3cret"), "INVOKE_DOOR_ECHO": f"https://a.{OUTSIDE} https://b.{OUTSIDE}"}
    try:
        done = bash(
            clone,
            """eval "$(inv sandbox.up)" && unset NO_PROXY no_proxy && inv rds.create && inv rds.allow-my-ip &&
            inv db.setup -t prod --confirm cruddur && inv db.status -t prod && inv rds.status && inv sandbox.status""",
            **environ,
        )
        assert done.returncode == 0, done.stderr
        assert "8.8.4.4/32" in done.stderr
        assert proxy.asked == [f"CONNECT a.{OUTSIDE}:443", f"CONNECT b.{OUTSIDE}:443"]
        assert "s3cret" not in done.stdout + done.stderr
    finally:
        bash(clone, "inv sandbox.down", **environ)


@pytest.mark.parametrize(
    ("task", "environ", "told"),
    [
        ("rds.status", {"AWS_EC2_METADATA_DISABLED": "false", "AWS_METADATA_SERVICE_TIMEOUT": "1"}, "no AWS login"),
        ("rds.status", {**LOGIN, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Could not connect to the endpoint"),
        (
            "lambda.layer",
            {"UV_DEFAULT_INDEX": "http://127.0.0.1:1/simple", "UV_CACHE_DIR": "none"},
            "127.0.0.1:1 does not",
        ),
        ("db.up -t docker", {"DOCKER_HOST": "tcp://127.0.0.1:1"}, "docker"),
        ("app.up", {"DOCKER_HOST": "tcp://127.0.0.1:1"}, "docker"),
        ("doctor", {"DOCKER_HOST": "tcp://127.0.0.1:1"}, ""),
    ],
)
def test_what_stands_on_this_machine_is_asked_past_it(
    clone: Path, proxy: Proxy, task: str, environ: dict[str, str], told: str
) -> None:
    environ = {"AWS_MAX_ATTEMPTS": "1", "UV_HTTP_RETRIES": "0", "AWS_DEFAULT_REGION": "ca-central-1", **environ}
    done = Cli(clone)(*task.split(), env={**proxy.environ(), **environ})
    assert proxy.asked == []
    if task == "doctor":
        assert f"{proxy.address} for https:// (https_proxy), past it what NO_PROXY names" in done.stdout
    else:
        assert done.returncode != 0
        assert told in done.stderr


# --- one that refuses, by name and without its password ----------------------------------------

TASKS = {
    "rds.ca": {"INVOKE_RDS_CA_URL": f"https://a.{OUTSIDE}/bundle.pem"},
    "rds.status": {**LOGIN, "AWS_MAX_ATTEMPTS": "1"},
    "lambda.layer": {"UV_DEFAULT_INDEX": f"https://a.{OUTSIDE}/simple", "UV_CACHE_DIR": "none", "UV_HTTP_RETRIES": "0"},
}


def refused(clone: Path, task: str, environ: dict[str, str], code: int) -> str:
    """Return the one line with which a task ends."""
    done = Cli(clone)(task, env={**TASKS[task], **environ})
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    *others, line = lines_of(done.stderr)
    assert "s3cret" not in done.stderr
    assert others == [] or task == "lambda.layer", others
    return line


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("status", "login", "code", "told"),
    [
        (407, "", 2, "wants a login: put USER:PASSWORD@ before {} in https_proxy, percent-encoded"),
        (407, "me:s3cret", 2, "does not take the login in https_proxy: correct user and password there"),
        (403, "me:s3cret", 1, "does not let us through to "),
        (502, "me:s3cret", 1, "does not "),
    ],
)
def test_a_proxy_that_refuses_is_named(
    clone: Path, proxy: Proxy, task: str, status: int, login: str, code: int, told: str
) -> None:
    proxy.refuses = {"": status}
    line = refused(clone, task, proxy.environ("HTTPS_PROXY", login=login), code)
    assert f"the proxy {proxy.address} (https_proxy) {told.format(proxy.address)}" in line
    assert proxy.asked[0].startswith("CONNECT ")
    if code == 1:
        assert proxy.asked[0].removeprefix("CONNECT ").partition(":")[0] in line


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("value", "code", "told"),
    [
        (
            "http://me:s3cret@127.0.0.1:1",
            1,
            r"\S+ is not reached by the proxy {}: .*refused.*: correct HTTPS_PROXY, or unset",
        ),
        (
            "http://me:s3cret@nowhere.invalid:3128",
            1,
            r"\S+ is not reached by the proxy {}: .*: correct HTTPS_PROXY, or unset",
        ),
        ("https://me:s3cret@ADDRESS", 2, r"the proxy {} speaks no TLS itself: write it with http:// in HTTPS_PROXY$"),
    ],
)
def test_a_proxy_that_is_not_reached_is_named(
    clone: Path, proxy: Proxy, task: str, value: str, code: int, told: str
) -> None:
    value = value.replace("ADDRESS", proxy.address)
    line = refused(clone, task, {"HTTPS_PROXY": value}, code)
    assert re.search(told.format(rf"{re.escape(value.rpartition('@')[2])} \(HTTPS_PROXY\)"), line)


@pytest.mark.parametrize(
    "says",
    [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>log in</html>", b"SSH-2.0\x1b[31m\r\n\r\n", None],
)
def test_a_proxy_that_is_none_is_named(
    configure: Configure,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    says: bytes | None,
) -> None:
    """It hangs up, answers with something else, or is silent."""
    proxy.says = says
    put(monkeypatch, {**LOGIN, "AWS_MAX_ATTEMPTS": "1", **proxy.environ("HTTPS_PROXY", login="me:s3cret")})
    put(monkeypatch, {"UV_HTTP_TIMEOUT": "1", "UV_HTTP_RETRIES": "0", "UV_CACHE_DIR": str(tmp_path / "cache")})
    put(monkeypatch, {"UV_DEFAULT_INDEX": f"https://a.{OUTSIDE}/simple"})
    told = rf"by the proxy {re.escape(proxy.address)} \(https_proxy\): .+: correct https_proxy|{proxy.address} .* let us through"
    with pytest.raises(Problem, match=told) as error:
        web.get(f"https://a.{OUTSIDE}/", timeout=1.5, longest=10)
    assert str(error.value).isprintable()
    if says is None:
        assert f"waiting for a.{OUTSIDE} by the proxy {proxy.address}" in capsys.readouterr().err
    with pytest.raises(Problem, match=told):
        uv.install(tmp_path / "site", "thing==1.0", what="the layer")
    if says is not None:  # botocore waits for ten seconds
        with pytest.raises(Problem, match=told), aws_errors.speaking():
            Aws(configure()).client("rds").describe_db_instances()


@pytest.mark.parametrize("task", ["rds.ca", "rds.status"])
def test_a_variable_that_names_no_proxy_is_told(clone: Path, task: str) -> None:
    line = refused(clone, task, {"HTTPS_PROXY": "socks5://me:s3cret@127.0.0.1:1"}, 2)
    assert line == f"HTTPS_PROXY names no proxy that is spoken here: {proxies.HOW}"


def test_an_endpoint_by_plain_http_is_refused_by_the_proxy_itself(
    configure: Configure, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch, {**LOGIN, "AWS_ENDPOINT_URL": f"http://aws.{OUTSIDE}", "AWS_MAX_ATTEMPTS": "1"})
    put(monkeypatch, proxy.environ("HTTP_PROXY"))
    for status, told in ((407, "wants a login"), (403, "does not let us"), (502, "does not reach")):
        proxy.refuses = {"": status}
        with pytest.raises(Problem, match=rf"the proxy {proxy.address} \(http_proxy\) {told}"), aws_errors.speaking():
            Aws(configure()).client("rds").describe_db_instances()


def test_a_proxy_that_opens_tls_is_told_with_the_variable_for_its_ca(
    configure: Configure, proxy: Proxy, outside: Echo, outer: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    put(monkeypatch, {**LOGIN, "AWS_ENDPOINT_URL": f"https://aws.{OUTSIDE}", "AWS_MAX_ATTEMPTS": "1"})
    put(monkeypatch, proxy.environ("HTTPS_PROXY"))
    with (
        pytest.raises(Misconfigured, match="not trusted here: set AWS_CA_BUNDLE to your company's CA"),
        aws_errors.speaking(),
    ):
        Aws(configure()).client("rds").describe_db_instances()
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Misconfigured, match="not trusted here: set SSL_CERT_FILE to your company's CA"):
        web.get(f"https://a.{OUTSIDE}/", timeout=5, longest=10)


def test_a_proxy_that_only_other_programs_speak_to_is_told_where_the_network_is_not_reached(clone: Path) -> None:
    line = refused(clone, "rds.ca", {"ALL_PROXY": "socks5://me:s3cret@127.0.0.1:1"}, 1)
    assert (
        "; ALL_PROXY names a proxy that is not spoken here, HTTPS_PROXY can name one by http://): set rds.ca_url"
        in line
    )


def test_what_is_started_gets_it_and_the_way_past_it(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, proxy.environ("HTTP_PROXY"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    process.spare_this_machine()
    told = process.run(["env"], {}).stdout
    assert "169.254.169.254" in told
    assert proxy.address in told
