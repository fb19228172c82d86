"""What the tasks cost beside what one would type instead; run by `inv bench`."""
