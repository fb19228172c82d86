"""From an empty sandbox to a sign-up and a feed, without a stored password: by the command line, in a fresh clone."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ops import postgres
from ops.sandbox import instances, lifecycle
from ops.targets.embedded import state
from tests.fix_app import get
from tests.fix_canary import files_with, sampling
from tests.fix_cli import copy_suite
from tests.test_app import HOME, running
from tests.test_lambda_chain import READ
from tests.test_sandbox import CA_URL, INSTANCE, bash

pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")

ROLES = "select rolname, rolpassword is null as none from pg_authid where rolname ~ '^cruddur_|^lambda_' order by 1"
GIVEN = """
import json, os; from config.settings import load; from ops.app import serve
print(json.dumps(serve.command(load({}, os.environ), "prod", "")[1]))
"""
CHAIN = """
    set -e
    eval "$(inv sandbox.up)"
    calls=.local/sandbox/calls.log
    inv rds.create
    inv db.setup -t prod --confirm cruddur
    inv db.roles -t prod --confirm cruddur
    inv db.roles -t prod --check
    printf -- '-- migrate:up\\ncreate table public.pinned (id int);\\n-- migrate:down\\ndrop table public.pinned;\\n' > "$(inv db.migration-new pinned)"
    inv db.migrate -t prod --confirm cruddur
    inv lambda.deploy
    inv lambda.status --json > status
    : > $calls; inv lambda.deploy; cp $calls second-deploy
    inv lambda.invoke --local --event sign-up --confirm cruddur
    aws lambda get-function-configuration --function-name cruddur-post-confirmation --query Environment.Variables > environment
    aws iam get-role-policy --role-name cruddur-post-confirmation --policy-name database-login --query PolicyDocument > policy
    inv rds.connect-policy lambda_signup > printed
    inv rds.connect-policy reader > reader
    aws rds describe-db-instances --query 'DBInstances[0].[Endpoint.Address,MasterUserSecret.SecretArn]' --output text > instance
    aws secretsmanager get-secret-value --secret-id "$(cut -f2 instance)" --query SecretString --output text > secret
    inv db.grant-access anna --role reader --expires 8h -t prod --confirm cruddur --json > anna
    inv db.access -t prod --json > access
    for user in cruddur_anna cruddur_reader; do
        export PROD_CONNECTION_URL="postgresql://$user@$(cut -f1 instance):$POSTGRES_PORT/cruddur"
        inv db.query home --limit 2 -t prod --json > rows-of-$user
        echo "copy (select session_user, count(*) from users where cognito_user_id not like 'MOCK%') to stdout" | inv db.connect -t prod > who-of-$user
        echo "insert into pinned values (1)" | inv db.connect -t prod --write 2> refused-of-$user || true
    done
    unset PROD_CONNECTION_URL
    inv db.revoke-access anna -t prod
    PROD_CONNECTION_URL="postgresql://cruddur_anna@$(cut -f1 instance):$POSTGRES_PORT/cruddur" inv db.query home -t prod 2> shut || true
    export PROD_CONNECTION_URL="postgresql://cruddur_reader@$(cut -f1 instance):$POSTGRES_PORT/cruddur"
    inv db.url -t prod --show-password > url
    inv db.dump -t prod --file dump.sql --table activities
    inv env.show > shown; env | grep -v ^AWS_ > variables
    inv doctor > doctor || true
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = copy_suite(tmp_path_factory.mktemp("tokens") / "clone")
    (root / "tmp").mkdir()
    try:
        with sampling() as sampler:
            ran = bash(root, CHAIN, TMPDIR=str(root / "tmp"))
        assert ran.returncode == 0, ran.stderr
        yield root, ran, sampler
    finally:
        bash(root, "inv sandbox.down")


@pytest.mark.slow
def test_a_sign_up_and_the_feed_without_a_stored_password(done: Any) -> None:
    root, ran, _ = done
    assert json.loads((root / "status").read_text())["drift"] == []
    assert [line for line in (root / "second-deploy").read_text().splitlines() if not READ.match(line)] == []
    assert '"outcome": "inserted"' in ran.stderr
    [url] = json.loads((root / "environment").read_text()).values()
    assert re.fullmatch(r"postgresql://lambda_signup@[^:/]+:\d+/cruddur\?sslmode=verify-full", url)
    policy = json.loads((root / "policy").read_text())
    assert policy == json.loads((root / "printed").read_text())
    resource = policy["Statement"][0]["Resource"]
    assert re.fullmatch(r"arn:aws:rds-db:ca-central-1:\d{12}:dbuser:db-[A-Z0-9]{26}/lambda_signup", resource)
    assert "/cruddur_reader" in (root / "reader").read_text()
    said = ran.stderr
    assert re.search(r"prod: cruddur_migrator@\S+ .*\n(?:.*\n)*?.*_pinned\.sql", said)
    for user in ("cruddur_anna", "cruddur_reader"):
        assert len(json.loads((root / f"rows-of-{user}").read_text())) == 2
        assert (root / f"who-of-{user}").read_text().split() == [user, "1"]
        assert "permission denied for table pinned" in (root / f"refused-of-{user}").read_text()
    assert "X-Amz-Signature" in (root / "url").read_text()
    assert "COPY" in (root / "dump.sql").read_text()


@pytest.mark.slow
def test_an_analyst_for_eight_hours_who_has_no_password(done: Any) -> None:
    root, _, _ = done
    anna = json.loads((root / "anna").read_text())
    assert (anna["login"], anna["role"], anna["file"]) == ("cruddur_anna", "reader", None)
    assert re.fullmatch(r"postgresql://cruddur_anna@[^:/]+:\d+/cruddur\?.*", anna["url"])
    [login] = [one for one in json.loads((root / "access").read_text())["logins"] if one["person"] == "anna"]
    assert login["state"] == "open"
    left = datetime.fromisoformat(login["until_at"]) - datetime.now(timezone.utc)
    assert timedelta(hours=7.5) < left <= timedelta(hours=8)
    assert "cruddur_anna" in (root / "shut").read_text()


@pytest.mark.slow
def test_no_password_lies_anywhere_but_with_the_server_itself(done: Any) -> None:
    root, ran, sampler = done
    held = json.loads((root / "secret").read_text())
    (root / "secret").unlink()
    canary = [str(held["password"])]
    assert files_with([root], canary, but=[".local/sandbox/instances"]) == []
    assert any("psql" in each.programs for each in sampler.seen)
    theirs = [each for each in sampler.seen if str(root) in each.environment + each.arguments]
    assert len(theirs) > 50
    assert [each.arguments for each in sampler.seen if any(word in "".join(each) for word in canary)] == []
    # the client alone is handed one token, for the one login of its start
    given = [each for each in theirs if re.search(r"\bPGPASSWORD=.", each.environment)]
    assert [each.arguments for each in given if "psql" not in each.programs] == []
    assert all(re.search(r"\bPGPASSWORD=\S+&X-Amz-Signature=", each.environment) for each in given)
    assert [each.arguments for each in theirs if "X-Amz-Signature" in each.arguments] == []
    others = [each for each in theirs if "psql" not in each.programs]
    assert [each.arguments for each in others if "X-Amz-Signature" in each.environment] == []
    assert not any(word in ran.stdout + ran.stderr for word in canary)
    assert not re.search(
        r"postgresql://[^:@/]+:[^*@][^@]*@", ran.stdout + ran.stderr + (root / "variables").read_text()
    )
    assert "X-Amz-Signature" not in ran.stdout + ran.stderr


@pytest.mark.slow
def test_the_feed_signs_its_own_tokens(done: Any) -> None:
    root, _, _ = done
    entered = bash(root, "inv sandbox.up --json", **CA_URL)
    variables = json.loads(entered.stdout)["variables"]
    host, _, _ = (root / "instance").read_text().partition("\t")
    assert host.startswith(INSTANCE)
    assert host.endswith(lifecycle.NAME[1:])
    url = f"postgresql://cruddur_reader@{host}:{variables['POSTGRES_PORT']}/cruddur"
    environ = {**CA_URL, **variables, "PROD_CONNECTION_URL": url}
    with running(root, "-t", "prod", **environ) as (_, at):
        assert len(get(at + HOME).json) > 0
    given = json.loads(bash(root, f"python -c '{GIVEN}'", **environ).stdout)
    assert given["DB_IAM"] == f"{host}:{variables['POSTGRES_PORT']}"
    assert re.match(r"postgresql://cruddur_reader@", given["CONNECTION_URL"])
    [home] = (lifecycle.folder(root) / instances.FOLDER).iterdir()
    found = state.load(home)
    assert found
    with postgres.connect(found.target("postgres"), task="test") as conn:
        rows = conn.execute(ROLES.encode()).fetchall()
    assert {row["rolname"] for row in rows} >= {"cruddur_reader", "cruddur_migrator", "cruddur_app", "lambda_signup"}
    assert [row["rolname"] for row in rows if not row["none"]] == []
