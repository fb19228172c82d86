"""What we keep is on the disk before it has its name, and is written to no name that somebody else has planted."""

from __future__ import annotations

import ast
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import paths
from config.settings import load
from ops import own_files
from ops.db.copies import beside
from ops.db.migrations import new
from ops.errors import Misconfigured, Problem
from ops.lambdas.package import archive
from ops.look import saved
from ops.rds import ca
from ops.rds.export import exporting
from tests import source
from tests.test_migrate import forked

Act = Callable[[Path], None]


def dump(place: Path, *, overwrite: bool = True) -> None:
    with beside.open_beside(place, folder=False, overwrite=overwrite) as made:
        made.path.write_text("new", encoding="utf-8")


def state(place: Path) -> None:
    paths.write_private(place, "new")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the disk that lasts, in order: fsync of a file or a folder, and a file's new name."""
    found: list[str] = []
    fsync, replace, path_replace, renamed = os.fsync, os.replace, Path.replace, beside.renamed

    def noted(what: str, usual: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            kind = (
                (" of a folder" if Path(f"/proc/self/fd/{args[0]}").resolve().is_dir() else " of a file")
                if what == "fsync"
                else ""
            )
            found.append(what + kind)
            return usual(*args)

        return call

    monkeypatch.setattr(os, "fsync", noted("fsync", fsync))
    monkeypatch.setattr(os, "replace", noted("rename", replace))
    monkeypatch.setattr(Path, "replace", noted("rename", path_replace))
    monkeypatch.setattr(beside, "renamed", noted("rename", renamed))
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system shows no open files in /proc")
@pytest.mark.parametrize(
    ("act", "there", "order"),
    [
        (dump, False, ["fsync of a file", "rename", "fsync of a folder"]),
        (dump, True, ["fsync of a file", "rename", "fsync of a folder"]),
        (state, True, ["fsync of a file", "rename"]),
    ],
)
def test_what_is_renamed_is_on_the_disk_before(
    tmp_path: Path, calls: list[str], act: Act, there: bool, order: list[str]
) -> None:
    place = tmp_path / "kept"
    if there:
        place.write_text("old", encoding="utf-8")
    calls.clear()
    act(place)
    assert list(dict.fromkeys(calls)) == order
    assert place.read_text(encoding="utf-8") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_planted_name_is_not_written_to(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    theirs, planted = tmp_path / "theirs", tmp_path / "log"
    theirs.write_text("theirs", encoding="utf-8")
    theirs.chmod(0o644)
    link(theirs, planted)
    with pytest.raises(Problem, match="is a link or not ours"):
        own_files.log(planted)
    assert (theirs.read_text(encoding="utf-8"), theirs.stat().st_mode & 0o777) == ("theirs", 0o644)


ROOTS = (Path(__file__).parent / "data" / "rds-roots-ca-central-1.pem").read_text(encoding="ascii")


def roots(place: Path) -> None:
    settings = load({}, {}, place.parent.parent)
    ca.fetch(settings)


def layer(place: Path) -> None:
    archive.write({"a.py": b"new"}, place)


@pytest.mark.parametrize("dies", ["fsync", "replace", "nowhere"])
@pytest.mark.parametrize(("act", "name"), [(state, "kept.json"), (roots, "rds-ca.pem"), (layer, "layer.zip")])
def test_killed_at_any_step_a_file_of_ours_is_the_old_or_the_new(
    tmp_path: Path, act: Act, name: str, dies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """state by paths.write_private, the roots by ca.fetch, a layer by archive.write: each is on the disk before it has its name."""
    place = tmp_path / ".local" / name
    place.parent.mkdir()
    place.write_text("old", encoding="utf-8")
    monkeypatch.setattr(ca, "download", lambda *_: ROOTS)

    def work() -> None:
        if dies != "nowhere":
            setattr(os, dies, lambda *_, **__: os._exit(9))
        act(place)

    assert os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1]) == (0 if dies == "nowhere" else 9)
    assert (place.read_bytes() == b"old") == (dies != "nowhere")
    monkeypatch.setattr(paths, "ABANDONED", -1)  # and nobody else is writing
    act(place)
    assert place.read_bytes() != b"old"
    assert {path.name for path in place.parent.iterdir()} <= {name, ".gitignore"}, "nor is anything left of it"


def test_what_another_run_is_writing_stays(tmp_path: Path) -> None:
    with paths.unfinished(tmp_path / "state.json") as (fd, other):
        os.close(fd)
    strangers = [tmp_path / name for name in ("state.json.inv-new", "state.abcdefgh.new", "other.abcdefgh.inv-new")]
    for path in strangers:
        path.touch()
        os.utime(path, (0, 0))
    paths.write_private(tmp_path / "state.json", "{}")
    assert Path(other).exists()
    os.utime(other, (0, 0))
    paths.write_private(tmp_path / "state.json", "{}")
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", *(path.name for path in strangers)}


@pytest.mark.parametrize("dies", ["fsync", "fchmod", "put_new", "nowhere"])
def test_killed_at_any_step_a_new_migration_is_whole_or_not_there(
    tmp_path: Path, dies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({}, {}, tmp_path)
    folder = settings.migrations

    def work() -> None:
        if dies != "nowhere":
            setattr(beside if dies == "put_new" else os, dies, lambda *_, **__: os._exit(9))
        new.make(settings, "add a")

    assert os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1]) == (0 if dies == "nowhere" else 9)
    assert [path.read_text("utf-8") for path in folder.glob("*.sql")] == [new.TEMPLATE] * (dies == "nowhere")
    monkeypatch.setattr(paths, "ABANDONED", -1)
    made = folder / Path(new.make(settings, "add b").file).name
    assert made.read_text("utf-8") == new.TEMPLATE
    assert made.stat().st_mode & 0o777 == 0o644 & ~beside.umask()
    assert {path.suffix for path in folder.iterdir()} == {".sql"}


@pytest.mark.parametrize(
    ("overwrite", "dies"), [(True, "replace"), (True, "fsync"), (False, "fsync"), (False, "renamed")]
)
def test_a_file_for_people_is_the_old_or_the_new_and_nothing_is_left(
    tmp_path: Path, overwrite: bool, dies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What db.diagram, look --save, the schema file and a first masks file are written by."""
    place = tmp_path / "report.html"
    if overwrite:
        place.write_text("old")
        place.chmod(0o640)

    def work() -> None:
        where = {"replace": Path, "renamed": beside}.get(dies, os)
        setattr(where, dies, lambda *_, **__: os._exit(9))
        beside.write(place, b"new", overwrite=overwrite)

    assert os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1]) == 9
    assert (place.read_text() if place.exists() else None) == ("old" if overwrite else None)
    assert len(list(tmp_path.iterdir())) == 1 + overwrite
    beside.write(place, b"new", overwrite=overwrite)
    assert place.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [place]
    assert place.stat().st_mode & 0o777 == (0o640 if overwrite else 0o666 & ~beside.umask())
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Problem, match=r"report\.html: the disk is full"):
        beside.write(place, b"newer", overwrite=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("kind", ["fifo", "dangling", "folder"])
def test_what_is_no_file_is_neither_waited_for_nor_written_through(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "main.tf"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / "elsewhere")
    for act in (
        lambda: beside.write(place, b"", overwrite=True),
        lambda: saved.write(load({}, {}, tmp_path), ["local"], place),
        lambda: exporting.put(place, "text", beside.open_beside, overwrite=True),
    ):
        with pytest.raises(Misconfigured, match="is there"):
            act()
    assert [path.name for path in tmp_path.iterdir()] == ["main.tf"]


IN_PLACE = {"config/paths.py", "ops/db/copies/beside.py", "ops/adopt/files.py"}
"""What writes a file beside its place and renames it: each knows what a killed run of its own has left."""
OWN_FOLDER = {"ops/sandbox/certificates.py", "ops/targets/embedded/launch.py", "ops/lambdas/package/archive.py"}
"""What names in a folder of ours, where nothing but ours is."""


@source.GROUP
def test_nothing_else_makes_files_beside_a_place() -> None:
    wanted = {"mkstemp", "NamedTemporaryFile", "link", "replace"}
    found = {
        str(path.relative_to(source.SUITE))
        for part in ("config", "ops")
        for path in (source.SUITE / part).rglob("*.py")
        for each in ast.walk(source.tree(path))
        if isinstance(each, ast.Attribute) and each.attr in wanted
        if isinstance(each.value, ast.Name) and each.value.id in ("os", "tempfile")
    }
    assert found == IN_PLACE | OWN_FOLDER


@pytest.mark.parametrize("step", ["renamed", "linked"])
def test_a_new_file_takes_nobodys_name(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if step == "linked":  # a system or a file system that lacks the other
        monkeypatch.setattr(beside, "renamed", lambda *_: False)
    one, two, place = (tmp_path / name for name in ("one", "two", "place"))
    one.write_text("one")
    two.write_text("two")
    assert beside.put_new(one, place)
    assert not beside.put_new(two, place)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("place", "one")]


@pytest.mark.parametrize(("mode", "after"), [(0o600, 0o600), (0o644, 0o600), (0o666, None), (0o620, None)])
def test_a_file_of_ours_is_closed_again_and_not_believed_where_others_may_write(
    tmp_path: Path, mode: int, after: int | None
) -> None:
    path = tmp_path / "state.json"
    path.write_text("{}")
    path.chmod(mode)
    if after is None:
        with pytest.raises(
            Problem, match=r"may be written by others: see what is in it, then chmod 600 it, or remove it"
        ):
            own_files.read(path, dict, "")
        path.chmod(0o600)
    assert own_files.read(path, dict, "") == {}
    assert path.stat().st_mode & 0o777 == (after or 0o600)
    tmp_path.chmod(0o777)  # as all is where a file system has no modes
    path.chmod(0o777)
    assert own_files.read(path, dict, "") == {}


def test_folders_of_ours_are_closed_again(tmp_path: Path) -> None:
    local = paths.local_dir(tmp_path)
    local.chmod(0o777)
    assert paths.local_dir(tmp_path).stat().st_mode & 0o777 == 0o755
    people = paths.private_folder(local / "people")
    assert people.stat().st_mode & 0o777 == 0o700
    people.chmod(0o755)
    assert paths.private_folder(people).stat().st_mode & 0o777 == 0o700
