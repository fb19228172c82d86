"""A database for each git branch."""
