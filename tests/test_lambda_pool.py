"""lambda.attach changes one trigger of a pool, and proves that nothing else has changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from ops.errors import Misconfigured, Problem, Refused
from ops.lambdas.user_pool import attach, pool, pool_request
from tests.fix_aws import Call, json_error
from tests.fix_lambda import NAME, Stage

ARN = f"arn:aws:lambda:ca-central-1:123456789012:function:{NAME}"
OTHER = "arn:aws:lambda:ca-central-1:123456789012:function:other"
KEY = "arn:aws:kms:ca-central-1:123456789012:key/1"

FULL: dict[str, Any] = {
    "Policies": {
        "PasswordPolicy": {
            "MinimumLength": 12,
            "RequireUppercase": False,
            "RequireLowercase": False,
            "RequireNumbers": False,
            "RequireSymbols": False,
            "PasswordHistorySize": 3,
            "TemporaryPasswordValidityDays": 3,
        },
        "SignInPolicy": {"AllowedFirstAuthFactors": ["PASSWORD", "EMAIL_OTP"]},
    },
    "DeletionProtection": "ACTIVE",
    "LambdaConfig": {
        "PreSignUp": OTHER,
        "CustomMessage": OTHER,
        "PreTokenGeneration": OTHER,
        "PreTokenGenerationConfig": {"LambdaVersion": "V2_0", "LambdaArn": OTHER},
        "CustomEmailSender": {"LambdaVersion": "V1_0", "LambdaArn": OTHER},
        "KMSKeyID": KEY,
    },
    "AutoVerifiedAttributes": ["email"],
    "SmsVerificationMessage": "sms {####}",
    "EmailVerificationMessage": "mail {####}",
    "EmailVerificationSubject": "subject",
    "VerificationMessageTemplate": {
        "SmsMessage": "sms {####}",
        "EmailMessage": "mail {####}",
        "EmailSubject": "subject",
        "EmailMessageByLink": "click {##here##}",
        "EmailSubjectByLink": "link",
        "DefaultEmailOption": "CONFIRM_WITH_LINK",
    },
    "SmsAuthenticationMessage": "code {####}",
    "UserAttributeUpdateSettings": {"AttributesRequireVerificationBeforeUpdate": ["email"]},
    "MfaConfiguration": "OPTIONAL",
    "DeviceConfiguration": {"ChallengeRequiredOnNewDevice": True, "DeviceOnlyRememberedOnUserPrompt": True},
    "EmailConfiguration": {
        "SourceArn": "arn:aws:ses:ca-central-1:123456789012:identity/a@example.com",
        "ReplyToEmailAddress": "reply@example.com",
        "EmailSendingAccount": "DEVELOPER",
        "From": "Cruddur <a@example.com>",
        "ConfigurationSet": "set",
    },
    "SmsConfiguration": {
        "SnsCallerArn": "arn:aws:iam::123456789012:role/sms",
        "ExternalId": "external",
        "SnsRegion": "ca-central-1",
    },
    "UserPoolTags": {"Project": "cruddur", "Stage": "prod"},
    "AdminCreateUserConfig": {
        "AllowAdminCreateUserOnly": True,
        "InviteMessageTemplate": {
            "SMSMessage": "{username} {####}",
            "EmailMessage": "{username} {####}",
            "EmailSubject": "hi",
        },
    },
    "UserPoolAddOns": {
        "AdvancedSecurityMode": "ENFORCED",
        "AdvancedSecurityAdditionalFlows": {"CustomAuthMode": "AUDIT"},
    },
    "AccountRecoverySetting": {"RecoveryMechanisms": [{"Priority": 1, "Name": "verified_email"}]},
    "UserPoolTier": "PLUS",
}


@pytest.fixture
def deployed(stage: Stage) -> Stage:
    stage.deploy()
    stage.cloud.forget()
    return stage


def test_every_setting_that_can_be_sent_is_in_the_pool_of_these_tests(stage: Stage) -> None:
    """But for what moto does not keep: three settings of 2026."""
    members = set(stage.client("cognito-idp").meta.service_model.operation_model("UpdateUserPool").input_shape.members)
    assert members - set(FULL) == {
        *("UserPoolId", "PoolName"),
        *("DcrConfiguration", "KeyConfiguration", "IssuerConfiguration", "AcrConfiguration"),
    }


def test_a_pool_with_every_setting_changed_comes_out_as_it_was(deployed: Stage) -> None:
    pool_id = deployed.make_pool(**FULL)
    before = deployed.described(pool_id)
    defaults = deployed.described(deployed.make_pool())
    changed = [key for key in FULL if before[key] != defaults.get(key)]
    assert changed == list(FULL)
    assert deployed.attach(pool_id) == ["permission", "trigger"]
    after = deployed.described(pool_id)
    assert after["LambdaConfig"].pop("PostConfirmation") == ARN
    assert after == before
    assert deployed.detach(pool_id) == ["trigger", "permission"]
    assert deployed.described(pool_id) == before


def test_a_pool_with_nothing_set_comes_out_as_it_was(deployed: Stage) -> None:
    pool_id = deployed.make_pool()
    before = deployed.described(pool_id)
    deployed.attach(pool_id)
    assert deployed.described(pool_id) == {**before, "LambdaConfig": {"PostConfirmation": ARN}}
    deployed.detach(pool_id)
    assert deployed.described(pool_id) == before


def test_the_naive_update_would_reset_the_pool(deployed: Stage) -> None:
    """So the tests above can fail: moto resets what is not sent, as AWS does."""
    pool_id = deployed.make_pool(**FULL)
    before = deployed.described(pool_id)
    deployed.client("cognito-idp").update_user_pool(UserPoolId=pool_id, LambdaConfig={"PostConfirmation": ARN})
    after = deployed.described(pool_id)
    assert len([key for key in FULL if before[key] != after.get(key)]) > 10


def test_a_second_run_writes_nothing(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    pool_id = deployed.make_pool(**FULL)
    deployed.attach(pool_id)
    deployed.cloud.forget()
    assert deployed.attach(pool_id) == []
    assert deployed.cloud.writes == []
    deployed.detach(pool_id)
    deployed.cloud.forget()
    assert deployed.detach(pool_id) == []
    assert deployed.cloud.writes == []


def test_the_permission_comes_first_and_goes_last(deployed: Stage) -> None:
    pool_id = deployed.make_pool()
    deployed.cloud.forget()
    deployed.attach(pool_id)
    assert deployed.cloud.writes == [f"POST /2015-03-31/functions/{NAME}/policy", "UpdateUserPool"]
    deployed.cloud.forget()
    deployed.detach(pool_id)
    path = f"/2015-03-31/functions/{NAME}/policy/{attach.sid(pool_id)}"
    assert deployed.cloud.writes == ["UpdateUserPool", f"DELETE {path}"]


def test_the_permission_is_for_this_pool_and_account_alone(deployed: Stage) -> None:
    pool_id = deployed.make_pool()
    deployed.attach(pool_id)
    [one] = json.loads(deployed.client("lambda").get_policy(FunctionName=NAME)["Policy"])["Statement"]
    assert one["Principal"] == {"Service": "cognito-idp.amazonaws.com"}
    arn = f"arn:aws:cognito-idp:ca-central-1:123456789012:userpool/{pool_id}"
    assert one["Condition"] == {
        "ArnLike": {"AWS:SourceArn": arn},
        "StringEquals": {"AWS:SourceAccount": "123456789012"},
    }


def test_a_permission_that_is_too_wide_is_replaced(deployed: Stage) -> None:
    pool_id = deployed.make_pool()
    client = deployed.client("lambda")
    client.add_permission(
        FunctionName=NAME,
        StatementId=attach.sid(pool_id),
        Action="lambda:InvokeFunction",
        Principal="cognito-idp.amazonaws.com",
    )
    assert deployed.attach(pool_id) == ["permission", "trigger"]
    [one] = json.loads(client.get_policy(FunctionName=NAME)["Policy"])["Statement"]
    assert attach.is_permitted(one, deployed.described(pool_id)["Arn"])


def permission(**condition: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"Service": "cognito-idp.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Condition": condition,
    }


ONE = "arn:aws:cognito-idp:ca-central-1:123456789012:userpool/ca-central-1_One"
MINE = {"AWS:SourceAccount": "123456789012"}


@pytest.mark.parametrize(
    ("condition", "permits", "sources"),
    [
        ({"ArnLike": {"AWS:SourceArn": ONE}, "StringEquals": MINE}, True, {ONE}),
        ({"ArnEquals": {"aws:sourceArn": [ONE]}, "StringEquals": MINE}, True, {ONE}),
        ({"StringEquals": {"aws:SourceArn": ONE, **MINE}}, True, {ONE}),
        ({"ArnNotLike": {"AWS:SourceArn": ONE}, "StringEquals": MINE}, False, set()),
        ({"ArnLike": {"AWS:SourceArn": ONE}, "StringNotEquals": MINE}, False, {ONE}),
        ({"ArnLike": {"AWS:SourceArn": ONE}, "ArnEquals": MINE}, False, {ONE}),
        ({"ArnLike": {"AWS:SourceArn": [ONE, f"{ONE}2"]}, "StringEquals": MINE}, False, {ONE, f"{ONE}2"}),
        ({"ArnLike": {"AWS:SourceArn": ONE}, "StringEquals": MINE, "Bool": {"aws:SecureTransport": "true"}}, False, {ONE}),
        ({"ArnLike": {"AWS:SourceArn": ONE}}, False, {ONE}),
        ({}, False, set()),
    ],
)  # fmt: skip
def test_what_a_permission_says_is_read_with_its_operators(
    condition: dict[str, Any], permits: bool, sources: set[str]
) -> None:
    assert attach.is_permitted(permission(**condition), ONE) is permits
    assert attach.sources(permission(**condition)) == sources


def test_another_function_is_named_and_replaced_on_demand(deployed: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    pool_id = deployed.make_pool(LambdaConfig={"PostConfirmation": OTHER, "PreSignUp": OTHER})
    deployed.cloud.forget()
    with pytest.raises(Refused, match=rf"another function.*{OTHER}.*--replace"):
        deployed.attach(pool_id)
    assert deployed.cloud.writes == []
    assert deployed.detach(pool_id) == []
    assert deployed.described(pool_id)["LambdaConfig"]["PostConfirmation"] == OTHER
    deployed.attach(pool_id, replace=True)
    assert deployed.described(pool_id)["LambdaConfig"] == {"PostConfirmation": ARN, "PreSignUp": OTHER}
    assert f"no longer {OTHER}" in capsys.readouterr().out


def test_the_pool_is_backed_up_before_it_is_touched(deployed: Stage) -> None:
    pool_id = deployed.make_pool(**FULL)
    deployed.attach(pool_id)
    [backup] = (deployed.root / ".local" / "pools").iterdir()
    assert backup.name.startswith(pool_id)
    assert "unproved" not in backup.name
    assert backup.stat().st_mode & 0o777 == 0o600
    saved = json.loads(backup.read_text())
    assert saved["UserPool"]["DeletionProtection"] == "ACTIVE"
    assert saved["MfaConfig"]["MfaConfiguration"] == "OPTIONAL"


def test_what_this_boto3_does_not_know_is_a_refusal(deployed: Stage) -> None:
    """An older SDK drops it unseen and would reset it."""
    pool_id = deployed.make_pool()

    def newer(call: Call) -> Any:
        if call.action != "DescribeUserPool":
            return None
        found = {"Id": pool_id, "Name": "p", "Arn": "a", "NewThing": {}, "UserPoolAddOns": {"Fancy": 1}}
        found["AccountRecoverySetting"] = {"RecoveryMechanisms": [{"Priority": 1, "Name": "x", "Way": 2}]}
        return "200 OK", json.dumps({"UserPool": found}).encode()

    deployed.cloud.forget()
    deployed.cloud.before = newer
    names = r"AccountRecoverySetting\.RecoveryMechanisms\.Way, NewThing, UserPoolAddOns\.Fancy"
    for act in (deployed.attach, deployed.detach):
        with pytest.raises(Problem, match=rf"does not know.*{names}.*--upgrade boto3"):
            act(pool_id)
    assert deployed.cloud.writes == []


def overtaken(stage: Stage, pool_id: str, arn: str) -> None:
    """Let another update follow right after ours, which sends a trigger alone and so resets all else."""
    client = stage.client("cognito-idp")

    def overtake(call: Call) -> None:
        if call.action == "UpdateUserPool":
            stage.cloud.mend()
            client.update_user_pool(UserPoolId=pool_id, LambdaConfig={"PostConfirmation": arn})

    stage.cloud.after = overtake


def test_a_setting_that_aws_changes_on_the_way_is_put_back(deployed: Stage) -> None:
    pool_id = deployed.make_pool(**FULL)
    before = deployed.described(pool_id)
    overtaken(deployed, pool_id, ARN)
    with pytest.raises(Problem, match=r"changed other settings.*DeletionProtection.*put back as it was.*\.local/pools"):
        deployed.attach(pool_id)
    assert deployed.described(pool_id) == before


def test_somebody_elses_trigger_right_after_is_said(deployed: Stage) -> None:
    pool_id = deployed.make_pool()
    overtaken(deployed, pool_id, OTHER)
    with pytest.raises(Problem, match=rf"calls {OTHER}: somebody else has set it"):
        deployed.attach(pool_id)


def test_a_run_that_was_cut_off_before_its_proof_is_proved_by_the_next(deployed: Stage) -> None:
    pool_id = deployed.make_pool(**FULL)
    app = {"MfaConfiguration": "OPTIONAL", "SoftwareTokenMfaConfiguration": {"Enabled": True}}
    deployed.client("cognito-idp").set_user_pool_mfa_config(UserPoolId=pool_id, **app)
    at = deployed.pool(pool_id)
    at.write(at.read(), ARN)
    backup = at.save({**at.read(), "LambdaConfig": FULL["LambdaConfig"]}, at.read_mfa())
    deployed.client("cognito-idp").set_user_pool_mfa_config(UserPoolId=pool_id, MfaConfiguration="OFF")
    deployed.attach(pool_id)
    assert deployed.described(pool_id)["MfaConfiguration"] == "OPTIONAL"
    assert not backup.exists()
    backup = at.save({**at.read(), "UserPoolTier": "LITE"}, at.read_mfa())
    with pytest.raises(Problem, match=r"cut off.*UserPoolTier.*remove that file"):
        deployed.attach(pool_id)
    backup.unlink()
    assert deployed.attach(pool_id) == []


def test_a_refused_change_leaves_nothing_to_prove_and_nobodys_second_factor_is_turned_off(deployed: Stage) -> None:
    pool_id = deployed.make_pool()
    cognito, folder = deployed.client("cognito-idp"), deployed.root / ".local" / "pools"
    deployed.cloud.before = lambda call: (
        json_error("AccessDeniedException") if call.action == "UpdateUserPool" else None
    )
    with pytest.raises(cognito.exceptions.ClientError, match="AccessDenied"):
        deployed.attach(pool_id)
    deployed.cloud.before = lambda _: None
    assert list(folder.iterdir()) == []
    at = deployed.pool(pool_id)
    backup = at.save(at.read(), at.read_mfa())  # of a run that was killed right before it wrote
    app = {"MfaConfiguration": "ON", "SoftwareTokenMfaConfiguration": {"Enabled": True}}
    cognito.set_user_pool_mfa_config(UserPoolId=pool_id, **app)
    deployed.cloud.forget()
    with pytest.raises(Problem, match=r"cut off.*MfaConfiguration.*remove that file"):
        deployed.attach(pool_id)
    assert deployed.cloud.writes == []
    backup.unlink()
    deployed.attach(pool_id)
    assert deployed.described(pool_id)["MfaConfiguration"] == "ON"


def test_somebody_elses_change_meanwhile_is_read_anew(deployed: Stage) -> None:
    pool_id = deployed.make_pool()
    refusals = [json_error("ConcurrentModificationException")] * 2
    deployed.cloud.before = lambda call: refusals.pop() if call.action == "UpdateUserPool" and refusals else None
    deployed.cloud.forget()
    deployed.attach(pool_id)
    assert [call.action for call in deployed.cloud.calls].count("DescribeUserPool") == 5
    assert deployed.described(pool_id)["LambdaConfig"] == {"PostConfirmation": ARN}
    assert len(list((deployed.root / ".local" / "pools").iterdir())) == 1
    refusals += [json_error("ConcurrentModificationException")] * 9
    with pytest.raises(deployed.client("cognito-idp").exceptions.ConcurrentModificationException):
        deployed.detach(pool_id)


POOL = {
    "Id": "ca-central-1_x", "Name": "p", "Arn": "arn:x", "MfaConfiguration": "OPTIONAL", "LambdaConfig": {},
    "Policies": {"PasswordPolicy": {"TemporaryPasswordValidityDays": 3}},
    "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": False, "UnusedAccountValidityDays": 3},
}  # fmt: skip


def test_what_aws_tells_but_does_not_take_back_is_left_out(stage: Stage) -> None:
    """By Stubber: moto takes both validities, and any second factor."""
    at = stage.pool("ca-central-1_x")
    full = {
        "UserPoolId": "ca-central-1_x", "PoolName": "p", "MfaConfiguration": "OPTIONAL",
        "Policies": POOL["Policies"], "AdminCreateUserConfig": POOL["AdminCreateUserConfig"],
        "LambdaConfig": {"PostConfirmation": ARN},
    }  # fmt: skip
    first = {**full, "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": False}}
    second = {key: value for key, value in first.items() if key != "MfaConfiguration"}
    refused = "InvalidParameterException"
    with Stubber(at.client) as stub:
        why = "Please use TemporaryPasswordValidityDays in PasswordPolicy instead of UnusedAccountValidityDays"
        stub.add_client_error("update_user_pool", refused, why, expected_params=full)
        why = "SMS configuration and Auto verification for phone_number are required when MFA is required/optional"
        stub.add_client_error("update_user_pool", refused, why, expected_params=first)
        stub.add_response("update_user_pool", {}, second)
        at.write(POOL, ARN)
        stub.assert_no_pending_responses()
        stub.add_client_error("update_user_pool", refused, "something else", expected_params=full)
        with pytest.raises(at.client.exceptions.InvalidParameterException):
            at.write(POOL, ARN)


def test_a_second_factor_that_was_lost_is_put_back(stage: Stage) -> None:
    at = stage.pool("ca-central-1_x")
    mfa = {"MfaConfiguration": "OPTIONAL", "SoftwareTokenMfaConfiguration": {"Enabled": True}}
    with Stubber(at.client) as stub:
        stub.add_response("get_user_pool_mfa_config", {"MfaConfiguration": "OFF"}, ANY_ID)
        stub.add_response("set_user_pool_mfa_config", {}, {**ANY_ID, **mfa})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(at, "read", lambda: POOL)
            at.prove(POOL, mfa, None, stage.root / "backup")
        stub.assert_no_pending_responses()


ANY_ID = {"UserPoolId": ANY}


def test_settings_of_2026_are_sent_as_they_were_read_or_not_at_all(stage: Stage) -> None:
    model = stage.client("cognito-idp").meta.service_model
    shape = model.operation_model("UpdateUserPool").input_shape
    for name in ("DcrConfiguration", "KeyConfiguration", "IssuerConfiguration", "AcrConfiguration"):
        value: dict[str, Any] = dict.fromkeys(getattr(shape.members[name], "members", ["any"]), "x")
        assert pool_request.build({**POOL, name: value}, None, model)[name] == value
        assert name not in pool_request.build(POOL, None, model)


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        ("", {"AWS_COGNITO_USER_POOL_ID": "ca-central-1_AbC1"}, "ca-central-1_AbC1"),
        ("", {"AWS_USER_POOLS_ID": "ca-central-1_AbC1"}, "ca-central-1_AbC1"),
        ("ca-central-1_Other", {"AWS_USER_POOLS_ID": "ca-central-1_AbC1"}, "ca-central-1_Other"),
        ("arn:aws:cognito-idp:ca-central-1:1:userpool/ca-central-1_AbC1", {}, "ca-central-1_AbC1"),
    ],
)
def test_the_pool_is_named_by_option_or_variable(
    stage: Stage, given: str, environ: dict[str, str], expected: str
) -> None:
    settings = stage.settings(None, **environ)
    assert pool.identifier(settings, given) == expected
    assert pool.is_configured(settings) == bool(environ)


def test_no_pool_a_wrong_id_and_one_that_is_not_there_say_what_to_set(deployed: Stage) -> None:
    with pytest.raises(Misconfigured, match="set AWS_COGNITO_USER_POOL_ID"):
        pool.identifier(deployed.settings(), "")
    with pytest.raises(Misconfigured, match="--pool: cruddur is no id"):
        pool.identifier(deployed.settings(), "cruddur")
    with pytest.raises(Misconfigured, match="no user pool ca-central-1_None in ca-central-1"):
        deployed.attach("ca-central-1_None")


def test_without_a_function_there_is_nothing_to_attach(stage: Stage) -> None:
    with pytest.raises(Problem, match=r"no function .*: inv lambda\.deploy"):
        stage.attach(stage.make_pool())


def test_detach_goes_on_without_the_function(deployed: Stage) -> None:
    """Somebody deleted it by hand, and every sign-up fails since."""
    pool_id = deployed.make_pool()
    deployed.attach(pool_id)
    deployed.client("lambda").delete_function(FunctionName=NAME)
    assert deployed.detach(pool_id) == ["trigger"]
    assert not deployed.described(pool_id).get("LambdaConfig")
