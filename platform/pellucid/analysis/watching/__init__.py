"""Watching live traffic: pure functions over counts, from a reference and a window to signals."""
