"""Credentials, worked out for each request and never kept on a connection."""

from .bearer import BearerAuth

__all__ = ["BearerAuth"]
