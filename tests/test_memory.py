"""Where the folders of the tests lie: in memory, if there is enough of it for this process."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests import servers

GB = 2**30


def group(folder: Path, limit: str, used: int, unused: int = 0, *, unified: bool = True) -> None:
    """Make the files of a cgroup, as the kernel has them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if unified else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    stat = f"inactive_file {unused}\n" if unified else f"inactive_file 0\ntotal_inactive_file {unused}\n"
    for name, text in zip((*names, "memory.stat"), (f"{limit}\n", f"{used}\n", f"anon 1\n{stat}"), strict=True):
        (folder / name).write_text(text, encoding="ascii")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def test_a_container_has_as_much_as_its_limit_leaves(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/\n", encoding="ascii")
    group(tmp_path, str(6 * GB), 5 * GB, 2 * GB)
    assert servers.allowed(tmp_path, own) == 3 * GB
    group(tmp_path, "max", 5 * GB)
    assert servers.allowed(tmp_path, own) == math.inf


def test_the_narrowest_of_the_groups_around_holds(tmp_path: Path, own: Path) -> None:
    own.write_text("0::/user.slice/session.scope\n", encoding="ascii")
    group(tmp_path / "user.slice", str(2 * GB), GB)
    group(tmp_path / "user.slice" / "session.scope", str(8 * GB), GB)
    assert servers.allowed(tmp_path, own) == GB


def test_groups_by_kind_are_read_too(tmp_path: Path, own: Path) -> None:
    """Inside a container the path is that of the host, and only what it stands for is there."""
    own.write_text("4:cpu,memory:/docker/1\n0::/\n", encoding="ascii")
    group(tmp_path / "memory", str(3 * GB), 2 * GB, GB, unified=False)
    assert servers.allowed(tmp_path, own) == 2 * GB


def test_what_is_allowed_decides_where_the_folders_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "allowed", lambda: servers.ROOM)
    assert servers.quick_disk() == "/tmp"
    monkeypatch.undo()
    assert servers.allowed() > 0


def test_a_system_without_groups_has_no_limit(tmp_path: Path) -> None:
    assert servers.allowed(tmp_path, tmp_path / "none") == math.inf
