"""Every setting with its built-in default; the reason for each stands beside it in invoke.yaml.

Plain data and nothing imported: tasks.py hands it to invoke at every `inv --list` and TAB.
"""

from typing import Any

DEFAULTS: dict[str, Any] = {
    "target": "local",
    "targets": {},  # by name; config/declared.py reads them
    "paths": {
        "schema": "sql/schema.sql",
        "seed": "sql/seed.sql",
        "queries": "sql/queries",
        "migrations": "sql/migrations",
        "masks": "sql/masks.yaml",
        "roles": "sql/roles.yaml",
    },
    "db": {
        "name": "cruddur",
        "lock_timeout": "60",
        "connect_timeout": "10",
        "silence_timeout": "30",
        "per_branch": "no",
        "least_login": "yes",
        "pull_timeout": "1h",
        "read_lag": "10s",
    },
    "migrate": {
        "lock_timeout": "200ms",
        "patience": "10m",
        "stall": "2s",
    },
    "diagnose": {
        "unused_days": "30",
        "pace_days": "1",
        "long": "5m",
        "blocked": "5s",
        "timeout": "20s",
    },
    "look": {"hosts": "unset"},
    "aws": {
        "login_timeout": "30",
        "connect_timeout": "10",
        "timeout": "30",
    },
    # "unset" leaves a field to AWS
    "rds": {
        "engine": "postgres",
        "identifier": "cruddur-db-instance",
        "master_username": "postgres",
        "instance_class": "db.t4g.micro",
        "engine_version": "18",
        "min_acu": "0.5",
        "max_acu": "4",
        "pause_after": "5m",
        "pause_with_function": "no",
        "storage_gb": "20",
        "storage_max_gb": "50",
        "storage_type": "gp3",
        "iops": "unset",
        "throughput": "unset",
        "encrypted": "yes",
        "zone": "unset",
        "subnet_group": "unset",
        "public": "yes",
        "multi_az": "no",
        "backup_days": "7",
        "deletion_protection": "yes",
        "extended_support": "no",
        "auto_minor_upgrade": "yes",
        "iam_auth": "yes",
        "login": "auto",
        "insights_mode": "standard",
        "insights_days": "7",
        "copy_tags": "yes",
        "project": "cruddur",
        "keep_snapshots": "5",
        "keep_snapshot_days": "30",
        "wait_minutes": "60",
        "ca_url": "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem",
    },
    "door": {
        "expires": "12h",
        "echo": "https://checkip.amazonaws.com https://checkip.global.api.aws",
    },
    "app": {
        "host": "127.0.0.1",
        "port": "4567",
        "pool_size": "8",
        "hide_expired": "no",
    },
    "lambda": {
        "function": "cruddur-post-confirmation",
        "python": "3.13",
        "architecture": "x86_64",
        "timeout_seconds": "5",
        "memory_mb": "512",
        "log_days": "14",
        "snap_start": "no",
        "wait_minutes": "5",
    },
}
