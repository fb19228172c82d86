"""lambda.deploy makes each part once, changes what differs, and leaves what is others'."""

from __future__ import annotations

import json
import re
import threading
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from config.paths import ROOT
from ops.errors import Misconfigured, NoDatabase, Problem, Refused
from ops.lambdas import deploy, login, role, status
from ops.lambdas.package import layer, runtimes
from tests.fix_lambda import HOST, NAME, Stage

PARTS = [
    *("role", "role's policy for logs", "role's policy for the VPC", "security group", "rule", "layer", "logs"),
    *("database login", "database rights", "function"),
]


def door(stage: Stage) -> str:
    found = stage.client("ec2").describe_security_groups(GroupNames=["door"])["SecurityGroups"]
    return str(found[0]["GroupId"])


@pytest.mark.quick
def test_makes_every_part_and_a_second_run_writes_nothing(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.deploy() == PARTS
    stage.cloud.forget()
    before = stage.database.scalar("select rolpassword from pg_authid where rolname = 'lambda_signup'")
    assert stage.deploy() == []
    assert stage.cloud.calls
    assert stage.cloud.writes == []
    assert stage.database.scalar("select rolpassword from pg_authid where rolname = 'lambda_signup'") == before
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == [*["created"] * 10, *["unchanged"] * 11]


def test_the_function_is_what_cognito_needs(stage: Stage) -> None:
    stage.deploy()
    found = stage.function()
    have = found["Configuration"]
    assert (have["Runtime"], have["Handler"]) == ("python3.13", "post_confirmation.handler.handler")
    assert (have["Timeout"], have["MemorySize"], have["Architectures"]) == (5, 512, ["x86_64"])
    assert found["Tags"] == {"Project": "cruddur", "ManagedBy": "inv"}
    url = conninfo_to_dict(stage.url())
    assert (url["host"], url["user"], url["dbname"]) == (HOST, "lambda_signup", stage.database.name)
    assert (url["port"], url["sslmode"]) == (str(stage.database.server.port), "verify-full")
    subnets = stage.client("ec2").describe_subnets()["Subnets"]
    assert set(have["VpcConfig"]["SubnetIds"]) == {subnet["SubnetId"] for subnet in subnets}
    [group] = stage.client("ec2").describe_security_groups(GroupIds=[door(stage)])["SecurityGroups"]
    [rule] = group["IpPermissions"]
    [own] = have["VpcConfig"]["SecurityGroupIds"]
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [own]
    assert (rule["FromPort"], rule["IpRanges"]) == (stage.database.server.port, [])
    [group] = stage.client("logs").describe_log_groups()["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (f"/aws/lambda/{NAME}", 14)


def test_the_role_may_log_and_enter_the_vpc(stage: Stage) -> None:
    stage.deploy()
    iam = stage.client("iam")
    assert iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"] == role.TRUST
    attached = iam.list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]
    assert [policy["PolicyName"] for policy in attached] == ["AWSLambdaBasicExecutionRole"]
    text = (ROOT / "config" / "policies" / "lambda-vpc-access.json").read_text()
    inner = iam.get_role_policy(RoleName=NAME, PolicyName=role.VPC_POLICY)["PolicyDocument"]
    assert inner == json.loads(text)
    assert {f"ec2:{name}" for name in FIVE} == set(inner["Statement"][0]["Action"])


FIVE = (
    *("CreateNetworkInterface", "DeleteNetworkInterface", "DescribeNetworkInterfaces", "AttachNetworkInterface"),
    "DescribeInstances",
)


def test_the_login_may_read_and_add_users_and_nothing_else(stage: Stage) -> None:
    stage.deploy()
    params: dict[str, Any] = {**conninfo_to_dict(stage.url()), "host": "127.0.0.1", "sslmode": "disable"}
    with psycopg.connect(**params, autocommit=True) as conn:
        conn.execute("insert into users (display_name, handle, cognito_user_id) values ('a', 'a', 'a')")
        assert conn.execute("select count(*) from users").fetchone() == (1,)
        for refused in (
            "update users set handle = 'b'",
            "delete from users",
            "truncate users cascade",
            "select * from activities",
            "create table t (x int)",
            "create role other",
            "create database other",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(refused.encode())


def test_the_password_is_in_no_output_and_not_on_its_way_to_the_server(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[str] = []
    execute = psycopg.Connection.execute

    def noted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(
            query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string()
        )
        return execute(self, query, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Connection, "execute", noted)
        stage.deploy()
    password = urlsplit(stage.url()).password
    assert password
    assert any("lambda_signup" in text and "SCRAM-SHA-256" in text for text in sent)
    assert not any(password in text for text in sent)
    shown = capsys.readouterr()
    assert password not in shown.out + shown.err
    assert [p for p in stage.root.rglob("*") if p.is_file() and password.encode() in p.read_bytes()] == []


def test_a_dry_run_tells_the_plan_and_writes_nothing(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage.deploy(dry_run=True) == PARTS
    assert stage.cloud.writes == []
    assert stage.database.scalar("select count(*) from pg_roles where rolname = 'lambda_signup'") == 0
    shown = capsys.readouterr()
    assert shown.out.count("would be created") == len(PARTS)
    assert "nothing was written" in shown.err
    stage.deploy()
    stage.cloud.forget()
    assert "lambda.memory_mb" not in capsys.readouterr().err
    assert stage.deploy({"memory_mb": "256"}, dry_run=True) == ["configuration"]
    assert stage.cloud.writes == []
    shown = capsys.readouterr()
    assert "would be updated configuration: MemorySize" in shown.out
    assert "note: lambda.memory_mb is 256: a cold sign-up may take more than half of the 5 s" in shown.err


@pytest.mark.parametrize(
    ("config", "part", "shown"),
    [
        ({"timeout_seconds": "4"}, "configuration", "Timeout"),
        ({"memory_mb": "1024"}, "configuration", "MemorySize"),
        ({"log_days": "30"}, "logs", "kept 30 days (were: 14)"),
        ({"architecture": "arm64"}, "code", ""),
    ],
)
def test_what_differs_is_changed_and_nothing_else(
    stage: Stage, config: dict[str, str], part: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.deploy()
    stage.cloud.forget()
    capsys.readouterr()
    changed = [name for name in stage.deploy(config) if name != "layer"]  # another processor has another layer
    assert part in changed
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"updated   {part}")]
    assert shown in line


def test_what_others_have_put_there_stays(stage: Stage) -> None:
    stage.deploy()
    client = stage.client("lambda")
    content = {"ZipFile": stage.root.joinpath(".local/lambda/function.zip").read_bytes()}
    theirs = client.publish_layer_version(LayerName="theirs", Content=content)["LayerVersionArn"]
    have = stage.function()["Configuration"]
    ours = have["Layers"][0]["Arn"]
    client.update_function_configuration(
        FunctionName=NAME,
        Layers=[theirs, ours],
        Environment={"Variables": {**have["Environment"]["Variables"], "LOG_LEVEL": "debug"}},
    )
    assert stage.deploy() == []
    url = stage.url()
    client.update_function_configuration(
        FunctionName=NAME, Layers=[theirs], Environment={"Variables": {"LOG_LEVEL": "debug", "CONNECTION_URL": "x"}}
    )
    assert stage.deploy() == ["database login", "configuration"]
    have = stage.function()["Configuration"]
    assert [one["Arn"] for one in have["Layers"]] == [theirs, ours]
    assert have["Environment"]["Variables"]["LOG_LEVEL"] == "debug"
    assert stage.url() != url
    assert stage.lets_in(stage.url())
    assert not stage.lets_in(url)


def test_a_login_that_does_not_let_in_is_replaced(stage: Stage) -> None:
    """The state that a run leaves that was cut off between the database and the function."""
    stage.deploy()
    stage.database.do("alter role lambda_signup password 'another'")
    assert not stage.lets_in(stage.url())
    assert stage.deploy() == ["database login", "configuration"]
    assert stage.lets_in(stage.url())


def test_another_function_does_not_take_the_login_away(stage: Stage) -> None:
    stage.deploy()
    url = stage.url()
    with pytest.raises(Refused, match=rf"lambda_signup is the login of the function {NAME}, which a new password"):
        stage.deploy({"function": "two"})
    assert stage.lets_in(url)
    stage.client("lambda").delete_function(FunctionName=NAME)
    assert "database login" in stage.deploy({"function": "two"})


def test_what_somebody_has_added_to_the_url_stays_and_so_does_its_password(stage: Stage) -> None:
    stage.deploy()
    url = stage.url()
    client = stage.client("lambda")

    def put(text: str) -> None:
        client.update_function_configuration(FunctionName=NAME, Environment={"Variables": {"CONNECTION_URL": text}})

    put(f"{url}&application_name=signup")
    assert stage.deploy() == []
    put(url.replace("sslmode=verify-full", "sslmode=require"))
    assert stage.deploy() == ["configuration"]
    assert stage.url() == url


def test_two_at_once_take_turns_and_leave_a_login_that_lets_in(stage: Stage) -> None:
    changed: list[list[str]] = []
    threads = [threading.Thread(target=lambda: changed.append(stage.deploy())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(parts) for parts in changed) == [0, len(PARTS)]
    assert stage.lets_in(stage.url())


def test_rights_beyond_its_own_are_taken_away(stage: Stage) -> None:
    stage.deploy()
    stage.database.do("grant delete on users to lambda_signup; revoke insert on users from lambda_signup")
    assert stage.deploy() == ["database rights"]
    rows = stage.database.query(
        "select privilege_type from information_schema.table_privileges where grantee = 'lambda_signup'"
    )
    assert sorted(row["privilege_type"] for row in rows) == login.GRANTED


def test_a_table_that_numbers_its_rows_gives_the_login_its_sequences_and_no_other(stage: Stage) -> None:
    """In the user's own schema, with `serial`: without USAGE on the sequence no INSERT would work."""
    stage.database.do(
        'create schema "Numbers"; create sequence "Numbers"."It\'s {} 100%"; create sequence alone; '
        "alter table users add id serial, add uid bigserial, add one int generated always as identity, "
        "add no int default nextval('\"Numbers\".\"It''s {} 100%\"')"
    )
    assert stage.deploy() == PARTS
    assert stage.deploy() == []
    params: dict[str, Any] = {**conninfo_to_dict(stage.url()), "host": "127.0.0.1", "sslmode": "disable"}
    with psycopg.connect(**params, autocommit=True) as conn:
        conn.execute("insert into users (display_name, handle, cognito_user_id) values ('a', 'a', 'a')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select nextval('alone')")
    stage.database.do("revoke all on sequence users_id_seq from lambda_signup")
    assert stage.deploy() == ["database rights"]
    assert stage.deploy() == []


def test_the_subnets_are_those_of_the_instances_subnet_group(stage: Stage) -> None:
    rds, ec2 = stage.client("rds"), stage.client("ec2")
    two = sorted(subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"])[1:]
    rds.create_db_subnet_group(DBSubnetGroupName="two", DBSubnetGroupDescription="two", SubnetIds=two)
    rds.delete_db_instance(DBInstanceIdentifier="cruddur-db-instance", SkipFinalSnapshot=True)
    rds.create_db_instance(
        DBInstanceIdentifier="cruddur-db-instance", DBInstanceClass="db.t4g.micro", Engine="postgres", AllocatedStorage=20,
        MasterUsername="postgres", MasterUserPassword="not-used-here", Port=stage.database.server.port,
        VpcSecurityGroupIds=[door(stage)], DBSubnetGroupName="two",
    )  # fmt: skip
    stage.deploy()
    assert sorted(stage.function()["Configuration"]["VpcConfig"]["SubnetIds"]) == two


def test_a_group_of_our_name_that_is_not_ours_is_refused(stage: Stage) -> None:
    ec2 = stage.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    ec2.create_security_group(GroupName=f"lambda-{NAME}", Description="theirs", VpcId=vpc)
    with pytest.raises(Problem, match=rf"is called lambda-{NAME} and is not ours: .*tag it ManagedBy=inv"):
        stage.deploy()


def test_a_function_or_role_made_by_hand_is_refused_and_adopted_on_demand(stage: Stage) -> None:
    iam, client = stage.client("iam"), stage.client("lambda")
    trust = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
    }
    iam.create_role(RoleName=NAME, AssumeRolePolicyDocument=json.dumps(trust))
    stage.cloud.forget()
    with pytest.raises(Refused, match=r"the role .* not made by inv.*--adopt"):
        stage.deploy()
    hand = iam.create_role(RoleName="hand", AssumeRolePolicyDocument=json.dumps(role.TRUST))["Role"]["Arn"]
    client.create_function(
        FunctionName=NAME, Runtime="python3.8", Role=hand, Handler="lambda_function.lambda_handler",
        Code={"ZipFile": b"zip"}, Environment={"Variables": {"CONNECTION_URL": "postgresql://root:Mine99xx@h/cruddur"}},
    )  # fmt: skip
    stage.cloud.forget()
    with pytest.raises(Refused, match=r"the function .* not made by inv.*--adopt"):
        stage.deploy()
    assert stage.cloud.writes == []
    assert {"role", "function", "configuration", "code"} <= set(stage.deploy(adopt=True))
    have = stage.function()["Configuration"]
    assert (have["Runtime"], have["Handler"]) == ("python3.13", "post_confirmation.handler.handler")
    statements = iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert [one["Principal"]["Service"] for one in statements] == ["ec2.amazonaws.com", "lambda.amazonaws.com"]
    stage.cloud.forget()
    assert stage.deploy() == []
    assert stage.cloud.writes == []


def test_prod_must_be_the_instance_and_have_its_table(stage: Stage) -> None:
    tunnel = stage.settings(PROD_CONNECTION_URL=stage.database.url, PROD_DB_HOSTADDR="")
    with pytest.raises(Misconfigured, match=r"not the instance cruddur-db-instance.*PROD_DB_HOSTADDR"):
        deploy.deploy(tunnel, stage.aws, stage.hands.clock, dry_run=False, adopt=False)
    assert stage.cloud.writes == []
    stage.database.do("alter table users drop column email, drop column handle")
    with pytest.raises(Problem, match=r"public\.users of .* has no column email, handle, .*inv db\.setup -t prod"):
        stage.deploy()
    assert stage.cloud.writes == []
    stage.database.do("alter table users rename to people")
    with pytest.raises(Problem, match=r"has no table public\.users: inv db\.setup -t prod"):
        stage.deploy()
    stage.database.do(f'drop database "{stage.database.name}" with (force)', "postgres")
    with pytest.raises(NoDatabase, match=r"inv db\.setup -t prod"):
        stage.deploy()


@pytest.mark.parametrize("config", [{"python": "banana"}, {"architecture": "arm"}])
def test_a_runtime_that_lambda_has_not_is_found_before_anything_is_asked(stage: Stage, config: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match=rf"set lambda\.{next(iter(config))} to"):
        stage.deploy(config)
    assert stage.cloud.calls == []


def test_no_session_of_prod_waits_while_wheels_are_fetched(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any) -> Any:
        ours = "select count(*) from pg_stat_activity where application_name like '%lambda.deploy%'"
        raise Problem(f"sessions: {stage.database.scalar(ours)}")

    monkeypatch.setattr(layer, "build", slow)
    with pytest.raises(Problem, match="sessions: 0"):
        stage.deploy()


def test_a_user_who_may_not_make_roles_is_told_so(stage: Stage) -> None:
    stage.database.do("create role limited login password 'limited1'", "postgres")
    try:
        stage.database.do("grant pg_monitor to limited")
        url = re.sub(r"//[^@]*@", "//limited:limited1@", stage.settings().vars.get("PROD_CONNECTION_URL"))
        with pytest.raises(Problem, match=r"limited may not make the role lambda_signup.*CREATEROLE"):
            deploy.deploy(
                stage.settings(PROD_CONNECTION_URL=url), stage.aws, stage.hands.clock, dry_run=False, adopt=False
            )
    finally:
        stage.database.do("drop role limited", "postgres")


@pytest.mark.parametrize(
    ("runtime", "day", "soon"),
    [("python3.13", "2028-12-01", False), ("python3.13", "2029-02-01", True), ("python3.10", "2027-01-01", True),
     ("python3.99", "2027-01-01", False)],
)  # fmt: skip
def test_the_end_of_a_runtime_is_known(runtime: str, day: str, soon: bool) -> None:
    from datetime import date

    assert runtimes.end_of_life(runtime, date.fromisoformat(day))[1] is soon


def test_an_old_runtime_is_warned_of(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    deploy.warn_of_age(stage.settings({"python": "3.10"}).lambdas)
    assert "maintains python3.10 until 2026-10-31" in capsys.readouterr().err


def test_a_function_on_a_retired_runtime_is_found_and_moved_with_the_layer_for_the_new_one(stage: Stage) -> None:
    stage.deploy({"python": "3.9"})
    [before] = stage.function()["Configuration"]["Layers"]
    told = [one.message for one in status.facts(stage.settings(), stage.aws, "").drift if one.part == "runtime"]
    assert "AWS maintains python3.9 until 2025-12-15: set a newer lambda.python, then inv lambda.deploy" in told
    stage.cloud.forget()
    assert {"layer", "configuration"} <= set(stage.deploy())
    asked = [
        call for call in stage.cloud.calls if call.action.endswith(f"PUT /2015-03-31/functions/{NAME}/configuration")
    ]
    [sent] = [json.loads(call.body) for call in asked]
    assert sent["Runtime"] == "python3.13", "with its layer in one request: no sign-up meets one without the other"
    [now] = sent["Layers"]
    assert now != before["Arn"]
    every = stage.client("lambda").list_layer_versions(LayerName=f"{NAME}-psycopg")["LayerVersions"]
    [made] = [one for one in every if one["LayerVersionArn"] == now]
    assert (made["CompatibleRuntimes"], made["CompatibleArchitectures"]) == (["python3.13"], ["x86_64"])
    assert stage.deploy() == []
