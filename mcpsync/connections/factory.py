"""From a server's configuration and a user to a connection that is open."""

from __future__ import annotations

from collections.abc import Callable

from ..client.carriers import settings_for
from ..config import HttpServerConfig, ServerConfig
from ..http import HttpSettings, Limits
from ..http.settings import Session
from ..transports.base import CallScope
from .connection import Connection, Key


class ConnectionFactory:
    """Makes connections. Thread-safe.

    Args:
        find: Returns the configuration of a server by name, or raises ``ServerNotFound``.
        timeout: Seconds a call may take where neither it nor the configuration says.
        session: A ``requests.Session`` to take proxies, TLS settings and headers from.
        limits: How much a server may send.
    """

    def __init__(
        self,
        find: Callable[[str], ServerConfig],
        *,
        timeout: float,
        session: Session | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._find = find
        self._timeout = timeout
        self._session = session
        self._limits = limits
        self._settings: dict[str, HttpSettings] = {}

    def create(self, key: Key, scope: CallScope) -> Connection:
        """Make the connection *key* stands for, and connect it.

        Args:
            key: Whose, and to what.
            scope: Its deadline bounds it, as does the server's ``connect_timeout``; its
                cancellation ends it; its headers are for the requests that connecting makes.

        Raises:
            MCPSyncError: It did not work out; nothing is left open.
        """
        config = self._find(key.server_name)
        connection = Connection(
            key,
            config,
            timeout=config.timeout or self._timeout,
            session=self._settings_of(key.server_name, config),
            limits=self._limits,
        )
        try:
            connection.connect(timeout=scope.deadline, cancel=scope.cancel, headers=scope.headers)
        except BaseException:
            connection.close()
            raise
        return connection

    def _settings_of(self, name: str, config: ServerConfig) -> HttpSettings | None:
        """Return the settings that all connections to one server share, worked out once."""
        if not isinstance(config, HttpServerConfig):
            return None
        settings = self._settings.get(name)
        if settings is None:
            settings = self._settings[name] = settings_for(config, session=self._session)
        return settings
