"""When the instance runs."""
