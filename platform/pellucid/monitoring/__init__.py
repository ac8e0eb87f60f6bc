"""Watching what is served: the prediction log, written by the service and read in windows."""
