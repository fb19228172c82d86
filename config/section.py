"""A section of invoke.yaml, read by key: each value is a quoted string, parsed here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from config.defaults import DEFAULTS
from ops.errors import Misconfigured

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Section:
    """Reads the quoted strings of one section, or of the top level; all that cannot be read is collected."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.name = name
        self.config = config
        self.defaults: Mapping[str, str] = DEFAULTS[name] if name else DEFAULTS
        self.faults: list[str] = []

    def text(self, key: str) -> str:
        value = self.config.get(key, self.defaults[key])
        if not isinstance(value, str):  # YAML reads 010 as 8 and no as false; INVOKE_* would follow that type
            return self.fault(key, f'write it in invoke.yaml as a quoted string, like "{self.defaults[key]}"')
        return value.strip() or self.fault(key, f'is empty: give it a value, like "{self.defaults[key]}"')

    def fault(self, key: str, what: str) -> str:
        """Note a fault, and go on with the default to find the others."""
        path = f"{self.name}.{key}" if self.name else key
        self.faults.append(f"{path} (INVOKE_{path.replace('.', '_').upper()}): {what}")
        return self.defaults[key]

    def optional(self, key: str) -> str | None:
        text = self.text(key)
        return None if text == "unset" else text

    def word(self, key: str, words: tuple[str, ...]) -> str:
        text = self.text(key)
        return text if text in words else self.fault(key, f"{text} is none of {', '.join(words)}")

    def flag(self, key: str) -> bool:
        return bool(self.flag_or_unset(key, ("yes", "no")))

    def flag_or_unset(self, key: str, words: tuple[str, ...] = ("yes", "no", "unset")) -> bool | None:
        text = self.text(key)
        if text not in words:
            text = self.fault(key, f"{text} is none of {', '.join(words)}")
        return None if text == "unset" else text == "yes"

    def count(self, key: str) -> int:
        text = self.text(key)
        if not (text.isascii() and text.isdigit() and len(text) < 7):
            text = self.fault(key, f"{text} is not a whole number")
        return int(text)

    def count_or_unset(self, key: str) -> int | None:
        return None if self.text(key) == "unset" else self.count(key)

    def minutes(self, key: str) -> float:
        return self.number(key, "of minutes", lambda value: value >= 0)

    def seconds(self, key: str) -> float:
        return self.number(key, "of seconds above 0", lambda value: value > 0)

    def duration(self, key: str) -> float:
        """Return a length of time in seconds; it is written as 200ms, 2s, 10m or 1h."""
        text = self.text(key)
        if not length(text):
            text = self.fault(key, f"{text} is not a length of time above 0, like 200ms, 2s, 10m or 1h")
        return length(text)

    def number(self, key: str, what: str, fits: Callable[[float], bool]) -> float:
        try:
            value = float(self.text(key))
        except ValueError:
            value = -1.0
        if not (fits(value) and value < 1e6):
            value = float(self.fault(key, f"{self.text(key)} is not a number {what}"))
        return value


def length(text: str) -> float:
    """Return a length of time in seconds, 0 for a text that is none."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m|h)", text)
    return float(found[1]) * UNITS[found[2]] if found else 0.0


def refuse(about: str, faults: list[str]) -> None:
    """Raise `Misconfigured` if there are faults: one as one line, several as a list."""
    if len(faults) == 1:
        raise Misconfigured(faults[0])
    if faults:
        raise Misconfigured(f"{about}: {len(faults)} faults, nothing was done", *(f"- {fault}" for fault in faults))
