"""From an empty sandbox to a database in a minute, and staging beside it: by the command line, with a Postgres behind that lets in by tokens alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fix_cli import copy_suite
from tests.test_lambda_chain import READ
from tests.test_sandbox import bash

pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
pytestmark = pytest.mark.slow

NAME = "cruddur-db-instance"
CHAIN = """
    set -e
    eval "$(inv sandbox.up)"
    export INVOKE_RDS_ENGINE=aurora-postgresql
    for target in prod staging; do
        inv rds.create --express -t $target
        inv db.setup -t $target --confirm cruddur
        inv db.query users -t $target --json > users-of-$target
        inv rds.status -t $target --json > status-of-$target
        inv db.url -t $target > url-of-$target
    done
    echo "copy (select current_user, pg_has_role('rds_iam', 'usage')) to stdout" | inv db.connect -t prod > who
    echo "create role theirs login password 'a-guess-2'" | inv db.connect -t staging --write
    export PGPASSWORD=a-guess-2
    code=0; INVOKE_RDS_LOGIN=password STAGING_CONNECTION_URL="postgresql://theirs@$(sed 's|.*@||; s|/.*||' url-of-staging)/cruddur" \
        inv db.status -t staging 2> theirs || code=$?; echo "theirs $code" >> codes
    unset PGPASSWORD
    inv db.roles -t prod --confirm cruddur
    inv db.roles -t prod --check
    inv db.query home --limit 2 -t prod --json 2> as-reader > home
    echo "delete from users" | inv db.connect -t staging --write
    inv db.query users -t prod --json > after
    : > .local/sandbox/calls.log; inv rds.create --express; cp .local/sandbox/calls.log second
    for task in "rds.allow-my-ip --ip 8.8.4.4" rds.rules rds.revoke-my-ip rds.prune-rules rds.bastion rds.rotate-password; do
        code=0; inv $task 2>> said || code=$?; echo "$task $code" >> codes
    done
    code=0; INVOKE_DB_LEAST_LOGIN=no POSTGRES_MASTER_USERNAME=postgres POSTGRES_MASTER_PASSWORD=a-guess-1 inv db.status -t prod 2> guessed || code=$?; echo "guess $code" >> codes
    INVOKE_DB_LEAST_LOGIN=no AWS_SECRET_ACCESS_KEY=another inv db.status -t prod 2> signed || true
    inv rds.stop; inv rds.start
    inv db.status -t prod > started
    inv rds.snapshot --name before; inv rds.snapshots > snapshots
    env | grep PROD_ > variables || true
    inv rds.delete --no-snapshot --confirm IDENTIFIER
    inv db.query users -t staging --json > left
    inv rds.delete -t staging --no-snapshot --confirm IDENTIFIER-staging
    aws rds describe-db-instances --query 'DBInstances' --output text > instances
""".replace("IDENTIFIER", NAME)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = copy_suite(tmp_path_factory.mktemp("express") / "clone")
    yaml = root / "invoke.yaml"
    yaml.write_text(yaml.read_text().replace("targets: {}", "targets: {staging: {}}"))
    try:
        ran = bash(root, CHAIN)
        assert ran.returncode == 0, ran.stderr
        yield root, ran
    finally:
        bash(root, "inv sandbox.down")


def read(root: Path, name: str) -> Any:
    return json.loads((root / name).read_text())


def test_both_are_made_set_up_and_read_without_a_password(done: Any) -> None:
    root, ran = done
    assert len(read(root, "users-of-prod")) == len(read(root, "users-of-staging")) > 0
    assert (root / "who").read_text().split() == ["postgres", "t"]
    assert ran.stderr.count("express: it lies in no network of yours") == 2
    for target, name in (("prod", NAME), ("staging", f"{NAME}-staging")):
        status, url = read(root, f"status-of-{target}"), (root / f"url-of-{target}").read_text()
        assert (status["cluster"]["express"], status["ours"], status["security_groups"]) == (True, True, [])
        assert [one["identifier"] for one in status["cluster"]["instances"]] == [f"{name}-instance-1"]
        assert f"@{name}.cluster-" in url
        assert "sslmode=verify-full" in url
    assert "X-Amz-Signature" not in ran.stdout + ran.stderr


def test_what_is_done_to_staging_reaches_nothing_of_production(done: Any) -> None:
    root, _ = done
    assert len(read(root, "after")) == len(read(root, "users-of-prod"))
    assert read(root, "left") == []


def test_a_second_run_writes_nothing(done: Any) -> None:
    root, _ = done
    assert [line for line in (root / "second").read_text().splitlines() if not READ.match(line)] == []


def test_what_wants_a_group_or_a_password_is_exit_2_and_one_line_each(done: Any) -> None:
    root, _ = done
    codes = dict(line.rsplit(" ", 1) for line in (root / "codes").read_text().splitlines())
    assert (codes.pop("guess"), codes.pop("theirs")) == ("1", "1")
    assert set(codes.values()) == {"2"}
    said = [line for line in (root / "said").read_text().splitlines() if not line.startswith("note: ")]
    assert len(said) == len(codes) == 6
    assert all(f"{NAME} has no security group" in line or "it has no password" in line for line in said)


def test_a_password_and_a_token_of_another_key_are_refused_with_the_way_on(done: Any) -> None:
    root, _ = done
    assert "lets in by tokens of IAM alone: unset POSTGRES_MASTER_PASSWORD" in (root / "guessed").read_text()
    assert "the token is refused: this login to AWS lacks rds-db:connect on" in (root / "signed").read_text()
    assert "a-guess-1" not in (root / "guessed").read_text()
    assert "this user logs in by a token of IAM alone" in (root / "theirs").read_text()


def test_roles_are_made_that_log_in_by_tokens_too(done: Any) -> None:
    root, _ = done
    assert "cruddur_reader@" in (root / "as-reader").read_text()
    assert len(read(root, "home")) == 2


def test_it_stops_starts_is_saved_and_goes(done: Any) -> None:
    root, _ = done
    assert "before" in (root / "snapshots").read_text()
    assert "users" in (root / "started").read_text()
    assert (root / "instances").read_text().split() == []
