"""Streamable HTTP of 2026-07-28: every request stands for itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..protocol.codec import Message
from ..protocol.headers import VERSION_KEY, modern_headers
from ..protocol.resumption import Cursor
from ..protocol.versions import LATEST_MODERN
from .base import CallScope, Stream
from .streamable_http import StreamableHTTP

logger = logging.getLogger(__name__)


class StreamableHTTPModern(StreamableHTTP):
    """Carries messages of the modern era. Thread-safe: it has no state."""

    cancels_by_closing = True  # M10

    def listen(self, message: Message | None, scope: CallScope, cursor: Cursor) -> Stream:
        """POST the request whose answer is a stream without an end."""
        assert message is not None
        response = self._post(message, scope)
        if response.status >= 400:
            with response:
                raise self._refusal(response, message)
        return self._stream(response, cursor)

    def _reply(self, reply: Message, scope: CallScope) -> None:
        logger.warning("the server asked something, which its protocol version does not allow")

    def _headers(self, message: Message) -> Mapping[str, str]:
        params = message.get("params") or {}
        version = params.get("_meta", {}).get(VERSION_KEY, LATEST_MODERN)
        return modern_headers(version, message["method"], params)
