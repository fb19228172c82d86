"""inv adopt: what would be written into a repository, what stands in the way, and the writing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from config.paths import MANIFEST, ROOT, SUITE
from config.variables import VARIABLES
from config.version import VERSION
from ops import file_lock
from ops.adopt import files, merge
from ops.adopt.discover import Found, discover
from ops.adopt.files import FOLDER, Manifest
from ops.console import say
from ops.errors import Misconfigured, Problem, Refused

_UP = re.compile(rb"^--[ \t]*migrate:up", re.MULTILINE)

Parse = Callable[[bytes], Any]
"""Reads YAML, and raises ValueError for what is none."""
CONFIGURATIONS = ("invoke.yaml", "invoke.yml", "invoke.json", "invoke.py")
"""Where invoke looks for settings; it takes the first that there is."""
BY_HAND = ("ops/cli.py", "config/defaults.py")
"""What shows that the suite's folders lie at the top of a repository."""


@dataclass
class Plan:
    """What a run would do to the repository at `root`."""

    root: Path
    before: Manifest
    after: Manifest
    writes: dict[Path, bytes] = field(default_factory=dict)
    """Files of ours, with their new content."""
    merges: dict[Path, tuple[bytes | None, bytes]] = field(default_factory=dict)
    """Files of theirs: what is there, and what it becomes."""
    removals: list[Path] = field(default_factory=list)
    collisions: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """A line for each thing that is done or found."""

    @property
    def home(self) -> Path:
        return self.root / FOLDER

    @property
    def nothing(self) -> bool:
        same = self.before.as_json() == self.after.as_json()
        return same and not (self.writes or self.merges or self.removals)


def adopt(given: str, schema: str, seed: str, parse: Parse, *, overwrite: bool, dry_run: bool) -> None:
    """Put the suite into the repository at a path, or bring it up to date there.

    Raises `Refused` with a line for each thing that is in the way; nothing is written then.
    """
    root = repository(given)
    with alone(root):
        plan = planned(root, schema, seed, parse, overwrite=overwrite)
        if plan.collisions:
            many = len(plan.collisions)
            head = f"{many} things are in the way in {root}" if many > 1 else f"{root}"
            raise Refused(f"{head}: nothing was written", *(f"- {line}" for line in plan.collisions))
        for line in plan.told:
            say(line)
        if plan.nothing:
            say(f"{root} has version {VERSION} already: nothing to do")
            return
        if dry_run:
            show(plan)
            say("nothing was written (--dry-run)")
            return
        carry_out(plan)
    say(
        f"{root} has version {VERSION} of the suite; commit it. Next, in there: pip install -r requirements.txt, inv db.setup"
    )


def show(plan: Plan) -> None:
    """Say each file and each line that would be written."""
    for path in plan.writes:
        say(f"write   {path.relative_to(plan.root)}")
    for path in plan.removals:
        say(f"remove  {path.relative_to(plan.root)}")
    for path, (before, after) in plan.merges.items():
        say(f"add to  {path.relative_to(plan.root)}:")
        for line in after[len(before or b"") :].decode(errors="replace").splitlines():
            say(f"    {line}".rstrip())


def repository(given: str) -> Path:
    """Return the folder of their repository; raise `Misconfigured` where it cannot be one."""
    if ROOT != SUITE:
        raise Misconfigured(f"this suite is itself adopted, in {SUITE}: run inv adopt in the suite's own clone")
    try:
        root = Path(given).expanduser().resolve()
    except RuntimeError as error:  # no such user, or links in a ring
        raise Misconfigured(f"{given}: {error}") from None
    if not root.is_dir():
        raise Misconfigured(f"{given} is not a folder: name the top folder of a repository")
    if root.is_relative_to(SUITE):
        raise Misconfigured(f"{root} is the suite's own: name the top folder of another repository")
    if root.name == FOLDER and (root / MANIFEST).exists():
        raise Misconfigured(f"{root} is the suite in a repository: name the folder above it")
    return root


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Let one run at a time work at a repository; the folder itself is the lock."""
    lock = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        who = file_lock.holder(lock, "another inv adopt")
        raise Problem(f"{who} is at work in {root}: wait for its end, then run again") from None
    finally:
        os.close(lock)


def planned(root: Path, schema: str, seed: str, parse: Parse, *, overwrite: bool) -> Plan:
    """Look at a repository, and return all that would be done to it."""
    home = root / FOLDER
    before = files.manifest(home) if home.is_dir() and not home.is_symlink() else Manifest()
    plan = Plan(root, before, Manifest(VERSION, complete=True, added=dict(before.added)))
    copied(plan, overwrite=overwrite)
    settled = partial(settings_file, schema=schema, seed=seed, parse=parse)
    for part in (tasks_file, settled, requirements, ignored, variables):
        try:
            part(plan)
        except Misconfigured as error:
            plan.collisions.append(str(error))
    return plan


# --- the suite's own folder ---------------------------------------------------------------


def copied(plan: Plan, *, overwrite: bool) -> None:
    """Plan the files of ours: which are new, replaced, no longer needed, and which they have changed."""
    now = files.files(SUITE)
    plan.after.files = {name: [files.digest(data)] for name, data in now.items()}
    counts = {"new": 0, "replaced": 0, "removed": 0}
    if plan.home.exists() and not plan.home.is_dir():
        plan.collisions.append(f"{FOLDER} is a file: the suite goes into a folder of that name, rename yours")
        return
    for name in sorted({*now, *plan.before.files}):
        path, known = plan.home / name, plan.before.files.get(name, [])
        shown = f"{FOLDER}/{name}"
        if link := next(files.links(plan.root, path), None):
            plan.collisions.append(f"{link.relative_to(plan.root)} is a link: remove it")
            return
        there = files.digest(path.read_bytes()) if path.is_file() else None
        ours = there is None or there in known or (bool(known) and there == files.EMPTY)
        if path.is_dir():
            plan.collisions.append(f"{shown} is a folder: rename it")
        elif name not in now:
            if there and ours:
                plan.removals.append(path)
                counts["removed"] += 1
            elif there:
                plan.told.append(f"{shown}: changed by you, and no longer of the suite: remove it if nobody wants it")
        elif there == plan.after.files[name][0]:
            continue
        elif ours or overwrite:
            plan.writes[path] = now[name]
            counts["replaced" if there else "new"] += 1
            if not ours:
                plan.told.append(f"{shown}: changed by you, overwritten (git has yours)")
        elif not known:
            plan.collisions.append(f"{shown} is yours: rename it, or let it be overwritten (--overwrite)")
        elif plan.after.files[name][0] in known:
            plan.told.append(f"{shown}: changed by you, kept")
        else:
            plan.collisions.append(
                f"{shown}: changed by you, and by version {VERSION}: commit yours, let it be overwritten (--overwrite), "
                "and bring your change in again"
            )
    if any(counts.values()):
        what = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        old = plan.before.version
        version = f"{old} to {VERSION}" if old not in ("", VERSION) else VERSION
        plan.told.insert(0, f"{FOLDER}/: files of the suite, version {version}: {what}")


# --- what is theirs -----------------------------------------------------------------------


def current(plan: Plan, name: str) -> bytes | None:
    """Return a file of theirs, None where there is none; raise `Misconfigured` for what nothing can be added to."""
    path = plan.root / name
    if link := next(files.links(plan.root, path), None):
        raise Misconfigured(f"{link.relative_to(plan.root)} is a link: put the file itself there")
    if not path.exists():
        return None
    if not path.is_file():
        raise Misconfigured(f"{name} is no file: rename it")
    data = path.read_bytes()
    if merge.is_utf_16(data):
        raise Misconfigured(f"{name} is UTF-16: save it as UTF-8")
    return data


def merged(plan: Plan, name: str, before: bytes | None, after: bytes, what: str) -> None:
    """Plan a change of a file of theirs, if it is one."""
    if before != after:
        plan.merges[plan.root / name] = before, after
        plan.told.append(f"{name}: {what}" + ("" if before is None else "; your lines stay as they are"))


def tasks_file(plan: Plan) -> None:
    """Plan the lines behind their tasks, in whichever file invoke finds those."""
    if all((plan.root / name).exists() for name in BY_HAND):
        raise Misconfigured(
            "config/ and ops/ at the top are the suite's, copied by hand: remove them with functions/, backend/ and its lines "
            "of tasks.py, keep invoke.yaml"
        )
    packages = sorted({name.partition("/")[0].removesuffix(".py") for name in plan.after.files if name.endswith(".py")})
    name, ups = "tasks.py", 0
    if not (plan.root / name).exists() and (plan.root / "tasks" / "__init__.py").exists():
        name, ups = "tasks/__init__.py", 1  # a tasks.py beside it would hide it
    before = current(plan, name)
    if before is not None:
        merge.check_imports(plan.root / name, plan.root, packages)
    after = merge.tasks(before or b"", FOLDER, ups)
    merged(plan, name, before, after, f"the tasks of {FOLDER}/ " + ("beside yours" if before else "(new)"))


def settings_file(plan: Plan, schema: str, seed: str, parse: Parse) -> None:
    """Plan `paths:`; settings of a repository that has adopted the suite before are its own."""
    name = next((name for name in CONFIGURATIONS if (plan.root / name).exists()), CONFIGURATIONS[0])
    before = current(plan, name)
    if plan.before.version and before is not None:
        return
    if not name.endswith(("yaml", "yml")):
        raise Misconfigured(f"{name}: move its settings to invoke.yaml, which invoke would read instead of it")
    try:
        if before is not None and isinstance(there := parse(before), dict) and "paths" in there:
            merge.settings(name, before, FOLDER, {}, parse)
            return
        paths = sql(plan, schema, seed)
        after = merge.settings(name, before or b"", FOLDER, paths, parse)
    except ValueError as error:
        raise Misconfigured(f"{name}: cannot be read ({' '.join(str(error).split())})") from None
    merged(plan, name, before, after, "paths: " + ", ".join(f"{key} {value}" for key, value in paths.items()))


def sql(plan: Plan, schema: str, seed: str) -> dict[str, str]:
    """Return the section `paths:`; raise `Misconfigured` for what is not found."""
    found = discover(plan.root, [plan.home, SUITE])
    paths = {
        "schema": chosen(plan, "schema", schema, found.schemas, "makes tables"),
        "seed": chosen(plan, "seed", seed, found.seeds, "inserts rows"),
        "queries": f"{FOLDER}/sql/queries",
    }
    return paths | migrations(plan, found)


def chosen(plan: Plan, key: str, given: str, found: Sequence[Path], does: str) -> str:
    """Return the file that is meant, and say which others it could have been."""
    if given:
        path = Path(os.path.normpath(plan.root / given))
        if not path.is_relative_to(plan.root) or not path.is_file():
            raise Misconfigured(f"--{key} {given}: there is no such file in {plan.root}")
        return path.relative_to(plan.root).as_posix()
    if not found:
        raise Misconfigured(f"no .sql file was found that {does}: name one by --{key}")
    if others := [path.as_posix() for path in found[1:] if path.stem.lower() == found[0].stem.lower()]:
        plan.told.append(f"{key}: {found[0].as_posix()}, and not {', '.join(others)}: change paths: if that is wrong")
    return str(found[0].as_posix())


def migrations(plan: Plan, found: Found) -> dict[str, str]:
    """Return the setting for migrations in dbmate's format; say where another tool's are."""
    ours = [folder for folder in found.migrations if in_format(plan.root / folder)]
    for folder in found.migrations:
        if folder not in ours:
            shown = folder.as_posix()
            plan.told.append(
                f"migrations in {shown} stay as they are: inv db.migration-import {shown} makes files of ours from them"
            )
    return {"migrations": ours[0].as_posix()} if ours else {}


def in_format(folder: Path) -> bool:
    """Whether a folder holds migrations in dbmate's format."""
    return any(_UP.search(path.read_bytes()) for path in folder.glob("*.sql"))


def requirements(plan: Plan) -> None:
    """Plan one line, by which pip reads the suite's requirements, too."""
    name, line = "requirements.txt", f"-r {FOLDER}/requirements.txt"
    before = current(plan, name)
    if clash := list(merge.conflicts(before or b"", (SUITE / name).read_bytes())):
        raise Misconfigured(f"{name}: {'; '.join(clash)}")
    new = not_before(plan, name, [line], [] if line in merge.text_lines(before or b"") else [line])
    merged(plan, name, before, merge.appended(before or b"", new), line)


def ignored(plan: Plan) -> None:
    name = ".gitignore"
    before = current(plan, name)
    new = not_before(plan, name, merge.IGNORED, merge.ignored(before or b"", merge.IGNORED))
    merged(plan, name, before, merge.appended(before or b"", new), ", ".join(new))


def variables(plan: Plan) -> None:
    name = ".env.example"
    before = current(plan, name)
    wanted = [each.name for each in VARIABLES]
    new = not_before(plan, name, wanted, merge.variables(before or b"", wanted))
    lines = [
        text for each in VARIABLES if each.name in new for text in (f"# {each.meaning}", f"#{each.name}={each.example}")
    ]
    merged(plan, name, before, merge.appended(before or b"", lines), f"{len(new)} variables, in comments")


def not_before(plan: Plan, name: str, wanted: Sequence[str], missing: Sequence[str]) -> list[str]:
    """Return what a file misses and did not have after an earlier run: what they have taken out again stays out."""
    known = plan.before.added.get(name, [])
    plan.after.added[name] = sorted({*known, *wanted})
    return [each for each in missing if each not in known]


# --- writing ------------------------------------------------------------------------------


def carry_out(plan: Plan) -> None:
    """Write all of a plan; cut off anywhere, the next run goes on from there.

    The manifest comes first, with the old and new hash of each file, so that what is half done is known as ours; then the
    files, each by a rename; then theirs; and the manifest again, which ends it.
    """
    for path in [*files.leftovers(plan.home), *(files.temporary(path) for path in plan.merges)]:
        path.unlink(missing_ok=True)
    known: Mapping[str, list[str]] = plan.before.files
    both = {
        name: sorted({*known.get(name, []), *plan.after.files.get(name, [])}) for name in {*known, *plan.after.files}
    }
    note(plan, Manifest(plan.before.version, complete=False, files=both, added=plan.before.added))
    for path, data in plan.writes.items():
        files.make_folders(plan.root, path.parent)
        files.write(path, data, lasting=False)
    for path in plan.removals:
        files.remove(plan.home, path)
    for path, (before, after) in plan.merges.items():
        if (path.read_bytes() if path.exists() else None) != before:
            raise Problem(f"{path} has changed meanwhile: nothing was added to it, run again")
        files.write(path, after)
    note(plan, plan.after)


def note(plan: Plan, manifest: Manifest) -> None:
    """Write the manifest, in the same order always: it is committed, and its difference is read."""
    files.make_folders(plan.root, plan.home)
    text = json.dumps(manifest.as_json(), indent=1, sort_keys=True) + "\n"
    files.write(plan.home / MANIFEST, text.encode())
