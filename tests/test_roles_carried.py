"""The declared roles in a database that takes another one's place, or is a copy of one: owners, grants, default privileges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.settings import load
from ops import cli
from ops.db.branches import branches
from ops.db.copies import dump as dump_task
from ops.db.copies import restore
from ops.db.pull import pull
from ops.db.pull.pull import How
from ops.db.roles import write
from ops.errors import Differs
from ops.targets import git_branch, opening
from ops.yaml_file import compose
from tests import servers
from tests.fix_access import Team, teamed
from tests.fix_bastion import Bastion
from tests.fix_git import commit, git, repository
from tests.fix_suppliers import made
from tests.test_restore import dump

MASKS = "safe_types: [uuid, int4]\ntables: {public.users: {columns: {display_name: {fake: name}, handle: {fake: handle}, email: {fake: email}, cognito_user_id: hash}}, public.more: {columns: {id: keep}}}\n"  # fmt: skip
NEW = "set role {owner}; create table newer (id serial, x int); reset role"
MAY = "select has_table_privilege('{app}', 'newer', 'insert') and has_sequence_privilege('{app}', 'newer_id_seq', 'usage') and has_table_privilege('{reader}', 'newer', 'select') as may"  # fmt: skip
OWNERS = "select distinct pg_get_userbyid(relowner)::text as owner from pg_class where relnamespace = 'public'::regnamespace order by 1"  # fmt: skip


@pytest.fixture(scope="module", params=["embedded", "debian"])
def server(request: pytest.FixtureRequest, suppliers: Callable[[str], servers.Server]) -> servers.Server:
    """The newest version, and the oldest, whose roles differ most."""
    try:
        return suppliers(request.param)
    except LookupError as reason:
        pytest.skip(f"no Postgres by {request.param}: {reason}")


@pytest.fixture
def crew(server: servers.Server, tmp_path: Path) -> Iterator[Team]:
    yield from teamed(server, tmp_path)


def check(team: Team, name: str = "") -> None:
    """See that all is as declared: in what is there, and in what the owner makes from now on."""
    settings = team.knowing()
    if name:
        url = team.url.replace(f"/{team.name}", f"/{name}")
        settings = replace(
            settings, vars=replace(settings.vars, environ={**settings.vars.environ, "CONNECTION_URL": url})
        )
    at = name or team.name
    assert team.query(OWNERS, at) == [{"owner": team.name_of("owner")}]
    team.do(team.filled(NEW), at)
    assert team.scalar(team.filled(MAY), at)
    if not name:  # the database of a git branch has the main one's roles, which are held to that by their names
        try:
            write.run(settings, "", "", dry_run=False, check=True, strict=False, json=False)
        except Differs as error:
            pytest.fail(str(error))


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_restored_database_has_them(crew: Team, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the dump is another one's, and knows none of them."""
    file = dump(crew, form)
    restore.restore(crew.settings(), "local", str(file), "", "2", "", force=True)
    check(crew)
    foreign = crew.sql("create table users (display_name text, handle text, email text, cognito_user_id text); create table theirs (id serial);", "theirs.sql")  # fmt: skip
    restore.restore(crew.settings(), "local", str(foreign), "", "2", "", force=True)
    check(crew)
    assert "not all given" not in capsys.readouterr().err


def test_a_pulled_database_has_them(crew: Team, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in made(crew.server, tmp_path / "source"):
        source.do(f'create database "{source.name}"', "postgres")
        source.do("create table users (uuid uuid primary key default gen_random_uuid(), display_name text, handle text, email text, cognito_user_id text); create table more (id int primary key); insert into more values (1)")  # fmt: skip
        settings = crew.settings(PROD_CONNECTION_URL=source.url)
        settings.masks.write_text(MASKS, encoding="utf-8")
        pull.pull(settings, compose, "prod", "local", How(force=True))
        assert crew.scalar("select count(*) from more") == 1
        check(crew)
    assert "not all given" not in capsys.readouterr().err


def test_the_database_of_a_git_branch_has_them(crew: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_branch, "first_use", cli.make_branch)
    repository(crew.root)
    commit(crew.root, "more", "more")
    git(crew.root, "switch", "-q", "-c", "feature")
    name = branches.branch(crew.settings(), "local", "", force=True)
    assert name != crew.name
    check(crew, name)
    settings = replace(crew.knowing(), per_branch=True)
    with opening.open_target(settings, "local", "db.query", login="reader") as at:
        assert (at.name, at.target.params["user"]) == (name, crew.name_of("reader"))


def test_through_a_tunnel_a_database_is_dumped_and_restored(
    crew: Team, bastion: Bastion, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the programs of Postgres, too: they go the same way."""
    about = {"targets": {"staging": {"via": bastion.via}}, "db": {"connect_timeout": "5"}}
    settings = load(about, {"STAGING_CONNECTION_URL": crew.url}, crew.root)
    file = crew.root / "all.dump"
    dump_task.show(
        settings,
        "staging",
        str(file),
        schema_only=False,
        data_only=False,
        tables=[],
        jobs="1",
        overwrite=False,
        json=False,
    )
    crew.do("drop table t cascade")
    restore.restore(settings, "staging", str(file), "", "2", crew.name, force=True)
    assert crew.scalar("select count(*) from t") == 1
    check(crew)
    assert f"via {bastion.via}" in capsys.readouterr().err
