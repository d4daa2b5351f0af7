"""Quality: what is found of what is known to be wrong."""
