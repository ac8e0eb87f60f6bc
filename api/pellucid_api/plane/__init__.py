"""The data plane: one way from a request's bytes to a reply's, whatever front it came through.

decode -> queue -> batch -> run -> split -> encode. A front (the HTTP protocol itself, an ASGI
route, gRPC) finds the model and hands over headers and body; a codec knows one format of both.
"""
