"""Looking into a trained network: the figures of `pellucid inspect`."""
