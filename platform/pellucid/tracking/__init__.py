"""Experiment tracking and the model registry: a contract, MLflow, and an in-memory one."""
