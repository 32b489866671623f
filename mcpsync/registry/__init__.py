"""What servers exist."""

from .registry import ServersRegistry

__all__ = ["ServersRegistry"]
