"""db.roles: the declared roles, compared with those that are there, and written."""
