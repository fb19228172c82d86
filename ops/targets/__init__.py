"""A database on a server: resolved, opened, identified, protected; who keeps its server."""
