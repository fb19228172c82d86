"""The RDS instance, and the door to it for this workspace only."""
