"""Which git branch is checked out, what its database is called, and from which one it was begun: all by git's own files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from config.declared import BUILT_IN, declared
from config.settings import load
from config.targets import Target
from ops.db.branches import names
from ops.errors import Misconfigured, Problem
from ops.targets import git_branch, identity
from tests.fix_git import commit, git, repository

LONG = "x" * 200
NAMES = [
    ("cruddur", "feature/Add-LOGIN", r"cruddur_feature_add_login_[0-9a-f]{10}"),
    ("cruddur", "äöü", r"cruddur_[0-9a-f]{10}"),
    ("cruddur", LONG, r"cruddur_x+_[0-9a-f]{10}"),
    ("Crüddur's", "fix--it__next", r"Crüddur's_fix_it_next_[0-9a-f]{10}"),
    ("ü" * 28, "a/" + LONG, r"ü{12}_a_x+_[0-9a-f]{10}"),
    ("x" * 57, "b", r"x{24}_b_[0-9a-f]{10}"),
    ("cruddur", "a]b'c\"d;--", r"cruddur_a_b_c_d_[0-9a-f]{10}"),
    ("cruddur", "b\udcffd", r"cruddur_b_d_[0-9a-f]{10}"),
]


@pytest.mark.parametrize(("trunk", "branch", "expected"), NAMES)
def test_a_name_tells_the_branch_and_leaves_room_beside_it(trunk: str, branch: str, expected: str) -> None:
    name = git_branch.database_of(trunk, branch)
    assert re.fullmatch(expected, name)
    assert all(len((name + suffix).encode()) <= 63 for suffix in identity.SUFFIXES)
    assert identity.base(name) == name
    row = {"datname": name, "comment": git_branch.stamped("it's [inv: branch old of 00000000]", branch, "0123abcd")}
    assert row["comment"] == f"it's [inv: branch {git_branch.shown(branch)} of 0123abcd]"
    assert git_branch.is_ours(trunk, row) is ("\udcff" not in branch)
    assert not git_branch.is_ours("other", row)
    assert not git_branch.is_ours(trunk, {**row, "datname": "somebodys"})


def test_no_two_branches_share_a_database() -> None:
    branches = ["a/b", "a-b", "a_b", "A/b", "a/b/", LONG + "a", LONG + "b", "ä", "ö", "__next", "next"]
    assert len({git_branch.database_of(trunk, each) for trunk in ("x", "y") for each in branches}) == 2 * len(branches)


# --- what is checked out -----------------------------------------------------------------------------


def on_feature(root: Path) -> Path:
    git(root, "switch", "-q", "-c", "feature/A")
    return root


def unborn(root: Path) -> Path:
    git(root, "switch", "-q", "--orphan", "feature/A")
    return root


def detached(root: Path) -> Path:
    git(on_feature(root), "checkout", "-q", "--detach")
    return root


def detached_twice(root: Path) -> Path:
    commit(on_feature(root), "file", "second")
    git(root, "tag", "v1")
    git(root, "checkout", "-q", "v1")
    git(root, "checkout", "-q", "main~0")
    return root


def rebasing(root: Path, *how: str) -> Path:
    commit(on_feature(root), "file", "mine")
    git(root, "switch", "-q", "main")
    commit(root, "file", "theirs")
    git(root, "switch", "-q", "feature/A")
    git(root, "rebase", *how, "main", fails=True)
    return root


def applying(root: Path) -> Path:
    return rebasing(root, "--apply")


def rebasing_elsewhere(root: Path) -> Path:
    """`git rebase main feature/A` from main: HEAD's last move began at main."""
    commit(on_feature(root), "file", "mine")
    git(root, "switch", "-q", "main")
    commit(root, "file", "theirs")
    git(root, "rebase", "main", "feature/A", fails=True)
    return root


def bisecting(root: Path) -> Path:
    on_feature(root)
    for text in ("second", "third", "fourth"):
        commit(root, "file", text)
    git(root, "bisect", "start", "HEAD", "HEAD~3")
    return root


def worktree(root: Path) -> Path:
    git(root, "worktree", "add", "-q", "-b", "feature/A", "../tree")
    return root.parent / "tree"


def worktree_detached(root: Path) -> Path:
    tree = worktree(root)
    git(root, "switch", "-q", "-c", "other")
    git(tree, "switch", "-q", "-c", "second")
    git(tree, "switch", "-q", "feature/A")
    git(tree, "checkout", "-q", "--detach")
    return tree


def submodule(root: Path) -> Path:
    inner = repository(root.parent / "inner")
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    git(root / "sub", "switch", "-q", "-c", "feature/A")
    return root / "sub"


def folder_below(root: Path) -> Path:
    (on_feature(root) / "backend" / "db").mkdir(parents=True)
    return root / "backend" / "db"


def by_reftable(root: Path) -> Path:
    git(on_feature(root), "refs", "migrate", "--ref-format=reftable")
    return root


STATES = [
    on_feature, unborn, detached, detached_twice, rebasing, applying, rebasing_elsewhere, bisecting, worktree,
    worktree_detached, submodule, folder_below, by_reftable,
]  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_the_branch_that_is_checked_out_or_was_last(tmp_path: Path, state: Callable[[Path], Path]) -> None:
    if (
        state is by_reftable
        and subprocess.run(["git", "refs", "migrate", "-h"], capture_output=True, check=False).returncode == 1
    ):
        pytest.skip("this git has no reftable")
    place = state(repository(tmp_path / "repo"))
    found = git_branch.find(place)
    assert found
    assert found.branch() == "feature/A"
    if shown := git(place, "branch", "--show-current"):
        assert shown == "feature/A"
    settings = load({"db": {"per_branch": "yes"}}, {}, place)
    target = Target("local", "CONNECTION_URL", {"host": "127.0.0.1", "dbname": "cruddur"})
    followed = git_branch.followed(settings, target)
    assert (followed.branch, followed.trunk) == ("feature/A", "cruddur")
    assert followed.dbname == git_branch.database_of("cruddur", "feature/A")
    assert git_branch.main_of(followed) == target


@pytest.mark.parametrize(
    ("more", "params", "words"),
    [
        ({"per_branch": "no"}, {}, ""),
        ({}, {"host": "db.example.com"}, ""),
        ({}, {}, "switch -q main"),
        ({}, {}, "switch -q -c master"),
    ],
)
def test_what_stays_with_the_main_database(
    tmp_path: Path, more: dict[str, str], params: dict[str, str], words: str
) -> None:
    root = on_feature(repository(tmp_path / "repo"))
    if words:
        git(root, *words.split())
    settings = load({"db": {"per_branch": "yes", **more}}, {}, root)
    for name in ("local", "docker", "prod") if not words and not params and not more else ("local",):
        address = {"host": "127.0.0.1", "dbname": "cruddur", **params}
        target = Target(name, "CONNECTION_URL", address, declared=BUILT_IN[name])
        assert git_branch.followed(settings, target) == target


@pytest.mark.parametrize("name", ["docker", "prod", "staging"])
def test_no_other_target_follows(tmp_path: Path, name: str) -> None:
    settings = load({"db": {"per_branch": "yes"}}, {}, on_feature(repository(tmp_path / "repo")))
    known = declared({"staging": {}})[0][name]
    target = Target(name, "X", {"host": "127.0.0.1", "dbname": "cruddur"}, declared=known)
    assert git_branch.followed(settings, target) == target


def test_without_a_repository_nothing_is_followed(tmp_path: Path) -> None:
    settings = load({"db": {"per_branch": "yes"}}, {}, tmp_path)
    target = Target("local", "X", {"host": "127.0.0.1", "dbname": "cruddur"})
    assert git_branch.followed(settings, target) == target
    with pytest.raises(Misconfigured, match="is in no git repository"):
        names.repository_of(settings)


def test_the_main_branch_is_what_origin_says(tmp_path: Path) -> None:
    repository(tmp_path / "origin", "develop")
    git(tmp_path, "clone", "-q", "origin", "repo")
    found = git_branch.find(tmp_path / "repo")
    assert found
    assert (found.branch(), found.main()) == ("develop", "develop")
    assert [found.is_main(name) for name in ("develop", "main", "x")] == [True, False, False]


def test_worktrees_are_one_clone_and_another_clone_is_not(tmp_path: Path) -> None:
    root = repository(tmp_path / "repo")
    tree = worktree(root)
    git(tmp_path, "clone", "-q", "repo", "other")
    one, two, three = (git_branch.find(path) for path in (root, tree, tmp_path / "other"))
    assert one
    assert two
    assert three
    assert one.clone == two.clone != three.clone
    assert names.branches(one) == names.branches(two) == {"main", "feature/A"}


# --- where it was begun ------------------------------------------------------------------------------

BEGUN = [
    ("switch -q -c a; switch -q main; switch -q -c b", "main"),
    ("switch -q -c a; switch -q -c b", "a"),
    ("switch -q -c a; switch -q main; branch b a; switch -q b", "a"),
    ("switch -q -c a; switch -q main; switch -q -c b a", "a"),
    ("checkout -q --detach; switch -q -c b", ""),
    ("switch -q -c a; worktree add -q -b b ../tree", ""),
    ("switch -q -c a; branch -m b", ""),
    ("switch -q -c b; pack-refs --all", "main"),
]


@pytest.mark.parametrize(("words", "expected"), BEGUN)
def test_from_which_branch_one_was_begun(tmp_path: Path, words: str, expected: str) -> None:
    root = repository(tmp_path / "repo")
    for each in words.split("; "):
        git(root, *each.split())
    found = git_branch.find(root)
    assert found
    assert names.begun_from(found, "b") == expected
    assert "b" in names.branches(found)


def test_a_branch_must_be_there(tmp_path: Path) -> None:
    root = unborn(repository(tmp_path / "repo"))
    found = git_branch.find(root)
    assert found
    assert names.chosen(found, "") == names.chosen(found, "feature/A") == "feature/A"
    with pytest.raises(Misconfigured, match="there is no git branch nope: git branch nope makes it"):
        names.chosen(found, "nope")
    (root / ".git" / "config").write_text("[broken", encoding="utf-8")
    with pytest.raises(Problem, match="git for-each-ref fails"):
        names.branches(found)


def test_what_the_main_branch_has_of_a_folder(tmp_path: Path) -> None:
    root = repository(tmp_path / "repo")
    folder = root / "sql" / "my migrations"
    folder.mkdir(parents=True)
    commit(root, "sql/my migrations/1_a.sql", "a")
    found = git_branch.find(root)
    assert found
    assert names.on_main(found, folder) is None
    on_feature(root)
    commit(root, "sql/my migrations/2_ü.sql", "b")
    assert names.on_main(found, folder) == {"1_a.sql"}
    assert names.on_main(found, tmp_path) is None
