"""What a manager says of what its servers offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Unpack

from ..client.options import CallOptions, scope_of
from ..config import as_user
from ..errors import MCPSyncError
from ..parsers import format_instructions
from .authorizing import Configurations
from .catalogue import ToolCatalogues
from .connection import Key
from .discovery import Discovery, Holder, ToolDiscovery
from .options import ManagerOptions
from .repository import ConnectionsRepository
from .routing import Router
from .users import UserConnectionManager

if TYPE_CHECKING:
    from mcp_types import Tool


class Offering:
    """What a manager tells of its servers' tools and instructions."""

    _timeout: float
    _configs: Configurations
    _catalogues: ToolCatalogues
    _discovery: Discovery
    _router: Router
    _users: UserConnectionManager
    _app: ConnectionsRepository

    def discover_server_tools(
        self, server: str, *, user: Any = None, **options: Unpack[ManagerOptions]
    ) -> ToolDiscovery:
        """Find out which tools a server has, over a connection that is there or one for now.

        A failure is not an exception: see :class:`ToolDiscovery`. [seed 2.3]
        """
        config = None
        try:
            owner = None if user is None else as_user(user)
            config = self._configs.get_server_config(
                server, owner, options.get("timeout"), options.get("cancel")
            )
            lease = None if config is None else self._router.lease(server, owner, options)
        except MCPSyncError as error:
            return self._discovery.refused(server, config, error)
        if lease is None:
            return self._discovery.unknown(server)
        shared = self._app.borrow_existing(Key(None, server))
        if shared is not None:
            try:
                return self._discovery.over(shared.connection, lease.scope)
            finally:
                self._app.give_back(Key(None, server), shared)
        return self._discovery.anew(lease.key, lease.options, lease.scope)

    def get_app_tool_functions(self, **options: Unpack[CallOptions]) -> dict[str, dict[str, Any]]:
        """Return the tools of all the application's servers, as functions for a model, by key.

        A server that fails is left out, and logged; what it offered last is not forgotten.
        """
        scope = scope_of(options, self._timeout)
        configs = self._configs.get_all_server_configs()
        return self._discovery.app_functions(configs, self._app, scope)

    def get_server_tool_functions(
        self, user: Any, server: str, **options: Unpack[CallOptions]
    ) -> dict[str, dict[str, Any]] | None:
        """Return the tools of a server as functions for a model, by key; None if not known.

        Asks over the application's connection, or else the user's; never makes one. [seed 2.3]
        """
        scope = scope_of(options, self._timeout)
        holders: list[tuple[Holder, Key]] = [(self._app, Key(None, server))]
        if user is not None:
            holders.append((self._users, Key(as_user(user).id, server)))
        return self._discovery.functions(holders, scope)

    def get_instructions(
        self, servers: Iterable[str] | None = None, **options: Unpack[CallOptions]
    ) -> dict[str, str]:
        """Return how the servers want to be used, by name. [seed 2.3]

        Only of servers whose configuration has ``server_instructions``: its text, or with
        ``true`` the server's own words, asked of the application's servers only. A server that
        fails is left out.
        """
        scope = scope_of(options, self._timeout)
        configs = self._configs.get_all_server_configs()
        chosen = list(configs) if servers is None else [n for n in servers if n in configs]
        return self._discovery.instructions({n: configs[n] for n in chosen}, self._app, scope)

    def format_instructions_for_context(
        self, servers: Iterable[str] | None = None, **options: Unpack[CallOptions]
    ) -> str:
        """Return :meth:`get_instructions` as one text for a model; empty if there are none."""
        return format_instructions(self.get_instructions(servers, **options))

    def on_tools_changed(
        self, callback: Callable[[str, str | None, list[Tool]], None]
    ) -> Callable[[], None]:
        """Have *callback* called with server, user id and tools when a server changes its tools.

        That is when it says so, or has begun a new session with others. What a user's next
        connection finds is no change. Returns what undoes it. Called on a thread of the
        library's, once for a burst of notifications, and never with a list that is not whole.
        """
        return self._catalogues.subscribe(callback)
