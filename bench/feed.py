"""The feed's first page at a million activities: beside `select 1` on the same pool, and beside ten thousand."""

from __future__ import annotations

from bench.measure import Call, Comparison
from bench.place import Bench
from ops import postgres

MANY, FEW = 1_000_000, 10_000
USERS = """
insert into users (display_name, handle, cognito_user_id)
select 'Person ' || n, 'person' || n, 'MOCK-' || n from generate_series(1, 1000) n
"""
ACTIVITIES = """
insert into activities (user_uuid, message, likes_count, expires_at, created_at)
select people[1 + n % 1000], repeat('what people say ', 1 + n % 9), n % 50, now() + n % 30 * interval '1 day',
       now() - n * interval '1 second'
from generate_series(1, {}) n, (select array_agg(uuid) as people from users) u
"""


def feed(at: Bench) -> Comparison:
    """`HomeActivities`' page beside the least that its pool can do, p99 of the calls."""
    from backend.db import Pool
    from backend.home_activities import home

    least, most = at.size(FEW, 200), at.size(MANY, 2000)
    many, few = (Pool(filled(at, rows)) for rows in (most, least))
    for pool in (many, few):
        at.stack.callback(pool.close)

    def floor() -> None:
        with many.connection() as conn:
            conn.execute("select 1").fetchone()

    calls, small = at.size(500, 5), f"{least:,} activities"
    return Comparison(
        f"first page of the feed, {most:,} activities",
        Call(lambda: home(source=many), calls),
        {"select 1": Call(floor, calls), small: Call(lambda: home(source=few), calls)},
        {"select 1": 10, small: 2},
        note="By the application's own pool, without HTTP; every call is timed.",
        quantile=0.99,
    )


def filled(at: Bench, rows: int) -> str:
    """Set up a database with this many activities on the server, and return its URL."""
    name = f"feed{rows}"
    at.inv("db.setup", "--no-seed", env={"INVOKE_DB_NAME": name})()
    target = at.server.target(name)
    with postgres.connect(target, task="bench") as conn:
        conn.execute(USERS)
        conn.execute(ACTIVITIES.format(rows).encode())
        conn.execute("vacuum (analyze) activities")
    return target.url(show_password=True)
