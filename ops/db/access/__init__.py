"""db.grant-access and others: a login for each person, with an end."""
