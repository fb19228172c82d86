"""What a declared role is called on its server, and the mark by which it is known as ours.

Roles belong to the server and not to a database (https://www.postgresql.org/docs/current/user-manag.html), so the
database's name is in both: those of staging, and of strangers, have others.
"""

from __future__ import annotations

import hashlib
import re

from config.targets import Target

LONGEST = 63
"""Bytes of a name: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS."""
DIGITS = 8
"""Letters of the hash that tells two databases apart whose names had to be cut."""
FUNCTION = "inv: function "
"""Begins the comment on the login of lambda.*'s function, which lambda.deploy makes (ops/lambdas/login.py)."""
OURS = re.compile(r"\[inv: (?:role|login) [^\]]*\]")
"""In the comment of a role that the suite has made: a declared one, or a person's login."""


def database_of(target: Target) -> str:
    """Return the database whose roles a target's are: a git branch's database has those of the main one."""
    return target.trunk or target.dbname


def role_name(database: str, role: str) -> str:
    """Return what a role is called that has no name of its own: `<database>_<role>`, in at most 63 bytes.

    Of a database with a longer name, a hash takes the place of what had to be cut.
    """
    name = f"{database}_{role}"
    if len(name.encode()) <= LONGEST:
        return name
    end = f"_{hashlib.sha256(database.encode()).hexdigest()[:DIGITS]}_{role}"
    return database.encode()[: LONGEST - len(end.encode())].decode(errors="ignore") + end


def mark(database: str, role: str) -> str:
    """Return what the comment on a role of ours holds; without a database, that of one which all of them share."""
    return f"[inv: role {role} of {database}]" if database else f"[inv: role {role}]"


def marks_like(database: str) -> str:
    """Return a pattern of LIKE for the marks of all roles of a database."""
    escaped = re.sub(r"([\\%_])", r"\\\1", database)
    return f"%[inv: role % of {escaped}]%"
