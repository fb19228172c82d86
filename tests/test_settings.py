"""The loader: environment over env file over invoke.yaml over built-in default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.defaults import DEFAULTS
from config.settings import Settings, load
from ops.errors import Misconfigured
from tests.fix_cli import SUITE, Cli


def loaded(root: Path, config: dict[str, Any] | None = None, **environ: str) -> Settings:
    return load(config or {}, environ, root)


def test_without_anything_the_defaults_serve(root: Path) -> None:
    found = loaded(root)
    assert (found.target, found.database, found.lock_timeout, found.connect_timeout) == ("local", "cruddur", 60, 10)
    assert (found.schema, found.seed, found.queries, found.migrations) == (
        root / "sql/schema.sql",
        root / "sql/seed.sql",
        root / "sql/queries",
        root / "sql/migrations",
    )


def test_invoke_yaml_says_the_defaults() -> None:
    """Two places hold them: the code for a repository with another invoke.yaml, the file for readers."""
    from invoke.config import Config

    config = Config(project_location=SUITE)
    config.load_project()
    assert {key: config[key] for key in DEFAULTS} == DEFAULTS


def test_the_environment_beats_the_env_file(root: Path) -> None:
    (root / ".env").write_text("CONNECTION_URL=saved\nPOSTGRES_PORT=1\n", encoding="utf-8")
    found = loaded(root, CONNECTION_URL="mine").vars
    assert found.get("CONNECTION_URL") == "mine"
    assert found.get("POSTGRES_PORT") == "1"
    assert found.get("PROD_DB_ENDPOINT", "default") == "default"
    assert [v.origin for name in ("CONNECTION_URL", "POSTGRES_PORT") if (v := found.find(name))] == [
        "environment",
        ".env",
    ]


def test_an_empty_variable_counts_as_unset(root: Path) -> None:
    (root / ".env").write_text("CONNECTION_URL=saved\nPOSTGRES_PORT=\n", encoding="utf-8")
    found = loaded(root, CONNECTION_URL="", ENV_FILE="").vars
    assert found.get("CONNECTION_URL") == "saved"
    assert found.find("POSTGRES_PORT") is None
    assert not found.hides("CONNECTION_URL")


@pytest.mark.parametrize(("mine", "saved", "hides"), [("a", "b", True), ("a", "a", False), ("", "b", False)])
def test_knows_when_a_stale_variable_hides_a_saved_one(root: Path, mine: str, saved: str, hides: bool) -> None:
    (root / ".env").write_text(f"X={saved}\n", encoding="utf-8")
    assert loaded(root, X=mine).vars.hides("X") is hides


def test_bytes_that_are_not_utf8_are_named_not_shown(root: Path) -> None:
    found = loaded(root, CONNECTION_URL="postgresql://u:hush\udcff@h/db").vars
    with pytest.raises(Misconfigured, match="CONNECTION_URL is not UTF-8") as caught:
        found.find("CONNECTION_URL")
    assert "hush" not in str(caught.value)


def test_settings_do_not_show_a_secret_when_printed(root: Path) -> None:
    (root / ".env").write_text("POSTGRES_MASTER_PASSWORD=hushhush\n", encoding="utf-8")
    found = loaded(root, CONNECTION_URL="postgresql://u:whisper@h/db")
    shown = repr(found) + repr(found.vars.find("CONNECTION_URL"))
    assert "hushhush" not in shown
    assert "whisper" not in shown


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"db": {"nam": "x"}}, "db.nam in invoke.yaml: no such setting, use one of name, lock_timeout"),
        ({"paths": {"shema": "x"}}, "paths.shema in invoke.yaml: no such setting"),
        ({"targt": "prod"}, "do you mean target"),
        ({"path": {"schema": "x"}}, "do you mean paths"),
        ({"Target": "prod"}, "do you mean target"),
        ({"db": "cruddur"}, "db in invoke.yaml: write it as a section"),
        ({"db": ["name"]}, "db in invoke.yaml: write it as a section"),
        ({"paths": None}, "paths in invoke.yaml: write it as a section"),
        ({"db": {"name": 42}}, 'db.name .*: write it in invoke.yaml as a quoted string, like "cruddur"'),
        ({"db": {"name": None}}, "db.name .*: write it in invoke.yaml as a quoted string"),
        ({"db": {"name": True}}, "db.name .*: write it in invoke.yaml as a quoted string"),
        ({"db": {"name": ["a"]}}, "db.name .*: write it in invoke.yaml as a quoted string"),
        ({"db": {"name": {"a": "b"}}}, "db.name .*: write it in invoke.yaml as a quoted string"),
        ({"db": {"lock_timeout": 60}}, "db.lock_timeout .*: write it in invoke.yaml as a quoted string"),
        ({"db": {"connect_timeout": 1.5}}, "db.connect_timeout .*: write it in invoke.yaml as a quoted string"),
        ({"target": False}, "target .*: write it in invoke.yaml as a quoted string"),
        ({"target": ""}, "target .INVOKE_TARGET.: is empty"),
        ({"paths": {"schema": "  "}}, "INVOKE_PATHS_SCHEMA.: is empty"),
        ({"target": "staging"}, "there is no target 'staging', use one of local, docker, prod"),
        ({"target": "PROD"}, "there is no target 'PROD'"),
        ({"db": {"lock_timeout": "soon"}}, "INVOKE_DB_LOCK_TIMEOUT.: soon is not a number of seconds above 0"),
        ({"db": {"lock_timeout": "0"}}, "is not a number of seconds above 0"),
        ({"db": {"lock_timeout": "-1"}}, "is not a number of seconds above 0"),
        ({"db": {"connect_timeout": "nan"}}, "is not a number of seconds above 0"),
        ({"db": {"connect_timeout": "inf"}}, "is not a number of seconds above 0"),
        ({"db": {"connect_timeout": "1e9"}}, "is not a number of seconds above 0"),
    ],
)
def test_a_wrong_setting_is_one_line(root: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(Misconfigured, match=message) as caught:
        load(config, {}, root)
    assert "\n" not in str(caught.value)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "config", [{"run": {"echo": True}}, {"sudo": {}}, {"docs": {"target": 1}}, {"black": "x"}, {1: 2}]
)
def test_keys_of_invoke_and_of_other_tasks_are_left_alone(root: Path, config: dict[str, Any]) -> None:
    assert load(config, {}, root).target == "local"


def test_values_are_trimmed_and_paths_are_relative_to_the_root(root: Path) -> None:
    found = loaded(root, {"target": " prod ", "paths": {"schema": "a b/é.sql", "seed": "/else/where.sql"}})
    assert found.target == "prod"
    assert found.schema == root / "a b/é.sql"
    assert found.seed == Path("/else/where.sql")


def test_a_part_of_a_second_is_one_for_libpq(root: Path) -> None:
    assert loaded(root, {"db": {"connect_timeout": "0.2"}}).connect_timeout == 1


# --- ENV_FILE ---------------------------------------------------------------------------


def test_env_file_is_relative_to_the_root_or_absolute(root: Path, tmp_path: Path) -> None:
    for name, path in (("env/x", root / "env/x"), (str(tmp_path / "abs"), tmp_path / "abs"), (" .env ", root / ".env")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"X={path.name}\n", encoding="utf-8")
        assert loaded(root, ENV_FILE=name).vars.get("X") == path.name


def test_an_env_file_that_is_named_but_missing_is_no_empty_one(root: Path) -> None:
    """Otherwise a typing error would lead to another database."""
    with pytest.raises(Misconfigured, match=r"ENV_FILE names .*/\.env.stagin, which is not there"):
        loaded(root, ENV_FILE=".env.stagin")
    assert load({}, {"ENV_FILE": ".env.new"}, root, may_make_env_file=True).vars.env_file == root / ".env.new"


def test_an_env_file_that_is_a_directory_is_said(root: Path) -> None:
    (root / "d").mkdir()
    with pytest.raises(Misconfigured, match=r"cannot read .*/d: Is a directory"):
        loaded(root, ENV_FILE="d")


# --- through invoke ---------------------------------------------------------------------


def test_invoke_variables_reach_the_settings(inv: Cli) -> None:
    env = {"PROD_DB_ENDPOINT": "h", "POSTGRES_MASTER_USERNAME": "u", "POSTGRES_MASTER_PASSWORD": "pw"}
    assert (
        inv.ok("db.url", env={**env, "INVOKE_TARGET": "prod", "INVOKE_DB_NAME": "other"}).strip()
        == "postgresql://u:****@h:5432/other"
    )
    (inv.root / "invoke.yaml").unlink()  # a repository with an invoke.yaml that knows nothing of us
    assert inv.ok("db.url", env={**env, "INVOKE_TARGET": "prod", "INVOKE_DB_NAME": "other"}).endswith("/other\n")


def test_the_flag_wins_over_the_variable_over_the_file(inv: Cli) -> None:
    urls = {
        "CONNECTION_URL": "postgresql://l@127.0.0.1/l",
        "CONNECTION_LOCAL_DOCKER_URL": "postgresql://d@127.0.0.1/d",
        "PROD_CONNECTION_URL": "postgresql://p@127.0.0.1/p",
    }
    assert inv.ok("db.url", env=urls).endswith("/l\n")
    (inv.root / "invoke.yaml").write_text('target: "docker"\n', encoding="utf-8")
    assert inv.ok("db.url", env=urls).endswith("/d\n")
    assert inv.ok("db.url", env={**urls, "INVOKE_TARGET": "prod"}).endswith("/p\n")
    assert inv.ok("db.url", "-t", "local", env={**urls, "INVOKE_TARGET": "prod"}).endswith("/l\n")


def test_a_file_given_with_f_is_merged_over_everything(inv: Cli) -> None:
    (inv.root / "mine.yaml").write_text('target: "docker"\n', encoding="utf-8")
    urls = {"CONNECTION_LOCAL_DOCKER_URL": "postgresql://d@127.0.0.1/d"}
    assert inv.ok("-f", "mine.yaml", "db.url", env={**urls, "INVOKE_TARGET": "prod"}).endswith("/d\n")
    assert inv.ok("db.url", env={**urls, "INVOKE_RUNTIME_CONFIG": "mine.yaml"}).endswith("/d\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.yaml", None, "-f missing.yaml: no such file"),
        ("x.yaml", "db: [", "node content"),
        ("x.yaml", "db:\n\tname: 'x'", "cannot start any token"),
        ("x.yaml", "db: 'x'", "Can't cleanly merge"),
        ("x.yaml", "target: {a: b}", "Can't cleanly merge"),
        ("x.yaml", "- a", "configuration"),
        ("x.txt", "a", "are not supported"),
        ("x.json", "a: b", "Expecting value"),
        ("x.yaml", "db: {nam: 'x'}", "db.nam in invoke.yaml: no such setting"),
        ("x.yaml", "db: {connect_timeout: 5}", "write it in invoke.yaml as a quoted string"),
    ],
)
def test_a_bad_file_given_with_f_is_exit_2_and_one_line(inv: Cli, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (inv.root / name).write_text(content, encoding="utf-8")
    done = inv("-f", name, "env.show")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_bad_invoke_yaml_is_exit_2_and_one_line(inv: Cli) -> None:
    (inv.root / "invoke.yaml").write_text("db: 'x'\n  name: y\n", encoding="utf-8")
    done = inv("--list")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert 'invoke.yaml", line 2' in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("INVOKE_TARGET", "false", "there is no target 'false'"),
        ("INVOKE_TARGET", "", "target (INVOKE_TARGET): is empty"),
        ("INVOKE_DB_NAME", "", "INVOKE_DB_NAME): is empty"),
        ("INVOKE_DB_LOCK_TIMEOUT", "abc", "abc is not a number of seconds"),
        ("INVOKE_DB_CONNECT_TIMEOUT", "1,5", "1,5 is not a number of seconds"),
        ("INVOKE_PATHS_SCHEMA", "", "INVOKE_PATHS_SCHEMA): is empty"),
        ("ENV_FILE", "nope", "ENV_FILE names"),
        ("INVOKE_RUN_DRY", "1", "--dry"),
    ],
)
def test_a_bad_invoke_variable_is_exit_2_and_one_line(inv: Cli, variable: str, value: str, message: str) -> None:
    done = inv("env.show", env={variable: value})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_a_bug_of_ours_keeps_its_traceback(inv: Cli) -> None:
    """One that the hook for invoke's own files must not hide."""
    with (inv.root / "config/settings.py").open("a", encoding="utf-8") as file:
        file.write("\ndef load(config, **_):\n    return config.nothing\n")
    done = inv("env.show")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_variable_that_hides_a_saved_one_is_said(inv: Cli) -> None:
    (inv.root / ".env").write_text("CONNECTION_URL=postgresql://a@127.0.0.1/saved\n", encoding="utf-8")
    done = inv("db.url", env={"CONNECTION_URL": "postgresql://a@127.0.0.1/mine"})
    assert done.stdout == "postgresql://a@127.0.0.1/mine\n"
    assert "CONNECTION_URL of the environment hides the one saved in .env" in done.stderr
    assert inv("db.url").stderr == ""
