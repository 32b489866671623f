"""Servers that users add themselves: what they may write, and what comes of it. (Seed 2.8, 5.9)"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .._runtime.clock import Clock
from ..config import ServerConfig, fingerprint, parse_server
from ..config.names import normalize_server_name, shadowed_names, takes_keys
from ..config.parsing import as_we_spell
from ..config.user_input import parse_user_server
from ..errors import (
    ConfigurationError,
    MCPSyncError,
    NotPermitted,
    ServerNotFound,
    StoreError,
)
from ..stores.user_servers import UserServer, UserServers
from .permissions import OboGate
from .reading import ReadThrough
from .secrets import keep_secrets

logger = logging.getLogger(__name__)

FOUND: Final = "requires_oauth"  # what the inspection writes into an entry, and nobody else

Inspect = Callable[[str, ServerConfig], ServerConfig]
Checked = Mapping[str, Any]


class UsersOwn:
    """Reads and writes the servers that users have added. Thread-safe.

    Args:
        database: Where they are kept.
        gate: Who may write ``obo``.
        inspect: Returns the configuration as it was found to be, or raises.
        taken: Returns the names that are the operator's.
        clock: Tells how long what was read is good.
    """

    def __init__(
        self,
        database: UserServers,
        gate: OboGate,
        inspect: Inspect,
        taken: Callable[[str], Iterable[str]],
        clock: Clock,
    ) -> None:
        self._database = database
        self._gate = gate
        self._inspect = inspect
        self._taken = taken
        self._told: set[str] = set()  # which are left out; it is only added to
        self._parsed: ReadThrough[tuple[str, float, bool], ServerConfig | None] = ReadThrough(
            clock, float("inf")
        )

    def names(self, user_id: str) -> list[str]:
        """Return the names of all servers that a user may use."""
        return [entry.name for entry in self._usable(self._database.find_all(user_id), user_id)]

    def find(self, name: str, user_id: str) -> ServerConfig | None:
        """Return the configuration of a server that a user may use."""
        entry = self._database.find(name, user_id)
        found = [] if entry is None else self._usable([entry], user_id)
        return self._config_of(found[0]) if found else None

    def find_all(self, user_id: str) -> dict[str, ServerConfig]:
        """Return the configurations of all servers that a user may use; what is broken is not."""
        entries = self._usable(self._database.find_all(user_id), user_id)
        found = {entry.name: self._config_of(entry) for entry in entries}
        return {name: config for name, config in found.items() if config is not None}

    def _usable(self, entries: list[UserServer], user_id: str) -> list[UserServer]:
        """Leave out what takes the keys of an operator's server, which came later.

        What is meant for the operator's would be sent to the user's.
        """
        taken = list(self._taken(user_id)) if entries else []
        usable = []
        for entry in entries:
            if not takes_keys(entry.name, taken):
                usable.append(entry)
            elif entry.name not in self._told:
                self._told.add(entry.name)
                logger.warning(
                    "[MCP][%s] is left out: the tools of a server of the operator's would be "
                    "taken for its own",
                    entry.name,
                )
        return usable

    def add(self, name: str, written: object, user_id: str) -> ServerConfig:
        """Add a server, once it was looked at.

        Raises:
            ConfigurationError: It is wrong, or the name is taken or would be confused.
            NotPermitted: The user may not configure ``obo``.
            InspectionFailed: The server does not work.
            RefusedError: It may not be reached.
        """
        self._check_name(name, user_id)
        checked = _spelt(name, written)
        config = parse_user_server(name, checked, author=user_id)
        self._gate.check_write(user_id, config)
        entry = self._database.add(name, user_id, self._inspected(name, checked, config))
        return self._required(entry)

    def update(self, name: str, written: object, user_id: str) -> ServerConfig:
        """Replace the configuration of a server; secrets it does not mention are kept.

        Raises:
            ServerNotFound: The user has none of that name.
            NotPermitted: He may not change it, or not like this.
            SecretRequired: It leads elsewhere, and a secret has to be given again.
            StoreError: Somebody else has changed it meanwhile.
            ConfigurationError: It is wrong.
            InspectionFailed: The server does not work.
        """
        entry = self._editable(name, user_id)
        old = {key: value for key, value in entry.config.items() if key != FOUND}
        before = self._config_of(entry) and _parsed(entry, old)  # None: what is kept is wrong
        checked = keep_secrets(old, _spelt(name, written))
        config = parse_user_server(name, checked, author=user_id)
        self._gate.check_write(user_id, config, before)
        if before is not None and fingerprint(config) == fingerprint(before):
            kept = dict(checked)
            if FOUND in entry.config:
                kept[FOUND] = entry.config[FOUND]
        else:
            kept = self._inspected(name, checked, config)
        newer = self._database.replace(entry, kept)
        if newer is None:
            raise StoreError(
                "somebody else has changed the server meanwhile; read it again.", server_name=name
            )
        return self._required(newer)

    def remove(self, name: str, user_id: str) -> None:
        """Forget a server of a user. Unknown names are ignored.

        Raises:
            NotPermitted: It is somebody else's.
        """
        try:
            entry = self._editable(name, user_id)
        except ServerNotFound:
            return
        self._database.remove(entry)

    def _editable(self, name: str, user_id: str) -> UserServer:
        entry = self._database.find(name, user_id)
        if entry is None:
            raise ServerNotFound(
                f'Configuration for server "{name}" not found.', server_name=name, user_id=user_id
            )
        if not entry.editable:
            raise NotPermitted(
                "somebody else has added this server.", server_name=name, user_id=user_id
            )
        return entry

    def _inspected(self, name: str, written: Checked, config: ServerConfig) -> dict[str, Any]:
        """Return what is to be kept of a configuration, once its server was looked at."""
        found = self._inspect(name, config)
        return {**written, FOUND: True} if found.requires_oauth else dict(written)

    def _check_name(self, name: str, user_id: str) -> None:
        """Check that a name can be that of a user's server, and is confused with no other."""
        if not isinstance(name, str) or normalize_server_name(name) != name or len(name) > 200:
            raise ConfigurationError(
                "a server's name is letters, digits, '_', '.' and '-'.", server_name=str(name)[:200]
            )
        taken = list(self._taken(user_id))
        if name in taken:
            raise ConfigurationError("there is a server of that name.", server_name=name)
        others = [*taken, *self.names(user_id)]
        if name in shadowed_names([*others, name]) or takes_keys(name, others):
            raise ConfigurationError(
                "its tools, or another server's, would be taken for those of the other.",
                server_name=name,
            )

    def _required(self, entry: UserServer) -> ServerConfig:
        config = self._config_of(entry)
        assert config is not None
        return config

    def _config_of(self, entry: UserServer) -> ServerConfig | None:
        """Return the configuration of an entry, the same object as long as it does not change."""

        def parse() -> ServerConfig | None:
            try:
                return _parsed(entry, entry.config)
            except MCPSyncError as error:
                logger.warning("[MCP][%s] what is kept of it is wrong: %s", entry.name, error)
                return None

        return self._parsed.get((entry.db_id, entry.updated_at, entry.editable), parse)


def _parsed(entry: UserServer, written: Checked) -> ServerConfig:
    of_us = {
        "source": "user",
        "db_id": entry.db_id,
        "author": entry.author,
        "consume_only": not entry.editable,
        "updated_at": entry.updated_at,
    }
    return parse_server(entry.name, {**written, **of_us})


def _spelt(name: str, written: object) -> dict[str, Any]:
    """Return what a user wrote, each field spelt as we do.

    Raises:
        ConfigurationError: It is no mapping, or has a field twice.
    """
    if not isinstance(written, Mapping):
        raise ConfigurationError(
            f"the configuration of a user's server is a mapping, not {type(written).__name__}.",
            server_name=name,
        )
    return as_we_spell(name, written)
