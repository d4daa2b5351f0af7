"""Where it is kept: files, model versions, runs."""
