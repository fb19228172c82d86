"""Results to stdout, talk to stderr, nothing secret to either."""

from __future__ import annotations

import datetime as dt
import io
import json
import sys
from collections.abc import Iterator
from decimal import Decimal

import pytest

from ops import console
from ops.errors import Cancelled, Misconfigured, Problem


@pytest.fixture(autouse=True)
def no_secrets() -> Iterator[None]:
    before = set(console._secrets)
    console._secrets.clear()
    yield
    console._secrets.clear()
    console._secrets.update(before)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:secret@h/db", "postgresql://u:****@h/db"),
        ("see postgres://u:a:b@h:1/db and http://x:y@z/", "see postgres://u:****@h:1/db and http://x:****@z/"),
        ("postgresql://u:p@ss@h/db", "postgresql://u:****@h/db"),
        ("postgresql://:secret@h/db", "postgresql://:****@h/db"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://h:5432/db", "postgresql://h:5432/db"),
        ("https://example.com/a:b", "https://example.com/a:b"),
        ("no url, just words: a@b", "no url, just words: a@b"),
        ("", ""),
    ],
)
def test_the_password_of_a_url_is_masked(text: str, shown: str) -> None:
    assert console.redact(text) == shown


@pytest.mark.parametrize("secret", ["p@ss/w:rd", "100%", "ünïcödé", "a b", "x'y\"z", "tail\\", "abc"])
def test_a_known_secret_is_masked_however_it_is_written(secret: str) -> None:
    from urllib.parse import quote

    console.hide(secret)
    for form in (secret, quote(secret, safe=""), quote(secret)):
        assert console.redact(f"before {form} after") == "before **** after"


def test_a_secret_inside_a_longer_one_does_not_betray_it() -> None:
    console.hide("abc")
    console.hide("abcdef")
    assert console.redact("abcdef abc") == "**** ****"


@pytest.mark.parametrize(
    ("number", "shown"), [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (99, "0, 1, 2 and 96 more")]
)
def test_of_many_names_the_first_are_told_and_how_many_more(number: int, shown: str) -> None:
    assert console.few([str(each) for each in range(number)]) == shown


def test_advice_names_an_option_that_the_task_has_else_what_goes_without() -> None:
    assert console.option("force", "--force goes on", "stop it") == "--force goes on"  # nobody has said which there are
    console.offer(["force", "json"])
    try:
        assert console.option("force", "--force goes on", "stop it") == "--force goes on"
        assert console.option("var", "add --var", "write it out") == "write it out"
    finally:
        console.offer(None)


@pytest.mark.parametrize("word", ["", "ab", "password", "postgres"])
def test_words_that_protect_nothing_are_left_readable(word: str) -> None:
    console.hide(word)
    assert console.redact("postgres: wrong user or password ab") == "postgres: wrong user or password ab"


def test_what_a_server_says_is_text_and_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(f"NOTICE: \x1b]0;steered\x07\u202eis\r\n{'x' * (console.LINE + 7)}")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "NOTICE: \ufffd]0;steered\ufffd\ufffdis"
    assert second == f"{'x' * console.LINE}… (7 more letters)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("NOTICE: hello", "NOTICE: hello"),
        ("NOTICE: a\r\nnote: b\n\n", "NOTICE: a\n  note: b"),
        ("\n".join("x" * console.LINES), "x" + "\n  x" * (console.LINES - 1)),
        ("x\n" * (console.LINES + 7), "x" + "\n  x" * (console.LINES - 1) + "\n  … (7 more lines)"),
    ],
)
def test_no_line_of_a_servers_passes_for_ours(text: str, shown: str) -> None:
    assert console.foreign(text) == shown


def test_results_and_talk_go_apart(capsys: pytest.CaptureFixture[str]) -> None:
    console.hide("hushhush")
    console.result("data")
    console.say("talk hushhush")
    assert capsys.readouterr() == ("data\n", "talk ****\n")


def test_json_has_plain_values_and_times_with_their_offset(capsys: pytest.CaptureFixture[str]) -> None:
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)
    console.as_json({"t": moment, "d": Decimal("1.50"), "n": None, "u": "é"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"t": "2026-01-02T03:04:05+00:00", "d": "1.50", "n": None, "u": "é"}
    assert "é" in out


def test_a_table_is_as_wide_as_its_content_and_shows_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    console.table(("name", "value"), [{"name": "[red]a[/red]", "value": long}, {"name": "b", "value": None}])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name          value".ljust(14), f"[red]a[/red]  {long}", "b"]


def test_an_empty_table_has_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


def test_without_stdout_a_result_fails_and_talk_is_dropped_without_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    console.say("talk")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(Problem, match="no standard output"):
        console.result("x")
    with pytest.raises(Problem, match="no standard output"):
        console.as_json({})
    with pytest.raises(Problem, match="no standard output"):
        console.table(("a",), [])


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"abc\n", "abc"), (b"abc", "abc"), (b"abc\r\n", "abc"), (b" a b \n", " a b "), (b"", ""), (b"a\nb\n", "a\nb")],
)
def test_a_secret_is_all_of_standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes, value: str) -> None:
    stdin(monkeypatch, data)
    assert console.ask_secret("?") == value


def test_a_secret_that_is_not_utf8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"\xff\n")
    with pytest.raises(Misconfigured, match="not UTF-8"):
        console.ask_secret("?")


def test_no_answer_is_no_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"")
    with pytest.raises(Cancelled) as caught:
        console.ask("sure?")
    assert caught.value.code == 130
    stdin(monkeypatch, b" name \n")
    assert console.ask("sure?") == "name"


def test_nobody_is_there_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"")
    assert not console.interactive()
    monkeypatch.setattr(sys, "stdin", None)
    assert not console.interactive()
    assert console.ask_secret("?") == ""


def test_a_long_count_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with console.counting(10, "users") as show:
        show(1)  # too soon
        monkeypatch.setattr(console, "SELDOM", 0.0)
        show(3)
        show(12)
    assert capsys.readouterr().err.splitlines() == ["3 of about 10 users", "12 of about 12 users"]


def test_a_long_count_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with console.counting(10, "users") as show:
        show(5)
    assert "users" in screen.getvalue()
    assert "/10" in screen.getvalue()
