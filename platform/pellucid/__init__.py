"""Pellucid's platform: what the training pipelines and the service share."""

from importlib.metadata import version

__version__ = version("pellucid")
