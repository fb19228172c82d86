"""Targets of the user's own: each kept by its kind, none mistaken for another, production untouched beside them."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest

from config import dotenv
from config.declared import BUILT_IN, KEYS, Kind, declared, names_of, overlaid
from config.settings import Settings, load
from config.targets import RDS_HOST, is_rds, kind_of, resolve
from functions.post_confirmation import handler
from ops import console
from ops.db import build, lifecycle
from ops.errors import Misconfigured, Refused
from ops.rds import create, rotate
from ops.targets import identity, opening, production_guard
from ops.targets.embedded import server
from tests import source
from tests.fix_aws import Front, Hands
from tests.fix_cli import Cli
from tests.fix_suppliers import Database

SUITE = Path(__file__).parent.parent
STAGING = {"targets": {"staging": {"url": "STAGING_CONNECTION_URL"}}}
CONFIG = {"rds": {"ca_url": "https://127.0.0.1:1/none.pem"}, **STAGING}
HOSTS = [
    ("x.abc.ca-central-1.rds.amazonaws.com", True),
    ("X.ABC.ca-central-1.RDS.amazonaws.com.", True),
    ("x.abc.rds.cn-north-1.amazonaws.com.cn", True),
    ("x.abc.us-gov-west-1.rds.amazonaws.com", True),
    ("x.abc.eusc-de-east-1.rds.amazonaws.eu", True),
    ("x.proxy-abc.ca-central-1.rds.amazonaws.com", True),
    ("rds.amazonaws.com.example.com", False),
    ("xrds.amazonaws.com", False),
    ("ec2-1-2-3-4.compute.amazonaws.com", False),
    ("localhost", False),
    ("", False),
]


def staging(one: Database, **environ: str) -> Settings:
    """Settings with a target staging on this server, and nothing under any other name."""
    return load(STAGING, {"STAGING_CONNECTION_URL": one.url, **environ}, one.root)


# --- what is declared --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"prod": {}}, "targets.prod in invoke.yaml: prod is built in"),
        ({"Staging": {}}, "lower-case letters"),
        ({"staging": "STAGING_URL"}, 'write it as a section, like {url: "STAGING_CONNECTION_URL"}'),
        ({"staging": {"url": "postgresql://u:hushhush@h/db"}}, "never the URL itself"),
        ({"staging": {"protected": True}}, "is none of"),
        ({"staging": {"rdz": {}}}, f"there is no setting rdz, use one of {', '.join(KEYS)}"),
        ({"staging": {"rds": "x"}}, "rds: write it as a section"),
        ({"staging": {"rds": {"identifierr": "x"}}}, "rds.identifierr: no such setting"),
        ({"staging": {"url": "PROD_CONNECTION_URL"}}, "PROD_CONNECTION_URL is the variable of prod"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_place(root: Path, about: dict[str, Any], told: str) -> None:
    with pytest.raises(Misconfigured, match="targets") as raised:
        load({"targets": about}, {}, root)
    assert told in str(raised.value)
    assert "hushhush" not in str(raised.value)


def test_a_target_that_is_not_there_is_told_with_those_that_are(root: Path) -> None:
    with pytest.raises(Misconfigured, match="use one of local, docker, prod, staging"):
        load(STAGING, {}, root).on("stagin")
    assert load({**STAGING, "target": "staging"}, {}, root).on("").focus.name == "staging"


def test_its_variables_begin_with_its_name_and_are_nobody_elses(root: Path) -> None:
    mine = [value for value in names_of("eu-west") if isinstance(value, str)]
    assert all(name.startswith("EU_WEST_") for name in mine)
    theirs = {name for target in BUILT_IN.values() for name in target.names if isinstance(name, str)}
    assert not set(mine) & theirs


def test_what_it_does_not_set_is_the_top_levels_but_for_what_would_be_shared_with_production() -> None:
    found, faults = declared({"staging": {"rds": {"storage_gb": "30"}}, "own": {"rds": {"identifier": "theirs"}}})
    assert not faults
    config = {"rds": {"identifier": "shop", "multi_az": "yes"}}
    rds = overlaid(config, found["staging"])["rds"]
    assert (rds["identifier"], rds["multi_az"], rds["storage_gb"]) == ("shop-staging", "yes", "30")
    assert overlaid(config, found["staging"])["lambda"]["function"] == "cruddur-post-confirmation-staging"
    assert overlaid(config, found["own"])["rds"]["identifier"] == "theirs"
    assert overlaid(config, found["prod"]) is config


@pytest.mark.parametrize(
    ("name", "environ", "kind"),
    [
        ("local", {}, Kind.EMBEDDED),
        ("local", {"CONNECTION_URL": "postgresql://u@h/db"}, Kind.SERVER),
        ("docker", {}, Kind.COMPOSE),
        ("prod", {"PROD_CONNECTION_URL": "postgresql://u@h/db"}, Kind.RDS),
        ("staging", {}, Kind.RDS),
        ("staging", {"STAGING_DB_ENDPOINT": "x.abc.ca-central-1.rds.amazonaws.com"}, Kind.RDS),
        ("staging", {"STAGING_DB_ENDPOINT": "db.example.com"}, Kind.SERVER),
        ("staging", {"STAGING_CONNECTION_URL": "postgresql://u@db.example.com/db"}, Kind.SERVER),
        ("staging", {"STAGING_CONNECTION_URL": "postgresql://u@x.rds.cn-north-1.amazonaws.com.cn/db"}, Kind.RDS),
    ],
)
def test_the_variables_tell_who_keeps_its_server(root: Path, name: str, environ: dict[str, str], kind: Kind) -> None:
    settings = load(STAGING, environ, root)
    assert kind_of(settings, settings.on(name).focus) is kind


# --- what lies on RDS --------------------------------------------------------------------


@pytest.mark.parametrize(("host", "expected"), HOSTS)
def test_rds_is_told_by_its_host_here_and_in_the_function(root: Path, host: str, expected: bool) -> None:
    assert is_rds(host) is expected
    found = handler.parameters(f"postgresql://u:p@{host}/db").get("sslmode")
    assert (found == "verify-full") is expected
    if host:
        target = resolve(load({}, {"CONNECTION_URL": f"postgresql://u:p@{host}/db"}, root), "local")
        assert target
        assert (target.params.get("sslmode") == "verify-full") is expected


def test_the_domains_are_those_that_botocore_knows() -> None:
    from botocore.loaders import create_loader

    suffixes = {part["dnsSuffix"] for part in create_loader().load_data("endpoints")["partitions"]}
    assert {suffix for suffix in suffixes if not is_rds(f"x.abc.some-1.rds.{suffix}")} == set()
    assert handler.RDS_HOST.pattern == RDS_HOST.pattern


# --- each kept by its kind ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"STAGING_CONNECTION_URL": "postgresql://u:p@db.example.com/cruddur"}, "which is not the embedded server"),
        ({"STAGING_CONNECTION_URL": "postgresql://u:p@127.0.0.1:1/cruddur"}, "which is not the embedded server"),
        ({"STAGING_CONNECTION_URL": "postgresql://u:p@x.abc.eu-1.rds.amazonaws.com/cruddur"}, "inv rds.stop"),
        ({}, "inv rds.stop"),
    ],
)
@pytest.mark.parametrize("wipe", [True, False])
def test_no_target_but_its_own_stops_the_embedded_server(
    inv: Cli, environ: dict[str, str], told: str, wipe: bool
) -> None:
    running = server.start_server(inv.root)
    settings = load(STAGING, environ, inv.root)
    with pytest.raises(Misconfigured) as raised:
        lifecycle.down(settings, "staging", wipe=wipe, confirm="cruddur")
    assert told in str(raised.value)
    assert server.is_answering(inv.root, running.port)
    assert running.data.exists()


def test_a_url_of_another_machine_neither_starts_nor_stops_anything(inv: Cli) -> None:
    server.start_server(inv.root)
    settings = load({}, {"CONNECTION_URL": "postgresql://u:p@db.example.com/cruddur"}, inv.root)
    with pytest.raises(Misconfigured, match="not this machine"):
        lifecycle.up(settings, "local")
    with pytest.raises(Misconfigured, match="not the embedded server"):
        lifecycle.down(settings, "local", wipe=False, confirm="")


@pytest.mark.quick
def test_its_settings_are_its_own_however_often_it_is_named(root: Path) -> None:
    found = load({"targets": {"staging": {"rds": {"instance_class": "db.t4g.small"}}, "eu": {}}}, {}, root)
    for names, identifier in (
        (["staging"], "cruddur-db-instance-staging"),
        (["staging", "staging", "staging"], "cruddur-db-instance-staging"),
        (["staging", "eu"], "cruddur-db-instance-eu"),
        (["staging", "prod"], "cruddur-db-instance"),
    ):
        settings = found
        for name in names:
            settings = settings.on(name)
        own = names[-1] == "staging"
        assert (settings.rds.identifier, settings.rds.instance_class == "db.t4g.small") == (identifier, own)


def test_setup_works_on_a_named_target_and_on_no_other(one: Database, inv: Cli) -> None:
    yaml = inv.root / "invoke.yaml"
    yaml.write_text(yaml.read_text().replace("targets: {}", "targets: {staging: {}}"))
    env = {"STAGING_CONNECTION_URL": one.url}
    done = inv("db.setup", "-t", "staging", env=env)
    assert done.returncode == 0, done.stderr
    assert one.scalar("select count(*) from users") == 5
    assert not (inv.root / ".local/postgres").exists()
    told = inv("db.setup", "-t", "stagin", env=env)
    assert (told.returncode, "use one of local, docker, prod, staging" in told.stderr) == (2, True)
    shown = json.loads(inv.ok("env.show", "--json", env=env))
    assert "STAGING_CONNECTION_URL" in {row["variable"] for row in shown}
    assert "target staging" in inv("doctor", env=env).stdout


@source.GROUP
def test_nobody_compares_a_targets_name_outside_the_place_that_knows_them() -> None:
    def compared(node: ast.Compare | ast.match_case) -> list[ast.AST]:
        return [node.left, *node.comparators] if isinstance(node, ast.Compare) else [node.pattern]

    found = []
    for path in [*SUITE.glob("ops/**/*.py"), *SUITE.glob("config/**/*.py")]:
        for node in source.nodes(path):
            if isinstance(node, ast.Compare | ast.match_case):
                words = [n.value for part in compared(node) for n in ast.walk(part) if isinstance(n, ast.Constant)]
                if {"local", "prod"} & {word for word in words if isinstance(word, str)}:
                    found.append(f"{path.name}:{ast.unparse(node)[:60]}")
    assert found == []


# --- production --------------------------------------------------------------------------


def test_protected_adds_protection(one: Database) -> None:
    config = {"targets": {"staging": {"protected": "yes"}}}
    settings = load(config, {"STAGING_CONNECTION_URL": one.url}, one.root)
    build.setup(staging(one), "staging", "", build.DEFAULT, {}, "", force=False)  # not protected: not production
    with pytest.raises(Refused, match="the target says so"):
        build.setup(settings, "staging", "", build.DEFAULT, {}, "", force=False)


def on_rds(one: Database, **more: str) -> Settings:
    """Settings by which staging lies on RDS, as its host says; the address behind it is the test's server."""
    host = "x.abc.ca-central-1.rds.amazonaws.com"
    url = one.target(host=host, hostaddr="127.0.0.1", sslmode="disable").url(show_password=True)
    return load(STAGING, {"STAGING_CONNECTION_URL": url, **more}, one.root)


def marked(settings: Settings, *, production: bool, given: str = "") -> str:
    with opening.open_target(settings, "staging", "db.mark", writes=True) as at:
        return production_guard.mark(at, production=production, given=given)


def reason(settings: Settings) -> str:
    with opening.open_target(settings, "staging", "db.status") as at:
        return str(at.prod)


def test_what_lies_on_rds_is_production_until_it_is_marked_as_none(one: Database) -> None:
    one.do(f"create database {one.name}", "postgres")
    one.do(f"comment on database {one.name} is 'our shop'", "postgres")
    settings = on_rds(one)
    assert "names an RDS host" in reason(settings)
    with pytest.raises(Refused):
        marked(settings, production=False)
    marked(settings, production=False, given=one.name)
    assert reason(settings) == ""
    build.setup(settings, "staging", "", build.DEFAULT, {}, "", force=False)
    assert reason(settings) == ""  # the swap has carried the word over
    comment = "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
    assert one.scalar(comment) == f"our shop {identity.NOT_PROD}"
    assert "already" in marked(settings, production=False, given=one.name)
    marked(settings, production=True)
    assert one.scalar(comment) == f"our shop {identity.STAMP}"
    assert reason(settings)


def test_a_word_is_all_that_a_database_without_a_comment_gets(one: Database) -> None:
    one.do(f"create database {one.name}", "postgres")
    comment = "select shobj_description(oid, 'pg_database') from pg_database where datname = current_database()"
    with pytest.raises(Refused, match=r"^mark as not production on production \("):
        marked(on_rds(one), production=False)
    for production, word, told in ((False, identity.NOT_PROD, "not production"), (True, identity.STAMP, "production")):
        said = marked(on_rds(one), production=production, given=one.name)
        assert said == f"{one.name} is marked as {told}: its comment says so to every clone"
        assert one.scalar(comment) == word


def test_the_word_holds_for_the_previous_one_that_is_kept_beside_it(one: Database) -> None:
    """A confirmed set-up has stamped both."""
    one.do(f"create database {one.name}", "postgres")
    settings = on_rds(one)
    build.setup(settings, "staging", "", build.DEFAULT, {}, one.name, force=False)
    for _ in range(2):
        marked(settings, production=False, given=one.name)
        assert reason(settings) == ""
    build.setup(settings, "staging", "", build.DEFAULT, {}, "", force=False)
    assert reason(settings) == ""
    marked(settings, production=True)
    assert reason(settings)


def test_the_identity_of_production_beats_a_word(one: Database) -> None:
    one.do(f"create database {one.name}", "postgres")
    prod = {"PROD_CONNECTION_URL": one.target(host="localhost").url(show_password=True)}
    with pytest.raises(Refused, match="names this very database: it is production"):
        marked(on_rds(one, **prod), production=False, given=one.name)
    one.do(f"comment on database {one.name} is '{identity.NOT_PROD}'", "postgres")
    assert "seen as prod before" in reason(on_rds(one))


def test_a_protected_target_cannot_be_marked_as_none(one: Database) -> None:
    one.do(f"create database {one.name}", "postgres")
    config = {"targets": {"staging": {"protected": "yes"}}}
    with pytest.raises(Refused, match="declared as production"):
        marked(load(config, {"STAGING_CONNECTION_URL": one.url}, one.root), production=False, given=one.name)


# --- AWS ---------------------------------------------------------------------------------


PROD_LINES = {
    "PROD_DB_ENDPOINT": "cruddur-db-instance.abc.ca-central-1.rds.amazonaws.com",
    "PROD_CONNECTION_URL": "postgresql://u:theirs-of-prod@db.example.com/cruddur",
    "POSTGRES_MASTER_PASSWORD": "prods-own-word",
    "DB_SG_ID": "sg-0123456789abcdef0",
}


@pytest.fixture
def beside(cloud: Front, root: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Staging's settings, with production's variables saved beside them."""
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    for name, value in {**PROD_LINES, "STAGING_MASTER_PASSWORD": "of-staging-alone"}.items():
        dotenv.write(root / ".env", name, value)
    return load(CONFIG, dict(os.environ), root).on("staging")


def lines(settings: Settings) -> list[str]:
    return [one for one in settings.vars.env_file.read_text().splitlines() if not one.startswith("STAGING_")]


def test_create_and_rotate_on_staging_touch_nothing_of_production(beside: Settings, cloud: Front, hands: Hands) -> None:
    before = lines(beside)
    create.create_or_resume(beside, cloud.aws(beside), hands.clock, adopt=False)
    sent = [call.params for call in cloud.calls if call.writes]
    named = {value for params in sent for key, value in params.items() if "Identifier" in key or key == "GroupName"}
    assert all("staging" in value for value in named), named
    assert not [value for params in sent for value in params.values() if value in PROD_LINES.values()]
    assert sent[-1]["MasterUserPassword"] == "of-staging-alone"
    text = beside.vars.env_file.read_text()
    assert "STAGING_DB_ENDPOINT=" in text
    assert "STAGING_CONNECTION_URL=" in text
    assert lines(beside) == before

    again = load(CONFIG, dict(beside.vars.environ), beside.root).on("staging")
    rotate.rotate_password(again, cloud.aws(again), hands.clock)
    assert lines(beside) == before
    assert "of-staging-alone" not in beside.vars.env_file.read_text()


def test_advice_for_staging_leads_to_staging(capsys: pytest.CaptureFixture[str]) -> None:
    console.about("staging")
    try:
        console.say("inv rds.status tells; inv db.undo -t staging, inv env.set X, see inv lambda.deploy.")
    finally:
        console.about("")
    said = capsys.readouterr().err
    assert said == (
        "inv rds.status -t staging tells; inv db.undo -t staging, inv env.set X, see inv lambda.deploy -t staging.\n"
    )


@pytest.mark.parametrize(
    "words", ["rds.status", "rds.rules", "rds.events", "rds.logs", "lambda.status", "lambda.logs", "lambda.sign-ups"]
)
def test_what_is_on_no_aws_is_refused(inv: Cli, words: str) -> None:
    done = inv(words, "-t", "local")
    assert (done.returncode, "nothing of it is on AWS" in done.stderr) == (2, True)
