"""What a fleet costs: parsing pipelines, tasks with little to do, and shards over several workers."""
