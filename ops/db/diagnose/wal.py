"""Checks of replication slots: what they keep from being removed.

https://www.postgresql.org/docs/current/view-pg-replication-slots.html
https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-MAX-SLOT-WAL-KEEP-SIZE
"""

from __future__ import annotations

from ops.db.diagnose.check import BLOCK, Check, Facts, Finding, Row, bytes_of

MUCH = float(1 << 30)
"""Bytes of WAL that a consumer may lag behind."""

SLOTS = """
select quote_literal(slot_name) as name, slot_name, slot_type, active, wal_status, restart_lsn is not null or xmin is not null or catalog_xmin is not null as holds,
       coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, restart_lsn), 0)::float as held
from pg_replication_slots where not temporary
"""


def slot(row: Row, _: Facts) -> Finding | None:
    drop = (f"select pg_drop_replication_slot({row['name']})",)
    held = bytes_of(row["held"] / BLOCK)
    if row["wal_status"] == "lost":
        what, status, cost = "its WAL was removed", "red", "what read from it must be made anew"
    elif not row["active"] and row["holds"]:
        what, status = f"nobody reads from it, and it holds {held} of WAL", "red" if row["held"] >= MUCH else "yellow"
        cost = "WAL is kept for it until the disk is full, and no vacuum removes what it may still want"
    elif row["active"] and row["held"] >= MUCH:
        what, status = f"who reads from it is {held} behind", "yellow"
        cost = "WAL is kept for it until the disk is full: see what its reader does, or drop both"
    else:
        return None
    return Finding("red" if status == "red" else "yellow", row["slot_name"], what, cost, drop)


CHECKS = (Check("replication_slot", SLOTS, slot, "no slot holds WAL for nobody"),)
