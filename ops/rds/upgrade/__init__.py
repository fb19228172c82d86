"""A new major version of PostgreSQL."""
