"""The ideas: NumPy and Arrow, no I/O."""
