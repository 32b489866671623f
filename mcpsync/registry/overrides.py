"""What an administrator says of servers while the application runs, over what YAML says."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from .._runtime.clock import Clock
from .._runtime.fanout import fan_out
from ..config import ServerConfig, parse_server
from ..config.loading import check_name, expanded
from ..config.parsing import as_we_spell
from ..config.predicates import is_user_sourced
from ..errors import ConfigurationError, MCPSyncError, RequestCancelled
from .findings import RETRY_AFTER
from .reading import Limit, ReadThrough

logger = logging.getLogger(__name__)

AT_ONCE: Final = 8

Written = Mapping[str, Any]
ReadOverrides = Callable[["str | None"], Mapping[str, Written]]
Inspect = Callable[[str, ServerConfig, Limit], ServerConfig]


class _Made(NamedTuple):
    """What became of an override: a configuration, unless it makes no sense or does not work."""

    config: ServerConfig | None
    failed: bool


class Overrides:
    """Lays overrides over the operator's configurations. Thread-safe.

    An override is looked at before it is used; one that fails never takes the place of a
    configuration that works, and is looked at again after five minutes. [seed]

    Args:
        read: Returns what is said for a user, by the name of the server; for None, for nobody.
        allowlists: Returns what decides where servers may be, as far as it may differ from one
            call to the next: what passed under one list counts for nothing under another.
        inspect: Returns the configuration as it was found to be, or raises.
        clock: Tells when what failed may be tried again.
    """

    def __init__(
        self,
        read: ReadOverrides,
        allowlists: Callable[[], object],
        inspect: Inspect,
        clock: Clock,
    ) -> None:
        self._allowlists = allowlists
        self._inspect = inspect
        self._read = read
        self._said: ReadThrough[str | None, Mapping[str, Written]] = ReadThrough(clock)
        self._made: ReadThrough[tuple[str, str], _Made] = ReadThrough(clock, float("inf"))

    def names(self, user_id: str | None, limit: Limit) -> list[str]:
        """Return of which servers anything is said for a user."""
        return list(self._said_for(user_id, limit))

    def over(
        self, name: str, base: ServerConfig | None, user_id: str | None, limit: Limit
    ) -> ServerConfig | None:
        """Return the configuration of a server for a user.

        Args:
            name: The server.
            base: What there is without an override.
            user_id: Whose override.
            limit: Ends the looking.

        Raises:
            RequestTimeout, RequestCancelled: The caller's time was over; nothing is known.
            ConfigurationError: What was read makes no sense at all.
        """
        said = self._said_for(user_id, limit).get(name)
        if said is None or (base is not None and is_user_sourced(base)):
            return base
        try:
            key = name, _digest(said, base, self._allowlists())
        except (TypeError, ValueError, RecursionError) as error:
            kind = type(error).__name__
            logger.warning("[MCP][%s] the override is not used: it is no JSON (%s).", name, kind)
            return base
        made = self._made.get(
            key,
            lambda: self._make(name, base, said, limit),
            limit,
            ttl=lambda made: RETRY_AFTER if made.failed else float("inf"),
        )
        if made.failed and base is not None:
            return base
        return made.config

    def over_all(
        self, bases: Mapping[str, ServerConfig], user_id: str | None, limit: Limit
    ) -> dict[str, ServerConfig]:
        """Return all configurations for a user; what has to be looked at, several at a time."""
        names = list(dict.fromkeys((*bases, *self.names(user_id, limit))))
        outcomes = fan_out(
            "inspector",
            lambda name: self.over(name, bases.get(name), user_id, limit),
            names,
            limit=AT_ONCE,
        )
        found: dict[str, ServerConfig] = {}
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is not None:
                found[name] = outcome
        return found

    def clear(self) -> list[str]:
        """Forget what was read and looked at; return of which servers, to disconnect from them."""
        self._said.clear()
        return list(dict.fromkeys(name for name, _ in self._made.clear()))

    def read_anew(self) -> None:
        """Forget what was read, not what was looked at."""
        self._said.clear()

    def _said_for(self, user_id: str | None, limit: Limit) -> Mapping[str, Written]:
        def read() -> Mapping[str, Written]:
            said = self._read(user_id)
            if not isinstance(said, Mapping):
                kind = type(said).__name__
                raise ConfigurationError(f"overrides= returned {kind}, not a mapping of servers.")
            return {name: each for name, each in said.items() if _is_name(name)}

        return self._said.get(user_id, read, limit)

    def _make(self, name: str, base: ServerConfig | None, said: Written, limit: Limit) -> _Made:
        stub: ServerConfig | None = None
        try:
            config = _laid_over(name, base, said)
            stub = config.model_copy(update={"inspection_failed": True})
            return _Made(self._inspect(name, config, limit), failed=False)
        except RequestCancelled:
            raise
        except MCPSyncError as error:
            limit.deadline.check("looking at a server for the first time")
            logger.warning("[MCP][%s] the override is not used: %s", name, error)
            return _Made(stub, failed=True)


def _is_name(name: object) -> bool:
    try:
        check_name(name)
    except ConfigurationError as error:  # nobody could call it, and what it says goes into lines
        logger.warning("an override is not used: %s", error)
        return False
    return True


def _laid_over(name: str, base: ServerConfig | None, said: Written) -> ServerConfig:
    """Return what is said on top of what there is, whose source stays.

    Raises:
        ConfigurationError: They do not go together, or it is wrong.
    """
    if not isinstance(said, Mapping):
        raise ConfigurationError(
            f"an override is a mapping, not {type(said).__name__}.", server_name=name
        )
    under: dict[str, Any] = {}
    source = "config"
    if base is not None:
        under = base.model_dump(exclude_unset=True)
        source = base.source or "yaml"
    of_us = {
        "source": source,
        "db_id": None if base is None else base.db_id,
        "updated_at": None if base is None else base.updated_at,
        "inspection_failed": False,
    }
    # Not what was expanded already; and each field is one field, however it is spelt.
    said = as_we_spell(name, expanded(name, said))
    return parse_server(name, {**under, **said, **of_us})


def _digest(said: Written, base: ServerConfig | None, allowlists: object) -> str:
    written = None if base is None else base.model_dump(mode="json")
    text = json.dumps([said, written, allowlists], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()
