"""What `monitoring.py` measures."""
