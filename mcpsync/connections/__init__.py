"""Clients that are made, shared, leased, swept and closed."""

from .connection import Connection, ConnectionOptions, Key
from .factory import ConnectionFactory
from .repository import ConnectionsRepository
from .request_scope import RequestScope
from .users import UserConnectionManager

__all__ = [
    "Connection",
    "ConnectionFactory",
    "ConnectionOptions",
    "ConnectionsRepository",
    "Key",
    "RequestScope",
    "UserConnectionManager",
]
