"""References of versions, and profiles of what they predicted."""
