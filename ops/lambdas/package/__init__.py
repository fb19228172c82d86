"""The two zip files of the function, the same everywhere."""
