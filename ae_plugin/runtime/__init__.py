"""Who infers: exported networks, nothing of Keras."""
