"""The reading side: what an application imports, and what its container holds. It imports nothing of ops/ or config/."""
