"""Waiting for Lambda and IAM, by Stubber: moto makes everything at once and knows no revisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from config.settings import Settings
from ops.aws import Aws
from ops.errors import InProgress, Problem
from ops.lambdas import function, waiting
from ops.lambdas.package import archive
from ops.lambdas.plan import Plan
from tests.fix_aws import Configure, Front, Hands
from tests.fix_lambda import NAME

ROLE = "arn:aws:iam::123456789012:role/r"
LAYER = f"arn:aws:lambda:ca-central-1:123456789012:layer:{NAME}-psycopg:1"
URL = "postgresql://lambda_signup:Xq7Zw9Kv@h/cruddur"
UNASSUMED = "The role defined for the function cannot be assumed by Lambda."
UNPERMITTED = "The provided execution role does not have permissions to call CreateNetworkInterface on EC2"
UNKEYED = "Lambda was unable to configure access to your environment variables because the KMS key is invalid for CreateGrant."
THROTTLED = "Your request has been throttled by EC2, please make sure you have enough API rate limit."
BUSY = f"The operation cannot be performed at this time. An update is in progress for resource: arn:aws:lambda:{NAME}"


@dataclass
class Bare:
    """AWS of which only what a test stubs answers."""

    cloud: Front
    given: Settings
    hands: Hands

    def settings(self) -> Settings:
        return self.given

    @property
    def aws(self) -> Aws:
        return self.cloud.aws(self.given)

    def client(self, service: str) -> Any:
        return self.aws.client(service)


@pytest.fixture
def made(cloud: Front, configure: Configure, hands: Hands) -> Bare:
    return Bare(cloud, configure(), hands)


def configuration(**more: Any) -> dict[str, Any]:
    return {
        "FunctionName": NAME, "FunctionArn": f"arn:aws:lambda:ca-central-1:123456789012:function:{NAME}",
        "Runtime": "python3.13", "Role": ROLE, "Handler": "h", "Timeout": 5, "MemorySize": 512,
        "CodeSha256": "old", "Environment": {"Variables": {"CONNECTION_URL": URL}}, "Layers": [{"Arn": LAYER}],
        "VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}, "RevisionId": "r1",
        "State": "Active", "LastUpdateStatus": "Successful", **more,
    }  # fmt: skip


def ensure(stage: Bare, found: Any, built: archive.Artifact, **want: Any) -> list[str]:
    plan, settings = Plan(), stage.settings()
    wanted = function.wanted_configuration(
        settings.lambdas, "h", ROLE, LAYER, {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    )
    function.ensure_function(stage.aws, settings, found, built, {**wanted, **want}, URL, plan, stage.hands.clock)
    return plan.changed


def found(**more: Any) -> dict[str, Any]:
    return {"Configuration": configuration(**more), "Tags": {"ManagedBy": "inv"}}


def test_a_fresh_role_is_waited_for_by_its_message(
    made: Bare, built: archive.Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    with Stubber(made.client("lambda")) as stub:
        for message in (UNASSUMED, UNKEYED, UNPERMITTED):
            stub.add_client_error("create_function", "InvalidParameterValueException", message)
        stub.add_response("create_function", configuration(State="Pending"))
        for state in ("Pending", "Pending", "Active"):
            stub.add_response("get_function_configuration", configuration(State=state))
        assert ensure(made, None, built) == ["function"]
        stub.assert_no_pending_responses()
    said = capsys.readouterr().err
    assert said.count("waiting until AWS knows the role") == 1
    assert "is being made" in said
    assert len(made.hands.slept) == 5


def test_a_role_that_stays_unknown_is_a_failure_in_the_end(made: Bare, built: archive.Artifact) -> None:
    with Stubber(made.client("lambda")) as stub:
        for _ in range(77):
            stub.add_client_error("create_function", "InvalidParameterValueException", UNASSUMED)
        with pytest.raises(made.client("lambda").exceptions.InvalidParameterValueException):
            ensure(made, None, built)
    assert waiting.FRESH < sum(made.hands.slept) < waiting.FRESH + 5


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        ("InvalidParameterValueException", THROTTLED, "until EC2 takes more requests"),
        ("ResourceConflictException", BUSY, "for another change to end"),
    ],
)
def test_what_ends_by_itself_is_exit_3_at_the_limit(
    made: Bare, built: archive.Artifact, code: str, message: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here = configuration(CodeSha256="other")
    with Stubber(made.client("lambda")) as stub:
        stub.add_response("get_function_configuration", here)
        for _ in range(77):
            stub.add_client_error("update_function_code", code, message)
            if message == BUSY:
                stub.add_response("get_function_configuration", here)
        with pytest.raises(InProgress, match=f"^waited 150 s {said}: run this again to go on waiting$") as late:
            ensure(made, found(), built)
    assert late.value.code == 3
    assert capsys.readouterr().err.count(f"waiting {said}") == 1
    assert waiting.FRESH < sum(made.hands.slept) < waiting.FRESH + 5


def test_another_refusal_is_one_at_once(made: Bare, built: archive.Artifact) -> None:
    with Stubber(made.client("lambda")) as stub:
        stub.add_client_error("create_function", "InvalidParameterValueException", "Unzipped size must be smaller")
        with pytest.raises(made.client("lambda").exceptions.InvalidParameterValueException, match="Unzipped"):
            ensure(made, None, built)
    assert made.hands.slept == []


def test_each_change_is_waited_for_before_the_next(made: Bare, built: archive.Artifact) -> None:
    with Stubber(made.client("lambda")) as stub:
        stub.add_response("get_function_configuration", configuration(MemorySize=128))
        stub.add_response(
            "update_function_configuration",
            configuration(LastUpdateStatus="InProgress"),
            {"FunctionName": NAME, "MemorySize": 512, "RevisionId": "r1"},
        )
        stub.add_response("get_function_configuration", configuration(LastUpdateStatus="InProgress"))
        stub.add_response("get_function_configuration", configuration(RevisionId="r2"))
        stub.add_response(
            "update_function_code",
            configuration(),
            {"FunctionName": NAME, "ZipFile": ANY, "Architectures": ["x86_64"], "RevisionId": "r2"},
        )
        stub.add_response("get_function_configuration", configuration(CodeSha256=built.code_sha256))
        assert ensure(made, found(MemorySize=128), built) == ["configuration", "code"]
        stub.assert_no_pending_responses()


def test_a_change_in_progress_is_waited_for(made: Bare, built: archive.Artifact) -> None:
    here = {"CodeSha256": built.code_sha256, "Timeout": 3}
    with Stubber(made.client("lambda")) as stub:
        stub.add_response("get_function_configuration", configuration(**here))
        stub.add_client_error("update_function_configuration", "ResourceConflictException", BUSY)
        stub.add_response("get_function_configuration", configuration(**here, LastUpdateStatus="InProgress"))
        stub.add_response("get_function_configuration", configuration(**{**here, "RevisionId": "r9"}))
        stub.add_response(
            "update_function_configuration",
            configuration(),
            {"FunctionName": NAME, "Timeout": 5, "RevisionId": "r9"},
        )
        stub.add_response("get_function_configuration", configuration(CodeSha256=built.code_sha256))
        assert ensure(made, found(**here), built) == ["configuration"]
        stub.assert_no_pending_responses()


def test_somebody_elses_deployment_meanwhile_is_not_overwritten(made: Bare, built: archive.Artifact) -> None:
    with Stubber(made.client("lambda")) as stub:
        stub.add_response("get_function_configuration", configuration())
        stub.add_client_error("update_function_code", "PreconditionFailedException", "The Revision Id provided…")
        with pytest.raises(Problem, match="just changed by somebody else: run this again"):
            ensure(made, found(), built)


def test_a_function_that_aws_cannot_make_says_why(made: Bare, built: archive.Artifact) -> None:
    failed = {"State": "Failed", "StateReasonCode": "SubnetOutOfIPAddresses", "StateReason": "no address left"}
    with Stubber(made.client("lambda")) as stub:
        stub.add_response("create_function", configuration())
        stub.add_response("get_function_configuration", configuration(**failed))
        with pytest.raises(Problem, match=r"could not make .*SubnetOutOfIPAddresses: no address left.*lambda\.delete"):
            ensure(made, None, built)


def test_a_change_that_failed_says_why_and_is_sent_again(made: Bare, built: archive.Artifact) -> None:
    failed = {
        "LastUpdateStatus": "Failed",
        "LastUpdateStatusReasonCode": "InvalidSecurityGroup",
        "LastUpdateStatusReason": "gone",
    }
    here = {"CodeSha256": built.code_sha256, "Timeout": 3}
    with Stubber(made.client("lambda")) as stub:
        for _ in range(2):
            stub.add_response("get_function_configuration", configuration(**here, **failed))
            stub.add_response("update_function_configuration", configuration())
            stub.add_response("get_function_configuration", configuration(**here, **failed))
            with pytest.raises(Problem, match=r"could not change .*InvalidSecurityGroup: gone"):
                ensure(made, found(**here), built)
        stub.assert_no_pending_responses()


def test_the_limit_is_exit_3_and_says_how_to_go_on(made: Bare, built: archive.Artifact) -> None:
    with Stubber(made.client("lambda")) as stub:
        stub.add_response("create_function", configuration())
        for _ in range(302):
            stub.add_response("get_function_configuration", configuration(State="Pending"))
        with pytest.raises(InProgress, match=r"still being made after 5 minutes.*run this again"):
            ensure(made, None, built)


def test_another_runs_function_is_not_taken_for_our_own(made: Bare, built: archive.Artifact) -> None:
    """Its login would have another password than the database has now."""
    other = configuration(Environment={"Variables": {"CONNECTION_URL": "other"}})
    for there, error in ((configuration(), None), (other, Problem)):
        with Stubber(made.client("lambda")) as stub:
            stub.add_client_error("create_function", "ResourceConflictException", f"Function already exist: {NAME}")
            stub.add_response("get_function", {"Configuration": there})
            if error:
                with pytest.raises(error, match="made by another run: run this again"):
                    ensure(made, None, built)
            else:
                stub.add_response("get_function_configuration", there)
                assert ensure(made, None, built) == ["function"]


def test_layers_of_others_keep_their_place(made: Bare) -> None:
    lam = made.settings().lambdas
    theirs = "arn:aws:lambda:ca-central-1:1:layer:theirs:3"
    have = configuration(Layers=[{"Arn": LAYER}, {"Arn": theirs}])
    want = function.wanted_configuration(lam, "h", ROLE, f"{LAYER[:-1]}2", {})
    change = function.differing(have, lam, {**want, "VpcConfig": {}}, URL)
    assert change == {"Layers": [want["Layers"][0], theirs]}


def test_tags_that_may_not_be_read_are_not_taken_for_somebody_elses() -> None:
    found = {"Configuration": configuration(), "TagsError": {"ErrorCode": "AccessDenied", "Message": "not authorized"}}
    with pytest.raises(Problem, match=r"tags cannot be read \(not authorized\): permit lambda:ListTags"):
        function.has_our_tags(found)
    assert not function.has_our_tags({"Configuration": configuration()})
    assert function.has_our_tags({"Configuration": configuration(), "Tags": {"ManagedBy": "inv"}})
