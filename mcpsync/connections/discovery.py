"""What servers offer, for whoever builds a menu: a failure is an answer here. [seed 2.3]"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .._runtime.fanout import fan_out
from ..config import ServerConfig
from ..config.predicates import is_allowed_at_app_level, requires_oauth_machinery
from ..errors import AuthorizationRequired, MCPSyncError
from ..transports.base import CallScope
from .catalogue import ToolCatalogues
from .connection import Connection, ConnectionOptions, Key
from .disposal import Entry
from .factory import ConnectionFactory
from .repository import AT_ONCE, ConnectionsRepository

if TYPE_CHECKING:
    from mcp_types import Tool

logger = logging.getLogger(__name__)

Functions = dict[str, dict[str, Any]]


class Holder(Protocol):
    """What has connections, and lends those that are there."""

    def borrow_existing(self, key: Key) -> Entry | None:
        """Lend a connection if there is one that is open; never make one."""

    def give_back(self, key: Key, entry: Entry) -> None:
        """Take a lent connection back."""


class ToolDiscovery(NamedTuple):
    """What was found out about the tools of a server.

    Args:
        tools: All of them; None if that could not be found out.
        oauth_required: Whether the user has to sign in first.
        oauth_url: Where, if a sign-in was begun.
        required: What a call would have raised then, with what a cookie is to hold.
    """

    tools: list[Tool] | None
    oauth_required: bool = False
    oauth_url: str | None = None
    required: AuthorizationRequired | None = None


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
            tools = self._catalogues.tools(connection, scope)
            return ToolDiscovery([tool.model_copy(deep=True) for tool in tools])
        except MCPSyncError as error:
            return self._failed(connection.server_name, error)

    def anew(self, key: Key, options: ConnectionOptions, scope: CallScope) -> ToolDiscovery:
        """Ask over a connection that is made for it, and closed whatever comes of it."""
        try:
            return ToolDiscovery(self._factory.discover_tools(key, options, scope))
        except MCPSyncError as error:
            return self._failed(key.server_name, error)

    def functions(
        self, holders: Iterable[tuple[Holder, Key]], scope: CallScope
    ) -> Functions | None:
        """Return the tools of a server as functions by key, asked over a connection that is there.

        Returns:
            What the first of the holders that has one offers; if nobody has, or it fails, what the
            application's offered last; None if that is not known.
        """
        last = None
        for holder, key in holders:
            entry = holder.borrow_existing(key)
            if entry is None:
                last = last if last is not None else self._catalogues.last_functions(key)
                continue
            try:
                if self._catalogues.is_outdated(entry.connection):
                    continue
                found = self._catalogues.functions(entry.connection, scope)
            finally:
                holder.give_back(key, entry)
            if found is not None:
                return found
        return last

    def app_functions(
        self, configs: Mapping[str, ServerConfig], app: ConnectionsRepository, scope: CallScope
    ) -> Functions:
        """Return the tools of the application's servers as functions by key, connecting to them.

        One that fails is left out, unless it is known what it offered last.
        """

        def ask(name: str) -> Functions | None:
            try:
                app.get(name, scope)
            except MCPSyncError as error:
                logger.warning("[MCP][%s] no connection: %s", name, error)
            return self.functions([(app, Key(None, name))], scope)

        names = [
            name
            for name, config in configs.items()
            if is_allowed_at_app_level(config) and not self._catalogues.is_shadowed(name, None)
        ]
        functions: Functions = {}
        for found in fan_out("lister", ask, names, limit=AT_ONCE):
            if isinstance(found, BaseException):
                raise found
            functions.update(found or {})
        return functions

    def instructions(
        self, configs: Mapping[str, ServerConfig], app: ConnectionsRepository, scope: CallScope
    ) -> dict[str, str]:
        """Return the instructions of servers that are to give any; those that fail are left out."""

        def ask(name: str) -> str | None:
            text = configs[name].server_instructions
            return self._own_words(name, app, scope) if text is True else text or None

        found: dict[str, str] = {}
        for name, text in zip(configs, fan_out("lister", ask, configs, limit=AT_ONCE), strict=True):
            if isinstance(text, BaseException):
                raise text
            if text is not None and text.strip():
                found[name] = text
        return found

    def _own_words(self, name: str, app: ConnectionsRepository, scope: CallScope) -> str | None:
        try:
            connection = app.get(name, scope)
            if connection is None:
                return None
            facts = connection.facts(
                timeout=scope.deadline, cancel=scope.cancel, headers=scope.headers
            )
        except MCPSyncError as error:
            logger.warning("[MCP][%s] no instructions: %s", name, error)
            return None
        return facts.instructions

    def _failed(self, server_name: str, error: MCPSyncError) -> ToolDiscovery:
        logger.warning("[MCP][%s] its tools cannot be listed: %s", server_name, error)
        if isinstance(error, AuthorizationRequired):
            url = error.authorization_url
            return ToolDiscovery(None, True, url, None if url is None else error)
        return ToolDiscovery(None)
