"""What the bottleneck is good for besides detection, measured beside peers."""
