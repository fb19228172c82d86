"""The request: what the old command asked for, and what AWS would refuse is refused here first."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from invoke.collection import Collection
from invoke.config import Config
from invoke.program import Program

from config.defaults import DEFAULTS
from ops.aws import Aws
from ops.rds import lookups, request
from tests import typed
from tests.fix_aws import REGION, Call, Configure, Front, error
from tests.fix_cli import SUITE, Cli, lines_of

CANARY = "Can%ary:'99'x"

# The hand-typed command that rds.create replaces, word for word but for the shell's variables
BY_HAND = (
    "rds create-db-instance --db-instance-identifier cruddur-db-instance --db-instance-class db.t3.micro "
    "--engine postgres --engine-version 14.6 --master-username root --master-user-password huEE33z2Qvl383 "
    "--allocated-storage 20 --availability-zone ca-central-1a --backup-retention-period 0 --port 5432 "
    "--no-multi-az --db-name cruddur --storage-type gp2 --publicly-accessible --storage-encrypted "
    "--enable-performance-insights --performance-insights-retention-period 7 --no-deletion-protection"
)


def test_week4_sends_what_the_hand_typed_command_sent(cloud: Front, inv: Cli) -> None:
    """Both over the wire: the real AWS CLI and ours, less our group and tags."""
    pytest.importorskip("awscli", reason="the AWS CLI is not installed: pip install -r requirements-dev.txt")
    by_hand = typed.ask(cloud, BY_HAND, {})
    cloud.reset()
    login = {"POSTGRES_MASTER_USERNAME": "root", "POSTGRES_MASTER_PASSWORD": "huEE33z2Qvl383", "POSTGRES_PORT": "5432"}
    done = inv("-f", str(SUITE / "config" / "week4.yaml"), "rds.create", env={**login, "PROD_DB_SSLROOTCERT": "none"})
    assert done.returncode == 0, done.stderr
    [ours] = [typed.fields(call) for call in cloud.calls if call.action == "CreateDBInstance"]
    added = {name for name in ours if name.startswith(("VpcSecurityGroupIds.", "Tags."))}
    assert {name: value for name, value in ours.items() if name not in added} == by_hand
    assert len(by_hand) == 20
    assert len(added) == 5


def settings_in(file: str) -> dict[str, Any]:
    yaml: Any = importlib.import_module("invoke.vendor.yaml")
    read: dict[str, Any] = yaml.safe_load((SUITE / file).read_text())
    return read


def test_week4_names_every_setting_it_changes() -> None:
    """A key that is missing there would take today's default unnoticed."""
    week4 = settings_in("config/week4.yaml")["rds"]
    inherited = set(DEFAULTS["rds"]) - set(week4)
    assert inherited == {
        *("master_username", "iops", "throughput", "subnet_group", "project", "wait_minutes", "ca_url", "login"),
        *("keep_snapshots", "keep_snapshot_days", "min_acu", "max_acu", "pause_after", "pause_with_function"),
    }


def test_the_defaults_are_said_in_invoke_yaml() -> None:
    said = settings_in("invoke.yaml")
    assert said["rds"] == DEFAULTS["rds"]
    assert said["door"] == DEFAULTS["door"]


def test_the_request_is_one_that_botocore_takes(configure: Configure) -> None:
    client = boto3.client("rds", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        stub.add_response("create_db_instance", {})
        client.create_db_instance(**request.build(configure(), REGION, ["sg-1"], "18.4"))


# --- bad input, through the command line ------------------------------------------------

LARGE = {"INVOKE_RDS_STORAGE_GB": "400", "INVOKE_RDS_STORAGE_MAX_GB": "unset"}
# (variables, what the one line says)
BAD: list[tuple[dict[str, str], str]] = [
    ({"INVOKE_RDS_IDENTIFIER": "1cruddur"}, "rds.identifier '1cruddur'"),
    ({"INVOKE_RDS_IDENTIFIER": "cruddur--db"}, "single hyphens"),
    ({"INVOKE_RDS_IDENTIFIER": "cruddur-"}, "last no hyphen"),
    ({"INVOKE_RDS_IDENTIFIER": "cruddur_db"}, "rds.identifier 'cruddur_db'"),
    ({"INVOKE_RDS_IDENTIFIER": "c" * 64}, "at most 63"),
    ({"INVOKE_RDS_IDENTIFIER": " "}, "rds.identifier (INVOKE_RDS_IDENTIFIER): is empty"),
    ({"INVOKE_RDS_INSTANCE_CLASS": "t3.micro"}, "like db.t4g.micro"),
    ({"INVOKE_RDS_ENGINE_VERSION": "fourteen"}, "rds.engine_version"),
    ({"INVOKE_RDS_ENGINE_VERSION": "14.6.1"}, "rds.engine_version"),
    ({"INVOKE_RDS_STORAGE_GB": "19"}, "rds.storage_gb 19: give 20 to 65536"),
    ({"INVOKE_RDS_STORAGE_GB": "20GB"}, "20GB is not a whole number"),
    ({"INVOKE_RDS_STORAGE_GB": "-20"}, "-20 is not a whole number"),
    ({"INVOKE_RDS_STORAGE_GB": "50"}, "rds.storage_max_gb 50: give 55 to 65536"),
    ({"INVOKE_RDS_STORAGE_GB": "46"}, "rds.storage_max_gb 50: give 51 to 65536, a tenth above storage_gb"),
    ({"INVOKE_RDS_STORAGE_TYPE": "gp1"}, "rds.storage_type 'gp1'"),
    ({"INVOKE_RDS_STORAGE_TYPE": "io2", "INVOKE_RDS_IOPS": "3000"}, "rds.storage_gb 20: give 100 to 65536 for io2"),
    ({"INVOKE_RDS_IOPS": "3000"}, "rds.iops: AWS refuses any value for gp3 below 400 GB"),
    ({"INVOKE_RDS_THROUGHPUT": "125"}, "rds.throughput: AWS refuses any value for gp3 below 400 GB"),
    ({"INVOKE_RDS_STORAGE_TYPE": "gp2", "INVOKE_RDS_IOPS": "3000"}, "gp2 takes none"),
    ({**LARGE, "INVOKE_RDS_IOPS": "3000"}, "rds.iops 3000: give 12000 to 64000 for gp3"),
    ({**LARGE, "INVOKE_RDS_IOPS": "70000"}, "rds.iops 70000: give 12000 to 64000 for gp3"),
    ({**LARGE, "INVOKE_RDS_THROUGHPUT": "125"}, "rds.throughput 125: give 500 to 3000 for gp3"),
    ({**LARGE, "INVOKE_RDS_IOPS": "14000", "INVOKE_RDS_THROUGHPUT": "3501"}, "rds.throughput 3501: give 500 to 3500"),
    ({**LARGE, "INVOKE_RDS_STORAGE_TYPE": "io1"}, "rds.iops: io1 needs a number"),
    ({**LARGE, "INVOKE_RDS_STORAGE_TYPE": "io1", "INVOKE_RDS_IOPS": "999"}, "rds.iops 999: give 1000 to 20000 for io1"),
    ({**LARGE, "INVOKE_RDS_STORAGE_TYPE": "io2", "INVOKE_RDS_IOPS": "256001"}, "give 1000 to 256000 for io2 of 400"),
    (
        {**LARGE, "INVOKE_RDS_STORAGE_TYPE": "io2", "INVOKE_RDS_IOPS": "4000", "INVOKE_RDS_THROUGHPUT": "500"},
        "rds.throughput: io2 takes none",
    ),
    ({"INVOKE_RDS_ENCRYPTED": "true"}, "true is none of yes, no"),
    ({"INVOKE_RDS_PUBLIC": "unset"}, "unset is none of yes, no"),
    ({"INVOKE_RDS_ZONE": "ca-central-1a"}, "rds.zone 'ca-central-1a'"),
    ({"INVOKE_RDS_ZONE": "a", "INVOKE_RDS_MULTI_AZ": "yes"}, "exclude each other"),
    ({"INVOKE_RDS_ZONE": "q"}, "your account has ca-central-1a, ca-central-1b, ca-central-1d"),
    ({"INVOKE_RDS_BACKUP_DAYS": "36"}, "rds.backup_days 36"),
    ({"INVOKE_RDS_INSIGHTS_DAYS": "8"}, "rds.insights_days 8"),
    ({"INVOKE_RDS_INSIGHTS_MODE": "advanced"}, "needs insights_days of 465"),
    ({"INVOKE_RDS_INSIGHTS_MODE": "on"}, "rds.insights_mode 'on'"),
    ({"INVOKE_RDS_PROJECT": "crüddur™"}, "rds.project"),
    ({"INVOKE_RDS_WAIT_MINUTES": "soon"}, "soon is not a number of minutes"),
    ({"INVOKE_RDS_WAIT_MINUTES": "nan"}, "nan is not a number of minutes"),
    ({"INVOKE_RDS_CA_URL": "http://example.com/ca.pem"}, "give an https:// URL"),
    ({"INVOKE_RDS_SUBNET_GROUP": "none-such"}, "rds.subnet_group none-such: there is none in ca-central-1"),
    ({"INVOKE_DB_NAME": "cruddur-db"}, "db.name 'cruddur-db': RDS takes"),
    ({"INVOKE_DB_NAME": "rdsadmin"}, "belongs to the server itself"),
    ({"POSTGRES_MASTER_USERNAME": "admin"}, "the name is reserved"),
    ({"POSTGRES_MASTER_USERNAME": "pg_root"}, "the name is reserved"),
    ({"POSTGRES_MASTER_USERNAME": "cruddur-root"}, "POSTGRES_MASTER_USERNAME 'cruddur-root'"),
    ({"POSTGRES_MASTER_USERNAME": "a" * 17}, "1 to 16 letters"),
    ({"INVOKE_RDS_MASTER_USERNAME": "rdsadmin"}, "rds.master_username 'rdsadmin'"),
    ({"POSTGRES_MASTER_PASSWORD": "Xq7Zw9K"}, "8 to 128 characters"),
    ({"POSTGRES_MASTER_PASSWORD": "Xq7Zw9Kv" * 17}, "8 to 128 characters"),
    ({"POSTGRES_MASTER_PASSWORD": "Xq7Zw9Kv@"}, "no password with an @"),
    ({"POSTGRES_MASTER_PASSWORD": 'Xq7/Zw9K"v '}, "no password with a slash, a double quote, a blank"),
    ({"POSTGRES_MASTER_PASSWORD": "Xq7Zw9Kvé"}, "not plain ASCII"),
    ({"POSTGRES_PORT": "80"}, "RDS takes 1150 to 65535"),
    ({"POSTGRES_PORT": "five"}, "POSTGRES_PORT 'five'"),
    ({"AWS_DEFAULT_REGION": ""}, "no AWS region: set AWS_DEFAULT_REGION"),
    ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no AWS login: run aws configure"),
    ({"AWS_DEFAULT_REGION": "Kanada"}, "AWS_DEFAULT_REGION"),
    ({"AWS_PROFILE": "none-such", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "correct AWS_PROFILE"),
    ({"AWS_ENDPOINT_URL": "localhost"}, "correct AWS_ENDPOINT_URL"),
]


class Ours(Config):
    """invoke's configuration as a user has it, without a file of theirs."""


@pytest.fixture
def in_process(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `inv ...` in this process, as the whole program but for its start."""
    from ops.rds import commands

    def run(*words: str) -> tuple[int, str, str]:
        namespace = Collection()
        namespace.configure(DEFAULTS)
        namespace.add_collection(Collection.from_module(commands, name="rds"))
        program = Program(namespace=namespace, config_class=Ours)
        try:
            program.run(["inv", *words], exit=True)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    monkeypatch.setattr("config.settings.ROOT", root)
    monkeypatch.setattr("config.settings.load.__kwdefaults__", {"may_make_env_file": False})
    monkeypatch.setattr("config.settings.load.__defaults__", (None, root))
    return run


@pytest.mark.parametrize(("environ", "says"), BAD, ids=[str(min(environ.items()))[:60] for environ, _ in BAD])
def test_bad_input_is_one_line_exit_2_and_nothing_written(
    cloud: Front, in_process: Any, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], says: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    code, out, err = in_process("rds.create")
    lines = [line for line in lines_of(err) if not line.startswith("note: ")]
    assert (code, out, len(lines)) == (2, "", 1), err
    assert says in lines[0]
    assert cloud.writes == []
    if password := environ.get("POSTGRES_MASTER_PASSWORD"):
        assert password.strip() not in err


def test_the_table_is_long_enough() -> None:
    assert len(BAD) >= 25


def test_a_dry_run_prints_the_request_and_sends_nothing(
    cloud: Front, in_process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_MASTER_PASSWORD", CANARY)
    code, out, err = in_process("rds.create", "--dry-run")
    assert code == 0
    printed = json.loads(out)
    assert printed["MasterUserPassword"] == "****"
    assert printed["DeletionProtection"] is True
    assert printed["VpcSecurityGroupIds"] == ["(the group that rds.create makes)"]
    assert CANARY not in out + err
    assert cloud.calls == []


@pytest.mark.parametrize(
    "rds",
    [
        {"storage_gb": "400", "iops": "12000", "throughput": "3000"},
        {"storage_gb": "400", "iops": "64000", "throughput": "4000"},
        {"storage_gb": "400", "throughput": "500"},
        {"storage_gb": "100", "storage_type": "io1", "iops": "1000"},
        {"storage_gb": "100", "storage_type": "io2", "iops": "100000"},
        {"storage_gb": "45", "storage_max_gb": "50"},
    ],
)
def test_what_rds_takes_is_no_fault(configure: Configure, rds: dict[str, str]) -> None:
    assert request.faults(configure({"storage_max_gb": "unset", **rds}), REGION) == []


# --- look-ups that moto does not have ---------------------------------------------------


def looked(
    configure: Configure, rds: dict[str, str], answers: list[tuple[str, Any]], subnets: str = ""
) -> lookups.Found:
    """Answer the look-ups of RDS one after the other; a text is a refusal of that code."""
    settings = configure(rds, AWS_DEFAULT_REGION=REGION)
    aws = Aws(settings)
    keys = {"region_name": REGION, "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    client, ec2 = boto3.client("rds", **keys), boto3.client("ec2", **keys)
    aws._clients = {"rds": client, "ec2": ec2}
    with Stubber(client) as stub, Stubber(ec2) as net:
        for call, answer in answers:
            if isinstance(answer, str):
                stub.add_client_error(call, answer, http_status_code=403)
            else:
                stub.add_response(call, answer)
        vpc = [{"VpcId": "vpc-1", "IsDefault": True}]
        zones = [{"AvailabilityZone": f"{REGION}{letter}"} for letter in "ab"]
        net.add_response("describe_vpcs", {"Vpcs": vpc}, {"Filters": ANY})
        if subnets:
            net.add_client_error("describe_subnets", subnets, http_status_code=403)
        else:
            net.add_response("describe_subnets", {"Subnets": zones}, {"Filters": ANY})
        found = lookups.look(aws, settings.rds)
        stub.assert_no_pending_responses()
        net.assert_no_pending_responses()
    return found


def versions(*texts: str) -> dict[str, Any]:
    return {"DBEngineVersions": [{"Engine": "postgres", "EngineVersion": text} for text in texts]}


def option(**changed: Any) -> dict[str, Any]:
    zones = [{"Name": f"{REGION}{letter}"} for letter in "ab"]
    return {"StorageType": "gp3", "AvailabilityZones": zones, "SupportsStorageEncryption": True, **changed}


def options(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"OrderableDBInstanceOptions": list(rows)}


VERSIONS, ORDERABLE = "describe_db_engine_versions", "describe_orderable_db_instance_options"


def test_a_major_version_becomes_the_minor_that_rds_takes_today(configure: Configure) -> None:
    found = looked(configure, {}, [(VERSIONS, versions("18.4")), (ORDERABLE, options(option()))])
    assert (found.version, found.vpc, found.faults) == ("18.4", "vpc-1", [])


def test_a_version_that_rds_has_withdrawn_lists_what_it_offers(configure: Configure) -> None:
    offered = versions("14.23", "9.6.1", "18.4", "17.10")
    found = looked(configure, {"engine_version": "14.6"}, [(VERSIONS, versions()), (VERSIONS, offered)])
    [fault] = found.faults
    assert "14.6: RDS does not offer it (any more); it offers 9.6.1, 14.23, 17.10, 18.4" in fault
    assert "a major version like 18" in fault


@pytest.mark.parametrize(
    ("settings", "rows", "says"),
    [
        ({}, [], "rds.instance_class db.t4g.micro: ca-central-1 does not offer it for PostgreSQL 18.4"),
        ({"storage_type": "io2"}, [option()], "rds.storage_type io2: not offered"),
        ({"zone": "d"}, [option()], "rds.zone d: db.t4g.micro is offered in ca-central-1a, ca-central-1b"),
        ({}, [option(SupportsStorageEncryption=False)], "rds.encrypted: db.t4g.micro does not have it"),
        ({}, [option(SupportsPerformanceInsights=False)], "rds.insights_days: db.t4g.micro does not have it"),
    ],
)
def test_what_is_not_orderable_is_a_fault(
    configure: Configure, settings: dict[str, str], rows: list[dict[str, Any]], says: str
) -> None:
    found = looked(configure, settings, [(VERSIONS, versions("18.4")), (ORDERABLE, options(*rows))])
    [fault] = found.faults
    assert says in fault


def test_a_look_up_that_is_not_permitted_warns_and_goes_on(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    found = looked(configure, {}, [(VERSIONS, "AccessDenied")])
    assert (found.version, found.faults) == ("", [])
    assert "note: the engine version is not checked beforehand (no permission)" in capsys.readouterr().err


def test_subnets_that_may_not_be_looked_at_warn_and_go_on(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """The VPC is known, which is all that the group needs."""
    answers = [(VERSIONS, versions("18.4")), (ORDERABLE, options(option()))]
    found = looked(configure, {}, answers, "UnauthorizedOperation")
    assert (found.vpc, found.faults) == ("vpc-1", [])
    assert "subnets in two zones is not checked beforehand (no permission)" in capsys.readouterr().err


def test_an_expired_login_is_no_look_up_to_do_without(configure: Configure) -> None:
    with pytest.raises(Exception, match="ExpiredToken"):
        looked(configure, {}, [(VERSIONS, "ExpiredToken")])


# --- the canary -------------------------------------------------------------------------


def test_the_password_is_seen_nowhere_but_in_the_env_file(
    cloud: Front, inv: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rds.* task, with -e and with a failure in each, while all command lines of the machine are watched."""
    monkeypatch.setenv("TEST_INV", "exec")  # for a command line of its own
    gp = tmp_path / "bin" / "gp"
    gp.parent.mkdir()
    gp.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/gp.log\n')
    gp.chmod(0o755)
    env = {
        "POSTGRES_MASTER_PASSWORD": CANARY,
        "PROD_DB_SSLROOTCERT": "/none.pem",
        "PATH": f"{gp.parent}:{os.environ['PATH']}",
    }
    seen: list[str] = []

    def watch(_: Call) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue

    cloud.before = watch
    printed = ""
    for words in (
        ["rds.create", "--dry-run"],
        ["rds.create"],
        ["rds.create"],
        ["rds.status", "--json"],
        ["rds.endpoint", "--save"],
        ["db.status", "-t", "prod"],
        ["env.show"],
        ["rds.rotate-password"],
        ["rds.delete", "--confirm", "wrong"],
    ):
        done = inv("-e", *words, env={**env, "PROD_DB_HOSTADDR": "127.0.0.1"})
        printed += done.stdout + done.stderr
    cloud.before = lambda call: error("InvalidParameterValue") if call.writes else None
    for words in (["rds.create"], ["rds.delete", "--confirm", "cruddur-db-instance"]):
        done = inv("-e", "-f", "/dev/null", *words, env={**env, "INVOKE_RDS_IDENTIFIER": "cruddur-db-instance"})
        printed += done.stdout + done.stderr
    forms = [CANARY, "Can%25ary%3A%2799%27x", "Can%25ary"]
    assert "Traceback" not in printed
    assert [form for form in forms if form in printed] == []
    assert [line for line in seen if any(form in line for form in forms)] == []
    assert any("rds.create" in line for line in seen)
    files = [p for p in [*inv.root.rglob("*"), *tmp_path.glob("*.log")] if p.is_file()]
    holding = [p.name for p in files if any(form in p.read_text(errors="replace") for form in forms)]
    assert holding == [".env"]
    assert "PROD_DB_ENDPOINT" in (tmp_path / "gp.log").read_text()
