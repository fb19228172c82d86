"""The security group of the instance: which, its rules, ours among them."""
