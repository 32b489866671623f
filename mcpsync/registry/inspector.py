"""``ServerInspector``: looking at a server before anybody uses it. (Seed 2.8)"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from .._runtime.fanout import fan_out
from ..auth.detection import detect_oauth_requirement
from ..auth.metadata import ResourceMetadata
from ..config import HttpServerConfig, ServerConfig
from ..config.predicates import facts_of
from ..connections import Connection, ConnectionFactory, Key
from ..connections.connection import ConnectionOptions
from ..connections.listing import read_catalogue
from ..errors import ConnectionClosed, MCPSyncError, RequestCancelled
from ..parsers import tool_functions
from ..transports.base import CallScope

if TYPE_CHECKING:
    from mcp_types import ServerCapabilities, Tool

logger = logging.getLogger(__name__)

INSPECTION_TIMEOUT: Final = 30.0  # seconds for one server [seed]
AT_ONCE: Final = 8  # servers that are looked at at a time
GOODBYE: Final = 2.0  # seconds that closing the connection may take


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found out about a server.

    Args:
        server_name: Which one.
        requires_oauth: Whether its users have to sign in; None if that was not asked.
        oauth_metadata: What it says of who issues tokens, if it does.
        connected: Whether it was connected to. What needs a user is not.
        capabilities: What it says it can do.
        instructions: How it wants to be used, in its own words.
        tools: What it offers; None if that is not known.
        init_duration: Seconds that looking at it took.
        error: Why it failed; None if it did not.
        skipped: Whether time ran out before it was its turn.
    """

    server_name: str
    requires_oauth: bool | None = None
    oauth_metadata: ResourceMetadata | None = None
    connected: bool = False
    capabilities: ServerCapabilities | None = None
    instructions: str | None = None
    tools: tuple[Tool, ...] | None = field(default=None, repr=False)
    init_duration: float = 0.0
    error: MCPSyncError | None = None
    skipped: bool = False

    @property
    def tool_functions(self) -> dict[str, dict[str, Any]]:
        """The tools as functions for a model, by key."""
        return tool_functions(self.tools or (), self.server_name)


class ServerInspector:
    """Looks at servers: may they be reached, want they a sign-in, what do they offer? Thread-safe.

    Nobody's credentials go along but those in the configuration. Whatever is connected to is left
    again at once.

    Args:
        factory: Makes connections, and says where they may lead; it is kept alive by its manager
            alone.
    """

    def __init__(self, factory: ConnectionFactory) -> None:
        self._made_by = weakref.ref(factory)  # it is a manager's, which would never be collected

    def inspect(
        self,
        server_name: str,
        config: ServerConfig,
        *,
        deadline: Deadline | None = None,
        cancel: Cancellation | None = None,
    ) -> Inspection:
        """Look at one server. It takes 30 seconds at most.

        Args:
            server_name: What it is called.
            config: How it is configured.
            deadline: Ends it earlier.
            cancel: Ends it.

        Raises:
            RequestCancelled: *cancel* fired. What else goes wrong is in what is returned.
        """
        began = time.monotonic()
        limit = (deadline or Deadline(INSPECTION_TIMEOUT)).within(INSPECTION_TIMEOUT)
        found = Inspection(server_name)
        try:
            self._factory.check_reach(server_name, config)
            found = self._sign_in_of(config, found, limit, cancel)
            if is_to_be_connected(config) and not found.requires_oauth:
                found = self._look(config, found, CallScope(limit, cancel))
        except RequestCancelled:
            raise
        except MCPSyncError as error:
            error.with_context(server_name=server_name)
            found = replace(found, error=error)
        return replace(found, init_duration=time.monotonic() - began)

    def inspect_all(
        self,
        configs: Mapping[str, ServerConfig],
        *,
        deadline: Deadline,
        cancel: Cancellation | None = None,
    ) -> dict[str, Inspection]:
        """Look at many servers, eight at a time. One that says nothing holds up no other.

        Args:
            configs: The servers, by name.
            deadline: Ends it all; whose turn had not come by then is skipped.
            cancel: Ends it all.

        Raises:
            RequestCancelled: *cancel* fired.
        """

        def look(name: str) -> Inspection:
            if deadline.expired:
                return Inspection(name, skipped=True)
            return self.inspect(name, configs[name], deadline=deadline, cancel=cancel)

        outcomes = fan_out("inspector", look, configs, limit=AT_ONCE)
        found: dict[str, Inspection] = {}
        for name, outcome in zip(configs, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            found[name] = outcome
        return found

    @property
    def _factory(self) -> ConnectionFactory:
        factory = self._made_by()
        if factory is None:
            raise ConnectionClosed("the manager that connects is gone.")
        return factory

    def _sign_in_of(
        self,
        config: ServerConfig,
        found: Inspection,
        limit: Deadline,
        cancel: Cancellation | None,
    ) -> Inspection:
        said = sign_in_as_said(config)
        if said is not None or not isinstance(config, HttpServerConfig):
            return replace(found, requires_oauth=bool(said))
        answer = detect_oauth_requirement(
            config.url,
            self._factory.fetcher_for(config),
            on_auth_error=not config.headers,  # nobody knows what it says to who has these
            deadline=limit,
            cancel=cancel,
        )
        return replace(found, requires_oauth=answer.requires_oauth, oauth_metadata=answer.metadata)

    def _look(self, config: ServerConfig, found: Inspection, scope: CallScope) -> Inspection:
        """Connect, ask for everything at a time, and leave."""
        connection = self._factory.create(
            Key(None, found.server_name), ConnectionOptions(config), scope, ephemeral=True
        )
        try:
            facts, tools = fan_out(
                "inspector",
                lambda ask: ask(connection, scope),
                (_ask_what_it_is, _ask_for_tools),
                limit=2,
            )
        finally:
            connection.close(timeout=scope.deadline.within(GOODBYE).remaining())
        for outcome in (facts, tools):
            if isinstance(outcome, RequestCancelled) or (
                isinstance(outcome, BaseException) and not isinstance(outcome, MCPSyncError)
            ):
                raise outcome
            if isinstance(outcome, MCPSyncError):
                logger.warning("[MCP][%s] not all is known: %s", found.server_name, outcome)
        if isinstance(facts, MCPSyncError) and isinstance(tools, MCPSyncError):
            raise facts
        known = replace(found, connected=True)
        if not isinstance(facts, BaseException):
            known = replace(known, capabilities=facts.capabilities, instructions=facts.instructions)
        if not isinstance(tools, BaseException):
            known = replace(known, tools=tools)
        return known


def sign_in_as_said(config: ServerConfig) -> bool | None:
    """Return whether users have to sign in, if the configuration tells; None if it has to be asked.

    It is not asked what was said; what a command does; a server whose URL is not known without a
    user, that is not to be connected to without one, or that gets other credentials. [seed]
    """
    if config.requires_oauth is not None:
        return config.requires_oauth
    if not isinstance(config, HttpServerConfig) or not config.startup or config.obo is not None:
        return False
    if config.oauth is not None:
        return config.oauth.grant == "authorization_code"
    if "{{" in config.url or config.api_key is not None:
        return False
    return False if any(name.lower() == "authorization" for name in config.headers) else None


def is_to_be_connected(config: ServerConfig) -> bool:
    """Whether a server can be connected to with nobody there: nothing in it is a user's. [seed]"""
    return why_not_to_be_connected(config) is None


def why_not_to_be_connected(config: ServerConfig) -> str | None:
    """Return why a server is not connected to with nobody there; None if it can be."""
    facts = facts_of(config)
    if facts.user_scope_reason is not None:
        return facts.user_scope_reason
    if facts.templated:
        return "it needs a user's values"
    return None if config.startup else "'startup' is false"


def _ask_what_it_is(connection: Connection, scope: CallScope) -> Any:
    return connection.facts(timeout=scope.deadline, cancel=scope.cancel)


def _ask_for_tools(connection: Connection, scope: CallScope) -> Any:
    return tuple(read_catalogue(connection, scope).tools)
