"""Speed: one command, one table."""
