"""Speed and quality, measured beside the peers."""
