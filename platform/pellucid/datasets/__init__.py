"""Data sets: immutable versions, named by the SHA-256 of their content."""
