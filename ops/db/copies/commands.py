"""Copies: dump, restore, pull, and what is kept of before."""

from __future__ import annotations
