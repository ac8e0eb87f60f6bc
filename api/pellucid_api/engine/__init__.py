"""The data plane: rows to arrays, ONNX Runtime, answers. It knows nothing of HTTP."""
