"""Other tools' migrations, made into dbmate's files; and what of them a database has run."""
