"""A database for each git branch."""

from __future__ import annotations
