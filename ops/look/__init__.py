"""inv look: one page of everything, served on this machine or saved as a file."""
