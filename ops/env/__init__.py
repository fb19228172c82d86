"""Variables: where each comes from, and saving one."""
