"""A database changed over the years: files, history, and no stall of those who work with it."""
