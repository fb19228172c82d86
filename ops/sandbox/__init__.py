"""A stand-in for AWS and RDS on this machine, to try everything without an account."""
