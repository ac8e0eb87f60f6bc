"""Parts of `explanations.py`."""
