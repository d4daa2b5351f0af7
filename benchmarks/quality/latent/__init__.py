"""What the bottleneck is good for besides scoring, measured beside peers: writes `docs/latent.md`."""
