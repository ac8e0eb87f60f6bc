"""What is asked of a window: each question gives signals and figures."""
