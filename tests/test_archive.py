"""What pg_restore says, whose jobs write over each other: an error that is none is passed over, each other one is found."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.db.copies.archive import UNKNOWN_SETTING, Reading

SETTING = (
    f'could not execute query: ERROR:  unrecognized configuration parameter "transaction_timeout"\n{UNKNOWN_SETTING}\n'
)
OTHER = 'could not execute query: ERROR:  type "vector" does not exist\nLINE 1: create table a (v vector)\n                        ^\nCommand was: create table a (v vector);\n'


def told(words: str, kind: str = "") -> list[str]:
    """Return what pg_restore writes for a message, piece by piece, as a socket that keeps them apart has shown."""
    return ["pg_restore:", " ", *([f"{kind}: "] if kind else []), words]


def of_a_job(number: int, *more: str) -> list[str]:
    entry = f"from TOC entry {number}; 2604 16392 DEFAULT refers id postgres\n"
    begun = [*told("while PROCESSING TOC:\n"), *told(entry), *told(SETTING, "error")]
    return [
        *begun,
        *more,
        *told(f'processing data for table "public.t{number}"\n'),
        *told(f"finished item {number} TABLE DATA t\n"),
    ]


def read(pieces: Sequence[str], tolerant: bool = True) -> Reading:
    reading = Reading(tolerant)
    for line in "".join(pieces).splitlines(keepends=True):
        reading.line(line)
    return reading


@st.composite
def mixed(draw: st.DrawFn, *jobs: list[str]) -> list[str]:
    """Return what several jobs write, each in its order."""
    left = [[*job] for job in jobs]
    found = []
    while left := [job for job in left if job]:
        found.append(draw(st.sampled_from(left)).pop(0))
    return found


LAST = told("errors ignored on restore: 3\n", "warning")


@given(
    mixed(of_a_job(1), of_a_job(22), [*told("launching item 3 TABLE DATA t\n"), *told("launching item 4 INDEX i\n")])
)
def test_jobs_that_a_setting_is_unknown_to_have_done_all(pieces: list[str]) -> None:
    reading = read([*pieces, *LAST])
    assert not reading.has_failed(1)
    assert reading.passed_over == 2


@given(mixed(of_a_job(1), of_a_job(22, *told(OTHER, "error"))))
def test_an_error_among_them_is_found_and_told(pieces: list[str]) -> None:
    reading = read([*pieces, *LAST])
    assert reading.has_failed(1)
    assert reading.error[:2] == [OTHER.splitlines()[0], "LINE 1: create table a (v vector)"]


@given(mixed(of_a_job(1), of_a_job(22, *told("out of memory\n", "error"))))
def test_one_that_has_words_of_its_own_is_found(pieces: list[str]) -> None:
    assert read([*pieces, *LAST]).has_failed(1)


@pytest.mark.parametrize(
    "words", ["out of memory\n", OTHER, 'could not open input file "d/toc.dat": Permission denied\n']
)
def test_the_last_word_counts_too(words: str) -> None:
    reading = read([*of_a_job(1), *told(words, "error")])
    assert reading.has_failed(1)
    assert reading.error[0] == words.splitlines()[0]


def test_nobody_passes_over_it_where_the_server_knows_it() -> None:
    assert read(of_a_job(1), tolerant=False).has_failed(1)
    assert read([*told("connecting to database for restore\n")]).has_failed(1)
    assert not read([*told("connecting to database for restore\n")]).has_failed(0)
