"""A new master password: none is lost wherever a run ends, and it is done only when AWS has applied it.

moto applies a password at once and loses a managed one: states, lag and refusals come from
botocore's Stubber; the chain through a real database is in test_sandbox.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from config import dotenv
from config.targets import Target
from ops import postgres
from ops.aws import Aws
from ops.errors import InProgress, LoginFailed, Misconfigured, NoDatabase, Problem, Refused, Unreachable
from ops.rds import create, env_file, prod, rotate
from ops.rds.rotate import SETTLED
from tests.fix_aws import HOST, Call, Configure, Front, Hands, quiet, ready, row

OLD = "old-one-of-before"
TAGS = [{"Key": "Project", "Value": "cruddur"}, {"Key": "ManagedBy", "Value": "inv"}]
OURS: dict[str, Any] = {"TagList": TAGS, "MasterUsername": "postgres"}
PENDING = {"PendingModifiedValues": {"MasterUserPassword": "****"}}
SENT = {"DBInstanceIdentifier": "cruddur-db-instance", "ApplyImmediately": True}


@dataclass
class Logins:
    """The server behind the endpoint: which passwords it takes, or why it cannot be asked."""

    takes: Callable[[], str] = lambda: ""
    why: Problem | None = None
    asked: list[str] = field(default_factory=list)

    def connect(self, target: Target, **_: Any) -> Any:
        self.asked.append(target.password)
        if self.why:
            raise self.why
        if target.password != self.takes():
            raise LoginFailed("wrong user or password")
        raise NoDatabase("let in as far as that")


@pytest.fixture(autouse=True)
def logins(monkeypatch: pytest.MonkeyPatch) -> Logins:
    """Behind a closed door, unless the test says otherwise."""
    made = Logins(why=Unreachable("did not answer in time"))
    monkeypatch.setattr(postgres, "connect", made.connect)
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    return made


@pytest.fixture
def env(configure: Configure) -> Path:
    """An env file as rds.create leaves it."""
    file = configure().vars.env_file
    file.write_text(
        f"# mine\nPOSTGRES_MASTER_PASSWORD='{OLD}'\nPROD_CONNECTION_URL='postgresql://postgres:{OLD}@{HOST}:5432/cruddur'\n"
    )
    return file


def held(env: Path) -> dict[str, str]:
    return dotenv.read(env)


def look(stub: Stubber, status: str, **extra: Any) -> None:
    """One look of the wait that is not the last."""
    ready(stub, status, **OURS, **extra)
    quiet(stub)


def sent(aws: Aws) -> list[str]:
    found: list[str] = []
    aws.client("rds").meta.events.register(
        "provide-client-params.rds.ModifyDBInstance", lambda params, **_: found.append(params["MasterUserPassword"])
    )
    return found


# --- the user's own ---------------------------------------------------------------------


def test_it_is_done_when_the_state_has_shown_the_change(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, env: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Just after the call the instance looks as before it: that is not the end."""
    aws, stub = stubbed
    passwords = sent(aws)
    ready(stub, "available", **OURS)
    stub.add_response("modify_db_instance", {})
    look(stub, "available")
    look(stub, "available", **PENDING)
    look(stub, "resetting-master-credentials", **PENDING)
    ready(stub, "available", **OURS)
    told = rotate.rotate_password(configure(), aws, hands.clock)
    assert "has a new master password, saved in .env" in told
    assert hands.slept == [10.0] * 3
    [new] = passwords
    assert new != OLD
    assert held(env) == {
        "POSTGRES_MASTER_PASSWORD": new,
        "PROD_CONNECTION_URL": f"postgresql://postgres:{new}@{HOST}:5432/cruddur",
    }
    assert new not in "".join(capsys.readouterr())


def test_a_change_that_never_shows_is_given_its_time(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, env: Path, logins: Logins
) -> None:
    aws, stub = stubbed
    ready(stub, "available", **OURS)
    stub.add_response("modify_db_instance", {})
    for _ in range(6):
        look(stub, "available")
    ready(stub, "available", **OURS)
    rotate.rotate_password(configure(), aws, hands.clock)
    assert sum(hands.slept) == SETTLED
    assert len(logins.asked) == 1  # a door that is closed stays so


def test_where_the_server_can_be_asked_its_word_counts(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, env: Path, logins: Logins
) -> None:
    """The state says available long before the server takes the new one."""
    aws, stub = stubbed
    passwords = sent(aws)
    logins.why, logins.takes = None, lambda: passwords[0] if hands.time >= 100 else OLD
    ready(stub, "available", **OURS)
    stub.add_response("modify_db_instance", {})
    for _ in range(10):
        look(stub, "available")
    ready(stub, "available", **OURS)
    rotate.rotate_password(configure(), aws, hands.clock)
    assert hands.time == 100


def test_one_that_aws_never_applies_is_exit_3_and_both_are_kept(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, env: Path, logins: Logins
) -> None:
    aws, stub = stubbed
    logins.why, logins.takes = None, lambda: OLD
    ready(stub, "available", **OURS)
    stub.add_response("modify_db_instance", {})
    for _ in range(7):
        look(stub, "available")
    with pytest.raises(InProgress, match=r"run inv rds\.rotate-password again"):
        rotate.rotate_password(configure({"wait_minutes": "1"}), aws, hands.clock)
    assert held(env)["POSTGRES_MASTER_PASSWORD"] == OLD
    assert held(env)["POSTGRES_MASTER_PASSWORD_NEXT"]


def test_a_server_that_refuses_both_tells_nothing(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, env: Path, logins: Logins
) -> None:
    """Another user, or TLS: the state has to do."""
    aws, stub = stubbed
    logins.why, logins.takes = None, lambda: "neither"
    ready(stub, "available", **OURS)
    stub.add_response("modify_db_instance", {})
    look(stub, "resetting-master-credentials")
    ready(stub, "available", **OURS)
    rotate.rotate_password(configure(), aws, hands.clock)
    assert "POSTGRES_MASTER_PASSWORD_NEXT" not in held(env)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("stopped", "is stopped, nothing was changed: inv rds.start starts it"),
        ("creating", r"is creating, nothing was changed: wait until it is available \(inv rds.status\)"),
        ("modifying", "wait until it is available"),
        ("storage-full", "its storage is full"),
    ],
)
@pytest.mark.parametrize("managed", [True, False])
def test_an_instance_that_is_not_available_is_refused(
    stubbed: tuple[Aws, Stubber],
    hands: Hands,
    configure: Configure,
    env: Path,
    status: str,
    says: str,
    managed: bool,
) -> None:
    aws, stub = stubbed
    before = env.read_bytes()
    secret = {"MasterUserSecret": {"SecretArn": "arn", "SecretStatus": "active"}} if managed else {}
    ready(stub, status, **OURS, **secret)
    with pytest.raises(Problem, match=says) as refused:
        rotate.rotate_password(configure(), aws, hands.clock)
    assert "inv rds.rotate-password is for then" in str(refused.value)
    assert env.read_bytes() == before


def test_an_instance_that_is_not_ours_is_refused(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure
) -> None:
    aws, stub = stubbed
    ready(stub, "available")
    with pytest.raises(Refused, match="--adopt hands it over first"):
        rotate.rotate_password(configure(), aws, hands.clock)


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidParameterValue", "InvalidDBInstanceState", "ExpiredToken"])
def test_what_aws_refuses_leaves_the_old_one_alone(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, env: Path, code: str
) -> None:
    aws, stub = stubbed
    before = env.read_text()
    ready(stub, "available", **OURS)
    stub.add_client_error("modify_db_instance", code)
    with pytest.raises(ClientError, match=code):
        rotate.rotate_password(configure(), aws, hands.clock)
    assert env.read_text() == before


@pytest.mark.parametrize(
    ("code", "status", "repeated"),
    [("InternalFailure", 500, 2), ("Throttling", 400, 2), ("InvalidDBInstanceState", 400, 1)],
)
def test_what_may_have_been_carried_out_is_kept_and_sent_again(
    stubbed: tuple[Aws, Stubber],
    hands: Hands,
    configure: Configure,
    env: Path,
    code: str,
    status: int,
    repeated: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last is the repetition of a call whose answer was lost: the first one is being carried out."""
    aws, stub = stubbed
    passwords = sent(aws)
    ready(stub, "available", **OURS)
    stub.add_client_error(
        "modify_db_instance", code, http_status_code=status, response_meta={"RetryAttempts": repeated}
    )
    with pytest.raises(ClientError, match=code):
        rotate.rotate_password(configure(), aws, hands.clock)
    assert held(env)["POSTGRES_MASTER_PASSWORD"] == OLD
    assert [held(env)["POSTGRES_MASTER_PASSWORD_NEXT"]] == passwords
    ready(stub, "resetting-master-credentials", **OURS)
    look(stub, "resetting-master-credentials")  # the run before has begun it: that is waited for
    ready(stub, "available", **OURS)
    stub.add_response("modify_db_instance", {})
    look(stub, "resetting-master-credentials")
    ready(stub, "available", **OURS)
    rotate.rotate_password(configure(), aws, hands.clock)
    assert "of a run that was cut off" in capsys.readouterr().err
    assert passwords == [passwords[0]] * 2
    assert held(env)["POSTGRES_MASTER_PASSWORD"] == passwords[0]
    assert "POSTGRES_MASTER_PASSWORD_NEXT" not in held(env)


def test_one_that_may_be_in_force_is_not_given_up_for_a_refusal_later(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, env: Path
) -> None:
    aws, stub = stubbed
    dotenv.write(env, "POSTGRES_MASTER_PASSWORD_NEXT", "sent-by-a-run-before")
    ready(stub, "available", **OURS)
    ready(stub, "available", **OURS)
    stub.add_client_error("modify_db_instance", "AccessDenied")
    with pytest.raises(ClientError):
        rotate.rotate_password(configure(), aws, hands.clock)
    assert held(env)["POSTGRES_MASTER_PASSWORD_NEXT"] == "sent-by-a-run-before"


def test_an_own_password_that_the_environment_hides_is_not_rotated(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, env: Path
) -> None:
    aws, stub = stubbed
    before = env.read_bytes()
    ready(stub, "available", **OURS)
    with pytest.raises(Misconfigured, match="unset POSTGRES_MASTER_PASSWORD"):
        rotate.rotate_password(configure(POSTGRES_MASTER_PASSWORD="in-the-shell"), aws, hands.clock)
    assert env.read_bytes() == before


def test_a_login_that_fails_meanwhile_names_what_goes_on(configure: Configure, env: Path) -> None:
    dotenv.write(env, "POSTGRES_MASTER_PASSWORD_NEXT", "sent-by-a-run-before")
    with pytest.raises(LoginFailed, match=r"inv rds\.rotate-password, which was cut off, goes on"):
        prod.read_login_again(
            configure(), env_file.target(configure(), row("available", address=HOST), OLD), LoginFailed("no")
        )


# --- cut off at every write -------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_at_any_write_no_password_is_lost_and_the_next_run_ends_it(
    cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch, logins: Logins, when: str
) -> None:
    """moto applies a change as it is asked for; the server takes what it was given last."""
    configure().vars.env_file.write_text(f"POSTGRES_MASTER_PASSWORD='{OLD}'\n")
    create.create_or_resume(configure(), cloud.aws(configure()), hands.clock, adopt=False)
    env = configure().vars.env_file
    begun, server = env.read_bytes(), [OLD]
    logins.why, logins.takes = None, lambda: server[0]

    def applied(call: Call) -> None:
        if call.action == "ModifyDBInstance":
            server[0] = call.params["MasterUserPassword"]

    cloud.before = applied
    writes = 0
    number = 0

    def cutting(act: Callable[..., Any]) -> Callable[..., Any]:
        def done(*args: Any, **more: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == number and when == "before":
                raise Killed
            answer = act(*args, **more)
            if writes == number:
                raise Killed
            return answer

        return done

    for name in ("store", "forget", "modify"):
        monkeypatch.setattr(rotate, name, cutting(getattr(rotate, name)))
    while True:
        number += 1
        writes, server[0] = 0, OLD
        env.write_bytes(begun)
        try:
            rotate.rotate_password(configure(), cloud.aws(configure()), hands.clock)
        except Killed:
            known = held(env).values()
            assert server[0] in known
            assert server[0] != OLD or held(env)["POSTGRES_MASTER_PASSWORD"] == OLD
            writes = 99
            rotate.rotate_password(configure(), cloud.aws(configure()), hands.clock)
        after = held(env)
        assert after["POSTGRES_MASTER_PASSWORD"] == server[0] != OLD
        assert f":{server[0]}@" in after["PROD_CONNECTION_URL"]
        assert "POSTGRES_MASTER_PASSWORD_NEXT" not in after
        if writes < number:
            break
    assert number == 6  # saved as the next, sent, put in place, in the URL, taken off the list


# --- kept by RDS ------------------------------------------------------------------------


@pytest.fixture
def secret(stubbed: tuple[Aws, Stubber]) -> Iterator[Stubber]:
    client = boto3.client(
        "secretsmanager", region_name="ca-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    stubbed[0]._clients["secretsmanager"] = client
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


def holds(secret: Stubber, version: str) -> None:
    text = json.dumps({"username": "postgres", "password": f"held-by-{version}"})
    secret.add_response("get_secret_value", {"SecretString": text, "VersionId": version.ljust(32, "0")})


def kept(status: str) -> dict[str, Any]:
    return {"MasterUserSecret": {"SecretArn": "arn", "SecretStatus": status}}


def test_a_managed_one_is_done_when_the_secret_holds_another_version(
    stubbed: tuple[Aws, Stubber], secret: Stubber, hands: Hands, configure: Configure
) -> None:
    aws, stub = stubbed
    ready(stub, "available", **OURS, **kept("active"))
    holds(secret, "one")
    stub.add_response("modify_db_instance", {}, {**SENT, "RotateMasterUserPassword": True})
    look(stub, "available", **kept("active"))  # it lags behind the call
    holds(secret, "one")
    look(stub, "resetting-master-credentials", **kept("rotating"))
    look(stub, "available", **kept("active"))
    holds(secret, "one")
    ready(stub, "available", **OURS, **kept("active"))
    holds(secret, "two")
    assert "kept in Secrets Manager" in rotate.rotate_password(configure(), aws, hands.clock)
    assert hands.slept == [10.0] * 3
    assert configure().vars.saved == {}


def test_a_secret_that_may_not_be_read_leaves_the_state_to_tell(
    stubbed: tuple[Aws, Stubber], secret: Stubber, hands: Hands, configure: Configure
) -> None:
    aws, stub = stubbed
    ready(stub, "available", **OURS, **kept("active"))
    secret.add_client_error("get_secret_value", "AccessDeniedException")
    stub.add_response("modify_db_instance", {}, {**SENT, "RotateMasterUserPassword": True})
    look(stub, "available", **kept("active"))
    look(stub, "available", **kept("rotating"))
    ready(stub, "available", **OURS, **kept("active"))
    rotate.rotate_password(configure(), aws, hands.clock)
    assert hands.slept == [10.0] * 2


def test_a_rotation_that_is_under_way_is_waited_for_and_not_asked_for_again(
    stubbed: tuple[Aws, Stubber], hands: Hands, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    aws, stub = stubbed
    ready(stub, "available", **OURS, **kept("rotating"))
    look(stub, "available", **kept("rotating"))
    ready(stub, "available", **OURS, **kept("active"))
    rotate.rotate_password(configure(), aws, hands.clock)
    assert "RDS is at it already" in capsys.readouterr().err


def test_a_managed_one_that_does_not_end_is_exit_3(
    stubbed: tuple[Aws, Stubber], secret: Stubber, hands: Hands, configure: Configure
) -> None:
    aws, stub = stubbed
    ready(stub, "available", **OURS, **kept("active"))
    holds(secret, "one")
    stub.add_response("modify_db_instance", {})
    for _ in range(7):
        look(stub, "available", **kept("rotating"))
    with pytest.raises(InProgress, match=r"its secret rotating after 1 minutes.*run inv rds\.rotate-password again"):
        rotate.rotate_password(configure({"wait_minutes": "1"}), aws, hands.clock)
