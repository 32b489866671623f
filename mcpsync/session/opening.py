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
    ConfigurationError,
    ConnectionLost,
    HTTPStatusError,
    MCPError,
    MessageInvalid,
    ProtocolError,
    RequestTimeout,
    UnsupportedProtocolVersion,
)
from ..http import Authorizer
from ..protocol import codec
from ..protocol.negotiation import (
    LEGACY,
    MODERN_EVIDENCE,
    Verdict,
    judge_discovery,
    judge_refusal,
)
from ..protocol.versions import MODERN_VERSIONS, Era
from ..transports.base import LegacyTransport, ModernTransport, StreamTransport
from .base import Call, ClientSession
from .callbacks import Callbacks
from .legacy import LegacySession
from .modern import ModernSession

logger = logging.getLogger(__name__)

SILENCE_IS_LEGACY = 10.0  # seconds a stdio server may leave the probe unanswered (N2)
STREAM_PATIENCE = 10.0  # seconds a stream may take to show that it is one of HTTP+SSE (N4)
GOODBYE = 2.0  # seconds that closing a session may take whose handshake failed
MAX_ORIGINS = 4096


class Carrier(Protocol):
    """Makes the transports to one server, and tells one server from another."""

    origin: object | None
    """What the era of the server is remembered by; None to ask each time."""

    place: object | None
    """What it is remembered by that there is HTTP+SSE here, and nothing else."""

    silence_is_legacy: bool
    """Whether no answer to the probe means legacy (stdio) or trouble (HTTP)."""

    authorizer: Authorizer | None
    """What may have the user sign in, if there is such a thing."""

    legacy_only: bool
    """Whether what carries the messages is of the legacy era, so that nothing is asked."""

    def modern(self) -> ModernTransport:
        """Return a transport of the modern era."""

    def legacy(self) -> LegacyTransport:
        """Return a transport of the legacy era; over stdio, the same one."""

    def stream(self) -> StreamTransport | None:
        """Return a transport for HTTP+SSE, to be tried when :meth:`legacy` was refused."""


class Eras:
    """Which era each origin was found to speak. Thread-safe. (N5)

    HTTP+SSE is no property of an origin: ``/sse`` may stand beside ``/mcp``. It is remembered for
    the one URL, and says nothing about the origin's era.

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

    Raises:
        ConfigurationError: The mode is not one for what carries the messages.
    """

    def __init__(self, carrier: Carrier, callbacks: Callbacks, mode: str) -> None:
        if carrier.legacy_only and mode in MODERN_VERSIONS:
            raise ConfigurationError(
                f"mode= is {mode!r}, which is not spoken over HTTP+SSE or WebSocket."
            )
        self._carrier = carrier
        self.authorizer = carrier.authorizer
        self.callbacks = callbacks
        self._mode = mode
        self._ids = itertools.count(1)

    def open(self, call: Call) -> tuple[ClientSession, bool]:
        """Return a session, and whether its era was assumed from an earlier answer.

        Raises:
            MCPSyncError: There is none to be had. Nothing is left open.
        """
        if self._mode == "legacy" or self._carrier.legacy_only:
            return self._legacy(call), False
        if self._mode in MODERN_VERSIONS:
            return self._modern(self._mode), False
        if eras.get(self._carrier.place) is not None:
            return self._legacy(call), False
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
        """Shake hands; where that is refused, over HTTP+SSE. (N4)"""
        place = self._carrier.place
        stream = self._carrier.stream() if eras.get(place) is not None else None
        if stream is not None:
            try:
                return self._shake_hands(stream, call)
            except (HTTPStatusError, MCPError, ProtocolError):  # it is something else by now
                eras.forget(place)
        try:
            return self._shake_hands(self._carrier.legacy(), call)
        except (HTTPStatusError, MCPError) as refusal:
            stream = self._carrier.stream() if _may_be_a_stream(refusal) else None
            if stream is None or not _opens(stream, call):
                raise
        session = self._shake_hands(stream, call)
        eras.remember(place, LEGACY)
        return session

    def _shake_hands(self, transport: LegacyTransport, call: Call) -> LegacySession:
        session = LegacySession(transport, self.callbacks, self._ids)
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
            if eras.get(self._carrier.place) is None:
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


def _may_be_a_stream(refusal: HTTPStatusError | MCPError) -> bool:
    """Whether a server of HTTP+SSE may have refused ``initialize`` so. (N4)"""
    modern = isinstance(refusal, MCPError) and refusal.code in MODERN_EVIDENCE
    return refusal.status in (400, 404, 405) and not modern


def _opens(stream: StreamTransport, call: Call) -> bool:
    """Whether there is an event stream of HTTP+SSE; if not, nothing is left open.

    Raises:
        AuthError, RefusedError, RequestCancelled: These tell more than the refusal that led here.
        RequestTimeout: There is no time left.
    """
    deadline = call.scope.deadline.within(STREAM_PATIENCE)
    try:
        stream.open(replace(call.scope, deadline=deadline))
    except (HTTPStatusError, MCPError, ProtocolError, ConnectionLost, RequestTimeout) as error:
        stream.close(Deadline(GOODBYE))
        call.scope.deadline.check("looking for an event stream")
        logger.debug("there is no HTTP+SSE either: %s", error)
        return False
    except BaseException:
        stream.close(Deadline(GOODBYE))
        raise
    return True


def _is_trouble(status: int) -> bool:
    """Whether a status speaks of the way to the server, or of who asks, and not of the server."""
    return status in (403, 429, 502, 503, 504) or 300 <= status < 400
