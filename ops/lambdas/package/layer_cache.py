"""A layer that was built before, from the same pins by the same code for the same Python: it would come out the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from config.paths import write_private
from ops import own_files
from ops.errors import Problem
from ops.lambdas.package import function_code
from ops.lambdas.package.archive import Artifact
from ops.lambdas.package.runtimes import Runtime

SHAPE = {"mark": str, "sha256": str, "sources": str, "size": int, "unpacked": int, "names": [str]}
"""What lies beside a zip file."""


def mark(runtime: Runtime, interpreter: Path | None) -> str:
    """Return what a layer follows from, as a digest; `interpreter` compiles it."""
    told = [runtime.name, runtime.architecture, function_code.REQUIREMENTS.read_text(encoding="utf-8")]
    told += [
        path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))
    ]  # ours, by which it is made
    if interpreter:
        program = interpreter.resolve()
        told += [str(program), str(program.stat().st_mtime_ns)]  # another release may compile otherwise
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def find(path: Path, mark: str) -> Artifact | None:
    """Return the zip file at a path if it has this mark, and is still what was written."""
    try:
        told = own_files.read(beside(path), SHAPE, "")
        if not told or told.pop("mark") != mark or hashlib.sha256(path.read_bytes()).hexdigest() != told["sha256"]:
            return None
        return Artifact(**{**told, "path": path, "names": tuple(told["names"])})
    except (OSError, Problem, TypeError):  # one that somebody wrote to, or another version of ours
        return None


def note(made: Artifact, mark: str) -> None:
    """Remember by what a zip file was made."""
    write_private(beside(made.path), json.dumps({**asdict(made), "path": made.path.name, "mark": mark}))


def beside(path: Path) -> Path:
    return path.with_suffix(".json")
