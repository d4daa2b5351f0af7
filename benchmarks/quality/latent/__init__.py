"""What the bottleneck is good for, measured: one module a subject, each with its own section of docs/latent.md."""
