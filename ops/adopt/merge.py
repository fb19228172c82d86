"""What is added to files of theirs: behind their last line, which stay as they are, in their kind of line end."""

from __future__ import annotations

import ast
import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from config.settings import check_keys
from ops.errors import Misconfigured

IGNORED = (".env", ".venv/", "__pycache__/")
"""What no repository should commit: passwords, packages, and what Python compiles."""
OPENS, CLOSES = "# >>> inv adopt: the tasks of {}/ beside those above; keep this at the end >>>", "# <<< inv adopt <<<"
_UTF_16 = {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}


def appended(data: bytes, lines: Sequence[str]) -> bytes:
    """Return a text with lines behind its last one, which gets the newline that it may lack."""
    if not lines:
        return data
    newline = b"\r\n" if 2 * data.count(b"\r\n") > data.count(b"\n") else b"\n"
    glue = newline if data and not data.endswith(b"\n") else b""
    return data + glue + b"".join(line.encode() + newline for line in lines)


def is_utf_16(data: bytes) -> bool:
    """Whether nothing can be added to a text byte by byte."""
    return data[:2] in _UTF_16


def text_lines(data: bytes) -> list[str]:
    return [line.strip() for line in data.decode(errors="replace").splitlines()]


# --- .gitignore, .env.example, requirements.txt -------------------------------------------


def ignored(data: bytes, wanted: Sequence[str]) -> list[str]:
    """Return which of these patterns a .gitignore has not."""
    there = {line.strip("/") for line in text_lines(data)}
    return [pattern for pattern in wanted if pattern.strip("/") not in there]


def variables(data: bytes, wanted: Sequence[str]) -> list[str]:
    """Return which of these variables an example of an env file names nowhere, also not in a comment."""
    there = set(re.findall(r"^[#\s]*(?:export\s+)?(\w+)\s*=", data.decode(errors="replace"), re.MULTILINE))
    return [name for name in wanted if name not in there]


def conflicts(data: bytes, ours: bytes) -> Iterator[str]:
    """Yield a line for each requirement of theirs that no version fits together with the suite's own."""
    needed = {name: line for _, name, line in requirements(ours)}
    for number, name, line in requirements(data):
        if name in needed and not fit_together(line, needed[name]):
            yield f"line {number} wants {line}, the suite {needed[name]}: widen yours"


def requirements(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield line number, package and text of each line that names a package."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for number, line in enumerate(text_lines(data), 1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        try:
            yield number, canonicalize_name(Requirement(text).name), text
        except InvalidRequirement:  # an option, a URL, a file: pip's own
            continue


def fit_together(one: str, other: str) -> bool:
    """Whether two requirements of a package can hold at once, judged by the versions that they name."""
    from packaging.requirements import Requirement
    from packaging.version import InvalidVersion, Version

    both = Requirement(one).specifier & Requirement(other).specifier
    if all(clause.operator in (">", ">=", "!=") for clause in both):
        return True  # something newer than all that is named
    named = {clause.version.removesuffix(".*") for clause in both}
    try:
        return any(both.contains(Version(text), prereleases=True) for text in named)
    except InvalidVersion:
        return True  # pip will say


# --- tasks.py -----------------------------------------------------------------------------


def block(folder: str, ups: int) -> list[str]:
    """Return the lines that put the suite's tasks beside those of a file that lies `ups` folders down."""
    return [
        OPENS.format(folder),
        "import sys as _sys",
        "from pathlib import Path as _Path",
        "",
        f"_sys.path.insert(0, str(_Path(__file__).resolve().parents[{ups}] / {json.dumps(folder)}))",
        "from inv_suite import joined as _joined  # noqa: E402",
        "",
        "ns = _joined(_sys.modules[__name__])",
        CLOSES,
    ]


def has_block(data: bytes) -> bool:
    return any(line.startswith("from inv_suite import") for line in text_lines(data))


def tasks(data: bytes, folder: str, ups: int) -> bytes:
    """Return a tasks.py of theirs, or a new one, with the suite's tasks beside."""
    if has_block(data):
        return data
    lines = block(folder, ups)
    return appended(
        data, ["", "", *lines] if data else ['"""The tasks of `inv`; yours go above the lines below."""', "", *lines]
    )


def check_imports(path: Path, root: Path, packages: Sequence[str]) -> None:
    """Raise `Misconfigured` where a tasks.py of theirs imports a module that is called as a package of the suite's.

    One process holds one module of a name. Followed are the imports of their own modules, too, as far as
    they are written out.
    """
    seen: set[Path] = set()
    todo = [path]
    while todo:
        file = todo.pop()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        shown = file.relative_to(root)
        try:
            tree = ast.parse(without_block(file.read_bytes()))
        except (SyntaxError, ValueError) as error:
            if file == path:
                line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
                raise Misconfigured(f"{shown}{line}: Python cannot read it ({getattr(error, 'msg', error)})") from None
            continue
        for node in ast.walk(tree):
            for module in imported(node):
                top, *rest = module.split(".")
                if top in packages:
                    raise Misconfigured(
                        f"{shown}:{getattr(node, 'lineno', 0)} imports {top}, and the suite has a package of that name, "
                        "of which one process can hold one: rename yours, or import it in a program of its own"
                    )
                for count in range(len(rest) + 1):
                    stem = root.joinpath(top, *rest[:count])
                    todo += [
                        stem.with_suffix(".py") if not count else stem.parent / f"{stem.name}.py",
                        stem / "__init__.py",
                    ]


def imported(node: ast.AST) -> list[str]:
    """Return the modules that an import statement may import, by their full names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names if alias.name != "*"] or [node.module]
    return []


def without_block(data: bytes) -> bytes:
    """Return a tasks.py without the lines that are the suite's."""
    kept, inside = [], False
    for line in data.splitlines(keepends=True):
        inside = inside or line.startswith(b"# >>> inv adopt")
        if not inside:
            kept.append(line)
        inside = inside and not line.startswith(CLOSES.encode())
    return b"".join(kept)


# --- invoke.yaml --------------------------------------------------------------------------

YAML_HEAD = """\
# Settings of the tasks in {folder}/. All that there are stand in {folder}/settings.yaml, with their defaults
# and the reasons for them: write here what you want otherwise, as quoted strings.

"""


def settings(name: str, data: bytes, folder: str, paths: Mapping[str, str], parse: Callable[[bytes], Any]) -> bytes:
    """Return an invoke.yaml of theirs, or a new one, with `paths:`; one that has those already stays as it is.

    `parse` reads YAML and raises ValueError. Raises `Misconfigured` for what cannot be read, cannot be added to, or holds a
    setting by the name of one of the suite's that it does not know.
    """
    before = parse(data) if data.strip() else None
    if before is not None and not isinstance(before, dict):
        raise Misconfigured(f"{name} is no mapping of settings: make it one")
    check_keys(before or {})
    if before and "paths" in before:
        return data
    lines = ["paths:", *(f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in paths.items())]
    head = YAML_HEAD.format(folder=folder) if not data else f"\n# Where the SQL is, for the tasks in {folder}/.\n"
    after = appended(data, [*head.splitlines(), *lines])
    try:
        fine = parse(after) == {**(before or {}), "paths": dict(paths)}
    except ValueError:
        fine = False
    if not fine:
        raise Misconfigured(
            f"{name} cannot be added to at its end: add paths: {{{', '.join(line.strip() for line in lines[1:])}}}"
        )
    return after
