"""URLs: read as libpq reads them, and refused in one line where that is not what was meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from config.settings import load
from config.targets import SECRETS, Target, parse, resolve
from ops.errors import Misconfigured

# each URL holds this password in some form; no four characters of it may be shown
PASSWORD = "Xq7Zw9Kv"
BEGIN = "must begin with postgresql://"
RAW_SLASH, RAW_AT, RAW_PERCENT = "a raw / in the password: write it as %2F", "a raw @ in the user", "a raw % in "

BAD = [
    # not a URL that libpq takes
    ("Xq7Zw9Kv", BEGIN),
    ("localhost:5432/cruddur", BEGIN),
    ("postgres:Xq7Zw9Kv@localhost:5432/cruddur", BEGIN),
    ("//u:Xq7Zw9Kv@h/db", BEGIN),
    ("http://u:Xq7Zw9Kv@h/db", BEGIN),
    ("mysql://u:Xq7Zw9Kv@h/db", BEGIN),
    ("POSTGRESQL://u:Xq7Zw9Kv@h/db", BEGIN),
    ("postgresql+psycopg2://u:Xq7Zw9Kv@h/db", BEGIN),
    ("postgresql+asyncpg://u:Xq7Zw9Kv@h/db", BEGIN),
    ("jdbc:postgresql://h/db?user=u&password=Xq7Zw9Kv", BEGIN),
    ("host=h user=u password=Xq7Zw9Kv dbname=db", BEGIN),
    ("psql postgresql://u:Xq7Zw9Kv@h/db", BEGIN),
    ("postgresql:/u:Xq7Zw9Kv@h/db", BEGIN),
    ("CONNECTION_URL=postgresql://u:Xq7Zw9Kv@h/db", BEGIN),
    # what stays around it when pasted
    ('"postgresql://u:Xq7Zw9Kv@h/db"', "quotes around it"),
    ("'postgresql://u:Xq7Zw9Kv@h/db'", "quotes around it"),
    ("postgresql://u:Xq7Zw9Kv@h/db'", "quotes around it"),
    ("postgresql://u:Xq7Zw9Kv@h/db ", "at its start or end"),
    (" postgresql://u:Xq7Zw9Kv@h/db", "at its start or end"),
    ("postgresql://u:Xq7Zw9Kv@h/db\n", "line break"),
    ("postgresql://u:Xq7Zw9Kv@h/db\r", "line break"),
    ("postgresql://u:Xq7Z\nw9Kv@h/db", "line break"),
    ("postgresql://u:Xq7Z\tw9Kv@h/db", "control character"),
    ("postgresql://u:Xq7Z w9Kv@h/db", "holds a blank: write it as %20"),
    ("postgresql://u:Xq7Zw9Kv@h/my db", "holds a blank: write it as %20"),
    ("postgresql://u:Xq7Zw9Kv\u00a0@h/db", "holds a blank"),
    # left to be filled in
    ("postgresql://${USER}:Xq7Zw9Kv@h/db", "unexpanded ${…}"),
    ("postgresql://u:${PASSWORD}@h/db", "unexpanded ${…}"),
    ("postgresql://u:Xq7Zw9Kv@$(hostname)/db", "unexpanded ${…}"),
    ("postgresql://u:<Xq7Zw9Kv>@h/db", "a placeholder stands where the password belongs"),
    ("postgresql://u:[YOUR-PASSWORD]@h/db", "a placeholder stands where the password belongs"),
    # characters of a password that libpq takes for the end of it
    ("postgresql://u:Xq7Z@w9Kv@h/db", RAW_AT),
    ("postgresql://u:Xq7Z@@w9Kv@h/db", RAW_AT),
    ("postgresql://me@corp:Xq7Zw9Kv@h/db", RAW_AT),
    ("postgresql://u:@Xq7Zw9Kv@h/db", RAW_AT),
    ("postgresql://u:Xq7Z/w9Kv@h/db", RAW_SLASH),
    ("postgresql://u:/Xq7Zw9Kv@h/db", RAW_SLASH),
    ("postgresql://u:Xq7Zw9Kv/@h/db", RAW_SLASH),
    ("postgresql://u:Xq7Z@w/9Kv@h/db", RAW_SLASH),
    ("postgresql://u:7/Xq7Zw9Kv@h/db", RAW_SLASH),
    ("postgresql://u:Xq7Z/w?9Kv@h/db", RAW_SLASH),
    ("postgresql://u:Xq7Z%w9Kv@h/db", RAW_PERCENT + "the password: write it as %25"),
    ("postgresql://u:Xq7Zw9Kv%@h/db", RAW_PERCENT + "the password: write it as %25"),
    ("postgresql://u:Xq7Zw9Kv%4@h/db", RAW_PERCENT + "the password: write it as %25"),
    ("postgresql://u:Xq7Zw9Kv@h/100%", RAW_PERCENT + "the URL: write it as %25"),
    ("postgresql://u:Xq7Zw9Kv%00@h/db", "holds %00"),
    ("postgresql://u:Xq7Zw9Kv%FF@h/db", "is not UTF-8"),
    # the @ forgotten, so that the password becomes the port or the host
    ("postgresql://u:Xq7Zw9Kv/db", "the port must be a number"),
    ("postgresql://u:Xq7Zw9Kv:5432/db", "the port must be a number"),
    # the address
    ("postgresql://u:Xq7Zw9Kv@h:port/db", "the port must be a number"),
    ("postgresql://u:Xq7Zw9Kv@h:54321x/db", "the port must be a number"),
    ("postgresql://u:Xq7Zw9Kv@h:5432:1/db", "the port must be a number"),
    ("postgresql://u:Xq7Zw9Kv@::1:5432/db", "the port must be a number"),
    ("postgresql://u:Xq7Zw9Kv@h:0/db", "from 1 to 65535"),
    ("postgresql://u:Xq7Zw9Kv@h:65536/db", "from 1 to 65535"),
    ("postgresql://u:Xq7Zw9Kv@h:99999999999999999999/db", "from 1 to 65535"),
    ("postgresql://u:Xq7Zw9Kv@h/db?port=-1", "the port must be a number"),
    ("postgresql://u:Xq7Zw9Kv@[::1/db", "libpq cannot read it"),
    ("postgresql://u:Xq7Zw9Kv@[]/db", "libpq cannot read it"),
    ("postgresql://u:Xq7Zw9Kv@[::1]5432/db", "libpq cannot read it"),
    ("postgresql://u:Xq7Zw9Kv@h1,h2/db", "several hosts"),
    ("postgresql://u:Xq7Zw9Kv@h1:1,h2:2/db", "several hosts"),
    ("postgresql://u:Xq7Zw9Kv@/db?host=h1,h2", "several hosts"),
    ("postgresql://u:Xq7Zw9Kv@h/db?hostaddr=nowhere", "hostaddr must be numeric"),
    # the database
    ("postgresql://", "no database name"),
    ("postgresql://u:Xq7Zw9Kv@h", "no database name"),
    ("postgresql://u:Xq7Zw9Kv@h:5432", "no database name"),
    ("postgresql://u:Xq7Zw9Kv@h:5432/", "no database name"),
    ("postgresql://u:Xq7Zw9Kv@h/?sslmode=require", "no database name"),
    ("postgresql://u:Xq7Zw9Kv@h/postgres", "belongs to the server itself"),
    ("postgresql://u:Xq7Zw9Kv@h/template1", "belongs to the server itself"),
    ("postgresql://u:Xq7Zw9Kv@h/%70ostgres", "belongs to the server itself"),
    ("postgresql://u:Xq7Zw9Kv@h/" + "d" * 64, "longer than the 63 bytes"),
    ("postgresql://u:Xq7Zw9Kv@h/" + "%C3%A9" * 32, "longer than the 63 bytes"),
    ("postgresql://u:Xq7Zw9Kv@h/db#frag", "a raw # after the host"),
    # what follows the ?
    ("postgresql://u:Xq7Zw9Kv@h/db?schema=public", "a parameter after the ? is none that libpq knows"),
    ("postgresql://u:Xq7Zw9Kv@h/db?sslmode", "a parameter after the ?"),
    ("postgresql://u:Xq7Zw9Kv@h/db?sslmode=on", "sslmode must be one of disable, allow"),
    ("postgresql://u:Xq7Zw9Kv@h/db?sslmode=REQUIRE", "sslmode must be one of"),
    ("postgresql://u:Xq7Zw9Kv@h/db?service=prod", "takes no service="),
    ("postgresql://u:Xq7Zw9Kv@h/db?connect_timeout=soon", "connect_timeout must be a number"),
]


@pytest.mark.parametrize(("url", "message"), BAD)
def test_a_bad_url_is_one_line_that_shows_nothing_of_the_password(url: str, message: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse(url, "PROD_CONNECTION_URL", "prod")
    text = str(caught.value)
    assert message in text
    assert text.startswith("PROD_CONNECTION_URL: ")
    assert "\n" not in text
    assert not [PASSWORD[i : i + 4] for i in range(5) if PASSWORD[i : i + 4] in text]
    assert caught.value.code == 2
    assert caught.value.__cause__ is None  # libpq's own message holds the URL


GOOD = [
    "postgresql://postgres:password@localhost:5432/cruddur",
    "postgresql://postgres:password@db:5432/cruddur",
    "postgresql://postgres:password@DB:5433/cruddur",
    "postgresql://cruddurroot:Xq7Zw9Kv@cruddur-db-instance.abc.us-east-1.rds.amazonaws.com:5432/cruddur",
    "postgresql://root:pw@RDS.Example.COM/sample_cruddur",
    "postgres://postgres:password@127.0.0.1/crudder",
    "postgresql://h/db",
    "postgresql://u@h/db",
    "postgresql://u:@h/db",
    "postgresql://@h/db",
    "postgresql://h:/db",
    "postgresql://:pw@h/db",
    "postgresql:///db",
    "postgresql://:5433/db",
    "postgresql://u:pw!@h/db",
    "postgresql://u:a:b::c@h/db",
    "postgresql://u:p#w@h/db",
    "postgresql://u:p?w@h/db",
    "postgresql://u:p&w=$x;*~^|()@h/db",
    "postgresql://u:p'w\"x@h/db",
    "postgresql://u:a<b>c@h/db",
    "postgresql://u:p[w]@h/db",
    r"postgresql://u:p\w@h/db",
    "postgresql://u:%40%2F%3A%25%23%3F%20%27%22%24%7B%5C@h/db",
    "postgresql://%75%3A%40:%70w@%68ost:%35432/d%62",
    "postgresql://ü:pässwörd€@h/dätä",
    "postgresql://u:p%C3%A4@h/%E2%82%AC",
    "postgresql://u:pw@h/my%20db",
    "postgresql://u:pw@h/a/b",
    "postgresql://u:pw@[::1]:5432/db",
    "postgresql://u:pw@[2001:db8::1]/db",
    "postgresql://u:pw@/db?host=/tmp",
    "postgresql://u:pw@/db?host=/var/run/my%20sockets&port=5433",
    "postgresql://u:pw@%2Ftmp/db",
    "postgresql://u:pw@%2Ftmp:5433/db",
    "postgresql://h/db?user=u&password=p%40w",
    "postgresql://u:pw@h/?dbname=db",
    "postgresql://u:pw@h/db?sslmode=verify-full&sslrootcert=/a/b%20c.pem",
    "postgresql://u:pw@h/db?ssl=true",
    "postgresql://u:pw@h/db?hostaddr=127.0.0.1&connect_timeout=3",
    "postgresql://u:pw@h/db?options=-c%20statement_timeout%3D5s&application_name=me",
    "postgresql://u:pw@h/db?application_name=a@b",
    "postgresql://u:pw@h/db?",
    "postgresql://u:pw@h/" + "d" * 63,
]


@pytest.mark.parametrize("url", GOOD)
def test_a_good_url_means_what_libpq_takes_it_for(url: str) -> None:
    libpq = {k: str(v) for k, v in conninfo_to_dict(url).items() if v is not None}
    target = parse(url, "CONNECTION_URL", "local")
    assert dict(target.params) == libpq
    printed = target.url(show_password=True)
    again = {k: v for k, v in conninfo_to_dict(printed).items() if v}
    assert again == {k: v for k, v in libpq.items() if v}
    assert parse(printed, "CONNECTION_URL", "local").url(show_password=True) == printed


@pytest.mark.parametrize("url", [u for u in GOOD if conninfo_to_dict(u).get("password")])
def test_a_masked_url_and_an_address_are_without_the_password(url: str) -> None:
    target = parse(url, "CONNECTION_URL", "local")
    other = target.on(password="entirely-different")
    assert target.url() == other.url()
    assert target.address == other.address
    assert ":****@" in target.url()


@pytest.mark.parametrize("name", SECRETS[1:])
def test_a_secret_among_the_parameters_is_masked_too(name: str) -> None:
    shown = target(host="h", **{name: "canary"}).url()
    assert "canary" not in shown
    assert shown.endswith(f"/db?{name}=****")


def target(**params: str) -> Target:
    return Target("local", "CONNECTION_URL", {"dbname": "db", **params})


@pytest.mark.parametrize(
    ("params", "address", "loopback", "rds"),
    [
        ({"host": "localhost", "port": "5433", "user": "u"}, "u@localhost:5433/db", True, False),
        ({"host": "127.1.2.3"}, "127.1.2.3:5432/db", True, False),
        ({"host": "::1", "user": "u"}, "u@[::1]:5432/db", True, False),
        ({"host": "/tmp"}, "/tmp:5432/db", True, False),
        ({}, "socket:5432/db", True, False),
        ({"host": "db"}, "db:5432/db", False, False),
        ({"host": "localhost.example.com"}, "localhost.example.com:5432/db", False, False),
        ({"host": "far.example.com", "hostaddr": "127.0.0.1"}, "far.example.com:5432/db", True, False),
        ({"host": "localhost", "hostaddr": "10.0.0.1"}, "localhost:5432/db", False, False),
        (
            {"host": "X.abc.us-east-1.RDS.amazonaws.com."},
            "X.abc.us-east-1.RDS.amazonaws.com.:5432/db",
            False,
            True,
        ),
        ({"host": "rds.amazonaws.com.evil.org"}, "rds.amazonaws.com.evil.org:5432/db", False, False),
    ],
)
def test_says_where_a_target_is(params: dict[str, str], address: str, loopback: bool, rds: bool) -> None:
    found = target(**params)
    assert (found.address, found.loopback, found.rds) == (address, loopback, rds)


# --- from variables -----------------------------------------------------------------------

PARTS = {
    "PROD_DB_ENDPOINT": "h.example.com",
    "POSTGRES_MASTER_USERNAME": "root",
    "POSTGRES_MASTER_PASSWORD": "p@ss/w:rd%",
}


def resolved(root: Path, name: str, **environ: str) -> Target | None:
    return resolve(load({}, environ, root), name)


def test_local_without_a_url_is_the_embedded_server(root: Path) -> None:
    assert resolved(root, "local") is None


def test_docker_has_a_default(root: Path) -> None:
    found = resolved(root, "docker")
    assert found
    assert found.address == "postgres@db:5432/cruddur"


def test_no_target_falls_back_to_another(root: Path) -> None:
    others = {"CONNECTION_URL": "postgresql://h/a", "CONNECTION_LOCAL_DOCKER_URL": "postgresql://h/b"}
    with pytest.raises(Misconfigured, match="prod is not configured: set PROD_CONNECTION_URL"):
        resolved(root, "prod", **others)


def test_prod_is_built_from_its_parts(root: Path) -> None:
    found = resolved(root, "prod", **PARTS)
    assert found
    assert found.url() == "postgresql://root:****@h.example.com:5432/cruddur"
    assert found.url(show_password=True) == "postgresql://root:p%40ss%2Fw%3Ard%25@h.example.com:5432/cruddur"
    assert found.source == "PROD_DB_ENDPOINT"
    port = resolved(root, "prod", **PARTS, POSTGRES_PORT="5433")
    assert port
    assert port.port == 5433


def test_a_url_wins_over_the_parts(root: Path) -> None:
    found = resolved(root, "prod", **PARTS, PROD_CONNECTION_URL="postgresql://u@other/db")
    assert found
    assert found.host == "other"


def test_the_address_and_tls_are_printed_as_parameters(root: Path) -> None:
    extra = {"PROD_DB_HOSTADDR": "127.0.0.1", "PROD_DB_SSLMODE": "verify-full", "PROD_DB_SSLROOTCERT": "/a b/ca.pem"}
    for base in (PARTS, {"PROD_CONNECTION_URL": "postgresql://u@h/db?sslmode=disable"}):
        found = resolved(root, "prod", **base, **extra)
        assert found
        printed = conninfo_to_dict(found.url())
        assert (printed["hostaddr"], printed["sslmode"], printed["sslrootcert"]) == (
            "127.0.0.1",
            "verify-full",
            "/a b/ca.pem",
        )


@pytest.mark.parametrize(
    ("url", "mode", "expected"),
    [
        ("postgresql://u@x.rds.amazonaws.com/db", "", "verify-full"),
        ("postgresql://u@x.rds.amazonaws.com/db?sslmode=verify-ca", "", "verify-ca"),
        ("postgresql://u@x.rds.amazonaws.com/db", "prefer", "prefer"),
        ("postgresql://u@h/db", "", None),
    ],
)
def test_rds_is_never_spoken_to_in_plain_text_by_accident(root: Path, url: str, mode: str, expected: str) -> None:
    found = resolved(root, "prod", PROD_CONNECTION_URL=url, PROD_DB_SSLMODE=mode)
    assert found
    assert found.params.get("sslmode") == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"POSTGRES_MASTER_PASSWORD": ""}, "prod needs POSTGRES_MASTER_PASSWORD beside PROD_DB_ENDPOINT"),
        (
            {"POSTGRES_MASTER_PASSWORD": "", "POSTGRES_MASTER_USERNAME": ""},
            "prod needs POSTGRES_MASTER_USERNAME and POSTGRES_MASTER_PASSWORD",
        ),
        ({"PROD_DB_ENDPOINT": "h:5432"}, "PROD_DB_ENDPOINT: give the host name alone"),
        ({"PROD_DB_ENDPOINT": "postgresql://u:p@h/db"}, "PROD_DB_ENDPOINT: give the host name alone"),
        ({"PROD_DB_ENDPOINT": "h "}, "PROD_DB_ENDPOINT: give the host name alone"),
        ({"PROD_DB_ENDPOINT": "h/db"}, "PROD_DB_ENDPOINT: give the host name alone"),
        ({"POSTGRES_PORT": "five"}, "POSTGRES_PORT: the port must be a number"),
        ({"POSTGRES_PORT": "0"}, "POSTGRES_PORT: the port must be a number"),
        ({"POSTGRES_PORT": "٣"}, "POSTGRES_PORT: the port must be a number"),
        ({"PROD_DB_SSLMODE": "yes"}, "PROD_DB_SSLMODE: use one of disable"),
        ({"PROD_DB_HOSTADDR": "localhost"}, "PROD_DB_HOSTADDR: the address behind the host name must be numeric"),
        ({"POSTGRES_MASTER_PASSWORD": "p\udcff"}, "POSTGRES_MASTER_PASSWORD is not UTF-8"),
    ],
)
def test_a_wrong_part_is_named(root: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(Misconfigured, match=message) as caught:
        resolved(root, "prod", **{**PARTS, **change})
    assert "\n" not in str(caught.value)


def test_the_process_environment_is_read_when_none_is_given(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTION_URL", "postgresql://u@h/mine")
    found: Any = resolve(load({}, root=root), "local")
    assert found.dbname == "mine"
    assert "CONNECTION_URL" in os.environ
