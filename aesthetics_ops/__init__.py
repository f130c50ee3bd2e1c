"""Nightly, verified TFRecord datasets from raw photos and aesthetic scores.

Import the module of the stage you need; nothing is imported here, so that a task pays only for what it uses.
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("aesthetics-ops")
