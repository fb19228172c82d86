"""The workspace itself: what is there, and the checks that CI runs."""
