"""Copies: dump, restore, pull, and what is kept of before."""
