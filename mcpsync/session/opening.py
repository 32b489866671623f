"""Beginning a conversation: which era, which version. (Requirements section 3.)"""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from typing import Protocol

from .._runtime.deadline import Deadline
from .._runtime.locks import new_lock
from ..errors import (
    AuthError,
    HTTPStatusError,
    MCPError,
    MessageInvalid,
    RequestTimeout,
    UnsupportedProtocolVersion,
)
from ..protocol import codec
from ..protocol.negotiation import LEGACY, Verdict, judge_discovery, judge_refusal
from ..protocol.versions import MODERN_VERSIONS, Era
from ..transports.base import LegacyTransport, ModernTransport
from .base import Call, ClientSession
from .callbacks import Callbacks
from .legacy import LegacySession
from .modern import ModernSession

logger = logging.getLogger(__name__)

SILENCE_IS_LEGACY = 10.0  # seconds a stdio server may leave the probe unanswered (N2)
GOODBYE = 2.0  # seconds that closing a session may take whose handshake failed
MAX_ORIGINS = 4096


class Carrier(Protocol):
    """Makes the transports to one server, and tells one server from another."""

    origin: object | None
    """What the era of the server is remembered by; None to ask each time."""

    silence_is_legacy: bool
    """Whether no answer to the probe means legacy (stdio) or trouble (HTTP)."""

    def modern(self) -> ModernTransport:
        """Return a transport of the modern era."""

    def legacy(self) -> LegacyTransport:
        """Return a transport of the legacy era; over stdio, the same one."""


class Eras:
    """Which era each origin was found to speak. Thread-safe. (N5)

    Lock: _lock guards _found.
    """

    def __init__(self) -> None:
        self._lock = new_lock("eras")
        self._found: dict[object, Verdict] = {}

    def get(self, origin: object | None) -> Verdict | None:
        """Return what was found for *origin*, if anything was."""
        return None if origin is None else self._found.get(origin)

    def remember(self, origin: object | None, verdict: Verdict) -> None:
        """Remember what was found; the oldest is forgotten when there are too many."""
        if origin is None or self._found.get(origin) == verdict:
            return
        with self._lock:
            self._found.pop(origin, None)
            self._found[origin] = verdict
            if len(self._found) > MAX_ORIGINS:
                del self._found[next(iter(self._found))]

    def forget(self, origin: object | None) -> None:
        """Ask again next time: what was found turned out wrong."""
        with self._lock:
            self._found.pop(origin, None)

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._found.clear()


eras = Eras()
"""What this process found out, whoever asked."""


class Opening:
    """Opens sessions with one server.

    Args:
        carrier: Makes the transports.
        callbacks: The client's.
        mode: ``"auto"``, ``"legacy"``, or the modern version to speak without asking.
    """

    def __init__(self, carrier: Carrier, callbacks: Callbacks, mode: str) -> None:
        self._carrier = carrier
        self.callbacks = callbacks
        self._mode = mode
        self._ids = itertools.count(1)

    def open(self, call: Call) -> tuple[ClientSession, bool]:
        """Return a session, and whether its era was assumed from an earlier answer.

        Raises:
            MCPSyncError: There is none to be had. Nothing is left open.
        """
        if self._mode == "legacy":
            return self._legacy(call), False
        if self._mode in MODERN_VERSIONS:
            return self._modern(self._mode), False
        known = eras.get(self._carrier.origin)
        if known is not None and known.era is Era.MODERN:
            return self._modern(known.version or MODERN_VERSIONS[-1]), True
        if known is not None:
            try:
                return self._legacy(call), False
            except (MCPError, HTTPStatusError) as error:  # N9: it may be modern after all
                if isinstance(error, HTTPStatusError) and _is_trouble(error.status):
                    raise
                eras.forget(self._carrier.origin)
        return self._probe(call), False

    def _modern(self, version: str) -> ModernSession:
        return ModernSession(self._carrier.modern(), self.callbacks, self._ids, version)

    def _legacy(self, call: Call) -> LegacySession:
        session = LegacySession(self._carrier.legacy(), self.callbacks, self._ids)
        try:
            session.initialize(call)
        except BaseException:
            session.close(Deadline(GOODBYE))
            raise
        return session

    def _probe(self, call: Call) -> ClientSession:
        session = self._modern(MODERN_VERSIONS[-1])
        try:
            verdict = self._judge(session, call)
            if verdict.era is Era.MODERN:
                eras.remember(self._carrier.origin, verdict)
                return session
            return self._fall_back(call)
        except BaseException:
            session.close(Deadline(GOODBYE))
            raise

    def _fall_back(self, call: Call) -> ClientSession:
        logger.debug("the server does not know server/discover; shaking hands")
        try:
            shaken = self._legacy(call)
        except MCPError as error:
            if error.code != codec.UNSUPPORTED_VERSION:
                raise
        else:
            eras.remember(self._carrier.origin, LEGACY)
            return shaken
        session = self._modern(MODERN_VERSIONS[-1])  # N9: slow to start, modern after all
        session.discover(call)
        eras.remember(self._carrier.origin, Verdict(Era.MODERN, session.protocol_version))
        return session

    def _judge(self, session: ModernSession, call: Call) -> Verdict:
        """Ask ``server/discover`` and say what the answer means.

        Raises:
            AuthError: 401 and 403 say nothing about the era.
            TransportError: Nor does trouble on the way. (N10)
        """
        try:
            return judge_discovery(session.discover(self._patient(call)))
        except MCPError as error:
            return judge_refusal(error)
        except RequestTimeout:
            if self._carrier.silence_is_legacy and not call.scope.deadline.expired:
                return LEGACY
            raise
        except (AuthError, UnsupportedProtocolVersion):
            raise
        except (HTTPStatusError, MessageInvalid) as error:
            if isinstance(error, HTTPStatusError) and _is_trouble(error.status):
                raise
            return LEGACY

    def _patient(self, call: Call) -> Call:
        if not self._carrier.silence_is_legacy:
            return call
        deadline = call.scope.deadline.within(SILENCE_IS_LEGACY)
        return replace(call, scope=replace(call.scope, deadline=deadline))


def _is_trouble(status: int) -> bool:
    """Whether a status speaks of the way to the server, or of who asks, and not of the server."""
    return status in (403, 429, 502, 503, 504) or 300 <= status < 400
