"""RDS Proxy before the instance, by which the function logs in."""
