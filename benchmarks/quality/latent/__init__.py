"""What the bottleneck is good for besides scoring, beside peers: each module writes its section of docs/latent.md."""
