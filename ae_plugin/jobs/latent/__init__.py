"""What else the bottleneck is good for: embeddings, few labels, generation, completion."""
