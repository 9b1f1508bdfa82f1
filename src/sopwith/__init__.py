"""Sopwith carries out Standard Operating Procedures: step by step, approved by people, proven by a record."""

from sopwith.version import __version__

__all__ = ["__version__"]
