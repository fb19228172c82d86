"""Who may import what: the rules that keep the layers apart and `inv --list` light."""

from __future__ import annotations

import ast
import fnmatch
import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests import source
from tests.source import SUITE

pytestmark = source.GROUP

FILES = sorted(
    str(path.relative_to(SUITE))
    for path in [SUITE / "tasks.py", *SUITE.glob("config/**/*.py"), *SUITE.glob("ops/**/*.py")]
)
DEPLOYED = sorted(str(path.relative_to(SUITE)) for path in SUITE.glob("functions/**/*.py"))
HEAVY = {
    "boto3",
    "botocore",
    "flask",
    "gunicorn",
    "waitress",
    "psycopg",
    "psycopg_pool",
    "rich",
    "psutil",
    "dotenv",
    "pgcli",
}
HEAVY |= {"uv", "elftools", "postgast", "grandalf", "mcp"}
OURS = ("config", "ops", "bench", "tests", "backend", "functions", "tasks")
STANDALONE = sorted(str(path.relative_to(SUITE)) for path in SUITE.glob("backend/**/*.py"))
FOLLOW_THE_USER = {
    "ops/db/build.py",
    "ops/db/copies/dump.py",
    "ops/db/copies/restore.py",
    "ops/db/diagram/draw.py",
    "ops/db/sql_file/script.py",
    "ops/look/saved.py",
}
"""A file named on the command line is looked for where the user stands."""
ENTRY = "ops/adopt/inv_suite.py"
"""What another repository's tasks.py calls: it ends where ops/cli.py cannot be imported, since another module has a name of ours."""
READER = "ops/yaml_file.py"
"""Reads YAML with invoke's own reader, and knows nothing else of it."""
BESIDE = "ops/testing/__main__.py"
"""The process beside an application's tests: no task, with the settings of one."""
SEES_INVOKE = {"tasks.py", "ops/cli.py", ENTRY, BESIDE, *(name for name in FILES if name.endswith("/commands.py"))}


def tree(name: str) -> ast.Module:
    return source.tree(SUITE / name)


def modules(node: ast.AST) -> list[str]:
    """Return what an import statement imports, with the names that may be modules."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


@functools.cache
def imported(name: str) -> set[str]:
    """Return everything that a file imports, anywhere in it."""
    return {module for node in source.nodes(SUITE / name) for module in modules(node)}


def at_import_time(nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield what is imported when the module is: not in functions, not for types only."""
    for node in nodes:
        yield from modules(node)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_import_time(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "handlers", "finalbody"):
                yield from at_import_time(getattr(node, field, []))


def top(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def calls(name: str) -> set[str]:
    """Return the source of each call's function and of each attribute."""
    nodes = list(source.nodes(SUITE / name))
    found = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    return found | {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}


def test_there_is_something_to_look_at() -> None:
    assert {"tasks.py", "config/settings.py", "ops/db/commands.py", "ops/postgres.py"} <= set(FILES)
    assert "functions/post_confirmation/handler.py" in DEPLOYED


def test_only_the_task_layer_knows_invoke() -> None:
    knowing = {name for name in FILES if "invoke" in {top(module) for module in imported(name)}}
    assert sorted(knowing - {READER, *SEES_INVOKE}) == []


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    assert [name for name in FILES if HEAVY & {top(module) for module in at_import_time(tree(name).body)}] == []


LAYERS: tuple[tuple[str, ...], ...] = (
    ("tasks.py",),
    ("ops/adopt/inv_suite.py",),
    ("ops/*/commands.py", "ops/testing/__main__.py"),
    ("ops/cli.py",),
    ("ops/adopt/", "ops/look/", "ops/agent/", "ops/workspace/"),
    ("ops/lambdas/", "ops/testing/"),
    ("ops/db/", "ops/app/", "ops/sandbox/"),
    ("ops/targets/",),
    ("ops/rds/",),
    ("ops/env/",),
    ("ops/cloud/",),
    ("ops/aws.py", "ops/calls.py", "ops/credentials.py", "ops/postgres.py"),
    (
        "ops/postgres_errors.py",
        "ops/row_values.py",
        "ops/aws_errors.py",
        "ops/aws_proxies.py",
        "ops/web.py",
        "ops/meter.py",
        "ops/own_files.py",
        "ops/yaml_file.py",
        "ops/typed_name.py",
        "ops/addresses.py",
    ),
    ("ops/process.py", "ops/silence.py", "ops/file_lock.py", "ops/times.py"),
    ("ops/console.py",),
    ("config/",),
    ("ops/errors.py",),
)
"""From above to below; a file imports what stands below its own line, or on the same."""


@functools.cache
def layer(name: str) -> int:
    """Return on which line of LAYERS a file stands: the first that names it."""
    for number, patterns in enumerate(LAYERS):
        if any(fnmatch.fnmatchcase(name, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns):
            return number
    raise AssertionError(f"{name} stands in no layer: name it in LAYERS")


def file_of(module: str) -> str | None:
    """Return the file of a module of ours, which may be given with a name from within; None for a package alone."""
    path = module.replace(".", "/")
    return next((f"{found}.py" for found in (path, path.rpartition("/")[0]) if (SUITE / f"{found}.py").is_file()), None)


def test_each_layer_imports_from_below_only() -> None:
    for name in FILES:
        ours = {module for module in imported(name) if top(module) in OURS and top(module) != "functions"}
        files = {found for module in ours if (found := file_of(module))}
        assert not {file for file in files if layer(file) < layer(name)}, name
        # what the function does with one sign-up, lambda.sync-users does with all, and db.rehearse asks whether it survives
        if not name.startswith(("ops/lambdas/", "ops/db/rehearsal/")):
            assert not {module for module in imported(name) if top(module) == "functions"}, name
        if name not in SEES_INVOKE:
            assert not {file for file in files if file in SEES_INVOKE}, name


def test_rooms_of_one_layer_do_not_know_each_other() -> None:
    for patterns in LAYERS:
        rooms = [pattern for pattern in patterns if pattern.endswith("/")]
        for room in rooms:
            for name in [name for name in FILES if name.startswith(room) and name not in SEES_INVOKE]:
                for module in imported(name):
                    other = next((r for r in rooms if r != room and (file_of(module) or "").startswith(r)), None)
                    assert other is None, f"{name} imports {module}"


def mapped(page: str) -> set[str]:
    """Return the whole path of each file in the map: a line's indent says in which folder it lies."""
    found: set[str] = set()
    folders: list[tuple[int, str]] = []
    for line in re.findall(r"^    +\S.*", page.partition("\n## ")[0], re.MULTILINE):
        indent = len(line) - len(line.lstrip())
        folders = [(depth, folder) for depth, folder in folders if depth < indent]
        above = "".join(folder for _, folder in folders)
        for word in re.split(r" {2,}", line.strip())[0].split():
            if word.endswith("/"):
                folders.append((indent, word))
            elif re.fullmatch(r"[\w.]+\.py", word):
                found.add(above + word)
    return found


def test_the_map_of_the_house_names_every_module_by_its_whole_path_and_no_other() -> None:
    rooms = ("config", "ops", "functions", "backend", "bench", "docs")
    there = {str(path.relative_to(SUITE)) for room in rooms for path in (SUITE / room).rglob("*.py")} | {"tasks.py"}
    expected = {name for name in there if Path(name).name not in {"__init__.py", "commands.py"}}
    named = mapped((SUITE / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert (sorted(expected - named), sorted(named - expected)) == ([], [])


def test_the_map_tells_files_of_one_name_apart() -> None:
    page = "# x\n\n    a.py b.py  two\n    ops/   rooms\n      a.py up, down\n      db/    db.*\n        own.py  c.py is none\n      x/\n        own.py\n"
    assert mapped(page) == {"a.py", "b.py", "ops/a.py", "ops/db/own.py", "ops/x/own.py"}


def test_what_is_deployed_to_lambda_stands_alone() -> None:
    for name in DEPLOYED:
        nodes = [node for node in source.nodes(SUITE / name) if isinstance(node, ast.Import | ast.ImportFrom)]
        absolute = {top(module) for node in nodes if not getattr(node, "level", 0) for module in modules(node)}
        assert absolute <= {*sys.stdlib_module_names, "psycopg"}, name


def those(match: Callable[[str], object], names: Iterable[str] = FILES) -> set[str]:
    """Return the files that have a call or an attribute of some kind."""
    return {name for name in names if any(match(call) for call in calls(name))}


def test_one_place_opens_connections() -> None:
    opening = those(re.compile(r"(psycopg|Connection|session_class).*\.connect$").search)
    assert opening == {"ops/postgres.py"}


def test_one_place_makes_clients_of_aws() -> None:
    assert those({"boto3.client", "boto3.resource"}.__contains__) <= {"ops/aws.py"}


def test_one_place_prints() -> None:
    assert those({"print", "sys.stdout.write", "sys.stderr.write"}.__contains__) == {"ops/console.py"}


ENVIRONMENT = {"os.environ", "os.getenv", "os.putenv", "os.environb"}


def test_one_place_reads_the_environment() -> None:
    assert those(ENVIRONMENT.__contains__) == {"config/settings.py", "ops/process.py"}


WITH_AND_WITHOUT = "ops/file_lock.py"
"""Names who holds a lock where Linux tells it, and nobody elsewhere (tests/test_file_lock.py)."""


def test_nothing_depends_on_the_current_directory_or_linux() -> None:
    assert those({"os.getcwd", "os.chdir"}.__contains__) == set()
    assert those("Path.cwd".__eq__) == FOLLOW_THE_USER
    for name in (each for each in FILES if each != WITH_AND_WITHOUT):
        texts = [node.value for node in source.nodes(SUITE / name) if isinstance(node, ast.Constant)]
        assert not [text for text in texts if isinstance(text, str) and text.startswith("/proc")], name


def test_nothing_but_the_wrapper_ends_the_process() -> None:
    ends = {"sys.exit", "os._exit", "exit", "quit", "SystemExit", "Exit"}
    assert those(ends.__contains__) == {"ops/cli.py", ENTRY}


def test_what_is_deployed_stands_alone() -> None:
    """The reading side is imported by applications, and goes into a container, without the rest of the suite."""
    for name in STANDALONE:
        found = {top(module) for module in imported(name)}
        assert found & {*OURS, "invoke", "boto3", "dotenv"} <= {"backend"}, name


def test_one_place_there_reads_the_environment() -> None:
    assert those(ENVIRONMENT.__contains__, STANDALONE) == {"backend/settings.py"}


def test_listing_the_tasks_loads_no_heavy_library() -> None:
    code = "import sys; import tasks; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=SUITE, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
    assert "invoke" in done.stdout.split()
