"""What tools each connection's server has: asked once, asked again when it says they changed."""

from __future__ import annotations

import hashlib
import logging
import random as _random
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._runtime.backoff import exponential
from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from .._runtime.threads import start_thread
from ..errors import LimitExceeded, MCPSyncError
from ..events import Emit, ToolsChanged
from ..parsers import tool_functions
from ..protocol.lifecycle import State
from ..transports.base import CallScope
from .connection import Connection, Key

if TYPE_CHECKING:
    from mcp_types import Tool

logger = logging.getLogger(__name__)

LISTING_TIMEOUT = 30.0  # seconds for all the pages [seed 2.1]
MAX_TOOLS = 1000  # [seed 2.1]
FIRST_RETRY, LAST_RETRY = 0.25, 30.0  # seconds [seed 2.6]
RETRIES = 9  # the last waits LAST_RETRY; after that the next notification begins anew

Subscriber = Callable[[str, "str | None", "list[Tool]"], None]


class Catalogue:
    """The tools of a server as it listed them, whole. Immutable; shared by all who got the same."""

    __slots__ = ("__weakref__", "digest", "tools")

    def __init__(self, digest: bytes, tools: tuple[Tool, ...]) -> None:
        self.digest = digest
        self.tools = tools


class _Due:
    """A listing that is to be made again: when, and how often it failed."""

    __slots__ = ("at", "connection", "failures")

    def __init__(self, connection: Connection, at: float, failures: int) -> None:
        self.connection = connection
        self.at = at
        self.failures = failures


class ToolCatalogues:
    """The catalogues of all connections. Thread-safe.

    A connection is asked on first need. ``notifications/tools/list_changed`` has it asked again,
    once for a burst, on a thread that lives as long as there is something to ask; what fails is
    tried again later, and the last good catalogue holds until then. One that is not whole, or of
    a connection that was closed meanwhile, is never published. [seed 2.6]

    Args:
        emit: Where events go.
        random: Returns a number from 0 to 1, for the jitter.

    Lock: _lock guards _due, _working, _closed, _subscribers, _last, _known.
    """

    def __init__(self, emit: Emit, random: Callable[[], float] = _random.random) -> None:
        self._emit = emit
        self._random = random
        self._lock = new_lock("tool catalogues")
        self._due: dict[Connection, _Due] = {}
        self._working = False
        self._closed = False
        self._bell = threading.Event()
        self._subscribers: tuple[Subscriber, ...] = ()
        self._last: dict[str, Catalogue] = {}  # of the application's servers
        self._known: weakref.WeakValueDictionary[bytes, Catalogue] = weakref.WeakValueDictionary()
        self._at_fork = after_fork_in_child(self._forget)

    # -- asking -----------------------------------------------------------------------------------

    def tools(self, connection: Connection, scope: CallScope) -> list[Tool]:
        """Return the tools of a connection's server, asking if that was not done yet.

        Raises:
            MCPSyncError: They could not be listed, all of them.
        """
        catalogue = connection.catalogue
        if not isinstance(catalogue, Catalogue):
            catalogue = self._list(connection, scope)
            self._publish(connection, catalogue)
        return list(catalogue.tools)

    def functions(self, connection: Connection, scope: CallScope) -> dict[str, Any] | None:
        """Return the tools as functions by key; what was good last if they cannot be listed."""
        try:
            return tool_functions(self.tools(connection, scope), connection.server_name)
        except MCPSyncError as error:
            logger.warning(
                "[MCP][%s] its tools cannot be listed: %s", connection.server_name, error
            )
            return self.last_functions(connection.key)

    def last_functions(self, key: Key) -> dict[str, Any] | None:
        """Return what the application's connection to a server offered last; None if unknown."""
        last = self._last.get(key.server_name) if key.user_id is None else None
        return None if last is None else tool_functions(last.tools, key.server_name)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have *subscriber* called when tools changed; return what undoes that, if called."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

        def undo() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)

        return undo

    # -- asking again -----------------------------------------------------------------------------

    def notified(self, connection: Connection, notification: Any) -> None:
        """Take note of a notification; on the thread that waits for something else."""
        if getattr(notification, "method", None) != "notifications/tools/list_changed":
            return
        if connection.catalogue is None and not self._subscribers:
            return  # nobody has asked yet; whoever does gets the new ones
        self._schedule(_Due(connection, time.monotonic(), 0))

    def close(self) -> None:
        """Ask no more. Works twice."""
        with self._lock:
            self._closed = True
            self._due.clear()
        self._bell.set()

    def _schedule(self, due: _Due) -> None:
        with self._lock:
            if self._closed:
                return
            self._due[due.connection] = due  # in place of one that waits: once for a burst
            start, self._working = not self._working, True
        self._bell.set()
        if start:
            try:
                start_thread("catalogue", self._work)
            except RuntimeError:  # the interpreter exits, or the process is at its limit
                with self._lock:
                    self._working = False

    def _work(self) -> None:
        while True:
            self._bell.clear()
            with self._lock:
                due = min(self._due.values(), key=lambda each: each.at, default=None)
                if due is None:
                    self._working = False
                    return
                wait = due.at - time.monotonic()
                if wait <= 0:
                    del self._due[due.connection]
            if wait > 0:
                self._bell.wait(min(wait, LAST_RETRY))
                continue
            try:
                self._ask_again(due)
            except Exception:
                logger.exception("listing the tools of %s failed", due.connection.server_name)

    def _ask_again(self, due: _Due) -> None:
        connection = due.connection
        if connection.state is State.CLOSED:
            return
        try:
            catalogue = self._list(connection, CallScope(Deadline(LISTING_TIMEOUT)))
        except MCPSyncError as error:
            self._failed(due, error)
        else:
            self._publish(connection, catalogue)

    def _failed(self, due: _Due, error: MCPSyncError) -> None:
        connection, failures = due.connection, due.failures + 1
        if connection.state is State.CLOSED:
            return
        logger.debug("[MCP][%s] its tools cannot be listed: %s", connection.server_name, error)
        if failures > RETRIES:
            logger.warning("[MCP][%s] its new tools cannot be had", connection.server_name)
            return
        with self._lock:
            if connection in self._due:  # it has told of another change: that one is asked for
                return
        delay = exponential(failures, FIRST_RETRY, LAST_RETRY, random=self._random)
        self._schedule(_Due(connection, time.monotonic() + delay, failures))

    # -- having -----------------------------------------------------------------------------------

    def _list(self, connection: Connection, scope: CallScope) -> Catalogue:
        """List all the tools. A server that does not say it has any has none."""
        deadline = scope.deadline.within(LISTING_TIMEOUT)
        if connection.facts(timeout=deadline).capabilities.tools is None:
            return self._same([])
        tools: list[Tool] = []
        for tool in connection.tools(timeout=deadline, cancel=scope.cancel, headers=scope.headers):
            tools.append(tool)
            if len(tools) > MAX_TOOLS:
                raise LimitExceeded(
                    f"the server has more than {MAX_TOOLS} tools.",
                    server_name=connection.server_name,
                )
        return self._same(tools)

    def _same(self, tools: list[Tool]) -> Catalogue:
        """Return the catalogue of these tools that others have already, or a new one."""
        digest = hashlib.sha256(usedforsecurity=False)
        for tool in tools:
            digest.update(tool.model_dump_json(by_alias=True).encode() + b"\n")
        with self._lock:
            known = self._known.get(digest.digest())
            if known is None:
                known = self._known[digest.digest()] = Catalogue(digest.digest(), tuple(tools))
        return known

    def _publish(self, connection: Connection, catalogue: Catalogue) -> None:
        key = connection.key
        if connection.state is State.CLOSED:
            return
        before, connection.catalogue = connection.catalogue, catalogue
        with self._lock:
            if key.user_id is None:
                before = before or self._last.get(key.server_name)
                self._last[key.server_name] = catalogue
            subscribers = self._subscribers
        if before is None or before is catalogue:
            return
        self._emit(ToolsChanged(key.server_name, key.user_id, len(catalogue.tools)))
        for tell in subscribers:
            try:
                tell(key.server_name, key.user_id, list(catalogue.tools))
            except Exception:
                logger.exception("a subscriber to the tools of %s failed", key.server_name)

    def _forget(self) -> None:
        """Have nothing to do: in a forked child it is the parent's, and its thread is not here."""
        self._lock = new_lock("tool catalogues")
        self._bell = threading.Event()
        self._due = {}
        self._working = False
