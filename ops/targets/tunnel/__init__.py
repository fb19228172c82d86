"""Tunnels to servers that this machine does not reach: opened, shared, closed."""
