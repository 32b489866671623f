"""The era of handshakes: ``initialize`` first, a session over HTTP. (Requirements section 4.)"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from .._runtime.flight import SingleFlight
from ..errors import MCPError, MCPSyncError, SessionExpired
from ..protocol import codec
from ..protocol.negotiation import supported_versions, unsupported
from ..protocol.versions import LATEST_LEGACY, LEGACY_VERSIONS, Era
from ..transports.base import LegacyTransport
from .base import Call
from .callbacks import Callbacks
from .facts import ServerFacts
from .legacy_listening import LegacyHearing
from .visits import url_elicitation_required, was_visited
from .wire import validated

logger = logging.getLogger(__name__)


class LegacySession(LegacyHearing):
    """A conversation that begins with a handshake, and begins anew when the server forgot it."""

    era = Era.LEGACY

    def __init__(
        self,
        transport: LegacyTransport,
        callbacks: Callbacks,
        ids: Iterator[int] | None = None,
    ) -> None:
        super().__init__(transport, callbacks, ids)
        self._transport: LegacyTransport = transport
        self._facts: ServerFacts | None = None
        self._beginnings: SingleFlight[object, None] = SingleFlight()

    @property
    def protocol_version(self) -> str:  # type: ignore[override]
        """What was negotiated."""
        return self._facts.protocol_version if self._facts is not None else LATEST_LEGACY

    @property
    def conversation(self) -> object:
        """What the last handshake brought."""
        return self._facts

    def initialize(self, call: Call) -> None:
        """Shake hands. (L1, N7, N11)

        Raises:
            UnsupportedProtocolVersion: The server speaks no version we do.
            MCPSyncError: It did not work out.
        """
        params = {
            "protocolVersion": LATEST_LEGACY,
            "capabilities": self._callbacks.capabilities(self.era),
            "clientInfo": self._callbacks.client_info.model_dump(by_alias=True, exclude_none=True),
        }
        try:
            result = self._exchange("initialize", params, call)
        except MCPError as error:
            if error.code == codec.INVALID_PARAMS and supported_versions(error):
                raise unsupported(supported_versions(error)) from error
            raise
        version = result.get("protocolVersion")
        if version not in LEGACY_VERSIONS:
            raise unsupported([version])
        facts = _understood(result)
        self._transport.adopt(facts.protocol_version)
        self._transport.notify(codec.notification("notifications/initialized"), call.scope)
        self._facts = facts
        self._transport.enter_session()

    def request(self, method: str, params: Mapping[str, Any] | None, call: Call) -> dict[str, Any]:
        """Make a request; if the server forgot the session, begin one and ask once more. (H5)

        A 404 says the request was not looked at, so asking again cannot run it twice. Neither was
        it run if the user has to visit a page first (-32042): when he has, it is asked once more.

        Raises:
            UrlElicitationRequired: The user has to visit a page, and did not, or once more.
        """
        try:
            return self._request(method, params, call)
        except MCPError as error:
            if error.code != codec.URL_ELICITATION_REQUIRED:
                raise
            required = url_elicitation_required(error)
            if not was_visited(required, self._callbacks.answers):
                raise required from None
        try:
            return self._request(method, params, call)
        except MCPError as error:
            if error.code != codec.URL_ELICITATION_REQUIRED:
                raise
            raise url_elicitation_required(error) from None

    def notify(self, method: str, params: Mapping[str, Any] | None, call: Call) -> None:
        """Tell the server something; a session that it forgot is begun anew instead."""
        session = self._transport.session
        try:
            super().notify(method, params, call)
        except SessionExpired:
            self._begin_again(session, call)

    def _request(self, method: str, params: Mapping[str, Any] | None, call: Call) -> dict[str, Any]:
        session = self._transport.session
        if id(session) in self._beginnings:  # somebody else has found it forgotten
            self._begin_again(session, call)
            session = self._transport.session
        try:
            return self._exchange(method, params, call)
        except SessionExpired as expired:
            if expired.maybe_executed:  # forgotten while the answer was under way
                raise
            logger.info("the server forgot the session; beginning a new one")
        self._begin_again(session, call)
        return self._exchange(method, params, call)

    def facts(self, call: Call) -> ServerFacts:
        """Return what ``initialize`` brought."""
        assert self._facts is not None
        return self._facts

    def _begin_again(self, forgotten: object, call: Call) -> None:
        """Initialise once for all the callers who found the same session forgotten."""

        def begin() -> None:
            if self._transport.session is forgotten:
                self.initialize(call)

        try:
            self._beginnings.do(
                id(forgotten), begin, deadline=call.scope.deadline, cancel=call.scope.cancel
            )
        except MCPSyncError as error:
            error.maybe_executed = False  # what was asked for was not sent again
            raise


def _understood(result: dict[str, Any]) -> ServerFacts:
    from mcp_types import InitializeResult

    answer = validated(InitializeResult, result)
    return ServerFacts.of(
        answer.protocol_version, answer.capabilities, answer.server_info, answer.instructions
    )
