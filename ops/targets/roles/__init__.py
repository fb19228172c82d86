"""The declared roles of a database: what they are called, what the file says of each, and their passwords."""
