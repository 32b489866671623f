"""What the tests of this directory share."""

from transports.fixtures import serve

__all__ = ["serve"]
