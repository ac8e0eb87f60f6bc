"""The monitor: which windows are due, judging them, and keeping what was found."""
