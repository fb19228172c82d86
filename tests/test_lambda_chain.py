"""From a fresh clone to a sign-up that is a row, by the command line, in the sandbox."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.fix_cli import copy_suite
from tests.test_sandbox import bash

pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")

NAME = "cruddur-post-confirmation"
READ = re.compile(r"\S+ (Describe|Get|List|Filter|GET )")
CHAIN = f"""
    set -e
    eval "$(inv sandbox.up)"
    calls=.local/sandbox/calls.log
    inv rds.create
    inv db.setup -t prod --confirm cruddur
    export AWS_COGNITO_USER_POOL_ID=$(aws cognito-idp create-user-pool --pool-name cruddur --query UserPool.Id --output text)
    inv lambda.deploy --dry-run
    inv lambda.deploy
    inv lambda.attach
    inv lambda.status --json > status
    : > $calls; inv lambda.deploy; cp $calls second-deploy
    : > $calls; inv lambda.attach; cp $calls second-attach
    app=$(aws cognito-idp create-user-pool-client --user-pool-id $AWS_COGNITO_USER_POOL_ID --client-name app --query UserPoolClient.ClientId --output text)
    enter() {{
        aws cognito-idp sign-up --client-id $app --username $1 --password Passw0rd!x --query UserSub --output text \\
            --user-attributes Name=name,Value=$1 Name=email,Value=$1@example.com Name=preferred_username,Value=$1
        aws cognito-idp admin-confirm-sign-up --user-pool-id $AWS_COGNITO_USER_POOL_ID --username $1
    }}
    enter ada > ada
    python -c "
import json, sys
attributes = dict(sub=open('ada').read().strip(), name='ada', email='ada@example.com', preferred_username='ada')
print(json.dumps(dict(triggerSource='PostConfirmation_ConfirmSignUp', userName='ada', request=dict(userAttributes=attributes), response=dict())))
" > event.json
    inv lambda.invoke --local --event event.json > answer
    rows() {{ echo "copy (select cognito_user_id from users where cognito_user_id not like 'MOCK%' order by created_at) to stdout" | inv db.connect -t prod; }}
    rows > after-event
    enter bob > bob
    inv lambda.sync-users > first-sync
    rows > after-sync
    inv lambda.sync-users > second-sync
    inv db.setup -t prod --confirm cruddur --force
    inv lambda.invoke --local --event event.json
    rows > after-setup
    inv lambda.invoke --event event.json
    inv lambda.layer --publish
    inv lambda.logs
    inv lambda.detach
    inv lambda.delete --confirm {NAME}
"""


@pytest.mark.slow
def test_a_sign_up_becomes_a_row_in_a_fresh_clone(tmp_path: Path) -> None:
    root = copy_suite(tmp_path / "clone")

    def lines(name: str) -> list[str]:
        return (root / name).read_text().splitlines()

    try:
        done = bash(root, CHAIN)
        assert done.returncode == 0, done.stderr
        for name in ("second-deploy", "second-attach"):
            assert lines(name)
            assert [line for line in lines(name) if not READ.match(line)] == [], name
        assert json.loads((root / "status").read_text())["drift"] == []
        assert json.loads((root / "answer").read_text()) == json.loads((root / "event.json").read_text())
        [ada], [bob] = lines("ada"), lines("bob")
        assert lines("after-event") == [ada]
        assert lines("first-sync") == ["inserted: 1", "linked: 0", "present: 1", "skipped: 0"]
        assert lines("after-sync") == [ada, bob]
        assert lines("second-sync")[0] == "inserted: 0"
        assert lines("after-setup") == [ada], "the function's rights are carried over"
        assert '"outcome": "inserted"' in done.stderr
        assert not re.search(r"postgresql://[^:]+:[^*@]+@", done.stdout + done.stderr)
        assert re.search(r"^removed   role", done.stdout, re.MULTILINE)
    finally:
        bash(root, "inv sandbox.down")
