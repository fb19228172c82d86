"""What an instance has logged."""
