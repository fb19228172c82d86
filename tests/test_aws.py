"""Clients: where login, region and endpoint come from, and what each refusal means in one line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import botocore.session
import pytest
from botocore import exceptions as e
from botocore.parsers import ResponseParserError

from config.settings import load
from ops import aws, aws_errors, calls
from ops.aws import Aws
from ops.aws_errors import explain
from ops.cli import translate
from ops.console import say
from ops.errors import Misconfigured
from ops.rds import instance
from tests.fix_aws import LOGIN, Answer, Configure, Front
from tests.fix_cli import Cli, lines_of


def refused(code: str, status: int = 400, message: str = "what AWS said") -> e.ClientError:
    return e.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "CreateDBInstance",
    )


TABLE: list[tuple[Exception, int, str]] = [
    (e.NoCredentialsError(), 2, "no AWS login: run aws configure"),
    (e.PartialCredentialsError(provider="env", cred_var="x"), 2, "no AWS login"),
    (e.NoRegionError(), 2, "no AWS region: set AWS_DEFAULT_REGION"),
    (e.ProfileNotFound(profile="work"), 2, "(work) could not be found: correct AWS_PROFILE"),
    (e.InvalidRegionError(region_name="x y"), 2, "correct AWS_DEFAULT_REGION"),
    (e.UnauthorizedSSOTokenError(), 2, "has expired: aws sso login"),
    (e.SSOTokenLoadError(error_msg="x"), 2, "has expired: aws sso login"),
    (e.TokenRetrievalError(provider="sso", error_msg="x"), 2, "has expired: aws sso login"),
    (ResponseParserError("not XML"), 2, "what answers at AWS_ENDPOINT_URL does not know this service"),
    (e.EndpointConnectionError(endpoint_url="https://x"), 1, "AWS was not reached"),
    (e.ConnectTimeoutError(endpoint_url="https://x"), 1, "AWS was not reached"),
    (e.ReadTimeoutError(endpoint_url="https://x"), 1, "AWS did not answer in time (aws.timeout): https://x"),
    (e.SSLError(endpoint_url="https://x", error="bad"), 1, "AWS was not reached"),
    (e.ParamValidationError(report="bad"), 2, "Parameter validation failed"),
    (e.DataNotFoundError(data_path="x"), 1, "AWS: Unable to load data"),
    (refused("ExpiredToken", 403), 2, "log in again, then run this again: it goes on where it was"),
    (refused("RequestExpired"), 2, "log in again"),
    (refused("InvalidClientTokenId", 403), 2, "AWS does not know this login (InvalidClientTokenId)"),
    (refused("AuthFailure", 401), 2, "AWS does not know this login"),
    (refused("AccessDenied", 403), 1, "does not permit CreateDBInstance: ask for the rights in config/policies"),
    (refused("UnauthorizedOperation", 403), 1, "does not permit CreateDBInstance"),
    (refused("Throttling"), 1, "run this again in a minute, it goes on where it was"),
    (refused("RequestLimitExceeded", 503), 1, "run this again in a minute"),
    (refused("InternalFailure", 500), 1, "AWS failed at CreateDBInstance (InternalFailure): run this again"),
    (refused("UnknownOperationException"), 2, "AWS_ENDPOINT_URL does not know CreateDBInstance"),
    (refused("404", 404, ""), 2, "AWS_ENDPOINT_URL does not know CreateDBInstance"),
    (refused("NotFound", 404, ""), 2, "AWS_ENDPOINT_URL does not know CreateDBInstance"),
    (refused("NeverHeardOf", 502), 1, "AWS failed at CreateDBInstance (NeverHeardOf): run this again"),
    (refused("SignatureDoesNotMatch", 403, "Signature expired: 1"), 1, "the clock of this machine is off: set it"),
    (refused("RequestTimeTooSkewed", 403, "x"), 1, "CreateDBInstance: x (RequestTimeTooSkewed)"),
    (refused("InvalidParameter", 400, ""), 2, "CreateDBInstance: refused (InvalidParameter)"),
    (refused("InvalidParameterValue"), 2, "what AWS said (InvalidParameterValue): inv rds.create --dry-run"),
    (refused("NeverHeardOf"), 1, "what AWS said (NeverHeardOf): mend that, then run this again"),
    (refused("SomeLimitExceededFault"), 1, "delete what you no longer need of these"),
    (refused("SomethingNotFoundFault"), 1, "run this again, it looks anew"),
    (refused("RoleAlreadyExists"), 1, "run this again, it looks whose that one is"),
    (refused("InvalidThingStateFault"), 1, "wait until AWS is done with it"),
    (refused("DeleteConflict"), 1, "take off what others have attached to it"),
    (refused("ConcurrentModification"), 1, "run this again in a minute, it goes on where it was"),
    (refused("ThingNotSupported"), 1, "AWS does not offer that there"),
    (refused("DecryptionFailure"), 1, "the encryption key cannot be used"),
    (refused("MalformedThing"), 2, "correct what it names, then run this again"),
    *(
        (refused(code), 2 if code.startswith("InvalidParameter") else 1, advice)
        for code, advice in {**aws_errors.ADVICE, **aws_errors.REQUEST}.items()
    ),
]


@pytest.mark.parametrize(("error", "code", "says"), TABLE, ids=[f"{n}" for n in range(len(TABLE))])
def test_each_error_is_one_line_with_what_to_do(error: Exception, code: int, says: str) -> None:
    exit = translate(error)
    assert exit is not None
    assert exit.code == code == explain(error).code
    assert says in str(exit.message)
    assert "\n" not in str(exit.message)


def test_each_row_of_the_refusals_has_an_example_that_reaches_it() -> None:
    reached = [aws_errors.refusal_row(error) for error, *_ in TABLE if isinstance(error, e.ClientError)]
    missed = [row for row in aws_errors.REFUSALS if row not in reached]
    # that one asks for the region of who is asked: test_what_stands_in_for_aws_knows_no_region_that_there_is_not
    assert [row.where for row in missed] == [aws_errors.is_strange_region]


@pytest.mark.parametrize(
    ("operation", "handled"),
    [
        ("CreateDBInstance", {"DBInstanceAlreadyExists"}),
        ("RestoreDBInstanceFromDBSnapshot", {"DBInstanceAlreadyExists"}),
        ("RestoreDBInstanceToPointInTime", {"DBInstanceAlreadyExists"}),
        ("ModifyDBInstance", {"DBInstanceAlreadyExists"}),
        ("DeleteDBSnapshot", set()),
    ],
)
def test_every_code_that_a_write_is_documented_to_refuse_with_has_advice(operation: str, handled: set[str]) -> None:
    """From botocore's own model, less those of features that we do not ask for."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("rds")
    codes = {
        shape.metadata["error"]["code"]
        for shape in model.operation_model(operation).error_shapes
        if "error" in shape.metadata
    }
    ours = {code for code in codes if not any(word in code for word in NOT_ASKED_FOR)}
    assert ours - set(aws_errors.ADVICE) - set(aws_errors.REQUEST) == handled  # by the task itself


NOT_ASKED_FOR = (
    *("Domain", "Cluster", "Tenant", "BackupPolicy", "OptionGroup", "CapacityReservation", "NetworkType"),
    *("Certificate", "Authorization", "ParameterGroup", "DBSecurityGroup"),
)


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidParameterValue"])
def test_what_a_retry_does_not_heal_is_not_transient(code: str) -> None:
    assert not aws_errors.transient(refused(code))
    assert aws_errors.transient(refused("Throttling"))
    assert aws_errors.transient(refused(code, 502))


# --- login, region, endpoint ------------------------------------------------------------


def saved(root: Path, text: str) -> Aws:
    (root / ".env").write_text(text)
    return Aws(load({}, {}, root), tell=say)


def test_a_login_saved_in_the_env_file_is_handed_to_boto3(root: Path) -> None:
    made = saved(root, "AWS_ACCESS_KEY_ID=AKIA1\nAWS_SECRET_ACCESS_KEY=abcdef12\nAWS_DEFAULT_REGION=eu-west-1\n")
    credentials = made.session.get_credentials()
    assert (credentials.access_key, credentials.secret_key, made.region) == ("AKIA1", "abcdef12", "eu-west-1")
    assert "amazonaws.com" in made.client("rds").meta.endpoint_url


def test_the_environment_beats_the_env_file(root: Path) -> None:
    (root / ".env").write_text(
        "AWS_ACCESS_KEY_ID=AKIA1\nAWS_SECRET_ACCESS_KEY=abcdef12\nAWS_DEFAULT_REGION=eu-west-1\n"
    )
    environ = {"AWS_ACCESS_KEY_ID": "AKIA2", "AWS_SECRET_ACCESS_KEY": "other123", "AWS_DEFAULT_REGION": "eu-north-1"}
    made = Aws(load({}, environ, root))
    assert (made.session.get_credentials().access_key, made.region) == ("AKIA2", "eu-north-1")


def test_half_a_login_in_the_environment_is_not_completed_from_the_file(root: Path) -> None:
    """A temporary key of the shell with the session of the file would be a login that nobody has."""
    (root / ".env").write_text("AWS_SESSION_TOKEN=of-the-file\n")
    environ = {"AWS_ACCESS_KEY_ID": "AKIA2", "AWS_SECRET_ACCESS_KEY": "other123"}
    assert Aws(load({}, environ, root)).session.get_credentials().token is None


def test_a_profile_of_the_shell_is_a_login_too(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the file must not send the shell's commands to another account."""
    (root / ".env").write_text("AWS_ACCESS_KEY_ID=AKFILE\nAWS_SECRET_ACCESS_KEY=abcdef12\n")
    shared = tmp_path / "credentials"
    shared.write_text("[work]\naws_access_key_id = AKWORK\naws_secret_access_key = other123\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    made = Aws(load({}, {"AWS_PROFILE": "work"}, root))
    assert made.session.get_credentials().access_key == "AKWORK"


def test_an_endpoint_of_the_env_file_holds_for_its_service_only(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    login = "AWS_ACCESS_KEY_ID=A\nAWS_SECRET_ACCESS_KEY=B\nAWS_DEFAULT_REGION=eu-west-1\n"
    made = saved(root, login + "AWS_ENDPOINT_URL_EC2=http://127.0.0.1:9/\n")
    assert made.client("ec2").meta.endpoint_url == "http://127.0.0.1:9/"
    assert "amazonaws.com" in made.client("rds").meta.endpoint_url
    made.client("ec2")
    assert capsys.readouterr().err.count("which is not AWS") == 1


GENERAL, RDS, SECRETS, POOLS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_RDS",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
)
KEY = "AWS_ACCESS_KEY_ID=A\nAWS_SECRET_ACCESS_KEY=B\n"
HERE, THERE = "http://127.0.0.1:9/", "http://127.0.0.1:10/"
AWS_ITSELF = ""


@pytest.mark.parametrize(
    ("service", "shell", "file", "asked", "named"),
    [
        ("rds", {GENERAL: HERE}, {}, HERE, GENERAL),
        ("rds", {}, {GENERAL: HERE}, HERE, GENERAL),
        ("rds", {RDS: HERE}, {}, HERE, RDS),
        ("rds", {}, {RDS: HERE}, HERE, RDS),
        ("rds", {RDS: HERE}, {GENERAL: THERE}, HERE, RDS),
        ("rds", {GENERAL: HERE}, {RDS: THERE}, THERE, RDS),
        ("rds", {RDS: HERE}, {RDS: THERE}, HERE, RDS),
        ("rds", {GENERAL: HERE}, {GENERAL: THERE}, HERE, GENERAL),
        ("ec2", {RDS: HERE}, {RDS: THERE}, AWS_ITSELF, None),
        ("secretsmanager", {SECRETS: HERE}, {GENERAL: THERE}, HERE, SECRETS),
        ("secretsmanager", {}, {SECRETS: HERE, GENERAL: THERE}, HERE, SECRETS),
        ("secretsmanager", {"AWS_ENDPOINT_URL_SECRETSMANAGER": HERE}, {}, AWS_ITSELF, None),
        ("cognito-idp", {POOLS: HERE}, {GENERAL: THERE}, HERE, POOLS),
        ("cognito-idp", {}, {POOLS: HERE}, HERE, POOLS),
        ("rds", {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, {GENERAL: HERE}, AWS_ITSELF, None),
        ("rds", {GENERAL: HERE}, {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, AWS_ITSELF, None),
    ],
)
def test_endpoints_are_found_by_the_names_and_in_the_order_of_botocore(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    service: str,
    shell: dict[str, str],
    file: dict[str, str],
    asked: str,
    named: str | None,
) -> None:
    """A variable of the service before the general one, then the shell before the file."""
    for name, value in shell.items():
        monkeypatch.setenv(name, value)  # boto3 reads these itself
    login = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B", "AWS_DEFAULT_REGION": "eu-west-1"}
    (root / ".env").write_text("".join(f"{name}={value}\n" for name, value in {**login, **file}.items()))
    url = Aws(load({}, shell, root), tell=say).client(service).meta.endpoint_url
    said = lines_of(capsys.readouterr().err)
    if asked == AWS_ITSELF:
        assert "amazonaws.com" in url
        assert said == []
    else:
        assert url == asked
        assert said == [f"note: {service} is asked at {asked}, which is not AWS ({named})"]


def test_an_endpoint_of_awss_own_config_file_is_said_to_be_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config"
    config.write_text(f"[default]\nregion = eu-west-1\nendpoint_url = {HERE}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert saved(root, "AWS_ACCESS_KEY_ID=A\nAWS_SECRET_ACCESS_KEY=B\n").client("rds").meta.endpoint_url == HERE
    assert "which is not AWS (endpoint_url in the AWS config file)" in capsys.readouterr().err


def test_the_variable_in_force_is_named_where_another_service_answers(
    cloud: Front, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(GENERAL)
    monkeypatch.setenv(RDS, cloud.url)
    cloud.before = lambda _: OTHERS["DynamoDB local"]
    with pytest.raises(Exception, match=r".*") as caught:
        instance.find_instance(Aws(configure()), "x")
    exit = translate(caught.value)
    assert exit is not None
    assert str(exit.message).startswith(f"what answers at {RDS} does not know this service of AWS: unset it")


@pytest.mark.parametrize(("region", "variable"), [("us-nowhere-9", ""), ("eu-west-1", "AWS_ENDPOINT_URL")])
def test_what_stands_in_for_aws_knows_no_region_that_there_is_not(
    cloud: Front, configure: Configure, monkeypatch: pytest.MonkeyPatch, region: str, variable: str
) -> None:
    """moto answers with a page of HTML then, with status 500; where the region is one, it is another service."""
    monkeypatch.setenv("AWS_REGION", region)
    calls = [("rds", "describe_db_instances"), ("lambda", "list_functions")]
    if variable:
        cloud.before = lambda _: OTHERS["DynamoDB local"]
    for service, call in calls[:1] if variable else calls:
        aws = Aws(configure())
        assert aws.region == region
        with pytest.raises(Exception, match=r".*") as caught:
            getattr(aws.client(service), call)()
        told = str(explain(caught.value))
        assert ("unset it" in told) is bool(variable)
        assert told.endswith(f"there is no region {region}: correct AWS_REGION or AWS_DEFAULT_REGION") is not bool(
            variable
        )


def test_the_variable_in_force_is_named_where_nothing_answers(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**LOGIN, RDS: "http://127.0.0.1:1/", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(e.EndpointConnectionError) as caught:
        instance.find_instance(Aws(configure()), "x")
    assert str(explain(caught.value)).endswith(f"check the network, the region and {RDS}")


def test_a_bad_endpoint_of_one_service_names_its_variable(root: Path) -> None:
    made = saved(root, f"{KEY}{SECRETS}=localhost\nAWS_DEFAULT_REGION=eu-west-1\n")
    with pytest.raises(Misconfigured, match=f"Invalid endpoint: localhost: correct {SECRETS}"):
        made.client("secretsmanager")


def test_the_request_is_named_for_create_alone() -> None:
    """A refusal of another call has nothing to do with what create would ask for."""
    other = e.ClientError({"Error": {"Code": "InvalidParameterCombination", "Message": "no"}}, "DeleteDBInstance")
    assert "--dry-run" not in str(explain(other))


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("https://rds.ca-central-1.amazonaws.com", False),
        ("https://rds.cn-north-1.amazonaws.com.cn", False),
        ("https://rds.ca-central-1.api.aws", False),
        ("http://localhost:8000", True),
        ("http://dynamodb-local:8000", True),
        ("https://amazonaws.com.evil.example", True),
    ],
)
def test_what_is_not_aws_is_known(url: str, other: bool) -> None:
    assert aws.foreign(url) is other


# What answers at the AWS_ENDPOINT_URL of 35 repositories of 37: a local DynamoDB, and other things
OTHERS: dict[str, Answer] = {
    "DynamoDB local": (
        "400 Bad Request",
        b'{"__type":"com.amazonaws.dynamodb.v20120810#MissingAuthenticationToken","message":"no token"}',
    ),
    "a page": ("200 OK", b"<!doctype html><html><body>It works!</body></html>"),
    "a page of XML": ("200 OK", b"<html><body>It works!</body></html>"),
    "nothing": ("200 OK", b""),
    "not found": ("404 Not Found", b"<html><body>no such page</body></html>"),
    "another protocol": ("501 Not Implemented", b"<html><body>Unsupported method (POST)</body></html>"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_an_endpoint_that_does_not_speak_rds_is_one_line(cloud: Front, configure: Configure, kind: str) -> None:
    cloud.before = lambda _: OTHERS[kind]
    settings = configure()
    with pytest.raises(Exception, match=r".*") as caught:
        instance.find_instance(cloud.aws(settings), "x")
    exit = translate(caught.value)
    assert exit is not None
    assert exit.code == 2
    assert "AWS_ENDPOINT_URL" in str(exit.message)


SPOKEN = {
    ("rds", "AddTagsToResource"): [b'<AddTagsToResourceResponse xmlns="x"/>'],
    ("rds", "StopDBInstance"): [b"<StopDBInstanceResponse><StopDBInstanceResult/></StopDBInstanceResponse>"],
    ("iam", "DeleteRole"): [b"<DeleteRoleResponse/>"],
    ("ec2", "CreateTags"): [b"<CreateTagsResponse><return>true</return></CreateTagsResponse>"],
    ("ec2", "DescribeVpcs"): [b'<DescribeVpcsResponse xmlns="x"><vpcSet/></DescribeVpcsResponse>'],
    ("logs", "PutRetentionPolicy"): [b"", b"{}"],
    ("cognito-idp", "UpdateUserPool"): [b"", b"{}"],
    ("logs", "DescribeLogGroups"): [b"{}"],
    ("secretsmanager", "GetSecretValue"): [b"{}", b'{"SecretString": "x"}'],
    ("lambda", "DeleteFunction"): [b"", b"{}"],
    ("lambda", "RemovePermission"): [b"", b"{}"],
    ("lambda", "GetFunction"): [b"{}"],
    ("lambda", "Invoke"): [b"", b"{}", b"null", OTHERS["a page of XML"][1]],  # what a function returns has no form
    ("scheduler", "DeleteSchedule"): [b"", b"{}"],
    ("scheduler", "UpdateSchedule"): [b"{}", b'{"ScheduleArn": "arn"}'],
}
"""What is taken for an answer to each operation: of JSON only the form is looked at."""


@pytest.mark.parametrize(("service", "operation"), SPOKEN)
def test_only_what_has_the_form_of_an_operation_is_its_answer(service: str, operation: str) -> None:
    model = botocore.session.Session().get_service_model(service).operation_model(operation)
    taken = []
    for body in dict.fromkeys((b"", b"{}", b"null", OTHERS["a page of XML"][1], *SPOKEN[service, operation])):
        with contextlib.suppress(Misconfigured):
            calls.read(model, {"status_code": 200, "body": body})
            taken.append(body)
    assert taken == SPOKEN[service, operation]


def test_the_endpoint_is_said_before_anything_is_asked(cloud: Front, inv: Cli) -> None:
    cloud.before = lambda _: OTHERS["DynamoDB local"]
    done = inv("rds.status")
    assert done.returncode == 2
    first, second = lines_of(done.stderr)
    assert first == f"note: rds is asked at {cloud.url}, which is not AWS (AWS_ENDPOINT_URL)"
    assert "AWS_ENDPOINT_URL_DYNAMODB" in second


def test_no_login_and_no_region_are_one_line_each(inv: Cli) -> None:
    done = inv("rds.status")
    assert (done.returncode, lines_of(done.stderr)) == (2, ["no AWS region: set AWS_DEFAULT_REGION, like ca-central-1"])
    done = inv("rds.status", env={"AWS_DEFAULT_REGION": "ca-central-1"})
    assert (done.returncode, lines_of(done.stderr)) == (2, [aws_errors.NO_LOGIN])


def test_a_bad_endpoint_names_the_variable(root: Path) -> None:
    made = saved(root, f"{KEY}AWS_ENDPOINT_URL=localhost\nAWS_DEFAULT_REGION=eu-west-1\n")
    with pytest.raises(Misconfigured, match="Invalid endpoint: localhost: correct AWS_ENDPOINT_URL"):
        made.client("rds")
