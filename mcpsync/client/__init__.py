"""The facade for one server."""

from .client import Client

__all__ = ["Client"]
