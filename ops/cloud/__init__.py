"""What the tasks of AWS share."""
