"""Every file that the suite keeps is read by shape: an odd one is named, and never a traceback."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.paths import local_dir
from ops import own_files
from ops.errors import Problem
from tests.fix_cli import SUITE, Cli, copy_suite
from tests.fix_suppliers import Database

DEEP = "[" * 100_000
ODD = {
    "nothing": b"",
    "object": b"{}",
    "list": b"[]",
    "number": b"5",
    "text": b'"x"',
    "null": b"null",
    "true": b"true",
    "list of numbers": b"[5]",
    "list of lists": b"[[]]",
    "list of objects": b"[{}]",
    "half": b'{"home": ',
    "no text": b"\xff\xfe\x00",
    "deep": DEEP.encode(),
    "huge": b'{"home": null, "port": 1e999, "user": "x", "passwords": ["x"]}',
    "port": b'{"home": null, "port": 999999, "user": "x", "passwords": ["x"]}',
    "home": b'{"home": 5, "port": 5432, "user": "x", "passwords": ["x"]}',
    "password": b'{"home": null, "port": 5432, "user": "x", "passwords": [5]}',
    "process": b'{"ssh://a": {"port": 1, "pid": -1, "mark": "inv-tunnel-0123456789abcdef", "target": "prod"}}',
    "address": b'[{"system_id": null, "dbname": "x", "address": 5}]',
    "folder": None,
}
READ: dict[str, list[tuple[str, ...]]] = {
    "prod.json": [
        ("db.status", "-t", "prod"),
        ("db.status",),
        ("db.setup", "-t", "prod"),
        ("doctor",),
    ],
    "postgres/server.json": [("db.status",), ("db.url",), ("db.down",), ("doctor",)],
    "looked.json": [(), ("db.status",)],
    "workspace": [("rds.allow-my-ip",), ("doctor",)],
    "sandbox/state.json": [("sandbox.status",)],
    "tunnels.json": [("db.tunnel", "--stop")],
}
"""What is kept in .local, and the tasks that look there."""
NAMED = ("prod.json", "postgres/server.json")
"""Without these there is no going on; the others are made anew."""


COUNTED = ("nothing", "list of numbers", "no text", "folder")
"""For which coverage counts lines: one of each way to be odd; the others are refused where one of these is."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_suite(tmp_path_factory.mktemp("kept") / "clone")


@pytest.fixture
def inv(clone: Path) -> Iterator[Cli]:
    """`inv` in one clone, in which nothing is kept yet."""
    yield Cli(clone)
    shutil.rmtree(clone / ".local")


@pytest.mark.spread
@pytest.mark.parametrize(
    "kind", [kind if kind in COUNTED else pytest.param(kind, marks=pytest.mark.no_cover) for kind in ODD]
)
@pytest.mark.parametrize("name", READ)
def test_an_odd_one_is_named_and_no_traceback(inv: Cli, one: Database, name: str, kind: str) -> None:
    path = local_dir(inv.root) / name
    path.parent.mkdir(exist_ok=True)
    content = ODD[kind]
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    env = {"AWS_EC2_METADATA_DISABLED": "true"}
    if name == "prod.json":
        env |= {"PROD_CONNECTION_URL": one.url, "CONNECTION_URL": one.target(dbname="other").url(show_password=True)}
    for task in READ[name]:
        done = inv(*task, env=env)
        assert "Traceback" not in done.stderr, (task, done.stderr)
        assert done.returncode in (0, 1, 2), (task, done.stderr)
        if name in NAMED and kind != "list" and task[0] != "doctor":
            assert re.search(rf"{path}(:| is damaged: ).*(remove it|put it right)", done.stderr), (task, done.stderr)


def test_a_shape_is_kept(tmp_path: Path) -> None:
    path, shape = tmp_path / "x.json", {"a": int, "b?": [str], "c": own_files.port}
    assert own_files.read(path, shape, "do") is None
    for fine in ({"a": 1, "c": 2}, {"a": 1, "b": [], "c": 65535, "more": 1}, {"a": 1, "b": ["x"], "c": 1}):
        path.write_text(json.dumps(fine), encoding="utf-8")
        assert own_files.read(path, shape, "do") == fine
    for odd in (
        {"a": True, "c": 1},
        {"a": 1, "c": 0},
        {"a": 1, "b": [1], "c": 1},
        {"a": 1, "b": "x", "c": 1},
        {"c": 1},
    ):
        path.write_text(json.dumps(odd), encoding="utf-8")
        with pytest.raises(Problem, match=r"x\.json is damaged: do$"):
            own_files.read(path, shape, "do")


def test_no_other_code_reads_a_kept_file_as_json() -> None:
    """Answers of AWS and of the runtime are texts; what comes from a file goes by the one reader."""
    for path in [*SUITE.glob("ops/**/*.py"), *SUITE.glob("config/**/*.py")]:
        if path != SUITE / "ops" / "own_files.py":
            assert (
                not re.search(r"json\.loads?\([^)\n]*read_(text|bytes)|json\.load\(", path.read_text(encoding="utf-8"))
                or path.name == "invoke.py"
            ), path
