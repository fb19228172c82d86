"""The sign-up function beside the one it replaces: psycopg2, and a connection for each event."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from bench.measure import Call, Command, Comparison, Unavailable
from bench.place import Bench
from config.paths import local_dir
from ops.errors import Problem
from ops.lambdas.package import bytecode, function_code, interpreters, layer, uv

EVENTS = 50
"""Events of one run: one alone takes less than a millisecond."""

# What learners paste into the console, with its two faults mended: it put the values
# into the SQL by hand, and failed in `finally` where there was no connection
OLD = """
import os
import psycopg2

def lambda_handler(event, context):
    user = event["request"]["userAttributes"]
    conn = None
    try:
        conn = psycopg2.connect(os.getenv("CONNECTION_URL"))
        cur = conn.cursor()
        sql = "INSERT INTO public.users (display_name, email, handle, cognito_user_id) VALUES (%s, %s, %s, %s)"
        cur.execute(sql, (user["name"], user["email"], user["preferred_username"], user["sub"]))
        conn.commit()
        cur.close()
    except (Exception, psycopg2.DatabaseError) as error:
        print(error)
        raise
    finally:
        if conn is not None:
            conn.close()
    return event
"""

# Reads how many events to handle, and answers when it has
WORKER = """
import importlib, sys, uuid
module, name = sys.argv[1].rsplit(".", 1)
handler = getattr(importlib.import_module(module), name)
answers, sys.stdout = sys.stdout, open("/dev/null", "w")
for count in sys.stdin:
    for _ in range(int(count)):
        sub = str(uuid.uuid4())
        user = {"sub": sub, "name": "Andrew Brown", "email": "andrew@example.com", "preferred_username": sub[:18]}
        handler({"triggerSource": "PostConfirmation_ConfirmSignUp", "userName": sub, "request": {"userAttributes": user}}, None)
    print("done", file=answers, flush=True)
"""


PSYCOPG2 = "psycopg2, a connection each"


# Signs what stands in for a password of each connection, as the function does by its role
SIGN = """
from post_confirmation import iam
environ = {"AWS_ACCESS_KEY_ID": "x" * 20, "AWS_SECRET_ACCESS_KEY": "y" * 40, "AWS_SESSION_TOKEN": "z" * 1200}
"""
BY_BOTOCORE = """
import botocore.session
session = botocore.session.Session()
session.set_credentials("x" * 20, "y" * 40, "z" * 1200)
client = session.create_client("rds", region_name="ca-central-1")
"""
HOST = "x.aaaaaaaaaa.ca-central-1.rds.amazonaws.com"


class Worker:
    """A process that keeps a handler loaded, as a warm sandbox does."""

    def __init__(self, handler: str, paths: list[Path], url: str, login: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-s", "-c", WORKER, handler],
            env={**variables(paths), **(login or {}), "CONNECTION_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(EVENTS, file=self.process.stdin, flush=True)
        if self.process.stdout.readline() != "done\n":
            raise RuntimeError("the handler ended before its events did")

    def stop(self) -> None:
        self.process.communicate()


def variables(paths: list[Path]) -> dict[str, str]:
    """Return the environment of a sandbox, whose file system is read-only: what is not compiled stays so."""
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}


def both(at: Bench, folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the paths from which the packaged function and the old one are imported."""
    old, psycopg2 = folder / "old", local_dir(at.settings.root) / "bench" / "psycopg2"
    old.mkdir()
    (old / "old.py").write_text(OLD, encoding="utf-8")
    certificates = folder / "roots.pem"
    certificates.touch()
    try:
        if not (psycopg2 / "psycopg2").is_dir():
            uv.install(psycopg2, "psycopg2-binary", what="psycopg2 to compare with")
        parts = {"task": function_code.build(certificates, folder), "opt": layer.build_here(folder)}
    except Problem as error:
        raise Unavailable(str(error).splitlines()[0]) from error
    bytecode.compiled(psycopg2, interpreters.running())  # in place, as pip does it where a layer is made by hand
    for name, artifact in parts.items():
        with zipfile.ZipFile(artifact.path) as archive:
            archive.extractall(folder / name)
    return [folder / "task", folder / "opt" / "python"], [old, psycopg2]


def cold(at: Bench) -> Comparison:
    """The import of the handler, as at the start of a sandbox."""
    folder = at.sub("cold")

    def importing(module: str, paths: list[Path]) -> Command:
        # and no more: what Python puts in order when it ends is no part of a start
        code = f"import os, {module}; os._exit(0)"
        return Command([sys.executable, "-S", "-s", "-c", code], folder, variables(paths))

    ours, old = both(at, folder)
    sources = folder / "sources"
    shutil.copytree(folder / "opt", sources, ignore=shutil.ignore_patterns("__pycache__"))
    beside = {
        PSYCOPG2: importing("old", old),
        "ours, the layer not compiled": importing("post_confirmation.handler", [ours[0], sources / "python"]),
        "floor: psycopg alone": importing("psycopg", ours),
        "Python alone": importing("sys", []),
    }
    return Comparison(
        "import of the function, cold",
        importing("post_confirmation.handler", ours),
        beside,
        {PSYCOPG2: 2.0},
        note="Both layers are compiled: ours by lambda.layer, the one made by hand by pip. The floor is the import of psycopg, "
        "which is Python to a large part and brings asyncio, dataclasses and its types, where psycopg2 is one library of C; the "
        "function adds a few milliseconds. What that buys is below: a connection that is kept, and renewed when it has died.",
    )


def token(at: Bench) -> Comparison:
    """The import of what signs a token, and the first one, as at the start of a sandbox."""
    folder = at.sub("token")
    ours, _ = both(at, folder)

    def signing(prepare: str, call: str, paths: list[Path], *flags: str) -> Command:
        code = f"import os, time{prepare}{call}; os._exit(0)"
        return Command([sys.executable, *flags, "-c", code], folder, variables(paths))

    alone = signing(SIGN, f"iam.signed({HOST!r}, '5432', 'lambda_signup', environ, time.time())", ours, "-S", "-s")
    botocore = signing(BY_BOTOCORE, f"client.generate_db_auth_token({HOST!r}, 5432, 'lambda_signup')", [])
    python = Command([sys.executable, "-S", "-s", "-c", "import os; os._exit(0)"], folder, variables([]))
    return Comparison(
        "a token for a connection, cold",
        alone,
        {"botocore": botocore, "Python alone": python},
        {"botocore": 0.5},
        note="What a function needs in the place of a stored password: ours is the standard library's, and botocore's byte for byte. "
        "A sandbox signs one for each connection, which it keeps; a sign-up in a warm one signs none.",
    )


def warm(at: Bench) -> Comparison:
    """Events in a sandbox that runs already."""
    ours, old = both(at, at.sub("warm"))
    target = at.server.target("cruddur")
    at.inv("db.setup")()  # another comparison may have made another database of it
    # The disk's part of a commit is the same for both, and not the function's: with and without it
    urls = target.on(options="-c synchronous_commit=off").url(show_password=True), target.url(show_password=True)
    workers = {
        f"{label}{disk}": Worker(handler, paths, url)
        for url, disk in zip(urls, ("", ", the disk waited for"), strict=True)
        for label, handler, paths in (
            ("ours", "post_confirmation.handler.handler", ours),
            (PSYCOPG2, "old.lambda_handler", old),
        )
    }
    for worker in workers.values():
        at.stack.callback(worker.stop)
    beside = {label: Call(worker) for label, worker in workers.items() if label != "ours"}
    return Comparison(f"{EVENTS} sign-ups, warm", Call(workers["ours"]), beside, {PSYCOPG2: 0.2})


STORED = "with a stored one"


def warm_token(at: Bench) -> Comparison:
    """Events in a sandbox that runs already, whose login is by token, at the instance of inv sandbox.up."""
    folder = at.sub("warm-token")
    ours, _ = both(at, folder)
    way = at.ways
    handler = "post_confirmation.handler.handler"
    token, password = Worker(handler, ours, way.token, way.aws), Worker(handler, ours, way.stored)
    for worker in (token, password):
        at.stack.callback(worker.stop)
    return Comparison(
        f"{EVENTS} sign-ups with a token, warm",
        Call(token),
        {STORED: Call(password)},
        {STORED: 1.1},
        note="Both over TLS that is verified in full. The token is signed and checked when the connection is made, which is kept.",
    )
