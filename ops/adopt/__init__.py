"""inv adopt: the suite put into somebody's repository, in a folder of its own, and brought up to date there."""
