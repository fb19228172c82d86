"""The settings against the instance: what a change of each means, and the change."""
