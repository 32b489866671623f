"""What the tests of this directory share."""

from transports.fixtures import _fresh_eras

__all__ = ["_fresh_eras"]
