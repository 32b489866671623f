"""What was found when servers were looked at, and what follows from it. (Seed 2.8)"""

from __future__ import annotations

from typing import Final, NamedTuple

from .._runtime.clock import Clock
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..config import ServerConfig
from ..errors import (
    ConfigurationError,
    InspectionFailed,
    MCPSyncError,
    RefusedError,
    RequestCancelled,
)
from .inspector import Inspection

RETRY_AFTER: Final = 300.0  # seconds until what failed may be tried again [seed]


class _Finding(NamedTuple):
    config: ServerConfig
    found: ServerConfig
    inspection: Inspection
    at: float


class Findings:
    """Keeps what was found of the operator's servers, each as it was configured then. Thread-safe.

    Args:
        clock: Tells when what failed may be tried again.

    Lock: _lock guards _known against two writers.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, _Finding] = {}
        self._lock = new_lock("findings")
        after_fork_in_child(self._forget)

    def note(self, name: str, config: ServerConfig, inspection: Inspection) -> None:
        """Keep what was found; it counts as long as the server is configured like this."""
        finding = _Finding(
            config, as_found(config, inspection), inspection, self._clock.monotonic()
        )
        with self._lock:
            self._known = {**self._known, name: finding}

    def drop(self, name: str) -> None:
        """Forget what was found of a server."""
        with self._lock:
            self._known = {each: found for each, found in self._known.items() if each != name}

    def of(self, name: str, config: ServerConfig | None) -> Inspection | None:
        """Return what was found of a server that is configured like this."""
        finding = self._known.get(name)
        return finding.inspection if finding is not None and finding.config is config else None

    def applied(self, name: str, config: ServerConfig) -> ServerConfig:
        """Return a server's configuration as it was found to be; five minutes, if it failed."""
        finding = self._known.get(name)
        if finding is None or finding.config is not config:
            return config
        failed = finding.inspection.error is not None
        over = failed and self._clock.monotonic() - finding.at >= RETRY_AFTER
        return config if over else finding.found

    def _forget(self) -> None:
        self._lock = new_lock("findings")


def as_found(config: ServerConfig, found: Inspection) -> ServerConfig:
    """Return a configuration with what was found out about its server."""
    if found.error is not None:
        return config.model_copy(update={"inspection_failed": True})
    if found.requires_oauth and config.requires_oauth is None and config.scope != "app":
        return config.model_copy(update={"requires_oauth": True})
    return config


def as_failure(name: str, error: MCPSyncError) -> MCPSyncError:
    """Return what is raised for a server that failed: a refusal of ours as it is. [seed]"""
    if isinstance(error, RefusedError | RequestCancelled | ConfigurationError):
        return error
    failure = InspectionFailed(f'Failed to connect to MCP server "{name}".', server_name=name)
    failure.__cause__ = error
    return failure
