"""The env file: what is read is what was meant, and a write loses nothing."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import dotenv
from ops.errors import Misconfigured, Problem

LINE = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1)


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("X=abc", "abc"),
        ("X=abc\r\n", "abc"),
        ("\ufeffX=abc\n", "abc"),
        ("export X=abc\n", "abc"),
        ("  export   X = abc  \n", "abc"),
        ("X='a b'", "a b"),
        ('X="a b"', "a b"),
        ("X=a b", "a b"),
        ("X=a#b", "a#b"),
        ("X=a #b", "a"),
        ("X='a #b' # c", "a #b"),
        ("X=a=b==", "a=b=="),
        ("X=$HOME", "$HOME"),
        ("X=${HOME}", "${HOME}"),
        ("X='${HOME}'", "${HOME}"),
        ('X="${HOME}"', "${HOME}"),
        ("X=a'b", "a'b"),
        ('X=a"b', 'a"b'),
        (r"X='a\'b\\c'", r"a'b\c"),
        (r"X=a\nb", r"a\nb"),
        ("X=", ""),
        ("X=a\nX=b\n", "b"),
        ("# c\n\nX=é…\n", "é…"),
    ],
)
def test_reads_a_value_as_written(env_file: Path, text: str, value: str) -> None:
    env_file.write_bytes(text.encode())
    assert dotenv.read(env_file) == {"X": value}


def test_an_absent_file_has_no_variables(env_file: Path) -> None:
    assert dotenv.read(env_file) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A=1\nhush hush\n", r"\.env:2: write NAME=VALUE"),
        (b"A=1\n\n# c\nHUSH\n", r"\.env:4: write NAME=VALUE"),
        (b"A='hush\n", r"\.env:1: write NAME=VALUE"),
        (b"=hush\n", r"\.env:1: write NAME=VALUE"),
        (b"A=hush\xff\n", r"\.env is not UTF-8"),
        ("A=hush\n".encode("utf-16"), r"\.env is not UTF-8"),
    ],
)
def test_names_the_line_that_is_no_variable_and_shows_none_of_it(env_file: Path, content: bytes, message: str) -> None:
    env_file.write_bytes(content)
    for act in (lambda: dotenv.read(env_file), lambda: dotenv.write(env_file, "B", "2")):
        with pytest.raises(Misconfigured, match=message) as caught:
            act()
        assert "hush" not in str(caught.value).lower()
    assert env_file.read_bytes() == content


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=f"cannot read {tmp_path}: Is a directory"):
        dotenv.read(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Misconfigured, match=r"cannot read .*/loop"):
        dotenv.read(tmp_path / "loop")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_this_user_may_not_read_is_named(env_file: Path) -> None:
    env_file.write_text("A=1\n", encoding="utf-8")
    env_file.chmod(0)
    with pytest.raises(Misconfigured, match="Permission denied"):
        dotenv.read(env_file)


def test_a_write_keeps_order_comments_and_every_other_line(env_file: Path) -> None:
    env_file.write_text("# top\nexport A=1\n  B = 'two'  # note\n\n# c\nC=3", encoding="utf-8")
    dotenv.write(env_file, "B", "zwei")
    dotenv.write(env_file, "D", "new")
    dotenv.write(env_file, "A", "eins")
    assert env_file.read_text(encoding="utf-8") == "# top\nexport A='eins'\nB='zwei'\n\n# c\nC=3\nD='new'\n"


def test_a_byte_order_mark_does_not_hide_the_first_variable(env_file: Path) -> None:
    env_file.write_bytes(b"\xef\xbb\xbfA=1\nB=2\n")
    dotenv.write(env_file, "A", "3")
    assert dotenv.read(env_file) == {"A": "3", "B": "2"}
    assert env_file.read_bytes().count(b"A=") == 1


def test_a_variable_given_twice_has_one_value_after_a_write(env_file: Path) -> None:
    env_file.write_text("A=1\nA=2\n", encoding="utf-8")
    dotenv.write(env_file, "A", "3")
    assert dotenv.read(env_file) == {"A": "3"}


def test_the_file_ends_up_for_its_owner_only(env_file: Path) -> None:
    for _ in range(2):  # made, then rewritten
        dotenv.write(env_file, "A", "1")
        assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
        env_file.chmod(0o664)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write in the place of another user")
def test_root_leaves_it_to_the_user_whose_folder_it_is(env_file: Path) -> None:
    env_file.write_text("A=1\nB=2\n")
    for path in (env_file.parent, env_file):
        os.chown(path, 65534, 65534)
    for act, *words in ((dotenv.write, "A", "2"), (dotenv.remove, "B")):
        act(env_file, *words)
        assert (env_file.stat().st_uid, env_file.stat().st_mode & 0o777) == (65534, 0o600)
    assert dotenv.read(env_file) == {"A": "2"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write in the place of another user")
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_root_follows_no_link_that_another_user_planted(
    env_file: Path, tmp_path: Path, link: Callable[..., None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("A=1\n", encoding="utf-8")
    victim.chmod(0o644)
    clone = tmp_path / "clone"
    clone.mkdir()
    os.chown(clone, 65534, 65534)
    link(victim, clone / ".env")
    before = os.lstat(victim)
    for act, *words in ((dotenv.write, "A", "2"), (dotenv.remove, "A")):
        with pytest.raises(Problem, match="is a link or not ours: nothing was written to it") as caught:
            act(clone / ".env", *words)
        assert caught.value.code == 1
    after = os.lstat(victim)
    assert (after.st_uid, after.st_mode, victim.read_text()) == (before.st_uid, before.st_mode, "A=1\n")


def test_a_link_stays_a_link(env_file: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real"
    real.parent.mkdir()
    real.write_text("A=1\n", encoding="utf-8")
    env_file.symlink_to(real)
    dotenv.write(env_file, "B", "2")
    assert env_file.is_symlink()
    assert dotenv.read(real) == {"A": "1", "B": "2"}


def test_the_folder_of_a_new_file_is_made(tmp_path: Path) -> None:
    dotenv.write(tmp_path / "a/b/.env", "A", "1")
    assert dotenv.read(tmp_path / "a/b/.env") == {"A": "1"}


@given(value=LINE)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_line_of_text_comes_back_as_it_was_written(tmp_path: Path, value: str) -> None:
    path = tmp_path / ".env"
    path.write_text("# c\nA=1\n", encoding="utf-8")
    dotenv.write(path, "X", value)
    dotenv.write(path, "B", "2")
    assert dotenv.read(path) == {"A": "1", "X": value, "B": "2"}


def test_a_killed_write_leaves_the_old_file_or_the_new_one(env_file: Path) -> None:
    """Killed at twelve moments of a write of half a megabyte."""
    old, new = "o" * 500_000, "n" * 500_000
    code = (
        "import sys; from pathlib import Path; from config import dotenv\n"
        "print('go', flush=True)\n"
        "for value in 'no' * 1000: dotenv.write(Path(sys.argv[1]), 'X', value * 500_000)"
    )
    seen = set()
    for moment in range(12):
        dotenv.write(env_file, "X", old)
        with subprocess.Popen(
            [sys.executable, "-c", code, str(env_file)], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
        ) as writer:
            assert writer.stdout
            writer.stdout.readline()
            time.sleep(0.003 * moment)
            writer.send_signal(signal.SIGKILL)
        found = dotenv.read(env_file)["X"]
        assert found in (old, new)
        assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
        seen.add(found)
    assert old in seen
