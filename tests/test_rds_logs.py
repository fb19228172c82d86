"""rds.logs and rds.events: what is shown of a log, where it goes on, and what is asked of AWS.

moto has one log file with nothing in it and gives no portions: the front answers for both here, and in the sandbox a real
server's log stands behind them (test_sandbox_instances.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from xml.sax.saxutils import escape

import pytest

from ops import console
from ops.cli import translate
from ops.db.shown import without_values
from ops.errors import Misconfigured, Problem
from ops.rds import create, events, instance
from ops.rds.logs import private, reading
from ops.rds.logs.entries import Reader, read
from ops.rds.logs.reading import Wanted
from tests.fix_aws import Answer, Call, Configure, Front, Hands, error

NAME = "cruddur-db-instance"
AT = "2026-11-30 08:00:00 UTC:10.0.0.5(33344):postgres@cruddur:[123]:"
RAISED, OTHER, GONE = private.RAISED_WORDS, private.UNKNOWN, "DBLogFileNotFoundFault"

# --- without anybody's values ----------------------------------------------------------------

SHOWN = [
    ("LOG:  checkpoint complete: wrote 3 buffers (0.0%)", "LOG:  checkpoint complete: wrote 3 buffers (0.0%)"),
    ("LOG:  statement: select * from users where email = 'zoe@x.com'", "LOG:  statement: select * from users where email = ?"),
    (
        "LOG:  duration: 1.5 ms  execute <unnamed>: update users\n\tset name = 'Zoe'\n\twhere id = 7",
        "LOG:  duration: 1.5 ms  execute <unnamed>: update users set name = ? where id = ?",
    ),
    ("DETAIL:  Parameters: $1 = 'zoe@x.com'", "DETAIL:  ?"),
    ("LOG:  duration: 9.1 ms  plan:\n\tQuery Text: select 'Zoe'\n\tSeq Scan on users", "LOG:  duration: 9.1 ms  plan: ?"),
    ("LOG:  AUDIT: SESSION,1,1,WRITE,INSERT,,,insert into users values ('Zoe'),<none>", "LOG:  AUDIT: SESSION,1,1,WRITE,INSERT,?"),
    ("LOG:  cron job 4 starting: delete from users where name = 'Zoe'", "LOG:  cron job 4 starting: delete from users where name = ?"),
    ("STATEMENT:  create role zoe password 'Zoe'", "STATEMENT:  CREATE ROLE"),
    ('ERROR:  relation "userz" does not exist at character 15', None),
    ('ERROR:  invalid input syntax for type integer: "Zoe"', "ERROR:  invalid input syntax for type integer: ?"),
    ('ERROR:  syntax error at or near "Zoe" at character 9', "ERROR:  syntax error at or near ? at character 9"),
    ("ERROR:  unterminated quoted string at or near \"'Zoe Miller\" at character 8", "ERROR:  unterminated quoted string at or near ? at character 8"),
    ('ERROR:  value "99999999999" is out of range for type integer', "ERROR:  value ? is out of range for type integer"),
    ('ERROR:  invalid byte sequence for encoding "UTF8": 0x5a 0x6f', 'ERROR:  invalid byte sequence for encoding "UTF8": ? ?'),
    ('ERROR:  duplicate key value violates unique constraint "users_email"', 'ERROR:  duplicate key value violates unique constraint "users_email"'),
    ("DETAIL:  Key (email)=(zoe@x.com) already exists.", "DETAIL:  Key (email) = (?) already exists."),
    ("DETAIL:  Failing row contains (7, Zoe).", "DETAIL:  Failing row contains (?)."),
    (
        "DETAIL:  Process 1 waits for ShareLock on transaction 5; blocked by process 2.\n\tProcess 1: update users set name = 'Zoe'",
        "DETAIL:  Process 1 waits for ShareLock on transaction 5; blocked by process 2.",
    ),
    ('FATAL:  password authentication failed for user "zoe"', 'FATAL:  password authentication failed for user "zoe"'),
    ('FATAL:  no pg_hba.conf entry for host "10.0.0.5", user "zoe", database "cruddur", no encryption', None),
    ('CONTEXT:  COPY users, line 7, column email: "zoe@x.com"', "CONTEXT:  COPY users, line 7, column email"),
    ("CONTEXT:  SQL statement \"insert into users values ('Zoe')\"", "CONTEXT:  ?"),
    ("QUERY:  select name from users where name = 'Zoe'", "QUERY:  select name from users where name = ?"),
    ('ERROR:  malformed array literal: "["Zoe Miller","Max"]"', "ERROR:  malformed array literal: ?"),
    ('ERROR:  invalid input syntax for type integer: "{"name": "Zoe", "column "Zoe"": 1}"', "ERROR:  invalid input syntax for type integer: ?"),
    ('ERROR:  column "zoe@x.com" does not exist at character 35', "ERROR:  column ? does not exist at character 35"),
    ('ERROR:  column "Zoe Miller" does not exist', "ERROR:  column ? does not exist"),
    ("ERROR:  there is no parameter $1 at character 36", None),
    ('ERROR:  bind message supplies 1 parameters, but prepared statement "" requires 2', None),
    ("ERROR:  no room for 7 of 9 at internal character 3", "ERROR:  no room for ? of ? at internal character 3"),
    ('HINT:  There is a column named "id" in table "users", but it cannot be referenced from this part of the query.', None),
    ('HINT:  Perhaps you meant to reference the column "users.email".', None),
    ("CONTEXT:  unnamed portal with parameters: $1 = 'Zoe'", "CONTEXT:  unnamed portal with parameters"),
    ("CONTEXT:  unnamed portal parameter $1 = '...'", "CONTEXT:  unnamed portal parameter $1"),
    ("what an extension has printed of Zoe", OTHER),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), SHOWN)
def test_an_entry_is_shown_without_values(written: str, expected: str | None) -> None:
    prefix = "" if expected == OTHER else AT
    [entry] = read(f"{prefix}{written}\n")
    told = str(private.shown(entry, without_values))
    assert told == prefix + (written if expected is None else expected)
    assert "Zoe" not in told


def test_a_line_of_another_form_is_left_out_behind_an_entry_too() -> None:
    """What goes on begins with a tab; a server of another language has other words."""
    [entry] = read(f"{AT}LOG:  one\n\ttwo\n{AT}FEHLER:  »Zoe«\nof Zoe\n")
    assert str(private.shown(entry, without_values)).split("\n") == [f"{AT}LOG:  one two", OTHER, OTHER]


def test_what_a_function_raises_is_not_shown_and_its_place_is() -> None:
    text = (
        f"{AT}ERROR:  Zoe Miller is blocked\n{AT}DETAIL:  since Monday\n{AT}HINT:  ask Zoe\n"
        f"{AT}CONTEXT:  PL/pgSQL function check_person(text) line 3 at RAISE\n{AT}STATEMENT:  select check_person('Zoe')\n"
    )
    [entry] = read(text)
    assert str(private.shown(entry, without_values)).split("\n") == [
        f"{AT}ERROR:  {RAISED}",
        f"{AT}DETAIL:  ?",
        f"{AT}HINT:  ?",
        f"{AT}CONTEXT:  PL/pgSQL function check_person(text) line 3 at RAISE",
        f"{AT}STATEMENT:  select check_person(?)",
    ]


def test_entries_are_the_same_wherever_a_piece_of_the_log_ends() -> None:
    text = f"\tof before\n{AT}LOG:  one\n{AT}ERROR:  two\n\tlines\n{AT}STATEMENT:  select\n\t1\n{AT}LOG:  three\n"
    whole = [str(entry) for entry in read(text)]
    assert len(whole) == 4
    for cut in range(len(text)):
        reader = Reader()
        found = [*reader.feed(text[:cut]), *reader.feed(text[cut:]), *reader.flush(whole=True)]
        assert [str(entry) for entry in found] == whole


# --- from file to file -----------------------------------------------------------------------


@dataclass
class LogsOfRds:
    """The log files of an instance, answered as RDS documents it."""

    files: dict[str, str] = field(default_factory=dict)
    most: int = 10_000
    """Letters of one portion."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, call: Call) -> Answer | None:
        if call.action == "DescribeDBLogFiles":
            rows = "".join(
                f"<DescribeDBLogFilesDetails><LogFileName>{name}</LogFileName><LastWritten>{number}</LastWritten></DescribeDBLogFilesDetails>"
                for number, name in enumerate(self.files)
            )
            return self.said(call, f"<DescribeDBLogFiles>{rows}</DescribeDBLogFiles>")
        if call.action != "DownloadDBLogFilePortion":
            return None
        name, marker, lines = (call.params.get(key, "") for key in ("LogFileName", "Marker", "NumberOfLines"))
        self.asked.append((name, marker, lines))
        if name not in self.files:
            return error(GONE, "404 Not Found")
        whole = self.files[name]
        text = whole[int(marker) :][: self.most] if marker else "".join(whole.splitlines(keepends=True)[-int(lines) :])
        end = int(marker) + len(text) if marker else len(whole)
        pending = str(end < len(whole)).lower()
        return self.said(
            call,
            f"<LogFileData>{escape(text)}</LogFileData><Marker>{end}</Marker><AdditionalDataPending>{pending}</AdditionalDataPending>",
        )

    @staticmethod
    def said(call: Call, body: str) -> Answer:
        name = call.action
        return "200 OK", f"<{name}Response><{name}Result>{body}</{name}Result></{name}Response>".encode()


@pytest.fixture
def logs(cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> LogsOfRds:
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    create.create_or_resume(configure(), cloud.aws(configure()), hands.clock, adopt=False)
    cloud.forget()
    cloud.before = made = LogsOfRds()
    return made


Show = Callable[..., None]


@pytest.fixture
def show(cloud: Front, configure: Configure) -> Show:
    def act(lines: int = 100, then: Iterable[Callable[[], object]] = (), **wanted: Any) -> None:
        """`then` has what happens at each pause of --follow; after the last there is a Ctrl-C."""
        steps = iter(then)

        def pause(_: float) -> None:
            try:
                next(steps)()
            except StopIteration:
                raise KeyboardInterrupt from None

        settings = configure()
        reading.show(settings, cloud.aws(settings), Wanted(lines, **wanted), without_values, pause)

    return act


def log(*words: str) -> str:
    return "".join(f"{AT}LOG:  {word}\n" for word in words)


def test_the_last_lines_are_those_of_the_newest_files(
    logs: LogsOfRds, show: Show, cloud: Front, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.files = {
        "error/postgresql.log.2026-11-30-07": log("a", "b"),
        "error/postgresql.log.2026-11-30-08": log("c"),
        "error/postgresql.log.2026-11-30-08.csv": "the same again",
        "error/postgres.log": "of the start",
    }
    show(lines=2)
    assert capsys.readouterr().out == log("b", "c")
    show(lines=1)
    assert capsys.readouterr().out == log("c")
    show(file="error/postgresql.log.2026-11-30-07")
    assert capsys.readouterr().out == log("a", "b")
    assert logs.asked[0] == ("error/postgresql.log.2026-11-30-08", "", "2")
    assert cloud.writes == []


def test_it_is_followed_through_portions_and_over_the_end_of_a_file_and_nothing_is_lost_or_twice(
    logs: LogsOfRds, show: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = (f"error/postgresql.log.2026-11-30-0{hour}" for hour in (7, 8, 9))
    logs.files = {first: log("before", "0")}
    logs.most = 150  # an entry is more often than not in two portions

    def add(name: str, *words: str) -> Callable[[], None]:
        return lambda: logs.files.update({name: logs.files.get(name, "") + log(*words)})

    def rotate_twice() -> None:
        add(first, "5")()
        add(second, "6", "7")()
        add(third, "8")()

    steps = [add(first, "1", "2"), lambda: None, add(first, "3", "4"), rotate_twice, add(third, "9"), lambda: None]
    with pytest.raises(KeyboardInterrupt):
        show(lines=1, then=steps, follow=True)
    out, err = capsys.readouterr()
    assert out == log(*"0123456789")
    assert [line for line in err.splitlines() if "goes on" in line] == [
        f"the log goes on in {name}" for name in (second, third)
    ]
    assert ("error/postgresql.log.2026-11-30-08", "0", "") in logs.asked


def test_a_service_that_is_busy_is_asked_again_and_said_once(
    logs: LogsOfRds, show: Show, cloud: Front, capsys: pytest.CaptureFixture[str], pauses: None
) -> None:
    logs.files = {"error/postgresql.log.x": log("a")}

    def busy() -> None:
        cloud.before = lambda call: error("Throttling") if "Log" in call.action else None

    def back() -> None:
        cloud.before = logs
        logs.files["error/postgresql.log.x"] += log("b")

    with pytest.raises(KeyboardInterrupt):
        show(then=[busy, busy, back, lambda: None], follow=True)
    out, err = capsys.readouterr()
    assert out == log("a", "b")
    assert err.count("the log is asked again") == 1


def test_a_portion_that_came_before_one_failed_is_not_shown_again(
    logs: LogsOfRds, show: Show, cloud: Front, capsys: pytest.CaptureFixture[str], pauses: None
) -> None:
    name, busy = "error/postgresql.log.x", True
    logs.files, logs.most = {name: log("0")}, len(log("1"))

    def once(call: Call) -> Any:
        third = call.action == "DownloadDBLogFilePortion" and call.params.get("Marker") == str(len(log("0", "1", "2")))
        return error("Throttling") if busy and third else logs(call)

    def more() -> None:
        cloud.before = once
        logs.files[name] += log("1", "2", "3")

    def back() -> None:
        nonlocal busy
        busy = False

    with pytest.raises(KeyboardInterrupt):
        show(then=[more, back, lambda: None], follow=True)
    assert capsys.readouterr().out == log(*"0123")


def test_what_steers_a_terminal_stays_out_of_it(
    logs: LogsOfRds, show: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    """U+009B begins a sequence as ESC [ does; XML, in which RDS answers, has no room for ESC itself."""
    logs.files = {"error/postgresql.log.x": f"{AT}LOG:  \u009b2J connection\n"}
    for values in (False, True):
        show(values=values)
        assert capsys.readouterr().out == f"{AT}LOG:  \ufffd2J connection\n"
    assert "\x1b" not in str(console.harmless("\x1b[2J"))


def test_values_are_shown_where_they_are_asked_for(
    logs: LogsOfRds, show: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{AT}ERROR:  no\n{AT}STATEMENT:  select 'Zoe'\n\tfrom users\n"
    logs.files = {"error/postgresql.log.x": text}
    show(values=True)
    assert capsys.readouterr().out == text
    show(json=True)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "at": "2026-11-30T08:00:00+00:00",
        "file": "error/postgresql.log.x",
        "level": "ERROR",
        "text": "no\nSTATEMENT: select ? from users",
    }


def test_lines_that_begin_within_an_entry_begin_with_the_next(
    logs: LogsOfRds, show: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.files = {"error/postgresql.log.x": f"{AT}LOG:  statement: select\n\t'Zoe'\n{log('a')}"}
    show(lines=2)
    assert capsys.readouterr().out == log("a")


REFUSED = [
    ({"file": "none"}, Misconfigured, f"{NAME} has no log file none: it has error/postgresql.log.x"),
    ({"file": "a.csv"}, Misconfigured, "--file a.csv: what of it is people's data is not told apart in this format"),
]


@pytest.mark.parametrize(("wanted", "kind", "words"), REFUSED)
def test_a_file_that_is_not_there_or_not_read_is_said(
    logs: LogsOfRds, show: Show, wanted: dict[str, str], kind: type[Problem], words: str
) -> None:
    logs.files = {"error/postgresql.log.x": ""}
    with pytest.raises(kind) as refused:
        show(**wanted)
    assert str(refused.value).startswith(words)


def test_a_file_of_another_form_is_said_to_be_one(
    logs: LogsOfRds, show: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.files = {"error/pg_upgrade_precheck.log": "Checking for Zoe\nfatal\n"}
    show()
    out, err = capsys.readouterr()
    assert (out, "its lines are of another form" in err, "Zoe" in err) == ("", True, False)
    show(values=True)
    assert "Checking for Zoe" in capsys.readouterr().out


def test_nothing_yet_is_said(logs: LogsOfRds, show: Show, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Problem, match="has no log file yet"):
        show()
    logs.files = {"error/postgresql.log.x": ""}
    show()
    assert "nothing was logged yet; --follow waits for it" in capsys.readouterr().err


@pytest.mark.parametrize("act", ["logs", "events"])
def test_no_instance_no_right_and_one_that_is_not_ready_are_each_one_line(
    logs: LogsOfRds, show: Show, cloud: Front, configure: Configure, act: str
) -> None:
    settings = configure()
    does = show if act == "logs" else lambda: events.find(settings, cloud.aws(settings), 24)
    last = "DescribeDBLogFiles" if act == "logs" else "DescribeEvents"

    def refusing(action: str, code: str) -> None:
        cloud.before = lambda call: error(code) if call.action == action else logs(call)

    for action, code, words in (
        (
            "DescribeDBInstances",
            "DBInstanceNotFound",
            f"there is no instance {NAME} in ca-central-1: inv rds.create makes it",
        ),
        (last, "AccessDenied", f"AWS does not permit {last}: ask for the rights in config/policies"),
        (last, "DBInstanceNotReady", "wait until it is available (inv rds.status), then run this again"),
    ):
        refusing(action, code)
        with pytest.raises(Exception) as refused:
            does()
        exit = translate(refused.value)
        assert exit is not None, refused.value
        said = str(exit.message)
        assert (exit.code, words in said, "\n" in said) == (2 if "no instance" in said else 1, True, False), said


# --- events ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0", "337", "x", "-1", "1.5", ""])
def test_hours_are_those_that_aws_keeps(text: str) -> None:
    with pytest.raises(Misconfigured, match="give a whole number from 1 to 336"):
        events.read_hours(text)


@pytest.mark.parametrize("text", ["0", "10001", "x", ""])
def test_lines_are_as_many_as_rds_gives(text: str) -> None:
    with pytest.raises(Misconfigured, match="give a whole number from 1 to 10000"):
        reading.read_lines(text)


def test_events_of_the_instance_and_its_snapshots_come_in_pages_newest_last(
    cloud: Front, configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.rds.ca.fetch", lambda _: None)
    settings = configure()
    aws = cloud.aws(settings)
    create.create_or_resume(settings, aws, hands.clock, adopt=False)
    instance.take_snapshot(aws, settings.rds, "mine", hands.clock)
    cloud.forget()
    begun = datetime(2026, 11, 30, 8, tzinfo=timezone.utc)
    told = {
        "db-instance": [(NAME, 0), (NAME, 4), (NAME, 2)],
        "db-snapshot": [
            ("mine", 1),
            ("theirs", 5),
            (f"rds:{NAME}-2026-11-30-05-00", 3),
            (f"rds:{NAME}-two-2026-11-30-05-00", 6),
        ],
    }

    def page(call: Call) -> Answer | None:
        if call.action != "DescribeEvents":
            return None
        at = int(call.params.get("Marker", "0"))
        every = told[call.params["SourceType"]]
        name, minute = every[at]
        row = (
            f"<Event><SourceIdentifier>{name}</SourceIdentifier><Message>said {minute}</Message><EventCategories/>"
            f"<Date>{(begun + timedelta(minutes=minute)).isoformat()}</Date></Event>"
        )
        more = f"<Marker>{at + 1}</Marker>" if at + 1 < len(every) else ""
        return LogsOfRds.said(call, f"{more}<Events>{row}</Events>")

    cloud.before = page
    found = events.find(settings, aws, 48)
    assert [(one.message, one.name) for one in found] == [
        ("said 0", NAME),
        ("said 1", "mine"),
        ("said 2", NAME),
        ("said 3", f"rds:{NAME}-2026-11-30-05-00"),
        ("said 4", NAME),
    ]
    assert events.table_row(found[1]) == {"at": "2026-11-30 08:01:00 UTC", "of": "snapshot mine", "event": "said 1"}
    asked = [call.params for call in cloud.calls if call.action == "DescribeEvents"]
    assert {params["Duration"] for params in asked} == {"2880"}
    assert {params.get("SourceIdentifier") for params in asked if params["SourceType"] == "db-instance"} == {NAME}
    assert cloud.writes == []
