"""A client that belongs to somebody."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..client import Client
from ..config import ServerConfig
from ..protocol.lifecycle import State


class Key(NamedTuple):
    """Whose connection to what. ``user_id`` is None for the application's own."""

    user_id: str | None
    server_name: str


class Connection(Client):
    """A :class:`~mcpsync.Client` of one owner for one configured server. Thread-safe.

    Args:
        key: Whose it is, and which server's.
        config: The server's configuration.
        options: What :class:`~mcpsync.Client` takes.
    """

    def __init__(self, key: Key, config: ServerConfig, **options: Any) -> None:
        super().__init__(config, server_name=key.server_name, **options)
        self.key = key
        self.user_id = key.user_id

    @property
    def is_connected(self) -> bool:
        """Whether it is open and its server, as far as is known, is there."""
        return self.state is State.OPEN and self._keeper.alive
