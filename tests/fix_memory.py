"""The folders of the tests in memory, where there is enough of it: what a server of the suite's own writes waits for the disk else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil
import pytest

from tests import servers

PREFIX = "inv-tests-"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Have pytest make its folders there, unless it is told where by --basetemp."""
    place = Path(servers.quick_disk())
    if not config.option.basetemp and place != Path("/tmp"):
        remove_left(place)
        config.option.basetemp = str(place / f"{PREFIX}{os.getpid()}")


def pytest_sessionstart(session: pytest.Session) -> None:
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined] # as its own fixture takes it
    if is_ours(base := factory.getbasetemp()):
        open_to_all(factory, base)
        servers.folder = base


def remove_left(place: Path) -> None:
    """Remove what failures of this user's have left of sessions that have ended."""
    for left in place.glob(f"{PREFIX}*"):
        pid = left.name.removeprefix(PREFIX)
        if pid.isdigit() and not psutil.pid_exists(int(pid)) and left.lstat().st_uid == os.geteuid():
            shutil.rmtree(left, ignore_errors=True)


def is_ours(path: Path) -> bool:
    return any(each.name.startswith(PREFIX) for each in (path, *path.parents))


def open_to_all(factory: pytest.TempPathFactory, base: Path) -> None:
    """Let the user that runs Postgres through to each folder that is made: the data goes to the disk else, below /var/lib."""
    base.chmod(0o711)
    usual = factory.mktemp

    def mktemp(basename: str, numbered: bool = True) -> Path:  # as pytest's own
        made = usual(basename, numbered)
        made.chmod(0o711)
        return made

    factory.mktemp = mktemp  # type: ignore[method-assign]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Give the memory back; after a failure the next session does."""
    base = Path(session.config.option.basetemp or "/")
    if is_ours(base) and not exitstatus and not hasattr(session.config, "workerinput"):
        shutil.rmtree(base, ignore_errors=True)
