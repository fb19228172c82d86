"""An SQL file: its bytes, what psql and the server see in it, what is said about its faults."""
