"""Clients that are made, shared, leased, swept and closed."""

from .connection import Connection
from .factory import ConnectionFactory
from .repository import ConnectionsRepository
from .users import UserConnectionManager

__all__ = ["Connection", "ConnectionFactory", "ConnectionsRepository", "UserConnectionManager"]
