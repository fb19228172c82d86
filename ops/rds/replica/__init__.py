"""A replica of the instance, to read at: made, taken away, or made an instance of its own."""
