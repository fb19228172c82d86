"""db.rehearse: what pending migrations would do to a target, tried on a copy of its shape."""
