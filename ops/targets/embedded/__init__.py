"""The embedded server: its programs, state, process."""
