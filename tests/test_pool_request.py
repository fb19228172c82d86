"""The request that leaves a user pool as it is, by what the SDK's model says: without AWS, so that every wrong change of it is tried at night."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.model import DenormalizedStructureBuilder

from ops.lambdas.user_pool import pool_request

ARN = "arn:aws:lambda:ca-central-1:123456789012:function:f"
FACTS: dict[str, Any] = {
    "Id": "ca-central-1_x",
    "Name": "people",
    "Arn": "only to be read",
    "MfaConfiguration": "ON",
    "LambdaConfig": {"PreSignUp": ARN, "PostConfirmation": "another"},
    "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": False, "UnusedAccountValidityDays": 7},
    "UserPoolTags": {"any": "thing"},
    "AccountRecoverySetting": {"RecoveryMechanisms": [{"Priority": 1, "Name": "verified_email", "New": 1}]},
}


@cache
def model() -> Any:
    return botocore.session.get_session().get_service_model("cognito-idp")


def test_all_that_can_be_sent_is_and_the_trigger_alone_is_another() -> None:
    assert pool_request.build(FACTS, "mine", model()) == {
        "UserPoolId": "ca-central-1_x",
        "PoolName": "people",
        "MfaConfiguration": "ON",
        "LambdaConfig": {"PreSignUp": ARN, "PostConfirmation": "mine"},
        "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": False, "UnusedAccountValidityDays": 7},
        "UserPoolTags": {"any": "thing"},
        "AccountRecoverySetting": {"RecoveryMechanisms": [{"Priority": 1, "Name": "verified_email"}]},
    }


@pytest.mark.parametrize(
    ("there", "arn", "sent"),
    [
        (None, None, None),
        (None, "mine", {"PostConfirmation": "mine"}),
        ({"PostConfirmation": "old"}, None, None),
        ({"PreSignUp": ARN}, None, {"PreSignUp": ARN}),
    ],
)
def test_triggers_are_sent_where_there_are_any(there: Any, arn: str | None, sent: Any) -> None:
    facts = {"Id": "i", "Name": "n", **({} if there is None else {"LambdaConfig": there})}
    assert pool_request.build(facts, arn, model()).get("LambdaConfig") == sent


def test_what_the_model_lacks_is_named_with_its_place() -> None:
    shape = model().operation_model("DescribeUserPool").output_shape.members["UserPool"]
    told = {
        **FACTS,
        "Fresh": {},
        "SchemaAttributes": [{"Name": "a", "Odd": 1, "StringAttributeConstraints": {"New": 1}}],
    }
    assert sorted(pool_request.unknown(told, shape)) == [
        "AccountRecoverySetting.RecoveryMechanisms.New",
        "Fresh",
        "SchemaAttributes.Odd",
        "SchemaAttributes.StringAttributeConstraints.New",
    ]
    odd = {"UserPoolTags": {"a": {"b": 1}}, "LambdaConfig": None, "SchemaAttributes": None, "Name": ["x"]}
    assert list(pool_request.unknown(odd, shape)) == []


def test_what_the_model_lacks_in_a_map_is_named_by_its_key() -> None:
    one = {"type": "structure", "members": {"Known": {"type": "string"}}}
    every = {"type": "map", "key": {"type": "string"}, "value": one}
    shape = DenormalizedStructureBuilder().with_members({"Each": every}).build_model()
    assert list(pool_request.unknown({"Each": {"a": {"Known": "x"}, "b": {"New": 1}}}, shape)) == ["Each.b.New"]
    assert list(pool_request.unknown({"Each": None}, shape)) == []


def test_what_is_not_there_is_sent_as_it_is() -> None:
    facts = {
        "Id": "i",
        "Name": "n",
        "AccountRecoverySetting": {"RecoveryMechanisms": None},
        "LambdaConfig": {"PreSignUp": ["x"]},
    }
    wanted = pool_request.build(facts, None, model())
    assert (wanted["AccountRecoverySetting"], wanted["LambdaConfig"]) == (
        {"RecoveryMechanisms": None},
        {"PreSignUp": ["x"]},
    )


@pytest.mark.parametrize(
    ("wanted", "refusal", "left"),
    [
        ({"AdminCreateUserConfig": {"UnusedAccountValidityDays": 7, "a": 1}}, "not UnusedAccountValidityDays", {"AdminCreateUserConfig": {"a": 1}}),
        ({"AdminCreateUserConfig": {"UnusedAccountValidityDays": 7}}, "something else", None),
        ({"AdminCreateUserConfig": {"a": 1}}, "not UnusedAccountValidityDays", None),
        ({}, "not UnusedAccountValidityDays", None),
        ({"MfaConfiguration": "ON"}, "no SMS configuration", {}),
        ({"MfaConfiguration": "OPTIONAL"}, "MFA is refused", {}),
        ({"MfaConfiguration": "OFF"}, "MFA is refused", None),
        ({"MfaConfiguration": "ON"}, "something else", None),
        ({}, "MFA is refused", None),
    ],
)  # fmt: skip
def test_a_refused_request_lacks_after_what_aws_does_not_take_back(
    wanted: dict[str, Any], refusal: str, left: Any
) -> None:
    request = deepcopy(wanted)
    assert pool_request.relaxed(request, refusal) == (left is not None)
    assert request == (wanted if left is None else left)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"LambdaConfig": {"PreSignUp": ARN, "PostConfirmation": "mine"}}, []),
        ({"LambdaConfig": {"PostConfirmation": "mine"}}, ["LambdaConfig"]),
        ({"LambdaConfig": None, "MfaConfiguration": "OFF"}, ["LambdaConfig", "MfaConfiguration"]),
        ({"AdminCreateUserConfig": {"AllowAdminCreateUserOnly": False}}, []),
        ({"AdminCreateUserConfig": None}, ["AdminCreateUserConfig"]),
        ({"AdminCreateUserConfig": {"AllowAdminCreateUserOnly": True}}, ["AdminCreateUserConfig"]),
        ({"DeletionProtection": "ACTIVE"}, ["DeletionProtection"]),
        ({"Arn": "other", "EstimatedNumberOfUsers": 9}, []),
    ],
)
def test_what_is_another_after_is_named_but_for_the_trigger(changed: dict[str, Any], told: list[str]) -> None:
    assert pool_request.differing(FACTS, {**FACTS, **changed}, model()) == told
    assert pool_request.differing({**FACTS, **changed}, FACTS, model()) == told


def test_another_trigger_may_be_the_one_that_is_left_out() -> None:
    after = {**FACTS, "LambdaConfig": {"PostConfirmation": "another"}}
    assert pool_request.differing(FACTS, after, model(), but="PreSignUp") == []


def test_without_either_nothing_differs() -> None:
    assert pool_request.differing({}, {"LambdaConfig": {}, "AdminCreateUserConfig": {}}, model()) == []
