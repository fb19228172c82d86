"""The comparisons of inv bench: what they measure, and the table they write."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import compare, measure, peers, people, place, quota, report, stall, startup, suite
from bench.measure import Command, Comparison, Machine, Result, Side, Unavailable
from bench.signup import STORED
from config.lambdas import ENOUGH_MB
from config.settings import load
from ops.errors import Misconfigured, Problem
from tests.fix_cli import SUITE

MACHINE = Machine(2, 8 << 30, "Linux x86_64", "3.12.1")


def sh(text: str, folder: Path, **kwargs: Any) -> Command:
    return Command(["sh", "-c", text], folder, **kwargs)


def test_a_command_is_measured_without_what_measures_it(tmp_path: Path) -> None:
    ballast = b"x" * 200_000_000
    [took] = sh("sleep 0.5", tmp_path)()
    assert len(ballast) > took.memory > 0
    assert took.memory < 50_000_000
    assert took.seconds >= 0.5
    assert took.cpu < took.seconds / 2  # waiting is no work


def test_what_is_measured_is_not_watched_by_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "{}")
    command = sh('test -z "${COVERAGE_PROCESS_CONFIG+set}"', tmp_path)
    assert len(command()) == 1
    assert place.output(command) == ""


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"^sh -c echo no >&2; exit 3 exits with 3: no$"):
        sh("echo no >&2; exit 3", tmp_path)()
    with pytest.raises(Problem, match="no-such-program"):
        Command(["no-such-program"], tmp_path)()


def test_sides_take_turns_after_a_run_that_does_not_count(tmp_path: Path) -> None:
    order: list[str] = []
    ours, theirs = (
        sh("sleep 0.1" if name == "a" else "true", tmp_path, before=lambda n=name: order.append(n)) for name in "ab"
    )
    found = measure.run("x", Comparison("a", ours, {"b": theirs}, {"b": 0.0}), 3, warm=True)
    assert order == ["a", "b"] * 4
    mine, other = found.sides
    assert mine.least_seconds <= mine.figure_seconds <= mine.most_seconds
    assert other.ratio == mine.figure_seconds / other.figure_seconds
    assert other.reached is False
    assert mine.reached is None
    order.clear()
    measure.run("x", Comparison("a", ours), 1, warm=False)
    assert order == ["a"]


def test_what_takes_nothing_is_within_every_bound() -> None:
    found = measure.run(
        "x", Comparison("a", measure.Told(float), {"1 s": measure.Told(lambda: 1.0)}, {"1 s": 1}), 1, warm=False
    )
    assert [side.ratio for side in found.sides] == [1.0, 0.0]
    assert found.sides[1].reached


def test_memory_may_be_the_target(tmp_path: Path) -> None:
    found = measure.run("x", Comparison("a", sh("true", tmp_path), memory=1 << 40), 1, warm=False)
    assert found.sides[0].reached
    assert report.target(found.sides[0]) == "1048576 MB: reached"


def result(name: str, seconds: float) -> Result:
    def side(label: str, figure: float, reach: float | None) -> Side:
        reached = None if reach is None else seconds / figure <= reach
        memory = 5 << 20
        return Side(label, figure, seconds, seconds, seconds, memory, seconds / figure, reach, None, reached, "")

    sides = [side("ours", seconds, None), side("a | b", 2.0, 0.5)]
    return Result(name, f"inv {name}", "median", 3, sides, f"Why {name}.", {"x": "1"})


def test_the_table_keeps_what_was_not_measured_this_time(tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    file.write_text(
        "top\n<!-- table -->\n<!-- end of table -->\nmiddle\n<!-- notes -->\n<!-- end of notes -->\nend\n",
        encoding="utf-8",
    )
    report.write(file, [result("late", 1.0), result("early", 3.0)], MACHINE, ["early", "late"])
    before = file.read_text(encoding="utf-8")
    report.write(file, [result("late", 4.0)], replace(MACHINE, cpus=64), ["early", "late"])
    after = file.read_text(encoding="utf-8")
    assert [line for line in after.splitlines() if "early" in line] == [
        line for line in before.splitlines() if "early" in line
    ]
    assert "| `late` | inv late | 4000 ms | 4000 ms to 4000 ms | 4000 ms | 5 MB |  |  |  |" in after
    assert "| `late` | a \\| b | 2000 ms | 4000 ms to 4000 ms | 4000 ms | 5 MB | 2.00 | 0.50: missed |  |" in after
    assert after.count("`late`") == 3
    assert after.index("`early`") < after.index("`late`")
    assert "3 runs of each side; 64 CPUs, 8 GB, Linux x86_64, Python 3.12.1; x 1. Why late." in after
    assert [line for line in after.splitlines() if line in {"top", "middle", "end"}] == ["top", "middle", "end"]
    report.write(file, [], MACHINE, ["early", "late"])
    assert file.read_text(encoding="utf-8") == after


def test_a_document_without_its_table_is_said(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(Misconfigured, match="has lost its line <!-- table -->"):
        report.write(tmp_path / "performance.md", [], MACHINE, [])


def test_tiny_figures_are_not_written(root: Path) -> None:
    with pytest.raises(Misconfigured, match="--write with --tiny"):
        compare.main(load({}, {}, root), [], 1, tiny=True, write=True, json=False)
    with pytest.raises(Misconfigured, match="--only no: there is no such comparison, use list, complete, alone, setup"):
        compare.main(load({}, {}, root), ["no"], 1, tiny=True, write=False, json=False)


@pytest.mark.nightly  # it makes an instance and measures, for minutes
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="shares of a processor are Linux's cgroups")
def test_a_cold_sign_up_takes_half_of_what_cognito_waits_at_most() -> None:
    """By either login, under the share of a processor that comes with the memory of the settings."""
    settings = load({}, {}, SUITE)
    assert settings.lambdas.memory_mb == ENOUGH_MB
    with place.opened(settings, tiny=False) as at:
        try:
            comparison = quota.cold(at)
        except Unavailable as reason:
            pytest.skip(str(reason))
        ways = replace(comparison, beside={STORED: comparison.beside[STORED]})
        sides = measure.run("cold-quota", ways, 5, warm=False).sides
    for side in sides:
        print(f"{side.side}: {side.least_seconds:.2f} to {side.most_seconds:.2f} s, median {side.figure_seconds:.2f} s")
        assert side.figure_seconds + quota.BEFORE_PYTHON < quota.WITHIN


def test_what_cannot_join_its_group_is_not_measured_without_a_share(tmp_path: Path) -> None:
    folder = tmp_path / "of a user's"  # paths are quoted
    folder.mkdir()
    for group, code, said in ((folder, 0, "started"), (folder / "gone", 1, "")):
        program = quota.starter(folder, group / "cgroup.procs", Path(sys.executable))
        done = subprocess.run([program, "-c", "print('started')"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (code, said)
    assert (folder / "cgroup.procs").read_text(encoding="ascii").strip().isdigit()


def test_only_a_share_that_cannot_be_set_is_a_reason_to_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails later, while the share is held, is a failure."""
    monkeypatch.setattr(quota, "UNIFIED", tmp_path)
    monkeypatch.setattr(quota, "BY_KIND", tmp_path)
    for _ in ("by kind", "unified"):
        with pytest.raises(FileNotFoundError), quota.hold(0.5):
            (tmp_path / "none").read_text(encoding="ascii")
        (tmp_path / "cgroup.controllers").touch()
    monkeypatch.setattr(quota, "UNIFIED", tmp_path / "none")
    monkeypatch.setattr(quota, "BY_KIND", tmp_path / "none")
    with pytest.raises(Unavailable, match=r"no share of a processor can be set here \(No such file.*be root on Linux"):
        with quota.hold(0.5):
            pass


def test_a_peer_that_cannot_be_had_is_a_reason(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "none", ("no-such-package-anywhere",))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    with pytest.raises(Unavailable, match=r"none cannot be installed: .*no-such-package-anywhere"):
        peers.installed(load({}, {}, root), "none")
    with pytest.raises(Unavailable):  # what was left of it is not taken for it
        peers.installed(load({}, {}, root), "none")
    wheel = tmp_path / "none-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("none-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: none\nVersion: 1.0\n")
        file.writestr("none-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("none-1.0.dist-info/RECORD", "")
    monkeypatch.setitem(peers.PEERS, "none", (str(wheel),))
    programs = peers.installed(load({}, {}, root), "none")
    assert peers.version(programs, "none") == "1.0"
    (programs / "mark").touch()
    assert (peers.installed(load({}, {}, root), "none") / "mark").exists()


def test_a_comparison_that_cannot_run_is_skipped_with_the_reason(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(at: place.Bench) -> Comparison:
        raise Unavailable("no rocket here")

    def plain(at: place.Bench) -> Comparison:
        return Comparison("true", Command(["true"], at.folder), note="It is true.")

    monkeypatch.setattr(compare, "COMPARISONS", {"never": never, "plain": plain})
    monkeypatch.setattr(place, "copy", lambda *_: None)
    compare.main(load({}, {}, root), [], 1, tiny=True, write=False, json=False)
    told = capsys.readouterr()
    assert "skipped never: no rocket here" in told.err
    assert "plain" in told.out
    assert "plain: It is true." in told.out


def test_the_hollow_tasks_list_as_ours_do(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(startup.hollow(), encoding="utf-8")
    ours, theirs = (
        subprocess.run([place.INV, "--list"], cwd=folder, capture_output=True, text=True, check=True).stdout
        for folder in (SUITE, tmp_path)
    )
    assert theirs == ours
    assert "db.setup" in ours


def test_measures_and_prints_json() -> None:
    done = subprocess.run(
        [place.INV, "bench", "--only", "list", "--runs", "1", "--tiny", "--json"],
        cwd=SUITE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    [found] = json.loads(done.stdout)["comparisons"]
    assert [side["side"] for side in found["sides"]][:2] == ["ours", "trivial tasks.py"]
    assert all(side["figure_seconds"] > 0 for side in found["sides"])


def test_the_suite_is_told_part_by_part(tmp_path: Path) -> None:
    taken = {"rds_door": 60, "rds_ca": 66, "page.TestThere": 30, "text": 1, "query": 2}
    cases = "".join(f'<testcase classname="tests.test_{name}" time="{time}"/>' for name, time in taken.items())
    with suite.parts(tmp_path / "tests.xml") as facts:
        (tmp_path / "tests.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>", "utf-8")
    assert facts == ["rds 2.1 min", "page 0.5 min", "2 others 0.1 min"]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3, 1, 2], 0.5, 2), ([1, 2, 3, 4], 0.5, 2.5), (list(range(1000)), 0.99, 990), ([5], 0.99, 5), ([1, 9], 0.99, 9)],
)
def test_a_quantile_is_the_value_that_so_many_do_not_exceed(values: list[float], share: float, expected: float) -> None:
    assert measure.quantile(values, share) == expected


def test_calls_are_timed_one_by_one() -> None:
    calls: list[int] = []
    found = measure.run("x", Comparison("a", measure.Call(lambda: calls.append(1), 3), quantile=0.99), 2, warm=True)
    assert len(calls) == 9
    assert found.figure == "p99"
    assert report.rows(found)[0]["time"].startswith("p99 0.0")
    assert report.rows(found)[0]["memory"] == ""


@pytest.mark.nightly  # CI runs `inv bench --tiny`, which measures this too
def test_the_feed_is_measured_beside_select_1_and_a_smaller_one() -> None:
    with place.opened(load({}), tiny=True) as at:
        comparison = compare.COMPARISONS["feed"](at)
        found = measure.run("feed", comparison, 1, warm=False)
        grown = [measure.run(name, compare.COMPARISONS[name](at), 1, warm=False) for name in ("pool", "pgbench")]
    assert [len(one.sides) for one in grown] == [4, 3]
    assert {side.side: side.reach_ratio for side in found.sides} == {
        "ours": None,
        "select 1": 10,
        "200 activities": 2,
    }


@pytest.mark.nightly  # CI runs `inv bench --tiny`, which measures this too
def test_the_pool_of_the_comparison_is_read_to_its_end() -> None:
    with place.opened(load({}), tiny=True) as at:
        comparison = people.sync(at)
        for side in (comparison.ours, comparison.beside["psql: COPY of the same rows"]):
            side.before()
            side()
            assert place.output(at.psql("people", "-At", "-c", "select count(*) from users")) == "120\n"
        first = at.psql("people", "-At", "-c", "select display_name, email, handle from users order by 1 limit 1")
        assert place.output(first) == "User 0|user0@example.com|user0\n"


@pytest.mark.nightly  # CI runs `inv bench --tiny`, which measures this too
def test_the_longest_wait_beside_a_change_is_that_of_the_slowest_client() -> None:
    with place.opened(load({}), tiny=True) as at:
        clients = stall.prepared(at)
        psql = stall.side(clients, at.psql(stall.NAME, "-c", stall.COLUMN))
        took = {}
        for name, side in {"ours": stall.ours(clients), "nobody": stall.Side(load=clients), "psql": psql}.items():
            [taken] = side()
            took[name] = (taken.seconds, [*clients.told])
    assert took["ours"][1][0].startswith("exit 0 after ")
    assert took["ours"][1][1] == "landed"
    assert took["nobody"][1] == []
    assert took["psql"][1][1] == "landed"
    assert took["psql"][0] > 0.5, "who waits for the lock makes all others wait"
