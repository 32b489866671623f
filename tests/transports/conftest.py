"""What the tests of this directory share."""

from transports.fixtures import _fresh_eras, serve

__all__ = ["_fresh_eras", "serve"]
