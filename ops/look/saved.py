"""inv look --save: the page as one file, with all that it would ask for in it; it wants no server, and names nobody.

It is the same page: its script finds the answers in a block of JSON, which no browser runs, and may load nothing (its content
security policy knows style and script by their hashes). Whoever may read a ticket may read it, so what names people is left out.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from config.settings import Settings
from ops.console import SELDOM, aloud, few, json_text, muted, say
from ops.db.copies import beside
from ops.errors import Misconfigured, Refused
from ops.look import panels
from ops.look.app import STATIC, told
from ops.look.panels import Failure
from ops.look.watch import Job, Looker
from ops.silence import PATIENCE

LIMIT = 60.0
"""Seconds that all of it may take; what has no answer by then says so."""
MARK = "<!doctype html>\n<!-- inv look -->\n"
"""How a file of ours begins, which may be written anew."""
LEFT_OUT = ("client_address", "application", "user", "applied_by", "login", "owner", "variable")
OF_RULES = ("address", "description")
OF_DRIFT = ("here", "there")
"""They may be names of logins, as an owner is; that there is a difference is told all the same."""
_AT = re.compile(r"[\w.%+-]+@(?=[\w\[])")
_SESSION = re.compile(r"\b(pid \d+) \([^)]*\)")
_GRANTEE = re.compile(r'(\bto |\bfrom )("(?:[^"]|"")+"|\w+)(?=$|;)')
_HIDDEN = re.compile(r"(is hidden from) \S+")


def write(settings: Settings, names: list[str], file: Path) -> None:
    """Write the page of some targets into a file, whole or not at all; raises `Refused` where another one has that name, `Misconfigured` where its folder is not there."""
    place = Path.cwd() / file.expanduser()
    if not place.parent.is_dir():
        raise Misconfigured(f"--save {file}: the folder {file.parent} is not there: make it, or name another")
    beside.check_place(place, folder=False, overwrite=True)
    if place.is_file() and not is_ours(place):
        raise Refused(f"{file} is there already, and none of inv look: give another name")
    say(f"looking at {', '.join(names)}")
    with muted():
        found = answers(settings, names)
    text = page(found)
    beside.write(place, text.encode(), overwrite=True)
    failed = sum("error" in answer for answer in found["answers"].values())
    say(
        f"{file}: {len(text.encode()) / 1024:.0f} kB, without names of people{f'; {failed} parts say why they are not there' if failed else ''}"
    )


def is_ours(place: Path) -> bool:
    """Whether a file is one of ours; no more of it is read than its beginning."""
    with place.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()


def answers(settings: Settings, names: list[str]) -> dict[str, Any]:
    """Return what the page would ask for: an answer, or why there is none, by its path."""
    looker = Looker(settings, names)
    until = time.monotonic() + LIMIT
    about = told(looker)
    wanted = [
        (one["name"], panel)
        for one in about
        for panel in ("now", *panels.OF_DATABASE, *(panels.OF_AWS if one["cloud"] else ()))
    ]
    wanted += [(name, f"{panels.DRIFT}{other}") for name in names for other in names if name != other]
    jobs = {(name, panel): looker.ask(name, panel, 0) for name, panel in wanted}
    wait(jobs, until)
    found = {}
    for (name, panel), job in jobs.items():
        answer = job.answer if job.done.is_set() else Failure(f"no answer within {LIMIT:.0f} s", 1)
        plain = json.loads(json_text(answer))
        entry = {"error": answer.error} if isinstance(answer, Failure) else {"answer": plain}
        found[f"{name}/{panel}"] = without_people(entry, settings, panel)
    looker.close()
    return {"saved_at": datetime.now(timezone.utc).isoformat(timespec="seconds"), "targets": about, "answers": found}


def wait(jobs: dict[tuple[str, str], Job], until: float) -> None:
    """Wait for answers until a time of time.monotonic(), and say now and then which are not there yet."""
    due = time.monotonic() + PATIENCE
    while left := [path for path, job in jobs.items() if not job.done.is_set()]:
        if (now := time.monotonic()) >= until:
            return
        if now >= due:
            due = now + SELDOM
            named = few(["/".join(path) for path in left])
            aloud(f"waiting for {len(left)} of {len(jobs)} answers, {until - now:.0f} s at most: {named}")
        jobs[left[0]].done.wait(min(0.2, until - now))


def without_people(value: Any, settings: Settings, panel: str) -> Any:
    """Return an answer without what names people, their machines and their folders."""
    if isinstance(value, dict):
        left = (*LEFT_OUT, *(OF_RULES if panel == "rules" else OF_DRIFT if panel.startswith(panels.DRIFT) else ()))
        return {k: None if k in left else without_people(v, settings, panel) for k, v in value.items()}
    if isinstance(value, list):
        return [without_people(each, settings, panel) for each in value]
    if not isinstance(value, str):
        return value
    value = value.replace(str(settings.root), ".").replace(str(Path.home()), "~")
    value = _HIDDEN.sub(r"\1 this login", _SESSION.sub(r"\1", _AT.sub("…@", value)))
    return _GRANTEE.sub(r"\1…", value) if panel == "diagnose" and value.startswith("grant ") else value


def page(found: dict[str, Any]) -> str:
    """Return the file."""
    text, style, script = ((STATIC / name).read_text("utf-8") for name in ("look.html", "look.css", "look.js"))
    data = json.dumps(found, ensure_ascii=False).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; script-src '{hashed(script)}'; style-src '{hashed(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    text = text.removeprefix("<!doctype html>\n")
    text = re.sub(r"<link rel=\"icon\"[^>]*>\n", "", text)
    text = text.replace(
        '<meta charset="utf-8">\n',
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n',
    )
    text = text.replace('<link rel="stylesheet" href="look.css">', f"<style>{style}</style>")
    text = text.replace('<script type="module" src="look.js"></script>\n', "")
    blocks = f'<script type="application/json" id="saved">{data}</script>\n<script type="module">{script}</script>\n'
    return MARK + text.replace("</body>", f"{blocks}</body>")


def hashed(text: str) -> str:
    """Return the hash by which a content security policy knows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
