"""Every task where something is wrong around it (SURROUNDINGS in tests/faults/table.py): a few of each kind always, all by --nightly.

Each is called as tests/test_canaries.py calls it, so that of each it is known whether it succeeds.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.db import scratch_server
from ops.targets.embedded import server
from tests import servers
from tests.cutting import ASKING, CLOSE, Cut
from tests.faults import page, surroundings
from tests.faults.table import SURROUNDINGS
from tests.fix_aws import Front
from tests.fix_canary import Sampler
from tests.fix_cli import Cli, copy_suite
from tests.fix_suppliers import made
from tests.test_canaries import FAILS, RUNS, Stage, staged

pytestmark = pytest.mark.no_cover

SEEN: Counter[str] = Counter()
EMPTY = r"^\.local/(.*[/.]lock|sandbox/env)$"
"""What a run may leave, since nothing is in it: locks, and the sandbox's own env file, which is there before it has any lines."""


def cells(kind: str) -> list[Any]:
    """Return the tasks for a kind: those of the sample, and for the night all others."""
    sample = SURROUNDINGS[kind].sample
    return [pytest.param(name, marks=[] if name in sample else [pytest.mark.nightly]) for name in page.around(kind)]


@pytest.fixture(scope="module")
def stage(postgres: servers.Server, front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = copy_suite(tmp_path_factory.mktemp("faults") / "clone")
    front.reset()
    for database in made(postgres, root):
        yield from staged(Stage(Cli(root), database, front, Sampler(), f"login_{database.name}"))
    server.remove_data(root)
    scratch_server.remove_all(root)


@pytest.fixture(autouse=True)
def whole(stage: Stage) -> None:
    stage.ensure()
    stage.cloud.mend()


def arguments(stage: Stage, name: str) -> list[str]:
    words = {"db": stage.database.name, "tmp": stage.tmp, "other": stage.inv.root.parent / "other"}
    return [name, *shlex.split(RUNS.get(name, FAILS.get(name, "")).format(**words))]


def environ(stage: Stage, **more: str) -> dict[str, str]:
    return {**os.environ, **stage.environ(), **more}


def check(kind: str, name: str, code: int, said: str) -> None:
    """See that a task ended as it does otherwise; whether one of FAILS fails hangs on what was run before."""
    assert "Traceback" not in said, said
    assert code == 0 or name in FAILS, said
    SEEN[kind] += 1


@pytest.mark.parametrize("name", cells("delay"))
def test_what_takes_its_time_changes_nothing(stage: Stage, name: str) -> None:
    stage.cloud.before = lambda _: time.sleep(surroundings.DELAY)
    with surroundings.Slow(stage.database.server.port, Cut(b"", ASKING, CLOSE)) as proxy:
        urls = {
            "CONNECTION_URL": stage.url(port=str(proxy.port)),
            "COPY_CONNECTION_URL": stage.url("_copy", str(proxy.port)),
        }
        done = stage.inv(*arguments(stage, name), env=environ(stage, **urls), timeout=120)
    check("delay", name, done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(kind, *each.values, marks=each.marks) for kind in ("disk full", "no inodes") for each in cells(kind)],
)
def test_without_room_it_says_so_and_leaves_what_was_there(stage: Stage, kind: str, name: str, tmp_path: Path) -> None:
    if why := surroundings.reason_against():
        pytest.skip(why)
    found = surroundings.crowded(kind, arguments(stage, name), stage.inv.root, environ(stage), tmp_path / "out")
    assert "Traceback" not in found.said + found.said_again, found.said
    if (found.code == 0) != (name in RUNS):
        assert found.code == 1, found.said
        assert re.search("disk is full|No space left on device", found.said), found.said
    if found.code:
        changed = {
            path for path in found.before.keys() | found.after.keys() if found.before.get(path) != found.after.get(path)
        }
        assert {path for path in changed if not re.search(EMPTY, path)} == set(), found.said
    check(kind, name, found.again, found.said_again)
    assert [path for path in found.end if re.search(r"\.new$|\.inv-", path)] == []


@pytest.mark.parametrize("name", cells("clock"))
def test_a_clock_that_jumps_changes_nothing(stage: Stage, name: str, tmp_path: Path) -> None:
    done = surroundings.jumping(tmp_path / "clock", arguments(stage, name), stage.inv.root, environ(stage))
    check("clock", name, done.returncode, done.stderr)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A resolv.conf by which nobody answers."""
    if why := surroundings.reason_against():
        pytest.skip(why)
    path = tmp_path_factory.mktemp("resolver") / "resolv.conf"
    path.write_text(f"nameserver {surroundings.RESOLVER}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        try:
            resolver.bind((surroundings.RESOLVER, 53))
        except OSError as error:
            pytest.skip(f"no resolver to be had here: {error}")
        yield path


@pytest.mark.parametrize("name", cells("DNS"))
def test_a_resolver_that_is_silent_is_left(stage: Stage, name: str, quiet: Path) -> None:
    away = {
        "CONNECTION_URL": "postgresql://u:hushhush@db.example.com/cruddur",
        "COPY_CONNECTION_URL": "postgresql://u:hushhush@db.example.com/cruddur_copy",
        "AWS_ENDPOINT_URL": "http://aws.example.com",
        "PROD_CONNECTION_URL": "",
        "INVOKE_DB_CONNECT_TIMEOUT": "3",
        "INVOKE_AWS_CONNECT_TIMEOUT": "3",
    }
    done = surroundings.unresolved(arguments(stage, name), stage.inv.root, environ(stage, **away), quiet)
    assert "Traceback" not in done.stderr
    if name in SURROUNDINGS["DNS"].sample or (done.returncode == 0) != (name in RUNS):
        assert done.returncode in (1, 2), done.stderr
        assert re.search(r"(db|aws)\.example\.com", done.stderr), done.stderr
    SEEN["DNS"] += 1


def through(stage: Stage, proxy: surroundings.Liar, name: str) -> Any:
    """Run a task whose server is behind a proxy."""
    urls = {
        "CONNECTION_URL": stage.url(port=str(proxy.port)),
        "COPY_CONNECTION_URL": stage.url("_copy", str(proxy.port)),
    }
    return stage.inv(*arguments(stage, name), env=environ(stage, **urls), timeout=120)


@pytest.mark.parametrize("name", cells("noise"))
def test_what_a_server_says_steers_no_terminal_and_fills_none(stage: Stage, name: str) -> None:
    with surroundings.Noisy(stage.database.server.port, Cut(b"", ASKING, CLOSE)) as proxy:
        done = through(stage, proxy, name)
    assert "\x1b" not in done.stdout + done.stderr
    assert max(map(len, done.stderr.splitlines()), default=0) < 5000
    check("noise", name, done.returncode, done.stderr)


def one_line(kind: str, name: str, done: Any, says: str) -> None:
    """See that a task ended as it does otherwise, or by one line that says why it did not; one of many looks is no end."""
    assert "Traceback" not in done.stderr, done.stderr
    if (done.returncode == 0) != (name in RUNS) and name != "doctor":
        assert done.returncode in (1, 2), done.stderr
        assert re.search(says, done.stderr.splitlines()[-1]), done.stderr
    SEEN[kind] += 1


@pytest.mark.parametrize("name", cells("lies of the server"))
def test_a_server_without_answers_is_told_as_none(stage: Stage, name: str) -> None:
    before = stage.database.query("select oid, datname from pg_database order by 1", "postgres")
    with surroundings.Empty(stage.database.server.port, Cut(b"", ASKING, CLOSE)) as proxy:
        done = through(stage, proxy, name)
    one_line("lies of the server", name, done, "answers as no PostgreSQL does|a pooler stands before this server|is taken by another program")  # fmt: skip
    assert stage.database.query("select oid, datname from pg_database order by 1", "postgres") == before


@pytest.mark.parametrize("name", cells("lies of the server"))
@pytest.mark.parametrize("lie", surroundings.LIES)
def test_a_server_with_wrong_answers_gets_no_traceback_and_steers_nothing(stage: Stage, name: str, lie: str) -> None:
    with surroundings.Wrong(stage.database.server.port, Cut(b"", ASKING, CLOSE), **surroundings.LIES[lie]) as proxy:
        done = through(stage, proxy, name)
    assert "Traceback" not in done.stderr, done.stderr
    assert not re.search(r"[\x1b\x07]", done.stdout + done.stderr), done.stdout
    assert done.returncode in range(5), done.stderr


@pytest.mark.parametrize("name", cells("lies of AWS"))
def test_a_web_page_is_no_answer_of_aws(stage: Stage, name: str) -> None:
    stage.cloud.forget()
    stage.cloud.before = lambda _: surroundings.PAGE
    done = stage.inv(*arguments(stage, name), env=environ(stage), timeout=120)
    stage.cloud.mend()
    one_line("lies of AWS", name, done, "what answers at AWS_ENDPOINT_URL does not know ")
    assert stage.cloud.writes == []


@pytest.mark.parametrize("name", cells("a link"))
def test_behind_a_link_nothing_is_changed(stage: Stage, name: str) -> None:
    local, theirs = stage.inv.root / ".local", stage.inv.root.parent / "theirs"
    kept = local.rename(stage.inv.root.parent / "kept")
    (theirs / "drift").mkdir(parents=True)
    for path in (theirs / "prod.json", theirs / "drift" / "state.json"):
        path.write_text("[]", encoding="utf-8")
    before = surroundings.looks(theirs)
    local.symlink_to(theirs)
    try:
        done = stage.inv(*arguments(stage, name), env=environ(stage), timeout=120)
        assert surroundings.looks(theirs) == before
    finally:
        local.unlink()
        shutil.rmtree(theirs)
        kept.rename(local)
    SEEN["a link"] += 1
    one_line("a link", name, done, r"\.local is a link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work in another user's clone")
@pytest.mark.parametrize("name", cells("another's clone"))
def test_what_is_another_users_stays_so(stage: Stage, name: str) -> None:
    root, nobody = stage.inv.root, 65534
    kept = root.parent / "kept"  # by the runs before, whose files would hide what a first one makes
    with contextlib.suppress(FileNotFoundError):
        (root / ".local").rename(kept)
    for path in (root, *root.rglob("*")):
        os.chown(path, nobody, nobody, follow_symlinks=False)
    try:
        done = stage.inv(*arguments(stage, name), env=environ(stage), timeout=120)
        taken = [path for path, (_, owner, _) in surroundings.looks(root).items() if owner != nobody]
    finally:
        scratch_server.remove_all(root)
        server.remove_data(root)
        shutil.rmtree(root / ".local", ignore_errors=True)
        if kept.exists():
            kept.rename(root / ".local")
        for path in (root, *root.rglob("*")):
            os.chown(path, 0, 0, follow_symlinks=False)
    assert taken == []
    SEEN["another's clone"] += 1
    check("another's clone", name, done.returncode, done.stderr)


def test_how_many_tasks_were_run_is_told(tell: Callable[[str], None]) -> None:
    tell("; ".join(f"{kind}: {number} tasks" for kind, number in SEEN.items()))
    assert set(SEEN) <= set(SURROUNDINGS)
