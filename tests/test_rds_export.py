"""rds.export: what Terraform is given is what AWS has, in Terraform's language and names, and nothing secret is in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops import calls
from ops.db.copies import beside
from ops.errors import Misconfigured
from ops.lambdas import through
from ops.rds import create
from ops.rds.export import exporting, hcl, proxies
from ops.rds.export.exporting import Exported
from ops.rds.export.hcl import Block, Expression, Json
from ops.rds.export.resources import Found
from ops.rds.schedule import schedule, times
from tests.fix_aws import Configure, Front, Hands
from tests.fix_cli import SUITE
from tests.fix_lambda import Stage

GOLDEN = SUITE / "tests" / "data" / "export.tf"
DOCUMENTED: dict[str, list[str]] = json.loads((SUITE / "tests" / "data" / "terraform.json").read_text(encoding="utf-8"))
"""The arguments that the AWS provider's documentation has for each type that is used here; a block's with its name before."""
SECRET = "not-for-anybody"


# --- the language -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("plain", ['"plain"']),
        ('a "b" \\ \n\t\r', ['"a \\"b\\" \\\\ \\n\\t\\r"']),
        ("${self} %{if} $5 100%", ['"$${self} %%{if} $5 100%"']),
        ("\x00é", ['"\\U00000000é"']),
        (True, ["true"]),
        (5, ["5"]),
        ([], ["[]"]),
        (["a", Expression("b.id")], ['["a", b.id]']),
        ({}, ["{}"]),
        ({"Short": 1, "inv:long": "x", "Deep": {"a": 1}}, ["{", "  Short      = 1", '  "inv:long" = "x"', "  Deep = {", "    a = 1", "  }", "}"]),
        (Json([{"a": 1}]), ["jsonencode([", "  {", "    a = 1", "  },", "])"]),
    ],
)  # fmt: skip
def test_a_value(value: Any, lines: list[str]) -> None:
    assert hcl.value_lines(value, "") == lines


def test_a_block_stands_as_terraform_writes_it() -> None:
    inner = Block("lifecycle", (), [("prevent_destroy", True)])
    block = Block("resource", ("a", "b"), [("name", "x"), ("long_name", 1), inner], "why")
    assert hcl.written([block, block]).splitlines()[:10] == [
        "# why",
        'resource "a" "b" {',
        '  name      = "x"',
        "  long_name = 1",
        "",
        "  lifecycle {",
        "    prevent_destroy = true",
        "  }",
        "}",
        "",
    ]


@pytest.mark.parametrize(("text", "name"), [("function_sgr-0aB", "function_sgr_0ab"), ("7 up", "_7_up"), ("--", "_")])
def test_a_name(text: str, name: str) -> None:
    assert hcl.label(text) == name


# --- what is there ------------------------------------------------------------------------


@pytest.fixture
def whole(stage: Stage) -> Stage:
    """An instance of ours, a function that is attached, a proxy between both, schedules, an address of a person's, and somebody's rule and variable."""
    ec2, rds = stage.client("ec2"), stage.client("rds")
    mark = [{"Key": "Project", "Value": "cruddur"}, {"Key": "ManagedBy", "Value": "inv"}]
    row = rds.describe_db_instances()["DBInstances"][0]
    rds.add_tags_to_resource(ResourceName=row["DBInstanceArn"], Tags=mark)
    [door] = [one["VpcSecurityGroupId"] for one in row["VpcSecurityGroups"]]
    ec2.create_tags(Resources=[door], Tags=[*mark, {"Key": "inv:instance", "Value": "cruddur-db-instance"}])
    person = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "8.8.4.4/32"}]}
    marks = [*mark, {"Key": "inv:owner", "Value": "ada"}]
    ec2.authorize_security_group_ingress(
        GroupId=door, IpPermissions=[person], TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": marks}]
    )
    office = {
        "IpProtocol": "tcp",
        "FromPort": 5432,
        "ToPort": 5432,
        "IpRanges": [{"CidrIp": "9.9.9.0/24", "Description": "office"}],
    }
    ec2.authorize_security_group_ingress(GroupId=door, IpPermissions=[office])
    stage.config = {"snap_start": "yes"}
    stage.deploy()
    stage.attach(stage.make_pool())
    through.make(stage.settings(), stage.aws, stage.hands.clock, dry_run=False)
    lambdas = stage.client("lambda")
    variables = {"CONNECTION_URL": stage.url(), "API_KEY": SECRET}
    lambdas.update_function_configuration(FunctionName=stage.name, Environment={"Variables": variables})
    settings, nights = stage.settings(), times.read("20:00", "08:00", "mon-fri", "Europe/Berlin")
    schedule.put(settings, stage.aws, stage.hands.clock, nights, dry_run=False)
    stage.cloud.forget()
    return stage


def export(stage: Stage, folder: str = "", *, overwrite: bool = False) -> Exported:
    return exporting.export(stage.settings(), stage.aws, folder, beside.open_beside, overwrite=overwrite)


def without_ids(text: str) -> str:
    """Return a text in which what AWS makes up is numbered in its order."""
    known: dict[str, str] = {}

    def numbered(found: re.Match[str]) -> str:
        kind = found[1]
        return known.setdefault(found[0], f"{kind}{len([one for one in known if one.startswith(kind)]) + 1}")

    text = re.sub(r"\b(sgr?-|vpc-|subnet-)[0-9a-f]{8,17}\b", numbered, text)
    text = re.sub(r"(sgr_)[0-9a-f]{17}", numbered, text)
    text = re.sub(r"(db-)[A-Z0-9]{20,}", numbered, text)
    text = re.sub(r"(ca.central.1_)\w{8,}", numbered, text)
    text = re.sub(r"(:secret:inv-proxy-cruddur-db-instance-)\w{6}", r"\1…", text)
    text = re.sub(r"(sha256:)[0-9a-f]{64}", r"\1…", text)
    return re.sub(r"(port +=|_port +=|:)( ?)\d{5}\b", r"\1\g<2>5432", text)


def test_the_whole_as_it_was_read_once(whole: Stage, tmp_path: Path) -> None:
    done = export(whole, str(tmp_path / "terraform"))
    assert whole.cloud.writes == []
    text = without_ids(done.configuration)
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
    assert SECRET not in done.configuration
    assert "not-used-here" not in done.configuration
    assert "8.8.4.4" not in done.configuration
    assert [line.split(":")[0].split()[0] for line in done.left_out] == ["rule", "the"]
    assert (tmp_path / "terraform" / "main.tf").read_text(encoding="utf-8") == done.configuration
    again = export(whole, str(tmp_path / "terraform"))
    assert (again.written, again.configuration) == (False, done.configuration)
    check_language(done.configuration)
    check_formatted(tmp_path / "terraform")


def test_a_proxy_is_told_by_what_aws_answers_of_it(whole: Stage) -> None:
    """Each argument against the field of the API that it stands for, by token and by secret, and others' targets left out."""
    rds = whole.client("rds")
    [there] = rds.describe_db_proxies()["DBProxies"]
    [group] = rds.describe_db_proxy_target_groups(DBProxyName=there["DBProxyName"])["TargetGroups"]
    found = Found()
    proxies.add_proxy(whole.aws, found, whole.settings(), there)
    every = {one.type: (one.id, dict(part for part in one.body if isinstance(part, tuple))) for one in found.resources}
    id_, body = every["aws_db_proxy"]
    for argument, member in (
        ("name", "DBProxyName"), ("engine_family", "EngineFamily"), ("require_tls", "RequireTLS"),
        ("idle_client_timeout", "IdleClientTimeout"), ("vpc_security_group_ids", "VpcSecurityGroupIds"),
    ):  # fmt: skip
        assert body.get(argument) == there[member], argument
    assert body["vpc_subnet_ids"] == sorted(there["VpcSubnetIds"])
    name = there["DBProxyName"]
    assert id_ == every["aws_db_proxy_default_target_group"][0] == name
    assert every["aws_db_proxy_target"][0] == f"{name}/{group['TargetGroupName']}/RDS_INSTANCE/cruddur-db-instance"
    [pool] = [one for one in found.resources[-2].body if isinstance(one, Block)]
    assert (
        dict(one for one in pool.body if isinstance(one, tuple))["max_connections_percent"]
        == group["ConnectionPoolConfig"]["MaxConnectionsPercent"]
    )
    assert "default_auth_scheme" not in body
    assert "aws_secretsmanager_secret" in every
    by_token = Found()
    tokens: Any = {**there, "DefaultAuthScheme": "IAM_AUTH", "Auth": []}
    proxies.add_proxy(whole.aws, by_token, whole.settings(), tokens)
    [made] = [one for one in by_token.resources if one.type == "aws_db_proxy"]
    assert ("default_auth_scheme", "IAM_AUTH") in made.body
    assert not [one for one in by_token.resources if one.type == "aws_secretsmanager_secret"]


def test_a_strangers_proxy_of_its_name_is_left_out(whole: Stage) -> None:
    rds = whole.client("rds")
    [there] = rds.describe_db_proxies()["DBProxies"]
    rds.remove_tags_from_resource(ResourceName=there["DBProxyArn"], TagKeys=["ManagedBy"])
    done = export(whole)
    assert "aws_db_proxy" not in done.configuration
    assert [
        line
        for line in done.left_out
        if line.startswith("proxy: the proxy cruddur-db-instance-proxy is there already, and not made by inv")
    ]


def check_language(text: str) -> None:
    """Parse it; every argument is one that is documented, every import is of a resource that is there."""
    hcl2 = pytest.importorskip("hcl2", reason="python-hcl2 is not installed: pip install -r requirements-dev.txt")
    tree = json.loads(json.dumps(hcl2.loads(text)).replace('\\"', ""))
    there = set()
    for resource in tree["resource"]:
        [(kind, named)] = [one for one in resource.items() if not one[0].startswith("__")]
        [(name, body)] = [one for one in named.items() if not one[0].startswith("__")]
        there.add(f"{kind}.{name}")
        assert set(names(body)) - {"lifecycle", "lifecycle.ignore_changes", "lifecycle.prevent_destroy"} <= set(
            DOCUMENTED[kind]
        )
    assert {one["to"].strip("${}") for one in tree["import"]} == there
    assert all(one["id"] for one in tree["import"])
    for reference in re.findall(r"= \[?((?:aws_\w+)\.\w+)\.", text):
        assert reference in there


def names(body: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, value in body.items():
        if name.startswith("__"):
            continue
        yield before + name
        if isinstance(value, list) and value and isinstance(value[0], dict):  # a block
            yield from names(value[0], f"{before}{name}.")


def check_formatted(folder: Path) -> None:
    """Ask Terraform itself, where it is installed: what it cannot read, it does not format either."""
    if terraform := shutil.which("terraform"):
        done = subprocess.run(
            [terraform, "fmt", "-check", "-diff", folder], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "")


def test_its_rights_are_those_that_it_asks_for(whole: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    begin = calls.Watch.begin

    def noted(self: calls.Watch, context: dict[str, Any], event_name: str, **more: Any) -> None:
        service, operation = event_name.split(".")[1:3]
        used.add(
            f"{service.removeprefix('cloudwatch-').replace('secrets-', 'secrets')}:{re.sub(r'(V2)?[0-9]{8}(v2)?$', '', operation)}"
        )
        begin(self, context, event_name, **more)

    monkeypatch.setattr(calls.Watch, "begin", noted)
    monkeypatch.setattr(whole.cloud, "clients", {})
    export(whole)
    policy = json.loads((SUITE / "config" / "policies" / "export.json").read_text(encoding="utf-8"))
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert allowed - {"lambda:ListTags"} == used  # GetFunction tells no tags to whoever may not list them
    assert not [action for action in allowed if not re.search(":(Describe|Get|List)", action)]


# --- the instance alone -------------------------------------------------------------------


@pytest.fixture
def alone(cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What exports an instance without a function, as rds.create makes it."""
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    settings = configure()
    create.create_or_resume(settings, cloud.aws(settings), hands.clock, adopt=False)

    def act(folder: str = "", *, overwrite: bool = False) -> Exported:
        return exporting.export(settings, cloud.aws(settings), folder, beside.open_beside, overwrite=overwrite)

    return act


def test_a_password_that_rds_keeps_stays_there(alone: Any) -> None:
    done = alone()
    assert (done.file, done.written) == (None, False)
    assert "manage_master_user_password         = true" in done.configuration
    assert "variable" not in done.configuration
    assert {one.address.split(".")[0] for one in done.imports} == {
        "aws_db_instance", "aws_security_group", "aws_vpc_security_group_egress_rule",
    }  # fmt: skip
    check_language(done.configuration)


def test_a_file_is_replaced_only_where_it_is_ours(alone: Any, tmp_path: Path) -> None:
    folder, file = tmp_path / "to", tmp_path / "to" / "main.tf"
    folder.mkdir()
    (folder / "terraform.tfstate").write_text("{}", encoding="utf-8")
    file.write_text("# somebody's\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match="there already"):
        alone(str(folder), overwrite=True)
    file.write_text(f"{exporting.HEAD}\n# of last year\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match="--overwrite"):
        alone(str(folder))
    assert alone(str(folder), overwrite=True).written is True
    assert sorted(path.name for path in folder.iterdir()) == ["main.tf", "terraform.tfstate"]


def test_cut_off_there_is_the_old_file_or_the_new(alone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("fsync", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(f"os.{where}" if where == "fsync" else "ops.db.copies.beside.put", cut)
            with pytest.raises(KeyboardInterrupt):
                alone(str(tmp_path / "to"))
        assert list(tmp_path.glob("*to*")) == []
    assert alone(str(tmp_path / "to")).written is True


def cut(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt
