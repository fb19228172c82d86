"""`--json`: an interface. Each task's answer is what its type says and what stands in tests/data/json, key by key.

`WRITE_GOLDEN=1` writes those files anew, to be read before they are committed.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import io
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from invoke.program import Program

import tasks
from config import settings as settings_module
from ops.db.access import grant, standing
from ops.rds.restore import written_later
from ops.targets import git_branch
from tests import contract, fix_git, source, test_docker
from tests.contract import ANSWERS
from tests.fix_access import Team
from tests.fix_cli import SUITE, Cli
from tests.fix_echo import Echo
from tests.fix_git import git
from tests.fix_lambda import NAME, Stage
from tests.fix_suppliers import Database
from tests.test_lambda_sync import sign_up
from tests.test_rds_bastion import out
from tests.test_rds_logs import LogsOfRds

GOLDEN = Path(__file__).parent / "data" / "json"
TYPES: set[Any] = {kind for answer in ANSWERS.values() for kind in contract.every(answer.type)}
LOG = (
    '2026-11-30 08:00:00 UTC:10.0.0.5(33344):postgres@cruddur:[123]:ERROR:  relation "userz" does not exist at character 15\n'
    "2026-11-30 08:00:00 UTC:10.0.0.5(33344):postgres@cruddur:[123]:STATEMENT:  select * from userz where email = 'ada@example.com'\n"
    "2026-11-30 08:00:01 UTC::@:[7]:LOG:  checkpoint starting: time\n"
)
CHANGING = re.compile(r"(_bytes|pid|age_seconds|build_seconds|_port|^port|cpus)$")
"""Numbers that are others on each run."""
PATTERNS = {
    contract.TIME: "<time>",
    r"\b(sgr?|vpc|subnet)-[0-9a-f]{8,}": r"<\1>",
    r"\b[0-9a-f]{64}\b": "<sha256>",
    r"(?<=:)[A-Za-z0-9+/]{43}=": "<sha256>",
    r"(127\.0\.0\.1|localhost|amazonaws\.com):\d+": r"\1:<port>",
    r"ca-central-1_\w+": "<pool>",
    r"\b1[5-9]\.\d+\b": "<version>",
    r"\brds:[\w-]+-\d{4}(-\d\d){4}\b": "<automated>",
}


def normal(value: Any, names: Mapping[str, str], key: str = "") -> Any:
    """Return an answer without what is another on each run."""
    if isinstance(value, dict):
        return {k: normal(v, names, k) for k, v in value.items()}
    if isinstance(value, list):
        return [normal(one, names) for one in value]
    if isinstance(value, float):
        return "<number>"
    if isinstance(value, int) and not isinstance(value, bool) and CHANGING.search(key):
        return "<number>"
    if isinstance(value, str):
        for text, name in names.items():
            value = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", f"<{name}>", value)
        for pattern, name in PATTERNS.items():
            value = re.sub(pattern, name, value)
    return value


def check(name: str, stdout: str, **names: str) -> None:
    """Compare what a task has printed with its type and with its golden file; `names` are what is to be called so."""
    answer = ANSWERS[name]
    found = [json.loads(line) for line in stdout.splitlines()] if answer.form == "lines" else json.loads(stdout)
    assert isinstance(found, list) is bool(answer.form)
    for one in found if answer.form else [found]:
        assert contract.faults(one, answer.type) == []
    text = json.dumps(normal(found, {v: k for k, v in names.items()}), indent=2, ensure_ascii=False) + "\n"
    file = GOLDEN / f"{name}.json"
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


# --- the tasks, their types and the page --------------------------------------------------


def test_the_page_is_made_from_the_types() -> None:
    """If not: inv lint --fix."""
    assert contract.PAGE.read_text(encoding="utf-8") == contract.page()


def test_there_is_a_golden_answer_of_each_task() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(ANSWERS)


@pytest.mark.parametrize("kind", sorted(TYPES, key=str), ids=str)
def test_keys_are_in_snake_case_with_their_unit_and_meaning(kind: Any) -> None:
    for key in contract.fields(kind):
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", key.name)
        assert key.meaning, f"{kind}.{key.name} does not say what it is"
        words = contract.parts(key.type)
        assert (datetime in words) == (re.search(r"(^|_)at$", key.name) is not None), key
        assert (date in words) == key.name.endswith("_on"), key
        assert float not in words or contract.unit(key.name), f"{kind.__name__}.{key.name} has no unit in its name"
        assert not re.search(r"\b(bytes|seconds|MB|GiB|milliseconds|minutes|hours)\b", key.meaning) or contract.unit(
            key.name
        )


PRINT = {("ops.console", name) for name in ("result", "table", "as_json")}


def tree(module: str) -> ast.Module:
    return source.tree(Path(str(inspect.getsourcefile(importlib.import_module(module)))))


@functools.cache
def imports_of(module: str) -> dict[str, tuple[str, str]]:
    return imports(tree(module).body)


@functools.cache
def functions(module: str) -> dict[str, ast.AST]:
    """Return the functions of a module, its methods as Class.method, and its classes without them."""
    found: dict[str, ast.AST] = {}
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
            found |= {f"{node.name}.{one.name}": one for one in methods}
            rest: list[ast.stmt] = [one for one in node.body if one not in methods]
            found[node.name] = ast.ClassDef(node.name, [], [], rest or [ast.Pass()], [])
    return found


@functools.cache
def called(module: str, name: str) -> frozenset[tuple[str, str]]:
    """Return what a function names of ours: functions and classes, methods of itself and of what is annotated so."""
    return frozenset(names(module, name))


def names(module: str, name: str) -> Iterator[tuple[str, str]]:
    node = functions(module)[name]
    owner = name.partition(".")[0] if "." in name else ""
    within = list(ast.walk(node))
    known = imports_of(module) | imports(within)
    own = {each: (module, each) for each in functions(module) if "." not in each}
    ours = {**own, **known}
    kinds = {"self": (module, owner)} if owner else {}
    for argument in [one for one in within if isinstance(one, ast.arg)]:
        if isinstance(argument.annotation, ast.Name) and (kind := ours.get(argument.annotation.id)):
            kinds[argument.arg] = kind
    for one in within:
        if isinstance(one, ast.Name) and (place := ours.get(one.id)):
            yield place
        elif isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name):
            if one.value.id in kinds:
                where, kind_name = kinds[one.value.id]
                yield where, f"{kind_name}.{one.attr}"
            elif one.value.id in known:
                where, part = known[one.value.id]
                yield f"{where}.{part}", one.attr


def imports(nodes: list[Any]) -> dict[str, tuple[str, str]]:
    """Return what is imported from where, by the name that it goes by."""
    found: dict[str, tuple[str, str]] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in ("ops", "bench"):
            found |= {alias.asname or alias.name: (str(node.module), alias.name) for alias in node.names}
    return found


def prints_a_result(name: str) -> bool:
    """Whether a task comes to a function that prints on standard output, as the source tells."""
    body = tasks.ns[name].body
    todo, seen = [(body.__module__, body.__name__)], set()
    while todo:
        place = todo.pop()
        if place in PRINT:
            return True
        if place in seen:
            continue
        seen.add(place)
        try:
            there = place[1] in functions(place[0])
        except ModuleNotFoundError:
            there = False
        if there:
            todo += called(*place)
    return False


@source.GROUP
@pytest.mark.parametrize("name", sorted(tasks.ns.task_names))
def test_every_task_that_prints_a_result_has_json(name: str) -> None:
    """Not those whose output is another program's: psql, pytest, gunicorn; nor what has a form of its own: IAM's JSON, SVG;
    nor rds.undo, which has a function's rights changed by a plan that tells nobody."""
    others = ("bench", "db.diagram", "rds.connect-policy", "rds.undo", "test")
    assert prints_a_result(name) == (name in ANSWERS) or name in others


def test_bench_prints_by_a_module_that_is_found_at_run_time() -> None:
    assert ("ops.console", "as_json") in called("bench.compare", "main")


@pytest.mark.parametrize(
    ("value", "hint", "fault"),
    [
        (1, int, False), (True, int, True), (1.5, float, False), (1, float, False), (None, int | None, False),
        ("2026-01-02T03:04:05+00:00", datetime, False), ("2026-01-02T03:04:05", datetime, True),
        ("2026-01-02", date, False), ([1, None], list[int], True), ({"a": "b"}, dict[str, str], False),
    ],
)  # fmt: skip
def test_an_answer_is_compared_with_its_type(value: Any, hint: Any, fault: bool) -> None:
    assert bool(contract.faults(value, hint)) is fault


# --- here ---------------------------------------------------------------------------------

HERE: dict[str, tuple[str, ...]] = {
    "db.status": ("-t", "local"),
    "db.sessions": (),
    "db.url": (),
    "db.query": ("users", "--limit", "2"),
    "db.dump": ("--file", "a.dump"),
    "env.show": (),
    "lambda.invoke": ("--local", "-t", "local"),
}


@pytest.mark.parametrize("name", HERE)
def test_golden_of_a_database(name: str, one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    with one.connect() as conn:
        conn.execute("select 1")
        done = inv(name, *HERE[name], "--json", env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    stdout = done.stdout
    if name == "db.sessions":  # other tests may be at the server
        stdout = json.dumps([row for row in json.loads(stdout) if row["database"] == one.name])
    if name == "env.show":  # a set one and an unset one; the others are so, too, and their number grows
        stdout = json.dumps([row for row in json.loads(stdout) if row["variable"].endswith("CONNECTION_URL")])
    names = {"database": one.name, "root": str(inv.root)}
    check(name, stdout, **names)


def test_golden_of_migrations(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    one.do(f'create database "{one.name}"', "postgres")
    made = inv.ok("db.migration-new", "add_bio", "--json", env=env)
    found = json.loads(made)
    names = {"version": found["version"], "file": found["file"]}
    (inv.root / found["file"]).write_text("-- migrate:up\ncreate table t ();\n-- migrate:down\ndrop table t;\n")
    check("db.migration-new", made, **names)
    check("db.migrate", inv.ok("db.migrate", "--json", env=env), **names)
    listed = json.loads(inv.ok("db.migrations", "--json", env=env))
    check("db.migrations", json.dumps(listed), **names, somebody=listed[0]["applied_by"])
    check("db.rollback", inv.ok("db.rollback", "--dry-run", "--json", env=env), **names)


def test_golden_of_branches(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    one.do(f'create database "{one.name}"', "postgres")
    git(fix_git.repository(inv.root), "switch", "-q", "-c", "add-bio")
    inv.ok("db.branch", env=env)
    branch = git_branch.database_of(one.name, "add-bio")
    check("db.branches", inv.ok("db.branches", "--json", env=env), database=one.name, branch=branch)


def test_golden_of_what_is_kept(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    for _ in range(2):
        inv.ok("db.setup", env=env)
    kept = f"{one.name}__prev"
    check("db.previous", inv.ok("db.previous", "--json", env=env), database=one.name, kept=kept)
    inv.ok("db.dump", "--file", "before.dump", env=env)
    told = inv.ok("db.restore", "before.dump", "--json", env=env)
    check("db.restore", told, database=one.name, kept=kept)
    told = inv.ok("db.restore", "before.dump", "--table", "users", "--json", env=env)
    found = json.loads(told)
    assert (found["restored_table"], found["rows"]) == ("public.users__restored", 5)
    assert "-- rows that are gone:" in found["merge_sql"]


def test_golden_of_a_database_that_somebody_has_changed(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    for _ in range(2):
        inv.ok("db.setup", env=env)
    one.do("alter table users add column bio text, alter column handle set default 'me'; drop index activities_expiry")
    done = inv("db.drift", "--json", env=env, timeout=120)
    assert done.returncode == 4, done.stderr
    check("db.drift", done.stdout, database=one.name)
    env["PROD_CONNECTION_URL"] = one.url.replace(one.name, f"{one.name}__prev")
    done = inv("db.compare", "--with", "prod", "--json", env=env)
    assert done.returncode == 4, done.stderr
    check("db.compare", done.stdout, database=one.name)


def test_golden_of_a_diagnosis(one: Database, inv: Cli) -> None:
    """Of what is wrong with the database alone: what else it says is of the server and the machine."""
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    one.do("create unlogged table notes (id int primary key); create index twice on activities (user_uuid)")
    done = inv("db.diagnose", "--fail-on", "yellow", "--json", env=env)
    assert done.returncode == 4, done.stderr
    found = json.loads(done.stdout)
    kept = ("unlogged_table", "duplicate_index", "invalid_index", "unused_index")
    found["lines"] = [line for line in found["lines"] if line["check"] in kept]
    found |= {
        status: sum(line["status"] == status for line in found["lines"])
        for status in ("red", "yellow", "unseen", "green")
    }
    check("db.diagnose", json.dumps(found), database=one.name)


def test_golden_of_declared_roles(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    names = {role: f"{one.name}_{role}" for role in ("owner", "migrator", "app", "reader")}
    check("db.roles", inv.ok("db.roles", "--dry-run", "--json", env=env), database=one.name, **names)


def test_golden_of_a_persons_access(band: Team, capsys: pytest.CaptureFixture[str]) -> None:
    grant.grant(band.settings(), "", "anna", "reader", "8h", "", json=True)
    granted = capsys.readouterr().out
    standing.show(band.settings(), "", json=True)
    names = {role: band.login(role) for role in ("migrator", "app", "reader")}
    names |= {
        "database": band.name,
        "login": band.login(),
        "root": str(band.root),
        "function": f"lambda_signup_{band.name}",
    }
    check("db.grant-access", granted, **names)
    check("db.access", capsys.readouterr().out, **names)


def test_golden_of_a_rehearsal(one: Database, inv: Cli) -> None:
    env = {"CONNECTION_URL": one.url}
    inv.ok("db.setup", env=env)
    (inv.root / "sql" / "migrations").mkdir(exist_ok=True)
    file = inv.root / "sql" / "migrations" / "20990101000000_nick.sql"
    up, down = "alter table public.users add nick text;", "alter table public.users drop nick;"
    file.write_text(f"-- migrate:up\n{up}\n-- migrate:down\n{down}\n", encoding="utf-8")
    done = inv("db.rehearse", "--json", env=env, timeout=240)
    assert done.returncode == 0, done.stderr
    check("db.rehearse", done.stdout)


def test_golden_of_a_copy(one: Database, inv: Cli) -> None:
    inv.ok("db.setup", env={"CONNECTION_URL": one.url})
    env = {"PROD_CONNECTION_URL": one.url, "CONNECTION_URL": one.target(dbname=f"{one.name}x").url(show_password=True)}
    done = inv("db.pull", "--json", env=env)
    assert done.returncode == 0, done.stderr
    check("db.pull", done.stdout, database=f"{one.name}x")


def test_golden_of_this_machine(inv: Cli) -> None:
    """What it has is another thing on each: of the facts only the one about this Python."""
    rows = json.loads(inv("doctor", "--json").stdout)
    assert all(contract.faults(row, ANSWERS["doctor"].type) == [] for row in rows)
    check("doctor", json.dumps([row for row in rows if row["check"] == "python"]), python=platform.python_version())


def test_golden_of_the_sandbox(inv: Cli) -> None:
    pytest.importorskip("moto", reason="moto is not installed: pip install -r requirements-dev.txt")
    try:
        entered = inv("sandbox.up", "--json", timeout=120)
        assert entered.returncode == 0, entered.stderr
        found = json.loads(entered.stdout)
        key = found["variables"]["AWS_ENDPOINT_URL"].rpartition("/")[2]
        check("sandbox.up", entered.stdout, key=key, root=str(inv.root), port=found["variables"]["POSTGRES_PORT"])
        inside = {**found["variables"], "INVOKE_RDS_CA_URL": "https://127.0.0.1:1/none.pem"}
        inv.ok("rds.create", env=inside)
        check("sandbox.status", inv.ok("sandbox.status", "--json", env=inside), root=str(inv.root))
    finally:
        left = inv("sandbox.down", "--json", env=found["variables"])
    check("sandbox.down", left.stdout)


def test_golden_of_a_containers_log(inv: Cli, tmp_path: Path) -> None:
    """Of a program that prints what `docker compose` does; test_app.py reads that of a real one."""
    test_docker.fake(tmp_path, "docker", "exit 1")
    said = "2026-11-29T15:00:00.123456789Z GET / 200\n2026-11-29T15:00:01.5Z \nno time"
    test_docker.fake(tmp_path, "docker-compose", f"printf '%s\n' \"$*\" >> {tmp_path}/asked; echo '{said}'")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    stdout = inv.ok("app.logs", "--json", env=env)
    check("app.logs", stdout)
    assert inv.ok("app.logs", "--json", "--follow", env=env) == stdout
    assert (tmp_path / "asked").read_text().splitlines() == [
        "logs --no-color --tail 100 --no-log-prefix --timestamps backend",
        "logs --no-color --tail 100 --no-log-prefix --timestamps --follow backend",
    ]


def test_what_cannot_start_prints_nothing_for_json(inv: Cli) -> None:
    (inv.root / ".local").write_text("no folder")
    plain, told = inv("sandbox.up"), inv("sandbox.up", "--json")
    (inv.root / ".local").unlink()
    assert (plain.stdout, told.stdout) == ("false\n", "")
    assert plain.returncode == told.returncode != 0


def test_golden_of_the_figures() -> None:
    done = Cli(SUITE)("bench", "--only", "list", "--runs", "1", "--tiny", "--json", timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert contract.faults(found, ANSWERS["bench"].type) == []
    [list_of_tasks] = found["comparisons"]
    del list_of_tasks["sides"][1:]  # how many there are is told by what is installed
    machine, versions = found["machine"], list_of_tasks["versions"]
    names = {"system": machine["system"], "python": machine["python"]}
    check("bench", json.dumps(found), **names, **{f"version of {name}": each for name, each in versions.items()})


# --- in AWS -------------------------------------------------------------------------------

Run = Callable[..., str]


@pytest.fixture
def run(stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`inv` in this process, on moto's AWS and with what the stage has made beforehand."""
    wanted, load = stage.settings(), settings_module.load
    for name, value in wanted.vars.environ.items():
        monkeypatch.setenv(name, value)
    (stage.root / "env").touch()
    monkeypatch.setenv("ENV_FILE", str(stage.root / "env"))
    monkeypatch.setattr(settings_module, "load", functools.partial(load, root=stage.root))

    def run(name: str, *args: str) -> str:
        capsys.readouterr()
        code: object = 0
        try:
            Program(namespace=tasks.ns).run(["inv", name, *args])
        except SystemExit as end:
            code = end.code
        got = capsys.readouterr()
        assert not code, got.err
        return got.out

    return run


def test_golden_in_aws(run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as they go in life; nothing but the answer is on standard output."""
    monkeypatch.setenv("GITPOD_WORKSPACE_ID", "me")
    names = {"database": stage.database.name, "root": str(stage.root), "folder": str(stage.root.parent)}

    def golden(name: str, *args: str) -> None:
        check(name, run(name, *args, "--json"), **names, port=str(stage.database.server.port))

    golden("rds.create", "--adopt")
    golden("rds.schedule", "--stop", "20:00", "--start", "08:00")
    golden("rds.alarms", "--email", "ada@example.com")
    golden("rds.export")
    golden("rds.status")
    monkeypatch.setattr("ops.rds.upgrade.upgrade.look", lambda *_: [])  # other tests have databases on that server
    golden("rds.upgrade", "--dry-run")
    golden("rds.endpoint")
    golden("rds.snapshot", "--name", "before")
    golden("rds.events")
    monkeypatch.setattr(stage.cloud, "before", LogsOfRds({"error/postgresql.log.2026-11-30-08": LOG}))
    golden("rds.logs")
    stage.cloud.mend()
    run("rds.allow-my-ip", "--ip", "8.8.4.4")
    golden("rds.rules")
    out(stage.client("ec2"))
    golden("rds.bastion", "--dry-run")
    golden("lambda.layer", "--publish")
    golden("lambda.deploy")
    golden("rds.proxy", "--dry-run")
    pool_id = stage.make_pool()
    monkeypatch.setenv("AWS_COGNITO_USER_POOL_ID", pool_id)
    golden("lambda.attach")
    golden("lambda.status")
    for user in ("ada", "bob"):
        sign_up(stage, pool_id, user, confirmed=user == "ada")
    golden("lambda.sync-users")
    logs, group = stage.client("logs"), f"/aws/lambda/{NAME}"
    logs.create_log_stream(logGroupName=group, logStreamName="one")
    now = int(time.time() * 1000)
    events = [{"timestamp": now + number, "message": text} for number, text in enumerate(("START", '{"a": 1}'))]
    logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)
    golden("lambda.logs")
    text = '{"function": "post_confirmation", "outcome": "failed", "error": "OperationalError", "sqlstate": null, "reason": "Connection refused"}'
    logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=[{"timestamp": now, "message": text}])
    printed = run("lambda.sign-ups", "--days", "1", "--json")
    check("lambda.sign-ups", printed, today=json.loads(printed)["days"][0]["day_on"])
    golden("lambda.detach")
    golden("lambda.delete", "--confirm", NAME)


def test_golden_of_growth(run: Run, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto has no databases: every instance lets in, and holds what the other holds."""
    monkeypatch.setattr("ops.rds.prod.open_session", lambda *_: io.BytesIO())
    monkeypatch.setattr("ops.rds.restore.written_later.find", lambda *_: written_later.Found())
    live = "cruddur-db-instance"
    stage.client("rds").delete_db_instance(DBInstanceIdentifier=live, SkipFinalSnapshot=True)
    run("rds.create")
    run("rds.snapshot", "--name", "before")

    def golden(name: str, *args: str) -> None:
        check(name, run(name, *args, "--json"), root=str(stage.root), port=str(stage.database.server.port))

    golden("rds.snapshots")
    golden("rds.restore", "--snapshot", "before", "--swap", "--confirm", live)
    run("rds.undo", "--confirm", live)
    monkeypatch.setenv("INVOKE_RDS_BACKUP_DAYS", "14")
    monkeypatch.setenv("INVOKE_RDS_INSTANCE_CLASS", "db.t4g.small")
    golden("rds.apply", "--confirm", live)
    monkeypatch.setenv("POSTGRES_MASTER_PASSWORD", "one-of-our-own-1")
    monkeypatch.setattr("ops.rds.replica.making.address_of", lambda *_: "")
    golden("rds.replica", "--confirm", live)


def test_a_dry_run_answers_with_the_request(run: Run) -> None:
    """In AWS's own names, as --dry-run prints it without --json."""
    told = json.loads(run("rds.create", "--dry-run", "--json"))
    assert contract.faults(told, ANSWERS["rds.create"].type) == []
    assert (told["written"], told["endpoint"]) == (False, None)
    assert told["request"] == json.loads(run("rds.create", "--dry-run"))


def test_golden_of_the_certificates(
    run: Run, stage: Stage, echoes: tuple[Echo, Echo], monkeypatch: pytest.MonkeyPatch
) -> None:
    echoes[0].says(stage.certificates.read_text(encoding="utf-8"))
    monkeypatch.setenv("INVOKE_RDS_CA_URL", echoes[0].url + "bundle.pem")
    check("rds.ca", run("rds.ca", "--json"), root=str(stage.root))
