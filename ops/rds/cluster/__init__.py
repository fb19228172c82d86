"""A cluster of Aurora as the server of a target: a volume of its own, and the instances that read and write it."""
