"""The Open Inference Protocol over gRPC, and gRPC's own health check.

It is one more front of the data plane, on the event loop that serves HTTP.
"""
