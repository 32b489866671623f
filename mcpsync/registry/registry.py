"""``ServersRegistry``: the one place that knows which servers there are, and how they are."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..config import ServerConfig, as_user, load_servers
from ..config.fields import LONGEST_NAME
from ..errors import (
    ConfigurationError,
    MCPSyncError,
    ServerNotFound,
)
from ..stores.user_servers import UserServers
from .findings import Findings, as_failure, as_found
from .inspector import Inspection, ServerInspector
from .overrides import Overrides, ReadOverrides
from .permissions import MayConfigureObo, OboGate
from .reading import Limit, ReadThrough
from .secrets import parse_update
from .users_own import UsersOwn

T = TypeVar("T")

Written = ServerConfig | Mapping[str, Any]
INSPECTIONS_TIMEOUT = 60.0


class ServersRegistry:
    """The servers there are: the operator's, and those that users have added. Thread-safe.

    The operator's come from YAML or code, and an administrator may lay overrides over them while
    the application runs. Users' own are found only for those who may use them. Of one name, the
    operator's configuration wins over a user's; a user's is never overlaid. What is read of
    overrides and users is good for five seconds, except for whoever writes it in this process.
    Without these two a reader never waits.

    What is added or updated at run time is seen by the next call; connections made from an older
    configuration are stale then, and made anew when their calls are over.

    Args:
        servers: The operator's configurations by name: what YAML would hold, or config objects.
        clock: Tells when a configuration was updated, and for how long what was read is good.
        user_servers: Where users' own servers are kept.
        overrides: Returns what an administrator says of servers, by name, for the id of a user,
            or for None on the application's own behalf.
        may_configure_obo: Tells whether a user, by his id, may write ``obo``: see :class:`Roles`.
        allowlists: Returns what decides where servers may be, if that may change: an override that
            passed under one list is looked at again under another.

    Attributes:
        obo_gate: Who may write ``obo``, and which servers may be sent tokens.

    Lock: _lock guards _servers against two writers.

    Raises:
        ConfigurationError: A configuration is wrong; the server is named.
    """

    def __init__(
        self,
        servers: Mapping[str, Written],
        clock: Clock,
        user_servers: UserServers | None = None,
        overrides: ReadOverrides | None = None,
        may_configure_obo: MayConfigureObo | None = None,
        allowlists: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._servers = load_servers(servers)
        self._findings = Findings(clock)
        self._lock = new_lock("servers registry")
        self._inspector: ServerInspector | None = None
        self.obo_gate = OboGate(
            may_configure_obo, None if user_servers is None else user_servers.author_of
        )
        self._overrides: Overrides | None = None
        if overrides is not None:
            self._overrides = Overrides(overrides, allowlists, self._inspected, clock)
        self._users: UsersOwn | None = None
        if user_servers is not None:
            self._users = UsersOwn(
                user_servers, self.obo_gate, self._inspected, self._of_operator, clock
            )
        self._names: ReadThrough[str | None, list[str]] = ReadThrough(clock)
        self._one: ReadThrough[tuple[str, str | None], ServerConfig | None] = ReadThrough(clock)
        self._all: ReadThrough[str | None, dict[str, ServerConfig]] = ReadThrough(clock)
        after_fork_in_child(self._forget)

    def inspect_with(self, inspector: ServerInspector) -> None:
        """Have servers looked at with *inspector* from now on."""
        self._inspector = inspector

    # -- reading ----------------------------------------------------------------------------------

    @property
    def server_names(self) -> list[str]:
        """The names of the operator's servers."""
        return list(self._servers)

    def names_for(self, user: Any = None, limit: Limit | None = None) -> list[str]:
        """Return the names of all servers that there are for a user; none is looked at for it.

        If users' servers or overrides cannot be read, those of YAML and code.
        """
        if self._overrides is None and (self._users is None or user is None):
            return self.server_names
        try:
            user_id = _id_of(user)
            return self._names.get(user_id, lambda: self._find_names(user_id, limit), limit)
        except MCPSyncError:
            return self.server_names

    def get_server_config(
        self,
        server_name: str,
        user: Any = None,
        timeout: float | Deadline | None = None,
        cancel: Cancellation | None = None,
    ) -> ServerConfig | None:
        """Return the configuration of a server as it is now; None if there is none.

        Args:
            server_name: The server.
            user: For whom: his own servers are found, too, and what overrides say for him.
            timeout: Seconds it may take to look at a server that an override leads to for the
                first time, or to wait for another reader.
            cancel: Ends that, too.

        Raises:
            StoreError: Users' servers cannot be read, and the operator has none of that name.
            RequestTimeout, RequestCancelled: It took too long.
        """
        base = self._base(server_name)
        if self._overrides is None and (self._users is None or base is not None or user is None):
            return base
        if base is None and len(server_name) > LONGEST_NAME:  # nobody's, and not to be kept
            return None
        user_id = _id_of(user)
        limit, key = Limit.of(timeout, cancel), (server_name, user_id)
        return self._one.get(key, lambda: self._find(server_name, user_id, limit), limit)

    def get_all_server_configs(
        self,
        user: Any = None,
        timeout: float | Deadline | None = None,
        cancel: Cancellation | None = None,
    ) -> dict[str, ServerConfig]:
        """Return all configurations as they are now: the operator's, and those of a user.

        *timeout* and *cancel* are those of :meth:`get_server_config`.

        Raises:
            StoreError: Users' servers cannot be read.
            RequestTimeout, RequestCancelled: It took too long.
        """
        if self._overrides is None and (self._users is None or user is None):
            return self._bases()
        user_id = _id_of(user)
        limit = Limit.of(timeout, cancel)
        return dict(self._all.get(user_id, lambda: self._find_all(user_id, limit), limit))

    def require(
        self,
        server_name: str,
        user: Any = None,
        timeout: float | Deadline | None = None,
        cancel: Cancellation | None = None,
    ) -> ServerConfig:
        """Return the configuration of a server.

        Raises:
            ServerNotFound: There is none; the nearest name is shown.
            StoreError, RequestTimeout, RequestCancelled: See :meth:`get_server_config`.
        """
        config = self.get_server_config(server_name, user, timeout, cancel)
        if config is None:
            raise self._not_found(server_name, user, Limit.of(timeout, cancel))
        return config

    def oauth_servers(self, user: Any = None) -> list[str]:
        """Return the names of the servers that users have to sign in to. [seed: getOAuthServers]"""
        configs = self.get_all_server_configs(user)
        return [name for name, config in configs.items() if config.requires_oauth]

    def inspection(self, server_name: str) -> Inspection | None:
        """Return what was found when an operator's server was looked at last, as configured now."""
        return self._findings.of(server_name, self._servers.get(server_name))

    # -- writing ----------------------------------------------------------------------------------

    def add_server(
        self, server_name: str, config: Written, *, user: Any = None, inspect: bool = False
    ) -> ServerConfig:
        """Add a server, or replace the configuration of one that is there, from now on.

        With *user* it is his own: it is added if nobody has one of that name, once it was looked
        at, and is there for him alone. Returns the configuration, whose ``updated_at`` is now.

        Args:
            server_name: What it is called.
            config: How it is reached. A user's is a mapping: what he wrote.
            user: Whose it is; None for the operator.
            inspect: Whether to look at an operator's server first, too.

        Raises:
            ConfigurationError: The configuration is wrong; nothing was changed.
            NotPermitted: The user may not configure ``obo``.
            InspectionFailed: The server does not work.
            RefusedError: It may not be reached.
            StoreError: Users' servers cannot be written.
        """
        if user is not None:
            add = self._users_own().add
            return self._written(lambda: add(server_name, config, as_user(user).id))
        return self._put(server_name, config, replace_only=False, inspect=inspect)

    def update_server(
        self, server_name: str, config: Written, *, user: Any = None, inspect: bool = False
    ) -> ServerConfig:
        """Replace the configuration of a server that is there.

        Secrets of ``oauth`` and ``api_key`` that a mapping does not mention are kept, unless it
        leads elsewhere.

        Args:
            server_name: Which one.
            config: As for :meth:`add_server`.
            user: Who changes it; None for the operator, whose own servers nobody else changes.
            inspect: As for :meth:`add_server`.

        Raises:
            ServerNotFound: There is none of that name.
            SecretRequired: It leads elsewhere, and a secret that was kept has to be given again.
            NotPermitted: It is not the user's, or it has ``obo`` and he may change its title,
                description and icon only.
            ConfigurationError: The configuration is wrong; nothing was changed.
            InspectionFailed, RefusedError, StoreError: As for :meth:`add_server`.
        """
        if user is not None:
            update = self._users_own().update
            return self._written(lambda: update(server_name, config, as_user(user).id))
        before = self._servers.get(server_name)
        if before is None:
            raise self._not_found(server_name)
        if isinstance(config, Mapping):
            config = parse_update(server_name, before, config)
        return self._put(server_name, config, replace_only=True, inspect=inspect)

    def remove_server(self, server_name: str, *, user: Any = None) -> None:
        """Forget a server. Unknown names are ignored.

        Args:
            server_name: Which one.
            user: Whose; None for the operator's.

        Raises:
            NotPermitted: It is not the user's.
        """
        if user is not None:
            remove = self._users_own().remove
            return self._written(lambda: remove(server_name, as_user(user).id))
        with self._lock:
            self._servers = {k: v for k, v in self._servers.items() if k != server_name}
        self._findings.drop(server_name)
        return self._clear()

    def invalidate_overrides(self) -> list[str]:
        """Forget what was read of overrides and found of their servers.

        Returns:
            Whose overrides were in use, so that they can be disconnected from.
        """
        names = [] if self._overrides is None else self._overrides.clear()
        self._clear()
        return names

    # -- looking at servers -----------------------------------------------------------------------

    def inspect_servers(
        self, *, timeout: float = INSPECTIONS_TIMEOUT, cancel: Cancellation | None = None
    ) -> dict[str, Inspection]:
        """Look at the operator's servers, several at a time, and take note of what was found.

        Who has to be signed in to is known then. One that fails is shown with
        ``inspection_failed``, and is not the application's to connect to for five minutes.

        Args:
            timeout: Seconds for all of them; one takes 30 at most. Whose turn had not come by then
                stays as it is.
            cancel: Ends it.

        Returns:
            What was found, by name.

        Raises:
            RequestCancelled: *cancel* fired.
        """
        configs = dict(self._servers)
        found = self._require_inspector().inspect_all(
            configs, deadline=Deadline(timeout), cancel=cancel
        )
        for name, inspection in found.items():
            if not inspection.skipped:
                self._findings.note(name, configs[name], inspection)
        self._clear()
        return found

    def reinspect_server(
        self, server_name: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> ServerConfig:
        """Look again at a server that failed, however short a time ago. Its ``updated_at`` is now.

        Raises:
            ServerNotFound: There is none of that name.
            ConfigurationError: It has not failed.
            InspectionFailed: It still does not work.
            RefusedError: It may not be reached.
            RequestCancelled: *cancel* fired.
        """
        before = self._servers.get(server_name)
        if before is None:
            raise self._not_found(server_name)
        if not (self._base(server_name) or before).inspection_failed:
            raise ConfigurationError(
                "only a server whose inspection failed is looked at again.", server_name=server_name
            )
        config = before.model_copy(update={"inspection_failed": False})  # which may be written
        deadline = None if timeout is None else Deadline(timeout)
        found = self._require_inspector().inspect(
            server_name, config, deadline=deadline, cancel=cancel
        )
        if found.error is not None:
            self._findings.note(server_name, before, found)
            self._clear()
            raise as_failure(server_name, found.error)
        newer = config.model_copy(update={"updated_at": self._clock.time()})
        with self._lock:
            if self._servers.get(server_name) is before:  # else it is another server's by now
                self._servers = {**self._servers, server_name: newer}
        self._findings.note(server_name, newer, found)
        self._clear()
        return self.require(server_name)

    def _inspected(
        self, name: str, config: ServerConfig, limit: Limit | None = None
    ) -> ServerConfig:
        """Return a configuration as its server was found to be; as it is if nobody looks."""
        if self._inspector is None:
            return config
        deadline, cancel = limit or (None, None)
        found = self._inspector.inspect(name, config, deadline=deadline, cancel=cancel)
        if found.error is not None:
            raise as_failure(name, found.error)
        return as_found(config, found)

    def _require_inspector(self) -> ServerInspector:
        if self._inspector is None:
            raise ConfigurationError("there is nothing to look at servers with: inspect_with().")
        return self._inspector

    # -- finding ----------------------------------------------------------------------------------

    def _base(self, name: str) -> ServerConfig | None:
        """Return an operator's configuration, as it was found to be."""
        config = self._servers.get(name)
        return None if config is None else self._findings.applied(name, config)

    def _bases(self) -> dict[str, ServerConfig]:
        found = {name: self._base(name) for name in self._servers}
        return {name: config for name, config in found.items() if config is not None}

    def _of_operator(self, user_id: str | None, limit: Limit | None = None) -> list[str]:
        said = self._overrides.names(user_id, limit or Limit.of()) if self._overrides else []
        return [*self._servers, *said]

    def _find_names(self, user_id: str | None, limit: Limit | None) -> list[str]:
        own = [] if self._users is None or user_id is None else self._users.names(user_id)
        return list(dict.fromkeys([*self._of_operator(user_id, limit), *own]))

    def _find(self, name: str, user_id: str | None, limit: Limit) -> ServerConfig | None:
        base = self._base(name)
        if base is None and self._users is not None and user_id is not None:
            own = self._users.find(name, user_id)
            if own is not None:
                return own
        if self._overrides is None:
            return base
        return self._overrides.over(name, base, user_id, limit)

    def _find_all(self, user_id: str | None, limit: Limit) -> dict[str, ServerConfig]:
        bases = self._bases()
        own = {}
        if self._users is not None and user_id is not None:
            found = self._users.find_all(user_id)
            own = {name: config for name, config in found.items() if name not in bases}
        if self._overrides is not None:
            bases = self._overrides.over_all(bases, user_id, limit)
        return {**bases, **own}

    def _users_own(self) -> UsersOwn:
        if self._users is None:
            raise ConfigurationError("there is nowhere to keep users' servers: user_servers=.")
        return self._users

    # -- changing ---------------------------------------------------------------------------------

    def _put(
        self, server_name: str, config: Written, *, replace_only: bool, inspect: bool
    ) -> ServerConfig:
        loaded = load_servers({server_name: config})[server_name]
        loaded = loaded.model_copy(update={"updated_at": self._clock.time()})
        if inspect:
            self._require_inspector()
            loaded = self._inspected(server_name, loaded)
        with self._lock:
            wanted = server_name in self._servers or not replace_only
            if wanted:
                self._servers = {**self._servers, server_name: loaded}
        if not wanted:  # it was removed while we read the new one
            raise self._not_found(server_name)
        self._clear()
        return loaded

    def _written(self, write: Callable[[], T]) -> T:
        """Write, and forget what was read before, even if it is not clear what was written."""
        try:
            return write()
        finally:
            self._clear()

    def _clear(self) -> None:
        if self._overrides is not None:
            self._overrides.read_anew()
        self._names.clear()
        self._one.clear()
        self._all.clear()

    def _not_found(self, name: str, user: Any = None, limit: Limit | None = None) -> ServerNotFound:
        names = self.names_for(user, limit)
        name = str(name)[:LONGEST_NAME]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        text = f'Configuration for server "{name}" not found.{hint}'
        return ServerNotFound(text, server_name=name)

    def _forget(self) -> None:
        self._lock = new_lock("servers registry")


def _id_of(user: Any) -> str | None:
    return None if user is None else as_user(user).id
