"""``ServersRegistry``: the one place that knows which servers are configured, and how."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from .._runtime.clock import Clock
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..config import ServerConfig, load_servers
from ..errors import ServerNotFound


class ServersRegistry:
    """The configured servers by name. Thread-safe; a reader never waits.

    What is added or updated at run time is seen by the next call; connections made from an older
    configuration are stale then, and made anew when their calls are over.

    Args:
        servers: Configurations by name: what YAML would hold, or config objects.
        clock: Tells when a configuration was updated.

    Lock: _lock guards _servers against two writers.

    Raises:
        ConfigurationError: A configuration is wrong; the server is named.
    """

    def __init__(
        self, servers: Mapping[str, ServerConfig | Mapping[str, Any]], clock: Clock
    ) -> None:
        self._clock = clock
        self._servers = load_servers(servers)
        self._lock = new_lock("servers registry")
        after_fork_in_child(self._forget)

    @property
    def server_names(self) -> list[str]:
        """The names of the configured servers."""
        return list(self._servers)

    def get_server_config(self, server_name: str) -> ServerConfig | None:
        """Return the configuration of a server as it is now; None if there is none."""
        return self._servers.get(server_name)

    def get_all_server_configs(self) -> dict[str, ServerConfig]:
        """Return all configurations as they are now."""
        return dict(self._servers)

    def require(self, server_name: str) -> ServerConfig:
        """Return the configuration of a server.

        Raises:
            ServerNotFound: There is none; the nearest name is shown.
        """
        config = self._servers.get(server_name)
        if config is None:
            raise self._not_found(server_name)
        return config

    def add_server(
        self, server_name: str, config: ServerConfig | Mapping[str, Any]
    ) -> ServerConfig:
        """Add a server, or replace the configuration of one that is there, from now on.

        Returns the configuration, whose ``updated_at`` is now.

        Raises:
            ConfigurationError: The configuration is wrong; nothing was changed.
        """
        return self._put(server_name, config, replace_only=False)

    def update_server(
        self, server_name: str, config: ServerConfig | Mapping[str, Any]
    ) -> ServerConfig:
        """Replace the configuration of a server that is there.

        Raises:
            ServerNotFound: There is none of that name.
            ConfigurationError: The configuration is wrong; nothing was changed.
        """
        self.require(server_name)
        return self._put(server_name, config, replace_only=True)

    def remove_server(self, server_name: str) -> None:
        """Forget a server. Unknown names are ignored."""
        with self._lock:
            self._servers = {k: v for k, v in self._servers.items() if k != server_name}

    def _put(
        self,
        server_name: str,
        config: ServerConfig | Mapping[str, Any],
        *,
        replace_only: bool,
    ) -> ServerConfig:
        loaded = load_servers({server_name: config})[server_name]
        loaded = loaded.model_copy(update={"updated_at": self._clock.time()})
        with self._lock:
            wanted = server_name in self._servers or not replace_only
            if wanted:
                self._servers = {**self._servers, server_name: loaded}
        if not wanted:  # it was removed while we read the new one
            raise self._not_found(server_name)
        return loaded

    def _not_found(self, server_name: str) -> ServerNotFound:
        near = difflib.get_close_matches(str(server_name), self._servers, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return ServerNotFound(
            f'Configuration for server "{server_name}" not found.{hint}',
            server_name=str(server_name),
        )

    def _forget(self) -> None:
        self._lock = new_lock("servers registry")
