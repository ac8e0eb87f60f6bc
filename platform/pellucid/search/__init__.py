"""Hyper-parameter search: what may vary, what to try next, and the keeper that runs it."""
