"""db.drift: what the repository says against what a database has, by object, and the schema file."""
