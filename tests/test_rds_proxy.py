"""rds.proxy: made before the instance, the function led through it and back; cut at each write, beside strangers, refused in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from config.settings import Settings
from config.sign_up import ROLE
from config.targets import Target, parse
from ops import calls
from ops.aws import Aws
from ops.aws_errors import writes
from ops.cloud import prices
from ops.cloud.steps import Work
from ops.errors import InProgress, Misconfigured, Problem, Refused
from ops.lambdas import delete, function, invoke, left_alone, login_ways, snap_start, status, through, way
from ops.lambdas.through import Proxy
from ops.rds import create, instance, left_over
from ops.rds import delete as delete_rds
from ops.rds.proxy import following, making, parts, role, secret, standing, waiting
from ops.rds.proxy.standing import Before
from ops.rds.waiting import INTERVAL
from ops.sandbox import proxies
from tests import typed
from tests.fix_aws import REGION, Call, Configure, Front, Hands, Killed, error, json_error, outcome
from tests.fix_cli import SUITE
from tests.fix_lambda import HOST, NAME, Stage

PROXY = "cruddur-db-instance-proxy"
ENDPOINT = f"{PROXY}.proxy-aaaaaaaaaaaa.{REGION}.rds.amazonaws.com"


@pytest.fixture
def deployed(stage: Stage) -> Stage:
    """The function deployed beside an instance of ours, by a password."""
    rds = stage.client("rds")
    row = rds.describe_db_instances()["DBInstances"][0]
    tags = [{"Key": "ManagedBy", "Value": "inv"}, {"Key": "Project", "Value": "cruddur"}]
    rds.add_tags_to_resource(ResourceName=row["DBInstanceArn"], Tags=tags)
    stage.deploy()
    stage.cloud.forget()
    return stage


def make(stage: Stage, *, dry_run: bool = False) -> Proxy:
    return through.make(stage.settings(), stage.aws, stage.hands.clock, dry_run=dry_run)


def remove(stage: Stage, *, confirm: str = PROXY, dry_run: bool = False) -> Proxy:
    return through.remove(stage.settings(), stage.aws, stage.hands.clock, confirm=confirm, dry_run=dry_run)


def left(stage: Stage) -> dict[str, Any]:
    """Return what there is of a proxy, as AWS tells it, and where the function's URL leads."""
    mine = parts.of(stage.settings().rds, REGION)
    ec2, iam, rds = (stage.client(name) for name in ("ec2", "iam", "rds"))
    groups = ec2.describe_security_groups()["SecurityGroups"]
    own = [group["GroupId"] for group in groups if group["GroupName"] == mine.group.name]
    pairs = [p["GroupId"] for group in groups for rule in group["IpPermissions"] for p in rule["UserIdGroupPairs"]]
    names = [one["DBProxyName"] for one in rds.describe_db_proxies()["DBProxies"]]
    return {
        "proxies": names,
        "targets": [
            one["RdsResourceId"] for name in names for one in rds.describe_db_proxy_targets(DBProxyName=name)["Targets"]
        ],
        "groups": len(own),
        "rules": sum(pair in own for pair in pairs),
        "into it": sum(
            len(rule["UserIdGroupPairs"])
            for group in groups
            if group["GroupId"] in own
            for rule in group["IpPermissions"]
        ),
        "roles": [one["RoleName"] for one in iam.list_roles()["Roles"] if "proxy" in one["RoleName"]],
        "secrets": [one["Name"] for one in stage.client("secretsmanager").list_secrets()["SecretList"]],
        "host": way.host_of(stage.url()),
    }


WHOLE = {
    "proxies": [PROXY],
    "targets": ["cruddur-db-instance"],
    "groups": 1,
    "rules": 1,
    "into it": 1,
    "roles": [f"inv-proxy-cruddur-db-instance-{REGION}"],
    "secrets": ["inv-proxy-cruddur-db-instance"],
    "host": ENDPOINT,
}
NOTHING: dict[str, Any] = {
    "proxies": [], "targets": [], "groups": 0, "rules": 0, "into it": 0, "roles": [], "secrets": [], "host": HOST,
}  # fmt: skip


def test_it_is_made_found_again_and_taken_away(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    before = deployed.url()
    made = make(deployed)
    typed.check(deployed.cloud, "rds.proxy by a password")
    said = capsys.readouterr().err
    assert said.index("about 22.30 USD a month") < said.index("done: ")
    assert left(deployed) == WHOLE
    assert (made.endpoint, made.login, made.written) == (ENDPOINT, "password", True)
    assert made.done[-1] == f"have {NAME} connect to {ENDPOINT}"
    assert deployed.url() == before.replace(f"{HOST}:{deployed.database.server.port}", f"{ENDPOINT}:5432")
    deployed.cloud.forget()
    again = make(deployed)
    assert (again.written, again.done, deployed.cloud.writes) == (False, [], [])
    assert deployed.deploy() == []  # which keeps the way
    with pytest.raises(Refused, match=f"--confirm {PROXY}"):
        remove(deployed, confirm="")
    assert left(deployed) == WHOLE
    assert remove(deployed).done[0] == f"have {NAME} connect to {HOST}"
    typed.check(deployed.cloud, "rds.proxy --delete")
    assert left(deployed) == NOTHING
    assert deployed.url() == before
    assert remove(deployed).done == []


def test_a_deletion_says_before_it_writes_what_stands_without_a_database(
    deployed: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    make(deployed)
    pool = deployed.make_pool()
    deployed.attach(pool)
    settings, aws = deployed.settings(), deployed.aws
    act = partial(
        delete_rds.delete_instance, settings, aws, deployed.hands.clock,
        confirm="", snapshot=True, stands=partial(left_alone.told, settings, aws),
    )  # fmt: skip
    capsys.readouterr()
    deployed.cloud.forget()
    told = act(dry_run=True)
    said = capsys.readouterr().err
    with pytest.raises(Refused, match="--confirm cruddur-db-instance"):
        act()
    assert deployed.cloud.writes == []
    for text in (said, capsys.readouterr().err):
        assert f"note: the proxy {PROXY} leads there, to nothing then, and goes on to cost" in text
        assert f"note: {NAME} logs in there through {PROXY}, and stands without a database then" in text
        assert f"note: the user pool {pool} calls it: sign-ups are confirmed then and leave no row" in text
    assert told.startswith("nothing was done: cruddur-db-instance would be deleted with its security group")
    row = instance.require_instance(aws, settings.rds)
    facts = instance.facts(settings, aws, row)
    assert facts.proxies == [Before(PROXY, "AVAILABLE", ENDPOINT)]
    assert instance.told(facts)["proxies"] == [f"{PROXY}: available"]
    remove(deployed)
    capsys.readouterr()
    act(dry_run=True)
    said = capsys.readouterr().err
    assert f"note: {NAME} logs in there, and stands" in said
    assert "proxy" not in said
    deployed.cloud.before = lambda call: json_error("AccessDeniedException") if "/functions/" in call.action else None
    act(dry_run=True)
    assert f"note: whether the function {NAME} logs in there was not looked up (" in capsys.readouterr().err
    deployed.cloud.mend()
    deployed.client("lambda").delete_function(FunctionName=deployed.name)
    act(dry_run=True)
    assert "note:" not in capsys.readouterr().err


def test_a_dry_run_writes_nothing_and_says_all(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    planned = make(deployed, dry_run=True)
    assert (deployed.cloud.writes, planned.written) == ([], False)
    assert planned.request
    assert planned.request["DBProxyName"] == PROXY
    assert f"would make the proxy {PROXY}" in capsys.readouterr().err
    assert len(planned.done) == len(make(deployed).done)
    deployed.cloud.forget()
    gone = remove(deployed, confirm="", dry_run=True)
    assert (deployed.cloud.writes, gone.written) == ([], False)
    assert gone.done[0] == f"have {NAME} connect to {HOST}"
    assert left(deployed) == WHOLE


def test_cut_at_each_write_the_next_run_goes_on(deployed: Stage, pauses: None) -> None:
    """Each run does one write more, and is refused the next: so each write is the last one once."""
    for act, whole in ((make, WHOLE), (remove, NOTHING)):
        for _ in range(20):
            reached = deployed.cloud.cut(2, "before")
            failed = outcome(lambda act=act: act(deployed))  # type: ignore[misc]
            deployed.cloud.mend()
            if not reached():
                break
            assert failed
        else:
            raise AssertionError("it did not end")
        assert left(deployed) == whole, act


def test_lost_answers_leave_one_of_each(deployed: Stage, pauses: None) -> None:
    """The first answer to each kind of write is lost, which was carried out."""
    for act, whole in ((make, WHOLE), (remove, NOTHING)):
        seen: set[str] = set()

        def after(call: Call) -> Any:
            fresh = call.writes and call.action not in seen  # noqa: B023 - of this round
            seen.add(call.action)  # noqa: B023
            return error("InternalFailure", "503 Service Unavailable") if fresh else None

        deployed.cloud.after = after
        for _ in range(len(whole) + 4):  # a run may take a lost answer for what it is
            if outcome(lambda act=act: act(deployed)) is None:  # type: ignore[misc]
                break
        deployed.cloud.mend()
        act(deployed)
        assert left(deployed) == whole, act


def test_killed_after_each_write_the_next_run_goes_on(deployed: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies when the first write of a run is answered: so each one is the last of some run."""
    end, writing = calls.Watch.end, [False]

    def ended(watch: calls.Watch, context: dict[str, Any], model: Any = None, **more: Any) -> None:
        end(watch, context, model=model, **more)
        if writing[0] and model is not None and writes(model.name):
            writing[0] = False
            raise Killed

    monkeypatch.setattr(calls.Watch, "end", ended)
    monkeypatch.setattr(deployed.cloud, "clients", {})
    for act, whole in ((make, WHOLE), (remove, NOTHING)):
        for _ in range(20):
            writing[0] = True
            if outcome(lambda act=act: act(deployed)) is None:  # type: ignore[misc]
                break
        else:
            raise AssertionError("it did not end")
        assert left(deployed) == whole, act


@pytest.mark.spread
@pytest.mark.parametrize("how", ["before", "lost"])
@pytest.mark.parametrize("at", ["/configuration", "/versions", "/aliases/live"])
def test_pools_never_call_a_version_that_leads_to_a_proxy_that_is_not_there(
    deployed: Stage, pauses: None, at: str, how: str
) -> None:
    """Cut at each write by which the alias follows: what pools call connects to a host that is there, and the next run goes on."""
    deployed.config = {"snap_start": "yes"}
    deployed.deploy()

    def called() -> str:
        behind = snap_start.version(deployed.aws, deployed.settings().lambdas, snap_start.ALIAS)
        return way.host_of(function.environment({"Configuration": behind})["CONNECTION_URL"])

    for act, whole, host in ((make, WHOLE, ENDPOINT), (remove, NOTHING, HOST)):
        hit: list[str] = []

        def cut(call: Call) -> Any:
            if hit or (call.writes and call.action.endswith(at)):  # noqa: B023 - of this round
                hit.append(call.action)  # noqa: B023
                return error("InternalFailure", "500 Internal Server Error")
            return None

        setattr(deployed.cloud, "before" if how == "before" else "after", cut)
        assert outcome(lambda act=act: act(deployed))  # type: ignore[misc]
        deployed.cloud.mend()
        assert hit
        assert called() in {HOST, *(ENDPOINT for _ in left(deployed)["proxies"])}
        assert act(deployed, dry_run=True).done or (at, how) == ("/aliases/live", "lost")  # which was the last to do
        act(deployed)
        assert (called(), left(deployed)) == (host, whole)
        deployed.cloud.forget()
        assert (act(deployed).done, deployed.cloud.writes) == ([], [])


def test_by_tokens_it_needs_no_secret_and_the_function_gets_the_right(deployed: Stage) -> None:
    """The database of this test knows no rds_iam, so the function's URL alone is as it would be."""
    stage, values = deployed, deployed.function()["Configuration"]["Environment"]["Variables"]
    url = parse(values["CONNECTION_URL"], "", "").on(password="").url(show_password=True)
    stage.client("lambda").update_function_configuration(
        FunctionName=stage.name, Environment={"Variables": {**values, "CONNECTION_URL": url}}
    )
    made = make(stage, dry_run=True)
    assert made.request
    assert (made.login, made.request["DefaultAuthScheme"], "Auth" in made.request) == ("token", "IAM_AUTH", False)
    stage.cloud.forget()
    made = make(stage)
    typed.check(stage.cloud, "rds.proxy by a token")
    assert left(stage) == {**WHOLE, "secrets": []}
    iam, [row] = stage.client("iam"), stage.client("rds").describe_db_instances()["DBInstances"]
    proxy = standing.find(stage.aws, parts.of(stage.settings().rds, REGION))
    assert proxy
    [statement] = iam.get_role_policy(RoleName=stage.name, PolicyName="database-login")["PolicyDocument"]["Statement"]
    user = f":{{}}/{ROLE}"
    ends = [user.format(row["DbiResourceId"]), user.format(proxy["DBProxyArn"].rpartition(":")[2])]
    assert [one[-len(end) :] for one, end in zip(statement["Resource"], ends, strict=True)] == ends
    [own] = role.right(stage.aws, parts.of(stage.settings().rds, REGION))["Statement"]  # type: ignore[index]
    assert (own["Action"], own["Resource"]) == ("rds-db:connect", statement["Resource"][:1])
    stage.cloud.forget()
    assert (make(stage).written, stage.cloud.writes) == (False, [])
    # the function's way in is another one by now
    with pytest.raises(Refused, match=r"is to log in by a password, and its proxy .* does not"):
        stage.deploy()
    remove(stage)
    [statement] = iam.get_role_policy(RoleName=stage.name, PolicyName="database-login")["PolicyDocument"]["Statement"]
    assert [statement["Resource"][-len(ends[0]) :]] == ends[:1]
    assert left(stage) == NOTHING


def test_a_new_password_reaches_the_proxy_too(deployed: Stage) -> None:
    make(deployed)
    deployed.database.do("alter role lambda_signup password 'another'")
    deployed.cloud.forget()
    assert deployed.deploy() == ["database login", "configuration"]
    typed.check(deployed.cloud, "rds.proxy of another password")
    held = deployed.client("secretsmanager").get_secret_value(SecretId="inv-proxy-cruddur-db-instance")["SecretString"]
    assert json.loads(held) == {"username": ROLE, "password": parse(deployed.url(), "", "").password}
    assert way.host_of(deployed.url()) == ENDPOINT
    facts = status.facts(deployed.settings(), deployed.aws, "")
    assert (facts.drift, facts.login, facts.login_note) == (
        [],
        None,
        "it leads through a proxy, which is reached from its own network alone",
    )
    deployed.client("secretsmanager").delete_secret(SecretId=MINE.secret, ForceDeleteWithoutRecovery=True)
    with pytest.raises(Refused, match=r"logs in by a secret that is not ours any more: inv rds\.proxy --delete"):
        make(deployed)
    deployed.client("rds").delete_db_proxy(DBProxyName=PROXY)
    assert [one.part for one in status.facts(deployed.settings(), deployed.aws, "").drift] == ["login"]
    assert deployed.deploy() == ["configuration"]
    assert way.host_of(deployed.url()) == HOST


def test_a_function_that_is_deleted_leaves_it_and_says_so(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    make(deployed)
    settings = deployed.settings()
    delete.delete_all(settings, deployed.aws, deployed.hands.clock, confirm=deployed.name)
    assert "its proxy, which costs (inv rds.proxy --delete)" in capsys.readouterr().err
    left_over.tell(settings, deployed.aws)
    assert f"left: the proxy {PROXY}" in capsys.readouterr().err
    assert remove(deployed).done[0] == f"delete the proxy {PROXY}"


def test_from_here_it_is_reached_as_prod_is(deployed: Stage) -> None:
    """By the address and the port of the way to prod; a token is for the proxy's own all the same."""
    settings = deployed.settings(POSTGRES_PORT="7777")
    at = Target("prod", "", {"host": ENDPOINT, "port": "5432", "user": ROLE, "dbname": "cruddur"})
    assert invoke.near_end(settings, at).params["port"] == "7777"
    assert invoke.near_end(settings, at.on(host=HOST)).params["port"] == "5432"
    assert login_ways.login_to_aws(deployed.aws, at)["DB_IAM"] == f"{ENDPOINT}:5432"


def test_what_a_stranger_has_made_is_refused(deployed: Stage) -> None:
    rds, iam, secrets = (deployed.client(name) for name in ("rds", "iam", "secretsmanager"))
    ec2 = deployed.client("ec2")
    mine, vpc = parts.of(deployed.settings().rds, REGION), ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    iam.create_role(RoleName=mine.role, AssumeRolePolicyDocument="{}")
    secrets.create_secret(Name=mine.secret, SecretString="theirs")
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]]
    rds.create_db_proxy(
        DBProxyName=PROXY,
        EngineFamily="POSTGRESQL",
        DefaultAuthScheme="IAM_AUTH",
        RoleArn="arn:aws:iam::123456789012:role/r",
        VpcSubnetIds=subnets,
    )
    group = ec2.create_security_group(GroupName=mine.group.name, Description="theirs", VpcId=vpc)["GroupId"]
    before = deployed.url()
    away: list[Callable[[], object]] = [
        lambda: ec2.delete_security_group(GroupId=group),
        lambda: secrets.delete_secret(SecretId=mine.secret, ForceDeleteWithoutRecovery=True),
        lambda: iam.delete_role(RoleName=mine.role),
        lambda: rds.delete_db_proxy(DBProxyName=PROXY),
    ]
    for what, clear in zip(("is not ours", "the secret", "the role", "the proxy"), away, strict=True):
        with pytest.raises(Problem, match=what):
            make(deployed)
        if what != "is not ours":  # a group is known by its tags, and that of a stranger is none of it
            with pytest.raises(Refused, match="not made by inv"):
                remove(deployed)
        clear()
    assert deployed.url() == before
    make(deployed)


def test_a_secret_that_a_stranger_makes_at_the_same_time_is_not_written_to(
    deployed: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, secrets, looks = parts.of(deployed.settings().rds, REGION), deployed.client("secretsmanager"), list[int]()
    real = secret.find

    def find(*args: Any) -> Any:
        looks.append(1)
        return real(*args) if len(looks) > 1 else None  # theirs comes behind the first look

    secrets.create_secret(Name=mine.secret, SecretString="theirs")
    monkeypatch.setattr(secret, "find", find)
    with pytest.raises(Refused, match="not made by inv"):
        secret.ensure(deployed.aws, mine, ROLE, "hidden", Work(write=True))
    assert secrets.get_secret_value(SecretId=mine.secret)["SecretString"] == "theirs"


def test_a_strangers_function_is_not_led_back(deployed: Stage) -> None:
    make(deployed)
    lam = deployed.client("lambda")
    arn = lam.get_function(FunctionName=NAME)["Configuration"]["FunctionArn"]
    lam.untag_resource(Resource=arn, TagKeys=["ManagedBy"])
    with pytest.raises(Refused, match="was not made by inv"):
        remove(deployed)
    assert left(deployed) == WHOLE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lambda": "gone"}, "there is no function"),
        ({"user": "postgres"}, r"logs in as postgres: inv lambda\.deploy"),
        ({"options": "-c statement_timeout=1"}, "options, which RDS Proxy does not take"),
        ({"code": "other"}, "the function's code is not what is here"),
        ({"instance": "not ours"}, "was not made by inv"),
        ({"instance": "green"}, "has the blue/green deployment"),
    ],
)
def test_what_would_serve_no_function_is_refused_before_anything_is_made(
    deployed: Stage, change: dict[str, str], says: str
) -> None:
    stage, [(what, value)] = deployed, change.items()
    rds, values = stage.client("rds"), stage.function()["Configuration"]["Environment"]["Variables"]
    arn = rds.describe_db_instances()["DBInstances"][0]["DBInstanceArn"]
    if what == "lambda":
        stage.client("lambda").delete_function(FunctionName=stage.name)
    elif what in ("user", "options"):
        url = parse(values["CONNECTION_URL"], "", "").on(**{what: value}).url(show_password=True)
        stage.client("lambda").update_function_configuration(
            FunctionName=stage.name, Environment={"Variables": {**values, "CONNECTION_URL": url}}
        )
    elif what == "code":
        stage.client("lambda").update_function_code(FunctionName=stage.name, ZipFile=b"another")
    elif value == "green":
        rds.create_blue_green_deployment(BlueGreenDeploymentName="theirs", Source=arn, TargetEngineVersion="18.4")
    else:
        rds.remove_tags_from_resource(ResourceName=arn, TagKeys=["ManagedBy"])
    stage.cloud.forget()
    with pytest.raises(Refused, match=says):
        make(stage)
    assert stage.cloud.writes == []


# --- answers that moto does not give --------------------------------------------------------


MINE = parts.Parts("cruddur-db-instance", "cruddur", REGION)
ARN = f"arn:aws:rds:{REGION}:123456789012:db-proxy:prx-0123456789abcdef0"
OURS = [{"Key": "ManagedBy", "Value": "inv"}, {"Key": "inv:proxy", "Value": MINE.identifier}]
MODEL = botocore.session.get_session().get_service_model("rds")


def there(stub: Stubber, status: str = "available", **more: Any) -> None:
    """Have our proxy be there, in a state."""
    row: Any = {"DBProxyName": PROXY, "DBProxyArn": ARN, "Status": status, "Endpoint": ENDPOINT, **more}
    stub.add_response("describe_db_proxies", {"DBProxies": [row]}, {"DBProxyName": PROXY})
    stub.add_response("list_tags_for_resource", {"TagList": OURS}, {"ResourceName": ARN})


def absent(stub: Stubber) -> None:
    stub.add_client_error("describe_db_proxies", "DBProxyNotFoundFault", http_status_code=404)


def leading(stub: Stubber, state: str = "AVAILABLE", reason: str = "", said: str = "") -> None:
    health: Any = {"State": state, **({"Reason": reason} if reason else {}), **({"Description": said} if said else {})}
    row: Any = {"RdsResourceId": MINE.identifier, "Type": "RDS_INSTANCE", "TargetHealth": health}
    stub.add_response("describe_db_proxy_targets", {"Targets": [row]}, {"DBProxyName": PROXY})


def events(stub: Stubber, *said: str) -> None:
    found: Any = [{"Message": one} for one in said]
    expected = {"SourceIdentifier": PROXY, "SourceType": "db-proxy", "Duration": ANY}
    stub.add_response("describe_events", {"Events": found}, expected)


def codes(operation: str) -> list[tuple[str, int]]:
    """Return each refusal that AWS documents for a call, with its HTTP status."""
    about = [(one.name, one.metadata.get("error", {})) for one in MODEL.operation_model(operation).error_shapes]
    return [(error.get("code", name), error.get("httpStatusCode", 400)) for name, error in about]


CALLS: dict[str, Any] = {
    "CreateDBProxy": lambda aws, hands: making.send(aws, MINE, ASKED, hands.clock),
    "RegisterDBProxyTargets": lambda aws, _: making.register(aws, MINE),
    "DeleteDBProxy": lambda aws, _: making.drop(aws, MINE),
}
ASKED: dict[str, Any] = {
    "DBProxyName": PROXY, "EngineFamily": "POSTGRESQL", "DefaultAuthScheme": "IAM_AUTH", "RoleArn": "arn:aws:iam::123456789012:role/r", "VpcSubnetIds": ["subnet-1"],
}  # fmt: skip
LOOKED: dict[tuple[str, str], Any] = {
    ("CreateDBProxy", "DBProxyAlreadyExistsFault"): absent,
    ("RegisterDBProxyTargets", "DBProxyTargetAlreadyRegisteredFault"): lambda stub: stub.add_response(
        "describe_db_proxy_targets", {"Targets": []}
    ),
    ("DeleteDBProxy", "InvalidDBProxyStateFault"): lambda stub: there(stub, "modifying"),
}
"""What is looked at after a refusal, and leaves it one."""
EXITS = {("RegisterDBProxyTargets", code): 3 for code in ("InvalidDBProxyStateFault", "InvalidDBInstanceState")} | {
    ("DeleteDBProxy", "InvalidDBProxyStateFault"): 3, ("DeleteDBProxy", "DBProxyNotFoundFault"): 0,
}  # fmt: skip
REFUSED = [(operation, *one) for operation in CALLS for one in codes(operation)]


@pytest.mark.parametrize(("operation", "code", "status"), REFUSED, ids=[":".join(one[:2]) for one in REFUSED])
def test_each_documented_refusal_is_one_line(
    stubbed: tuple[Aws, Stubber], hands: Hands, operation: str, code: str, status: int
) -> None:
    aws, stub = stubbed
    stub.add_client_error(botocore.xform_name(operation), code, "what AWS said\nof it", status)
    LOOKED.get((operation, code), lambda _: None)(stub)
    exit = outcome(lambda: CALLS[operation](aws, hands))
    assert (exit.code if exit else 0) == EXITS.get((operation, code), 1)
    if exit:
        assert re.search(r"\b(run|set|delete|correct|wait|mend|inv|ask|see)\b", str(exit.message)), exit.message


def test_what_another_run_has_done_is_taken(stubbed: tuple[Aws, Stubber], hands: Hands) -> None:
    aws, stub = stubbed
    stub.add_client_error("create_db_proxy", "DBProxyAlreadyExistsFault")
    there(stub)
    making.send(aws, MINE, ASKED, hands.clock)
    stub.add_client_error("register_db_proxy_targets", "DBProxyTargetAlreadyRegisteredFault")
    leading(stub)
    making.register(aws, MINE)
    stub.add_client_error("delete_db_proxy", "InvalidDBProxyStateFault")
    there(stub, "deleting")
    making.drop(aws, MINE)


def test_a_role_that_is_too_fresh_is_waited_for(stubbed: tuple[Aws, Stubber], hands: Hands) -> None:
    aws, stub = stubbed
    said = "IAM role ARN value is invalid or does not include the required permissions"
    for _ in range(2):
        stub.add_client_error("create_db_proxy", "InvalidParameterValue", said)
    stub.add_response("create_db_proxy", {"DBProxy": {"DBProxyName": PROXY}}, ASKED)
    making.send(aws, MINE, ASKED, hands.clock)
    assert hands.slept == [making.PAUSE] * 2
    stub.add_client_error("create_db_proxy", "InvalidParameterValue", "another subnet")
    with pytest.raises(ClientError, match="another subnet"):
        making.send(aws, MINE, ASKED, hands.clock)


def test_it_waits_for_the_proxy_and_then_for_its_instance(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, stub = stubbed
    there(stub, "creating")
    events(stub, "DB Proxy is being made")
    there(stub)
    waiting.until_available(configure(), aws, hands.clock, MINE)
    leading(stub, "UNAVAILABLE", "PENDING_PROXY_CAPACITY")
    events(stub)
    leading(stub, "UNAVAILABLE", "AUTH_FAILURE")  # the role has spread a moment later
    events(stub)
    leading(stub)
    waiting.until_healthy(configure(), aws, hands.clock, MINE)
    said = capsys.readouterr().err
    assert "RDS: DB Proxy is being made" in said
    assert "its instance unavailable (pending proxy capacity)" in said
    there(stub, "deleting")
    events(stub)
    absent(stub)
    waiting.until_gone(configure(), aws, hands.clock, MINE)


@pytest.mark.parametrize("status", sorted(waiting.BAD))
def test_a_state_that_does_not_heal_ends_it(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, status: str
) -> None:
    aws, stub = stubbed
    there(stub, status)
    with pytest.raises(Problem, match=f"is {status}, which waiting does not heal"):
        waiting.until_available(configure(), aws, hands.clock, MINE)


@pytest.mark.parametrize("reason", sorted(waiting.LASTING))
def test_a_reason_that_lasts_ends_it(
    stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands, reason: str
) -> None:
    aws, stub = stubbed
    for _ in range(int(waiting.SPREADING / INTERVAL)):
        leading(stub, "UNAVAILABLE", reason)
        events(stub)
    leading(stub, "UNAVAILABLE", reason, "why\nit is so")
    with pytest.raises(Problem, match=r"does not reach cruddur-db-instance \(why it is so\): "):
        waiting.until_healthy(configure(), aws, hands.clock, MINE)


def test_one_that_takes_longer_is_exit_3(stubbed: tuple[Aws, Stubber], configure: Configure, hands: Hands) -> None:
    aws, stub = stubbed
    for _ in range(2):
        there(stub, "creating")
        events(stub)
    with pytest.raises(InProgress, match=r"is still creating after 0\.1 minutes .* run inv rds\.proxy again"):
        waiting.until_available(configure({"wait_minutes": "0.1"}), aws, hands.clock, MINE)
    absent(stub)
    with pytest.raises(Problem, match="somebody has deleted it"):
        waiting.until_available(configure(), aws, hands.clock, MINE)


def test_names_fit(configure: Configure) -> None:
    long = parts.of(configure({"identifier": "a" * 58}).rds, REGION)
    assert len(parts.of(configure({"identifier": "a" * 57}).rds, REGION).name) == 63
    with pytest.raises(Misconfigured, match=r"63 characters at most"):
        _ = long.name
    assert len(long.role) == 64
    assert long.role != parts.Parts("a" * 59, "cruddur", REGION).role
    assert parts.is_endpoint(ENDPOINT)
    assert not parts.is_endpoint(HOST)


@pytest.mark.parametrize(
    ("kind", "secret", "says"),
    [
        ("db.t4g.micro", False, "21.90 USD a month as long as it is there, used or not (2 vCPUs"),
        ("db.t4g.micro", True, "22.30 USD"),
        ("db.m7g.xlarge", False, "43.80 USD"),
        ("db.r6g.16xlarge", False, "700.80 USD a month as long as it is there, used or not (64 vCPUs"),
    ],
)
def test_what_it_costs(kind: str, *, secret: bool, says: str) -> None:
    assert says in prices.of_proxy(kind, secret=secret)


# --- beside other tasks ---------------------------------------------------------------------


def proxied(aws: Aws, settings: Settings, hands: Hands) -> None:
    """Make a proxy of ours before an instance of ours, by tokens; its door stands for the function's group."""
    row, ec2 = instance.require_instance(aws, settings.rds), aws.client("ec2")
    subnets = tuple(one["SubnetId"] for one in ec2.describe_subnets()["Subnets"])
    vpc = str(ec2.describe_vpcs()["Vpcs"][0]["VpcId"])
    door = str(row["VpcSecurityGroups"][0]["VpcSecurityGroupId"])
    place = making.Place(vpc, subnets, door, 5432, door)
    mine = parts.of(settings.rds, REGION)
    making.ensure(settings, aws, hands.clock, mine, place, making.Login(ROLE, ""), Work(write=True))


@pytest.fixture
def before(cloud: Front, configure: Configure, hands: Hands) -> Aws:
    """An instance of ours with a proxy of ours before it."""
    settings = configure(PROD_DB_SSLROOTCERT="/none.pem")
    aws = cloud.aws(settings)
    create.create_or_resume(settings, aws, hands.clock, adopt=False)
    proxied(aws, settings, hands)
    cloud.forget()
    return aws


def test_other_tasks_take_it_into_account(
    before: Aws, configure: Configure, cloud: Front, hands: Hands, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = configure(PROD_DB_SSLROOTCERT="/none.pem")
    row = instance.require_instance(before, settings.rds)
    following.check_copy(before, row)
    assert f"its proxy {PROXY} leads to the new one by itself" in capsys.readouterr().err
    with pytest.raises(Refused, match=f"the proxy {PROXY} leads to {MINE.identifier}.*inv rds.proxy --delete first"):
        following.check_swap(before, row)
    copy: Any = {**row, "DbiResourceId": "db-COPY"}
    following.follow_copy(settings, before, [row, copy])
    held = role.right(before, MINE)
    assert held
    ends = [one.partition("dbuser:")[2] for one in held["Statement"][0]["Resource"]]
    assert sorted(ends) == sorted([f"db-COPY/{ROLE}", f"{row['DbiResourceId']}/{ROLE}"])
    following.follow_copy(settings, before, [row])
    cloud.forget()
    following.follow_copy(settings, before, [row])
    assert cloud.writes == []
    left_over.tell(settings, before)
    assert f"left: the proxy {PROXY}, which costs: inv rds.proxy --delete" in capsys.readouterr().err
    before.client("iam").delete_role_policy(RoleName=MINE.role, PolicyName=role.POLICY)
    with pytest.raises(
        Refused, match=rf"the proxy {PROXY} does not reach .* \(unavailable\), and AWS switches over only where"
    ):
        following.check_copy(before, row)


# --- rights ---------------------------------------------------------------------------------

# What AWS wants of the caller beside the call itself: tags at birth, a role given away
BESIDE = {
    "rds:AddTagsToResource", "ec2:CreateTags", "iam:TagRole", "iam:PassRole", "secretsmanager:TagResource", "lambda:ListTags",
    "lambda:InvokeFunction",  # of a version whose snapshot AWS has let go of
}  # fmt: skip


def test_the_policy_holds_what_is_asked_for_and_nothing_else(deployed: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()
    begin = calls.Watch.begin
    deployed.config = {"snap_start": "yes"}
    deployed.deploy()

    def noted(self: calls.Watch, context: dict[str, Any], event_name: str, **more: Any) -> None:
        service, operation = event_name.split(".")[1:3]
        used.add(f"{service.replace('secrets-manager', 'secretsmanager')}:{operation}")
        begin(self, context, event_name, **more)

    monkeypatch.setattr(calls.Watch, "begin", noted)
    monkeypatch.setattr(deployed.cloud, "clients", {})
    make(deployed)
    iam, name = deployed.client("iam"), MINE.role
    theirs = json.dumps(role.TRUST).replace("rds.", "ec2.")
    deployed.client("secretsmanager").put_secret_value(SecretId=MINE.secret, SecretString="old")
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=theirs)
    deployed.client("rds").deregister_db_proxy_targets(DBProxyName=PROXY, DBInstanceIdentifiers=[MINE.identifier])
    away, fault = ["UNREACHABLE"], proxies.fault
    monkeypatch.setattr(proxies, "fault", lambda target: away.pop() if away else fault(target))
    make(deployed)
    deployed.config = {}  # the alias is to go, which had to follow till now
    remove(deployed)
    used.discard("rds:DeregisterDBProxyTargets")
    values = deployed.function()["Configuration"]["Environment"]["Variables"]
    url = parse(values["CONNECTION_URL"], "", "").on(password="").url(show_password=True)
    deployed.client("lambda").update_function_configuration(
        FunctionName=deployed.name, Environment={"Variables": {**values, "CONNECTION_URL": url}}
    )
    make(deployed)
    policy = json.loads((SUITE / "config" / "policies" / "proxy.json").read_text())
    allowed = {name for statement in policy["Statement"] for name in statement["Action"]}
    assert allowed - BESIDE == used
    assert len("".join(json.dumps(policy).split())) < 6144
