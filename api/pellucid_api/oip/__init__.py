"""The Open Inference Protocol, version 2: its tensors and messages, and what it tells of models."""
