"""Where scoring runs: streams of record batches."""
