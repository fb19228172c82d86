"""Who may ask the sandbox's AWS, by real requests: its owner's programs, no page, no other user of the machine."""

from __future__ import annotations

import http.client
import json
import os
import stat
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from config.variables import holds_secret
from ops import aws_proxies
from ops.sandbox import lifecycle
from tests.fix_cli import Cli, copy_suite
from tests.test_sandbox import INSTANCE, bash

pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
pytestmark = pytest.mark.xdist_group("gate")

NOBODY = 65534


@pytest.fixture(scope="module")
def inside() -> Iterator[tuple[Cli, dict[str, str]]]:
    """A clone with an instance in its sandbox, in a folder that every user can pass, and the variables of a shell in it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = copy_suite(Path(folder) / "clone")
        try:
            yield Cli(root), entered(root)
        finally:
            bash(root, "inv sandbox.down")


def entered(root: Path) -> dict[str, str]:
    done = bash(root, 'eval "$(inv sandbox.up)" && inv rds.create >&2 && env')
    assert done.returncode == 0, done.stderr
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value for name, _, value in lines if name.startswith(("AWS_", "PROD_", "POSTGRES_PORT", "ENV_FILE"))}


def ask(url: str, method: str, path: str, body: str = "", **headers: str) -> http.client.HTTPResponse:
    """Send a request as it is given, to whatever name it is addressed."""
    conn = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    conn.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = conn.getresponse()
    answer.read()
    conn.close()
    return answer


FORM = {"Content_Type": "application/x-www-form-urlencoded"}
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=sandbox/20261129/ca-central-1/rds/aws4_request, x"}
DELETE = f"Action=DeleteDBInstance&Version=2014-10-31&DBInstanceIdentifier={INSTANCE}&SkipFinalSnapshot=true"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/", {}),
        ("POST", "/{wrong}/", {}),
        ("POST", "/{key}x/", {}),
        ("POST", "/x/{key}/", {}),
        ("POST", "/?{key}", {}),
        ("POST", "/{key}/", {"Origin": "https://evil.example"}),
        ("POST", "/{key}/", {"Origin": "null"}),
        ("POST", "/{key}/", {"Origin": "http://localhost:3000"}),
        ("POST", "/{key}/", {"Host": "evil.example"}),
        ("POST", "/{key}/", {"Host": "127.0.0.1.evil.example"}),
        ("OPTIONS", "/", {"Origin": "https://evil.example", "Access_Control_Request_Method": "POST"}),
        ("POST", "/moto-api/reset", {}),
        ("GET", "/moto-api/data.json", {}),
        ("GET", "/latest/meta-data/iam/security-credentials/", {}),
    ],
)
def test_without_its_key_or_from_a_page_nothing_is_done(
    inside: tuple[Cli, dict[str, str]], method: str, path: str, headers: dict[str, str]
) -> None:
    box, environ = inside
    key = urlsplit(environ["AWS_ENDPOINT_URL"]).path.strip("/")
    calls = lifecycle.folder(box.root) / "calls.log"
    before = calls.read_text()
    answer = ask(
        environ["AWS_ENDPOINT_URL"],
        method,
        path.format(key=key, wrong="x" * len(key)),
        DELETE,
        **FORM,
        **SIGNED,
        **headers,
    )
    assert answer.status == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert calls.read_text() == before


def test_the_same_with_its_key_is_done(inside: tuple[Cli, dict[str, str]]) -> None:
    _, environ = inside
    url = environ["AWS_ENDPOINT_URL"]
    body = DELETE.replace("DeleteDBInstance", "DescribeDBInstances", 1)
    for host in ("127.0.0.1", "localhost", "LOCALHOST:1"):
        assert ask(url, "POST", urlsplit(url).path + "/", body, **FORM, **SIGNED, Host=host).status == 200


BOTO = """
    import boto3, io, json, os
    who = boto3.client("sts").get_caller_identity()["Account"]
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="a-bucket", CreateBucketConfiguration={"LocationConstraint": os.environ["AWS_REGION"]})
    queue = {"Resources": {"Q": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "of-the-stack"}}}}
    s3.put_object(Bucket="a-bucket", Key="a/template é.json", Body=json.dumps(queue).encode())
    assert json.load(s3.get_object(Bucket="a-bucket", Key="a/template é.json")["Body"]) == queue
    s3.put_object(Bucket="a-bucket", Key="template.json", Body=json.dumps(queue).encode())
    url = os.environ["AWS_ENDPOINT_URL"].replace("127.0.0.1", "localhost") + "/a-bucket/template.json"
    boto3.client("cloudformation").create_stack(StackName="s", TemplateURL=url)
    sqs = boto3.client("sqs")
    [queue] = sqs.list_queues()["QueueUrls"]
    sqs.send_message(QueueUrl=queue, MessageBody="hello")
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "hello"
    pools = boto3.client("cognito-idp")
    pool = pools.create_user_pool(PoolName="p")["UserPool"]["Id"]
    client = pools.create_user_pool_client(UserPoolId=pool, ClientName="c")["UserPoolClient"]["ClientId"]
    pools.sign_up(ClientId=client, Username="zoe", Password="P@ssw0rd-12")  # which is not signed
    assert [user["Username"] for user in pools.list_users(UserPoolId=pool)["Users"]] == ["zoe"]
    assert boto3.client("lambda").list_functions()["Functions"] == []
    assert boto3.client("iam").list_roles()["Roles"] is not None
    assert boto3.client("ec2").describe_vpcs()["Vpcs"]
    print(who)
"""


def test_boto3_and_the_command_line_work_by_the_variables_alone(inside: tuple[Cli, dict[str, str]]) -> None:
    box, environ = inside
    cli = "aws sts get-caller-identity --query Account --output text && aws rds describe-db-instances --output text"
    done = bash(box.root, f"python - <<'END' && {cli}\n{textwrap.dedent(BOTO)}\nEND\n", **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == [lifecycle.ACCOUNT] * 2
    assert INSTANCE in done.stdout


def test_another_user_of_the_machine_gets_nowhere(inside: tuple[Cli, dict[str, str]]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    box, environ = inside
    home = lifecycle.folder(box.root)
    state = json.loads((home / "state.json").read_text())
    reachable = [path for path in home.rglob("*") if path.is_file() and not stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert {"key", "server.json", "server.pem", "log"} <= {path.name for path in reachable}
    tries = f"""
        import json, pathlib, urllib.error, urllib.request
        seen = []
        for path in {[str(path) for path in reachable]}:
            try:
                seen.append(pathlib.Path(path).read_bytes() and path)
            except OSError:
                pass
        for entry in pathlib.Path("/proc").iterdir():
            for name in ("environ", "cmdline"):
                try:
                    if {urlsplit(environ["AWS_ENDPOINT_URL"]).path.encode()!r} in (entry / name).read_bytes():
                        seen.append(str(entry / name))
                except OSError:
                    pass
        for path in ("/", "/moto-api/data.json", "/moto-api/reset"):
            try:
                urllib.request.urlopen("http://127.0.0.1:{state["aws_port"]}" + path, {DELETE.encode()!r})
                seen.append(path)
            except urllib.error.HTTPError as error:
                assert error.code == 403
        print(json.dumps(seen))
    """
    done = subprocess.run(
        ["/usr/bin/python3", "-"],
        input=textwrap.dedent(tries),
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []


def test_no_password_that_anybody_knows_opens_its_database(inside: tuple[Cli, dict[str, str]]) -> None:
    """moto gives all managed secrets the same."""
    box, environ = inside
    home = lifecycle.folder(box.root)
    login: dict[str, Any] = {
        "host": f"{INSTANCE}{lifecycle.NAME[1:]}",
        "hostaddr": "127.0.0.1",
        "port": environ["POSTGRES_PORT"],
        "sslmode": "verify-full",
        "sslrootcert": str(home / "ca.pem"),
        "dbname": "cruddur",
    }
    for user in ("admin", "postgres", "rdsadmin"):
        for password in ("P@55w0rd!", "password", "postgres"):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(user=user, password=password, **login)
    assert bash(box.root, "inv db.status -t prod", **environ).returncode == 0


def test_its_key_is_printed_for_eval_and_nowhere_else(inside: tuple[Cli, dict[str, str]]) -> None:
    box, environ = inside
    key = urlsplit(environ["AWS_ENDPOINT_URL"]).path.strip("/")
    assert len(key) >= 32
    lines = "inv rds.status; inv sandbox.status; inv env.show; inv rds.rules; inv -d rds.status"
    done = bash(box.root, lines, **environ)
    away = environ["AWS_ENDPOINT_URL"].replace(str(urlsplit(environ["AWS_ENDPOINT_URL"]).port), "1")
    failed = bash(box.root, "inv rds.status", **{**environ, "AWS_ENDPOINT_URL": away, "AWS_MAX_ATTEMPTS": "1"})
    assert "is asked at http://127.0.0.1:" in done.stderr
    assert "AWS was not reached" in failed.stderr
    assert "http://127.0.0.1:1" in failed.stderr
    assert key not in done.stdout + done.stderr + failed.stdout + failed.stderr


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("http://127.0.0.1:4566", False),
        ("http://127.0.0.1:4566/", False),
        ("http://localhost:8000/local", False),
        ("http://127.0.0.1:4566/0123456789abcdef-_xyz", True),
    ],
)
def test_an_endpoint_whose_path_is_a_key_is_a_secret(url: str, secret: bool) -> None:
    assert holds_secret("AWS_ENDPOINT_URL", url) is secret
    assert "0123456789abcdef" not in aws_proxies.pathless(f'Could not connect to the endpoint URL: "{url}"')
