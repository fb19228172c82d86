"""Terraform's language, written as `terraform fmt` writes it, so that two runs differ only where AWS does.

Syntax and escapes: Terraform's documentation, "Syntax configuration" and "Strings and templates".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeAlias

INDENT = "  "


@dataclass(frozen=True)
class Expression:
    """What stands as it is, like a reference."""

    text: str


@dataclass(frozen=True)
class Json:
    """A value that the provider wants as a text of JSON; written as one that a person can read and change."""

    value: Any


@dataclass(frozen=True)
class Block:
    """A block: its type, its labels, and arguments and blocks in their order."""

    type: str
    labels: tuple[str, ...] = ()
    body: Sequence[tuple[str, Any] | Block] = field(default_factory=list)
    comment: str = ""
    """A line above it."""


Body: TypeAlias = "Sequence[tuple[str, Any] | Block]"


def written(blocks: Sequence[Block]) -> str:
    """Return the text of a file."""
    return "\n".join("\n".join(block_lines(block, "")) + "\n" for block in blocks)


def block_lines(block: Block, indent: str) -> Iterator[str]:
    for line in block.comment.splitlines():
        yield f"{indent}# {line}"
    labels = "".join(f" {quoted(label)}" for label in block.labels)
    yield f"{indent}{block.type}{labels} {{"
    first = True
    for is_block, group in groupby(block.body, lambda one: isinstance(one, Block)):
        if is_block:
            for one in group:
                assert isinstance(one, Block)
                if not first:
                    yield ""
                yield from block_lines(one, indent + INDENT)
                first = False
        else:
            yield from arguments([one for one in group if not isinstance(one, Block)], indent + INDENT)
            first = False
    yield indent + "}"


def arguments(items: Sequence[tuple[str, Any]], indent: str) -> Iterator[str]:
    """Yield arguments; those of one line that follow each other have their signs one below the other."""
    shown = [(name, value_lines(value, indent)) for name, value in items]
    for short, group in groupby(shown, lambda one: len(one[1]) == 1):
        run = list(group)
        width = max(len(name) for name, _ in run) if short else 0
        for name, lines in run:
            yield f"{indent}{name:<{width}} = {lines[0]}"
            yield from lines[1:]


def value_lines(value: Any, indent: str) -> list[str]:
    """Return a value as lines; the first one stands behind the sign."""
    if isinstance(value, Expression):
        return [value.text]
    if isinstance(value, Json):
        first, *rest = value_lines(value.value, indent)
        lines = [f"jsonencode({first}", *rest]
        lines[-1] += ")"
        return lines
    if isinstance(value, Mapping):
        if not value:
            return ["{}"]
        items = [(key if is_name(key) else quoted(key), item) for key, item in value.items()]
        return ["{", *arguments(items, indent + INDENT), indent + "}"]
    if isinstance(value, (list, tuple)):
        return list_lines(value, indent)
    if isinstance(value, str):
        return [quoted(value)]
    return [json.dumps(value)]


def list_lines(value: Sequence[Any], indent: str) -> list[str]:
    inner = [value_lines(item, indent + INDENT) for item in value]
    if all(len(lines) == 1 for lines in inner):
        return [f"[{', '.join(lines[0] for lines in inner)}]"]
    lines = ["["]
    for first, *rest in inner:
        lines += [f"{indent}{INDENT}{first}", *rest]
        lines[-1] += ","
    return [*lines, indent + "]"]


def is_name(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text))


def quoted(text: str) -> str:
    """Return a text as a literal: nothing in it is taken for a template, whatever AWS holds."""
    plain = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    safe = "".join(
        plain.get(character) or (character if character.isprintable() else f"\\U{ord(character):08x}")
        for character in text
    )
    return '"' + re.sub(r"([$%])\{", r"\1\1{", safe) + '"'


def label(text: str) -> str:
    """Return a text as a name of Terraform's."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_").lower()
    return name if name and not name[0].isdigit() else f"_{name}"
