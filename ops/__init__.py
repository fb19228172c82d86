"""What the tasks do: one folder per namespace, thin tasks over plain functions."""
