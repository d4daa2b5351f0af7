"""Who learns: the only package that imports keras and tensorflow."""
