"""docs/security.md: each threat names a test, and the test is there."""

from __future__ import annotations

import ast
import re

import pytest

from tests import source
from tests.source import SUITE

pytestmark = source.GROUP
PAGE = (SUITE / "docs" / "security.md").read_text(encoding="utf-8")
LINES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| threat ", "| --- "))]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[1].strip())
def test_each_threat_names_a_test_that_is_there(line: str) -> None:
    threat, defence, proof = (cell.strip() for cell in line.strip("| ").split(" | "))
    assert threat
    assert defence
    found = re.fullmatch(r"`(tests/test_\w+\.py)(?:::(test_\w+))?`", proof)
    assert found, "one test, by its path and name"
    names = {
        each.name
        for each in source.tree(SUITE / found[1]).body
        if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
    }
    assert found[2] in names if found[2] else names


def test_no_test_proves_two_threats_and_the_promises_lead_here() -> None:
    proofs = re.findall(r"`tests/[^`]+`", PAGE)
    assert len(proofs) == len(set(proofs)) == len(LINES) >= 40
    assert "docs/security.md" in (SUITE / "SECURITY.md").read_text(encoding="utf-8")
