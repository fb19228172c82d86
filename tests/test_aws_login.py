"""Each way in which a login to AWS goes wrong ends in one line that names where it is configured and what to do."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import botocore.httpsession
import botocore.session
import pytest

from ops.aws import Aws
from ops.aws_errors import ROWS, explain, row
from ops.credentials import PROVIDERS, scrubbed
from ops.errors import Misconfigured
from ops.rds import instance
from tests.fix_aws import Call, Front, error, outcome
from tests.fix_cli import Cli, lines_of

CANARY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYCANARYKEY1"
KEY = f"aws_access_key_id = AKIATEST\naws_secret_access_key = {CANARY}\n"
ROLE = "role_arn = arn:aws:iam::123456789012:role/there\n"
PYTHON = sys.executable


def process(code: str) -> str:
    """Return a credential_process that is a line of Python."""
    return f'[profile work]\ncredential_process = {PYTHON} -c "{code}"\n'


def sso(**token: Any) -> Callable[[Path], None]:
    """Return what puts a token into the cache of aws sso login."""

    def put(home: Path) -> None:
        import hashlib

        folder = home / ".aws" / "sso" / "cache"
        folder.mkdir(parents=True)
        name = hashlib.sha1(b"https://x.awsapps.com/start").hexdigest()  # noqa: S324 - botocore's name for it
        (folder / f"{name}.json").write_text(json.dumps(token))

    return put


SSO = (
    "[profile work]\nregion = ca-central-1\nsso_start_url = https://x.awsapps.com/start\nsso_region = ca-central-1\n"
    "sso_account_id = 123456789012\nsso_role_name = admin\n"
)
NOBODY = "does not exist"


@dataclass
class Shape:
    """A login as it is configured, and the line that it ends in; `~/.aws/config:2` and the like stand in `says`."""

    says: str
    """A regular expression for the last line."""
    config: str = ""
    credentials: str = ""
    code: int = 2
    env: dict[str, str] = field(default_factory=dict)
    dotenv: str = ""
    keys: bool = False
    """Whether a key is in the environment, which is no profile's then."""
    answers: Callable[[Call], Any] = lambda _: None
    put: Callable[[Path], object] = lambda _: None


def refusing(action: str, code: str, message: str = "", status: str = "403 Forbidden") -> Callable[[Call], Any]:
    """Return what answers a call by a refusal."""
    said, body = error(code, status)
    return lambda call: (
        (said, body.replace(f"said {code}".encode(), message.encode() or b"no")) if call.action == action else None
    )


SHAPES = {
    "mfa without a terminal": Shape(
        r"profile work, ~/.aws/config:4: the role wants an MFA code of arn:aws:iam::1:mfa/me, and there is no terminal",
        f"[profile work]\n{ROLE}source_profile = base\nmfa_serial = arn:aws:iam::1:mfa/me\n[profile base]\n{KEY}",
    ),
    "a process that prints no JSON": Shape(
        r"the credential_process \(profile work, ~/.aws/config:2\): what it gives is no login.*: run it by hand",
        process(f"print('{CANARY}')"),
    ),
    "a process that prints a list": Shape(r"config:2\): what it gives is no login", process("print([1])")),
    "a process of another version": Shape(
        r"config:2\): it failed: Unsupported version '2'",
        process("print('{\\\\'Version\\\\': 2}'.replace('\\\\'', chr(34)))"),
    ),
    "a process without a key": Shape(
        r"config:2\): it failed: Missing required key in response: 'AccessKeyId': run it by hand",
        process("import json; print(json.dumps(dict(Version=1)))"),
    ),
    "a process whose login has expired": Shape(
        r"config:2\): what it gives has expired: run it by hand",
        process(
            "import json; print(json.dumps(dict(Version=1, AccessKeyId='A', SecretAccessKey='B', SessionToken='C', "
            "Expiration='2020-01-01T00:00:00Z')))"
        ),
    ),
    "a process that fails": Shape(
        r"config:2\): it failed: no session, secret=\*\*\*: run it by hand",
        process(f"import sys; sys.exit('no session, secret={CANARY}')"),
    ),
    "a process that fails and says nothing": Shape(
        r"config:2\): it failed.*run it by hand", process("raise SystemExit(3)")
    ),
    "a process that is not there": Shape(
        r"config:2\): /no/such/program: No such file or directory: run it by hand",
        f"[profile work]\ncredential_process = /no/such/program --token {CANARY}\n",
    ),
    "a process of the source profile": Shape(
        r"\(profile base, ~/.aws/config:5\): what it gives is no login",
        f"[profile work]\n{ROLE}source_profile = base\n" + process("print(1)").replace("profile work", "profile base"),
    ),
    "a region with a space": Shape(
        r"the AWS region 'ca central 1' is not written like one, as ca-central-1: correct AWS_DEFAULT_REGION \(environment\)",
        keys=True,
        env={"AWS_DEFAULT_REGION": "ca central 1"},
    ),
    "a region with a space in .env": Shape(
        r"correct AWS_DEFAULT_REGION \(\.env\)",
        keys=True,
        env={"AWS_DEFAULT_REGION": ""},
        dotenv="AWS_DEFAULT_REGION='ca central 1'\n",
    ),
    "a region with a space in the profile": Shape(
        r"the AWS region 'ca central' .*correct profile work, ~/.aws/config:3",
        f"[profile work]\n# mine\nregion = ca central\n{KEY}",
        env={"AWS_DEFAULT_REGION": ""},
    ),
    "a token file that is not there": Shape(
        r"the web identity token \(profile work, ~/.aws/config:3\): /no/such/token: No such file or directory: correct",
        f"[profile work]\n{ROLE}web_identity_token_file = /no/such/token\n",
    ),
    "a token file of the environment that is not there": Shape(
        r"the web identity token \(AWS_WEB_IDENTITY_TOKEN_FILE\): /no/such/token: No such file",
        env={
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such/token",
            "AWS_ROLE_ARN": "arn:aws:iam::1:role/x",
            "AWS_PROFILE": "",
        },
    ),
    "a token file without a role": Shape(
        r"no role ARN configured.*: correct that profile",
        "[profile work]\nweb_identity_token_file = /dev/null\n",
    ),
    "a token that has expired": Shape(
        r"the web identity token \(profile work, ~/.aws/config:3\): AssumeRoleWithWebIdentity: .*\(ExpiredTokenException\): correct",
        f"[profile work]\n{ROLE}web_identity_token_file = /etc/passwd\n",
        answers=refusing("AssumeRoleWithWebIdentity", "ExpiredTokenException", "Token expired"),
    ),
    "an SSO token that is missing": Shape(
        r"the SSO session \(profile work, ~/.aws/config:3\): you are not logged in there, or no longer: aws sso login --profile work",
        SSO,
    ),
    "an SSO token that has expired": Shape(
        r"~/.aws/config:3\): you are not logged in there, or no longer: aws sso login --profile work",
        SSO,
        put=sso(accessToken=CANARY, expiresAt="2020-01-01T00:00:00Z"),
    ),
    "an SSO token without an end": Shape(
        r"~/.aws/config:3\): .*: aws sso login --profile work", SSO, put=sso(accessToken=CANARY, expiresAt="soon")
    ),
    "an SSO session that is missing": Shape(
        r"~/.aws/config:\d\): .*sso-session does not exist: \"mine\": correct that profile",
        SSO + "sso_session = mine\n",
    ),
    "an SSO profile that is not whole": Shape(
        r"missing required configuration: .*sso_region.*: correct that profile",
        "[profile work]\nsso_account_id = 1\nsso_role_name = x\nsso_start_url = https://x\n",
    ),
    "an SSO region with a space": Shape(
        r"~/.aws/config:4\): Provided region_name 'ca central'.*: correct that region",
        SSO.replace("sso_region = ca-central-1", "sso_region = ca central"),
    ),
    "a source profile that is missing": Shape(
        rf"the role \(profile work, ~/.aws/config:3\): The source_profile \"base\" .*{NOBODY}: correct that profile",
        f"[profile work]\n{ROLE}source_profile = base\n",
    ),
    "source profiles in a circle": Shape(
        r"source_profile goes in a circle \(work -> base -> work\): let the last",
        f"[profile work]\n{ROLE}source_profile = base\n[profile base]\n{ROLE}source_profile = work\n",
    ),
    "a source profile without a login": Shape(
        r"The source profile \"base\" must have credentials: correct that profile",
        f"[profile work]\n{ROLE}source_profile = base\n[profile base]\nregion = ca-central-1\n",
    ),
    "a role without a source": Shape(
        r"the role \(profile work, ~/.aws/config:2\): source_profile or credential_source is missing: name one of them",
        f"[profile work]\n{ROLE}",
    ),
    "a role with two sources": Shape(
        r"contains both source_profile and credential_source: correct that profile",
        f"[profile work]\n{ROLE}source_profile = a\ncredential_source = Environment\n",
    ),
    "metadata where there is none": Shape(
        r"the role \(profile work, ~/.aws/config:3\): Ec2InstanceMetadata gives no login here: run this where there is one",
        f"[profile work]\n{ROLE}credential_source = Ec2InstanceMetadata\n",
    ),
    "a source that botocore does not know": Shape(
        r"credential source \"Somewhere\" .*is not valid: correct that profile",
        f"[profile work]\n{ROLE}credential_source = Somewhere\n",
    ),
    "a role that does not trust": Shape(
        r"the role \(profile work, ~/.aws/config:2\): AssumeRole: no \(AccessDenied\): correct role_arn, or have the role trust base",
        f"[profile work]\n{ROLE}source_profile = base\n[profile base]\n{KEY}",
        answers=refusing("AssumeRole", "AccessDenied"),
    ),
    "a role whose source is unknown": Shape(
        r"the role \(profile work, ~/.aws/config:2\): AWS does not know this login \(InvalidClientTokenId\)",
        f"[profile work]\n{ROLE}source_profile = base\n[profile base]\n{KEY}",
        answers=refusing("AssumeRole", "InvalidClientTokenId"),
    ),
    "a profile without a login": Shape(
        r"no AWS login: profile work, ~/.aws/config:1 has none: aws configure --profile work",
        "[profile work]\nregion = ca-central-1\n",
    ),
    "half a key in the environment": Shape(
        r"AWS_SECRET_ACCESS_KEY is missing in the environment, where its other half is",
        env={"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_PROFILE": ""},
    ),
    "half a key in .env": Shape(
        r"AWS_ACCESS_KEY_ID is missing in \.env, where its other half is",
        dotenv=f"AWS_SECRET_ACCESS_KEY={CANARY}\n",
        env={"AWS_PROFILE": ""},
    ),
    "half a key in the credentials file": Shape(
        r"the key \(profile work, ~/.aws/credentials:2\): aws_secret_access_key is missing: aws configure --profile work",
        credentials="[work]\naws_access_key_id = AKIATEST\n",
    ),
    "a config file that cannot be parsed": Shape(
        r"AWS login: ~/.aws/config:3 cannot be read: correct that line",
        f"[profile work]\nregion = ca-central-1\n{CANARY}\n",
    ),
    "a config file without a head": Shape(r"AWS login: ~/.aws/config:1 cannot be read", f"secret = {CANARY}\n"),
    "a credentials file that cannot be parsed": Shape(
        r"AWS login: ~/.aws/credentials:2 cannot be read", credentials=f"[work]\n{CANARY}\n"
    ),
    "a setting that is there twice": Shape(
        r"AWS login: ~/.aws/config:3 cannot be read", "[profile work]\nregion = a\nregion = b\n"
    ),
    "a profile that is not there": Shape(
        r"there is no profile work in ~/.aws/config and ~/.aws/credentials \(there are: home\): correct AWS_PROFILE",
        "[profile home]\nregion = ca-central-1\n",
    ),
    "a profile without the word": Shape(
        r"AWS login: ~/.aws/config:2: write \[profile work\] there", f"# mine\n[work]\n{KEY}"
    ),
    "a login that has expired": Shape(
        r"the AWS login has expired: log in again", keys=True, answers=refusing("DescribeDBInstances", "ExpiredToken")
    ),
    "a clock that is off": Shape(
        r"does not take the login, since the clock of this machine is off: set it",
        keys=True,
        code=1,
        answers=refusing("DescribeDBInstances", "SignatureDoesNotMatch", "Signature expired: 1 is now earlier than 2"),
    ),
    "an endpoint that is no URL": Shape(
        r"Invalid endpoint: localhost:4566: correct AWS_ENDPOINT_URL_RDS",
        keys=True,
        env={"AWS_ENDPOINT_URL_RDS": "localhost:4566"},
    ),
    "an endpoint where nothing is": Shape(
        r"AWS was not reached: .*check the network, the region and AWS_ENDPOINT_URL_RDS",
        keys=True,
        code=1,
        env={"AWS_ENDPOINT_URL_RDS": "http://127.0.0.1:1"},
    ),
    "an STS where nothing is": Shape(
        r"the AWS login: the role \(profile work, ~/.aws/config:2\): AWS was not reached: .*127.0.0.1:1",
        f"[profile work]\n{ROLE}source_profile = base\n[profile base]\n{KEY}",
        code=1,
        env={"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"},
    ),
    "a container's agent elsewhere": Shape(
        r"the container's role \(AWS_CONTAINER_CREDENTIALS_FULL_URI\): Unsupported host 'example.com'.*: see that the container's agent",
        env={"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x", "AWS_PROFILE": ""},
    ),
    "a container's token that is not there": Shape(
        r"the container's role \(AWS_CONTAINER_CREDENTIALS_FULL_URI\): /no/token: No such file",
        env={
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost:1/",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/no/token",
            "AWS_PROFILE": "",
        },
    ),
    "the old credential file that is not there": Shape(
        r"/no/such/file is not there: correct or unset", env={"AWS_CREDENTIAL_FILE": "/no/such/file", "AWS_PROFILE": ""}
    ),
    "a session of aws login": Shape(
        r"the login session \(profile work, ~/.aws/config:2\): .*: (aws login --profile work|pip install 'botocore\[crt\]')",
        "[profile work]\nlogin_session = arn:aws:iam::1:user/me\n",
        code=1 if botocore.credentials.EC is None else 2,
    ),
    "a number that is none": Shape(
        r"boto3's settings: .*'many': correct AWS_MAX_ATTEMPTS", keys=True, env={"AWS_MAX_ATTEMPTS": "many"}
    ),
    "a number that is too small": Shape(
        r"greater than or equal to 1: correct it in the AWS_ variable", keys=True, env={"AWS_MAX_ATTEMPTS": "0"}
    ),
    "a metadata service that is no URL": Shape(
        r"Invalid endpoint EC2 Instance Metadata endpoint: ://: correct AWS_EC2_METADATA_SERVICE_ENDPOINT",
        env={"AWS_EC2_METADATA_SERVICE_ENDPOINT": "://", "AWS_PROFILE": ""},
    ),
}


@pytest.fixture
def home(cloud: Front) -> Path:
    """The home of a user who has logged in to AWS somehow."""
    made = Path(os.environ["HOME"])
    (made / ".aws").mkdir()
    return made


def run(cloud: Front, home: Path, inv: Cli, shape: Shape, **env: str) -> Any:
    prepare(cloud, home, inv.root, shape)
    return inv("rds.status", env={**environ(shape), **env})


def prepare(cloud: Front, home: Path, root: Path, shape: Shape) -> None:
    (home / ".aws" / "config").write_text(shape.config)
    (home / ".aws" / "credentials").write_text(shape.credentials)
    (root / ".env").write_text(shape.dotenv)
    shape.put(home)
    cloud.before = shape.answers


def environ(shape: Shape) -> dict[str, str]:
    given = (
        {"AWS_SECRET_ACCESS_KEY": CANARY}
        if shape.keys
        else {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "work"}
    )
    return {**given, **shape.env}


IN_THIS_PROCESS = (
    *(name for name in SHAPES if name.startswith(("a setting", "a number", "a source that", "a config file without"))),
    *(
        "a process of another version",
        "a process without a key",
        "a process that prints a list",
        "a profile without the word",
    ),
    *("a process that fails and says nothing", "a region with a space in .env", "a role with two sources"),
    *(
        "a role without a source",
        "an SSO profile that is not whole",
        "an SSO session that is missing",
        "a login that has expired",
    ),
    *("a token file without a role", "a token that has expired", "a container's token that is not there"),
    *("a source profile without a login", "the old credential file that is not there", "half a key in .env"),
    *("a role whose source is unknown", "an STS where nothing is", "a metadata service that is no URL"),
    *("a container's agent elsewhere", "a session of aws login", "a profile without a login", "a clock that is off"),
)
"""The others go through inv, which takes seconds each."""


@pytest.mark.parametrize("name", IN_THIS_PROCESS)
def test_a_login_that_goes_wrong_is_a_problem_with_the_place_and_the_next_step(
    cloud: Front, home: Path, configure: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shape = SHAPES[name]
    prepare(cloud, home, configure().root, shape)
    for variable, value in environ(shape).items():
        monkeypatch.setenv(variable, value)
    failed = outcome(lambda: instance.require_instance(Aws(configure()), configure().rds))
    assert failed
    assert failed.code == shape.code
    assert re.search(shape.says, str(failed.message)), failed.message
    assert CANARY not in str(failed.message)


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in IN_THIS_PROCESS])
def test_a_login_that_goes_wrong_is_one_line_with_the_place_and_the_next_step(
    cloud: Front, home: Path, inv: Cli, name: str
) -> None:
    shape = SHAPES[name]
    done = run(cloud, home, inv, shape)
    lines = lines_of(done.stderr)
    assert re.search(shape.says, lines[-1]), done.stderr
    assert (done.returncode, done.stdout) == (shape.code, ""), done.stderr
    assert all(line.startswith("note: ") for line in lines[:-1]), done.stderr
    assert CANARY not in done.stderr
    assert "Traceback" not in done.stderr


# --- every provider and every exception of botocore's ----------------------------------


def kinds(of: Any) -> set[Any]:
    return {of, *(kind for below in of.__subclasses__() for kind in kinds(below))}


def test_every_provider_of_botocore_has_its_words() -> None:
    methods = {kind.METHOD for kind in kinds(botocore.credentials.CredentialProvider)} - {None}
    assert methods == set(PROVIDERS)
    chain = botocore.session.Session().get_component("credential_provider").providers
    assert {one.METHOD for one in chain} <= methods


EXCEPTIONS = sorted(
    (kind for kind in kinds(botocore.exceptions.BotoCoreError) if kind.__module__ == "botocore.exceptions"),
    key=lambda kind: kind.__name__,
)
OF_BOTO3: tuple[str, ...] = (
    "Unknown",
    "S3",
    "Stub",
    "Pag",
    "Waiter",
    "DataNotFound",
    "ApiVersion",
    "Unsupported",
    "Bucket",
    "DNSName",
)
OF_BOTO3 += ("Expression", "HostLabel", "MD5", "Chunked", "Missing", "Unseekable", "Credential", "ClientMethod")


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=[kind.__name__ for kind in EXCEPTIONS])
def test_every_exception_of_botocore_is_one_line_with_a_next_step(kind: Any) -> None:
    """One without a row of its own is of its kind, or about boto3 itself, which no setting mends."""
    fields = dict.fromkeys(re.findall(r"{(\w+)}", kind.fmt), "WHAT")
    more: dict[str, Any] = {"last_response": {}} if kind is botocore.exceptions.WaiterError else {}
    error = kind(**fields, **more)
    told = explain(error)
    assert told.code in (1, 2)
    assert "\n" not in str(told)
    assert re.search(r": \w+ .*", str(told)) or ":" in str(told)
    assert (
        row(error).pattern != "BotoCoreError"
        or any(word in kind.__name__ for word in OF_BOTO3)
        or kind.__name__ == "BotoCoreError"
    )


def test_every_row_is_of_exceptions_that_there_are() -> None:
    assert {name for one in ROWS for name in one.pattern.split("|")} <= {kind.__name__ for kind in EXCEPTIONS}


@pytest.mark.parametrize("resolved", [False, True], ids=["no address", "nothing listens"])
@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("rds.mars-1.amazonaws.com", "mars-1"),
        ("rds.moon-east-1.amazonaws.com", "moon-east-1"),
        ("rds.ca-central.amazonaws.com", "ca-central"),
        ("rds.ca-central-1a.amazonaws.com", "ca-central-1a"),
        ("cognito-idp.frankfurt.amazonaws.com", "frankfurt"),
        ("rds.mars-1.api.aws", "mars-1"),
        ("rds.cn-nowhere-1.amazonaws.com.cn", "cn-nowhere-1"),
        ("rds.ca-central-1.amazonaws.com", ""),
        ("iam.us-gov.amazonaws.com", ""),
        ("iam.amazonaws.com", ""),
    ],
)
def test_a_region_that_there_is_not_is_said_but_a_new_one_works(
    monkeypatch: pytest.MonkeyPatch, host: str, region: str, resolved: bool
) -> None:
    """botocore's own requests: a region that it does not know yet has addresses. The only two rows of one exception."""
    real = socket.getaddrinfo

    def resolver(*_: object, **__: object) -> object:
        if not resolved:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1", 1, socket.AF_INET, socket.SOCK_STREAM)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    request = botocore.awsrequest.AWSRequest("GET", f"https://{host}/").prepare()
    with pytest.raises(botocore.exceptions.EndpointConnectionError) as caught:
        botocore.httpsession.URLLib3Session().send(request)
    problem = explain(caught.value)
    if region and not resolved:
        assert isinstance(problem, Misconfigured)
        assert str(problem) == (
            f"AWS: there is no region {region} (botocore knows none, and {host} has no address): correct AWS_REGION or AWS_DEFAULT_REGION"
        )
    else:
        assert not isinstance(problem, Misconfigured)
        assert "check the network, the region and AWS_ENDPOINT_URL" in str(problem)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"secret={CANARY}", "secret=***"),
        (f'"SecretAccessKey": "{CANARY}", x', '"SecretAccessKey": "***", x'),
        (f"bad {CANARY} here", "bad *** here"),
        ("no session for arn:aws:iam::123456789012:role/there", "no session for arn:aws:iam::123456789012:role/there"),
        ("aws-vault: error: exec: Failed to get credentials", "aws-vault: error: exec: Failed to get credentials"),
    ],
)
def test_what_looks_like_a_key_is_not_shown(text: str, shown: str) -> None:
    assert scrubbed(text) == shown


# --- limits ----------------------------------------------------------------------------


def alive(marker: str) -> bool:
    """Whether a process with this word in its command line is left; one that was ended just now may be there for a moment."""
    import psutil

    found = [p for p in psutil.process_iter(["cmdline"]) if marker in " ".join(p.info["cmdline"] or ())]
    return bool(psutil.wait_procs(found, timeout=10)[1])


@pytest.mark.parametrize("of", ["work", "base"])
def test_a_process_that_hangs_is_waited_for_with_a_word_and_ended_at_the_limit(
    cloud: Front, home: Path, inv: Cli, of: str, tmp_path: Path
) -> None:
    marker = f"hangs-{tmp_path.name}"
    config = process(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(99)', '{marker}'])"
    )
    if of == "base":
        config = f"[profile work]\n{ROLE}source_profile = base\n" + config.replace("profile work", "profile base")
    begun = time.monotonic()
    done = run(cloud, home, inv, Shape("", config), INVOKE_AWS_LOGIN_TIMEOUT="3")
    where = f"the credential_process (profile {of}, ~/.aws/config:{2 if of == 'work' else 5})"
    *waits, ended = done.stderr.splitlines()
    assert waits[-1] == f"waiting for the AWS login: {where}"
    # on a busy machine what comes before it takes a second, too
    assert all(line.startswith("waiting for the AWS login: ") for line in waits)
    assert (
        ended
        == f"the AWS login did not come within 3 s (aws.login_timeout): waited for {where}: see what it waits for, then run this again"
    )
    assert done.returncode == 1
    assert time.monotonic() - begun < 30
    assert not alive(marker)


def test_a_ctrl_c_ends_the_process_that_the_login_waits_for(cloud: Front, home: Path, inv: Cli, tmp_path: Path) -> None:
    marker = f"cancelled-{tmp_path.name}"
    (home / ".aws" / "config").write_text(
        process(f"input('{marker}')").replace('-c "', '-c "import signal; signal.signal(2, 1); ')
    )
    env = {
        name: value for name, value in os.environ.items() if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    child = subprocess.Popen(
        [Path(sys.executable).parent / "inv", "rds.status"],
        cwd=inv.root,
        env={**env, "AWS_PROFILE": "work"},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stderr
    assert b"waiting for the AWS login" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[1] == b"cancelled\n"
    assert child.returncode == 130
    assert not alive(marker)


class Silent:
    """A server that takes every connection and says nothing."""

    def __enter__(self) -> str:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=50)
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@pytest.mark.parametrize("service", ["RDS", "STS"])
def test_a_service_that_is_silent_is_said_after_a_second_and_given_up_at_the_limit(
    cloud: Front, home: Path, inv: Cli, service: str
) -> None:
    """With botocore's own three tries, which would take three times as long."""
    role = f"[profile work]\n{ROLE}source_profile = base\n[profile base]\n{KEY}"
    begun = time.monotonic()
    with Silent() as url:
        done = run(
            cloud,
            home,
            inv,
            Shape("", role, keys=service == "RDS", env={f"AWS_ENDPOINT_URL_{service}": url, "AWS_MAX_ATTEMPTS": "3"}),
            INVOKE_AWS_TIMEOUT="3",
            INVOKE_AWS_LOGIN_TIMEOUT="3",
        )
    told = [line for line in done.stderr.splitlines() if not line.startswith("note")]
    if service == "RDS":
        assert [line for line in told if "AWS login" not in line] == [
            "waiting for AWS (rds DescribeDBInstances)",
            f"AWS did not answer in time (aws.timeout): rds DescribeDBInstances at {url}/: check AWS_ENDPOINT_URL_RDS, then run this again",
        ]
    else:
        assert told[0] == "waiting for the AWS login: the role (profile work, ~/.aws/config:2)"
        assert len(told) == 2
    assert done.returncode == 1
    assert time.monotonic() - begun < 30


def test_an_mfa_code_is_asked_for_at_a_terminal_and_once(cloud: Front, home: Path, inv: Cli) -> None:
    """The session that it gives is kept where the AWS CLI keeps it: a code is good for one login."""
    config = f"[profile work]\n{ROLE}source_profile = base\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n[profile base]\n{KEY}"
    (home / ".aws" / "config").write_text(config)
    env = {
        name: value for name, value in os.environ.items() if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    }
    asked = []
    for _ in range(2):
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            [Path(sys.executable).parent / "inv", "rds.status"],
            cwd=inv.root,
            env={**env, "AWS_PROFILE": "work"},
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.PIPE,
        )
        os.close(theirs)
        os.write(ours, b"123456\n")
        assert child.communicate(timeout=60)[0] == b""
        said = b""
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 4096):
                said += piece
        os.close(ours)
        asked.append(b"MFA code of arn:aws:iam::123456789012:mfa/me:" in said)
        assert b"there is no instance cruddur-db-instance" in said, said
    assert asked == [True, False]
    [call] = [call for call in cloud.calls if call.action == "AssumeRole"]
    assert call.params["TokenCode"] == "123456"


def test_a_login_that_ends_meanwhile_is_renewed_within_the_limit_too(
    cloud: Front, home: Path, configure: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """botocore renews it before a call, long after the first one."""
    marker = tmp_path / "second"
    soon = "(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=30)).isoformat()"
    code = (
        f"import json, datetime, pathlib; p = pathlib.Path('{marker}'); p.exists() and print('nothing') or "
        f"print(json.dumps(dict(Version=1, AccessKeyId='A', SecretAccessKey='B', SessionToken='C', Expiration={soon})))"
    )
    (home / ".aws" / "config").write_text(process(code))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "work")
    client = Aws(configure()).client("rds")
    client.describe_db_instances()
    marker.touch()
    with pytest.raises(
        Misconfigured, match=r"the credential_process \(profile work, ~/.aws/config:2\): what it gives is no login"
    ):
        client.describe_db_instances()
