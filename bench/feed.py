"""The feed's first page at a million activities: beside `select 1` on the same pool, and beside ten thousand."""

from __future__ import annotations

from pathlib import Path

from bench.measure import INV, Command, Comparison
from config.settings import Settings
from config.targets import Target

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


def feed(settings: Settings, folder: Path) -> Comparison:
    """`HomeActivities`' page beside the least that its pool can do, p99 of the calls."""
    from backend.db import Pool
    from backend.home_activities import home

    many, few = (Pool(filled(folder, rows)) for rows in (MANY, FEW))

    def least() -> None:
        with many.connection() as conn:
            conn.execute("select 1").fetchone()

    def end() -> None:
        many.close()
        few.close()

    small = f"{FEW:,} activities"
    return Comparison(
        "feed",
        lambda: home(source=many),
        {"select 1": least, small: lambda: home(source=few)},
        {"select 1": 10, small: 2},
        calls=500,
        quantile=0.99,
        end=end,
    )


def filled(folder: Path, rows: int) -> str:
    """Set up a database with this many activities on the clone's server, and return its URL."""
    from ops import postgres
    from ops.db import state

    name = f"feed{rows}"
    Command([INV, "db.setup", "--no-seed"], folder, {"INVOKE_DB_NAME": name})()
    made = state.load(folder)
    assert made is not None
    target: Target = made.target(name)
    with postgres.connect(target, task="bench") as conn:
        conn.execute(USERS)
        conn.execute(ACTIVITIES.format(rows).encode())
        conn.execute("vacuum (analyze) activities")
    return target.url(show_password=True)
