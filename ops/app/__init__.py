"""The feed: the reading side, served from here or from its container."""
