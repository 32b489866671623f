"""The stateless era: every request says who asks, in which version. (Requirements section 5.)"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from ..errors import MCPError, MessageInvalid, RequestCancelled
from ..protocol import codec
from ..protocol.headers import VERSION_KEY
from ..protocol.listening import LISTEN, Wanted
from ..protocol.negotiation import supported_versions, unsupported
from ..protocol.resumption import Cursor
from ..protocol.versions import LATEST_MODERN, MODERN_VERSIONS, Era, latest_mutual
from ..transports.base import CallScope, ModernTransport
from .base import Call, ClientSession
from .callbacks import Callbacks, dispatcher
from .facts import ServerFacts
from .listening import Listener, ModernListener, begin, never
from .rounds import INPUT_REQUIRED, Asked, go_on
from .wire import validated

CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO_KEY: Final = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL_KEY: Final = "io.modelcontextprotocol/logLevel"
SERVER_INFO_KEY: Final = "io.modelcontextprotocol/serverInfo"


class ModernSession(ClientSession):
    """A conversation without a handshake. Thread-safe.

    Args:
        transport: Carries the messages.
        callbacks: The client's.
        ids: Where request ids come from.
        version: The version to speak.
    """

    era = Era.MODERN

    def __init__(
        self,
        transport: ModernTransport,
        callbacks: Callbacks,
        ids: Iterator[int] | None = None,
        version: str = LATEST_MODERN,
    ) -> None:
        super().__init__(transport, callbacks, ids)
        self._transport: ModernTransport = transport
        self._facts: ServerFacts | None = None
        self._envelope: dict[str, Any] = {}
        self._defaults: dict[str, str] = {}  # what a call's own meta may replace
        self._speak(version)

    def _speak(self, version: str) -> None:
        info = self._callbacks.client_info
        envelope: dict[str, Any] = {
            VERSION_KEY: version,
            CLIENT_INFO_KEY: info.model_dump(by_alias=True, exclude_none=True),
            CAPABILITIES_KEY: self._callbacks.capabilities(self.era),
        }
        level = self._callbacks.log_level
        self._defaults = {} if level is None else {LOG_LEVEL_KEY: level}
        self._envelope = envelope
        self.protocol_version = version

    def discover(self, call: Call) -> dict[str, Any]:
        """Ask what the server is, and return its ``DiscoverResult`` as it came. (M16)"""
        result = self.request("server/discover", None, call)
        if isinstance(result.get("supportedVersions"), list):
            self._facts = self._understood(result)
        return result

    def facts(self, call: Call) -> ServerFacts:
        """Return what ``server/discover`` brought, asking if it was not asked yet."""
        if self._facts is None:
            self.discover(call)
        if self._facts is None:
            raise MessageInvalid("the server's answer to server/discover names no versions.")
        return self._facts

    def request(self, method: str, params: Mapping[str, Any] | None, call: Call) -> dict[str, Any]:
        """Make a request; if the server turns the version down, once more with one it names. (N6)

        Raises:
            InputRequired: The server wants something of the user first, and nobody here answers.
        """
        result = self._asked(method, params, call)
        if result.get("resultType") == INPUT_REQUIRED:
            result = go_on(result, Asked(method, params or {}, call), self._asked, self._callbacks)
        known = self._callbacks.result_types if method == "tools/call" else ()
        return _complete(result, known)

    def _asked(self, method: str, params: Mapping[str, Any] | None, call: Call) -> dict[str, Any]:
        try:
            return self._exchange(method, params, call)
        except MCPError as error:
            if error.code != codec.UNSUPPORTED_VERSION:
                raise
            supported = supported_versions(error)
            version = latest_mutual(supported, MODERN_VERSIONS)
            if version is None:
                if method == "server/discover" or not supported:
                    raise  # what it means is for whoever probes to say
                raise unsupported(supported) from error
            self._speak(version)
            return self._exchange(method, params, call)

    def listen(self, wanted: Wanted, call: Call, after: Listener | None = None) -> ModernListener:
        """Ask to be told what changes. There is no going on after a cut. (Requirements 5.5)"""
        try:
            return self._listen(wanted, call)
        except MCPError as error:
            if error.code != codec.UNSUPPORTED_VERSION:
                raise
        self.discover(call)  # speaks a version that the server names
        return self._listen(wanted, call)

    def _listen(self, wanted: Wanted, call: Call) -> ModernListener:
        number, scope = next(self._ids), call.scope
        params = self._with_meta({"notifications": wanted.as_filter()}, call, number)
        message = codec.request(number, LISTEN, params)
        stream = begin(self._transport, message, scope, Cursor())
        over = RequestCancelled("nobody listens any more.", reason="closed")
        listener = ModernListener(
            stream,
            dispatcher(self._callbacks, None, None),
            number,
            lambda: self._gave_up(LISTEN, number, over, scope),
        )
        try:
            listener.begin(scope.deadline)
        except MCPError as error:
            listener.close()
            if error.code == codec.METHOD_NOT_FOUND:
                raise never(error) from error
            raise
        except BaseException:
            listener.close()
            raise
        return listener

    def _with_meta(
        self, params: Mapping[str, Any] | None, call: Call, request_id: int
    ) -> Mapping[str, Any]:
        meta = {**self._defaults, **(call.meta or {}), **self._envelope}
        if call.progress is not None and call.token is None:
            meta.setdefault("progressToken", request_id)
        return {**(params or {}), "_meta": meta}

    def _gave_up(self, method: str, request_id: int, error: Exception, scope: CallScope) -> None:
        if not self._transport.cancels_by_closing:  # else closing the exchange has said it (M10)
            super()._gave_up(method, request_id, error, scope)

    def _understood(self, result: dict[str, Any]) -> ServerFacts:
        from mcp_types import DiscoverResult, Implementation

        answer = validated(DiscoverResult, result)
        info = (answer.meta or {}).get(SERVER_INFO_KEY, result.get("serverInfo"))
        return ServerFacts.of(
            self.protocol_version,
            answer.capabilities,
            validated(Implementation, info) if isinstance(info, Mapping) else None,
            answer.instructions,
        )


def _complete(result: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return a result that is complete; one without ``resultType`` is. (Requirements 5.3)

    So is one of a kind that our extensions have said is *known*.
    """
    kind = result.get("resultType", "complete")
    if kind == "complete" or kind in known:
        return result
    raise MessageInvalid(
        f"the server's answer has the resultType {kind!r}, which is not known here.",
        maybe_executed=True,
    )
