"""How a training process is started and ended."""
