"""A new instance beside the one of the settings, from a snapshot or a moment, and the exchange of their names."""
