"""What servers offer, for whoever builds a menu: a failure is an answer here. [seed 2.3]"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..config import ServerConfig
from ..config.predicates import is_allowed_at_app_level, requires_oauth_machinery
from ..errors import AuthorizationRequired, MCPSyncError
from ..transports.base import CallScope
from .catalogue import ToolCatalogues
from .connection import Connection, ConnectionOptions, Key
from .factory import ConnectionFactory
from .repository import ConnectionsRepository

if TYPE_CHECKING:
    from mcp_types import Tool

logger = logging.getLogger(__name__)


class ToolDiscovery(NamedTuple):
    """What was found out about the tools of a server.

    Args:
        tools: All of them; None if that could not be found out.
        oauth_required: Whether the user has to sign in first.
        oauth_url: Where, if a sign-in was begun.
    """

    tools: list[Tool] | None
    oauth_required: bool = False
    oauth_url: str | None = None


class Discovery:
    """Finds out what servers offer. Thread-safe.

    Args:
        factory: Makes connections that are closed again at once.
        catalogues: What connections offer that are there.
    """

    def __init__(self, factory: ConnectionFactory, catalogues: ToolCatalogues) -> None:
        self._factory = factory
        self._catalogues = catalogues

    def unknown(self, server_name: str) -> ToolDiscovery:
        """Answer for a server that is not configured."""
        logger.warning("[MCP][%s] no tools: it is not configured", server_name)
        return ToolDiscovery(None)

    def refused(
        self, server_name: str, config: ServerConfig | None, error: MCPSyncError
    ) -> ToolDiscovery:
        """Answer for a server that cannot be connected to for this caller."""
        if config is None:
            return self.unknown(server_name)
        logger.warning("[MCP][%s] no tools: %s", server_name, error)
        return ToolDiscovery(None, requires_oauth_machinery(config))

    def over(self, connection: Connection, scope: CallScope) -> ToolDiscovery:
        """Ask over a connection that is there."""
        try:
            return ToolDiscovery(self._catalogues.tools(connection, scope))
        except MCPSyncError as error:
            return self._failed(connection.server_name, error)

    def anew(self, key: Key, options: ConnectionOptions, scope: CallScope) -> ToolDiscovery:
        """Ask over a connection that is made for it, and closed whatever comes of it."""
        try:
            return ToolDiscovery(self._factory.discover_tools(key, options, scope))
        except MCPSyncError as error:
            return self._failed(key.server_name, error)

    def instructions(
        self, configs: Mapping[str, ServerConfig], app: ConnectionsRepository, scope: CallScope
    ) -> dict[str, str]:
        """Return the instructions of servers that are to give any; those that fail are left out."""
        own = [
            name
            for name, config in configs.items()
            if config.server_instructions is True and is_allowed_at_app_level(config)
        ]
        connections = app.get_many(own, scope, continue_on_error=True) if own else {}
        found: dict[str, str] = {}
        for name, config in configs.items():
            text = config.server_instructions
            if text is True:
                text = self._own_words(connections.get(name), scope)
            if isinstance(text, str) and text.strip():
                found[name] = text
        return found

    def _own_words(self, connection: Connection | None, scope: CallScope) -> str:
        if connection is None:
            return ""
        try:
            return connection.facts(timeout=scope.deadline).instructions or ""
        except MCPSyncError as error:
            logger.warning("[MCP][%s] no instructions: %s", connection.server_name, error)
            return ""

    def _failed(self, server_name: str, error: MCPSyncError) -> ToolDiscovery:
        logger.warning("[MCP][%s] its tools cannot be listed: %s", server_name, error)
        if isinstance(error, AuthorizationRequired):
            return ToolDiscovery(None, True, error.authorization_url)
        return ToolDiscovery(None)
