"""A pool of many users brought into the table, beside reading the pool alone, and beside COPY of the same rows."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.db import postgres_version
from bench.measure import Command, Comparison
from bench.place import Bench
from ops.lambdas.user_pool.sync import PAGE

POOL = "ca-central-1_bench"
PAGING = "floor: boto3 reads the pages, and nothing is written"
PAGES = f"""
import boto3
for page in boto3.client("cognito-idp").get_paginator("list_users").paginate(
    UserPoolId="{POOL}", PaginationConfig={{"PageSize": {PAGE}}}
):
    len(page["Users"])
"""


class Pool(BaseHTTPRequestHandler):
    """A pool as Cognito's wire has it: DescribeUserPool, and ListUsers, which makes each page when it is asked for.

    Lambda's has no function.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go as two packets, and the second would wait
    total: int

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send(200, self.answer(self.headers["X-Amz-Target"].rpartition(".")[2], asked))

    def do_GET(self) -> None:
        self.send(404, {"Type": "User", "Message": "Function not found"}, "ResourceNotFoundException")

    def send(self, status: int, what: dict[str, Any], error: str = "") -> None:
        text = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(text)))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(text)

    def answer(self, action: str, asked: dict[str, Any]) -> dict[str, Any]:
        if action == "DescribeUserPool":
            return {"UserPool": {"Id": POOL, "EstimatedNumberOfUsers": self.total}}
        start = int(asked.get("PaginationToken", "0"))
        end = min(start + asked["Limit"], self.total)
        users = [user(number) for number in range(start, end)]
        return {"Users": users, **({"PaginationToken": str(end)} if end < self.total else {})}

    def log_message(self, *args: object) -> None:
        """Keep what was asked to oneself."""


def sub(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def user(number: int) -> dict[str, Any]:
    """Return a user as ListUsers does."""
    attributes = {
        "sub": sub(number),
        "email_verified": "true",
        "name": f"User {number}",
        "preferred_username": f"user{number}",
        "email": f"user{number}@example.com",
    }
    items = [{"Name": key, "Value": value} for key, value in attributes.items()]
    at = {"UserCreateDate": 1700000000.0, "UserLastModifiedDate": 1700000000.0}
    return {"Username": sub(number), "Attributes": items, "Enabled": True, "UserStatus": "CONFIRMED", **at}


def rows(total: int) -> Iterator[str]:
    """Yield the rows of a pool, as COPY reads them."""
    for n in range(total):
        yield f"User {n}\tuser{n}@example.com\tuser{n}\t{sub(n)}\n"


def serve(at: Bench, total: int) -> dict[str, str]:
    """Serve a pool of so many users until the end, and return the variables that lead there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("PoolOf", (Pool,), {"total": total}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at.stack.callback(server.server_close)
    at.stack.callback(server.shutdown)
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "ca-central-1",
        "NO_PROXY": "127.0.0.1",
        "INVOKE_DB_NAME": "people",
    }


def sync(at: Bench) -> Comparison:
    """`inv lambda.sync-users`, all of them new."""
    most, least = at.size(100_000, 120), at.size(1_000, 60)
    assert at.server  # for psql
    many, few = serve(at, most), serve(at, least)
    at.inv("db.setup", "--no-seed", env=many)()
    file = at.sub("people") / "rows.copy"
    with file.open("w", encoding="utf-8") as out:
        out.writelines(rows(most))
    empty = at.psql("people", "-c", "truncate public.users cascade", "-c", "checkpoint")

    def ours(env: dict[str, str]) -> Command:
        return at.inv("lambda.sync-users", "--pool", POOL, "--target", "local", env=env, before=empty)

    ours(few).before()
    [small] = ours(few)()
    copied = f"\\copy public.users (display_name, email, handle, cognito_user_id) from '{file}'"
    return Comparison(
        f"inv lambda.sync-users, {most:,} users",
        ours(many),
        {
            PAGING: Command([sys.executable, "-c", PAGES], at.folder, many),
            "psql: COPY of the same rows": at.psql("people", "-c", copied, before=empty),
            f"inv lambda.sync-users, {least:,} users": ours(few),
        },
        {PAGING: 3.0},
        memory=small.memory * 11 // 10,
        note=(
            "From a pool on this machine, which answers at once: Cognito takes longer for a page. The memory to stay below "
            f"is that of {least:,} users and a tenth."
        ),
        versions={"PostgreSQL": postgres_version(at)},
    )
