"""Create, load, seed, set up, connect to and inspect Postgres."""
