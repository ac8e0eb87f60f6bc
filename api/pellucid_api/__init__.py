"""The HTTP service: jobs in, predictions out. Never imports torch."""
