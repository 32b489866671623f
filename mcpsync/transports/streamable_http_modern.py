"""Streamable HTTP of 2026-07-28: every request stands for itself."""

from __future__ import annotations

from collections.abc import Mapping

from ..protocol.codec import Message
from ..protocol.headers import modern_headers
from ..protocol.versions import LATEST_MODERN
from .streamable_http import StreamableHTTP

_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"


class StreamableHTTPModern(StreamableHTTP):
    """Carries messages of the modern era. Thread-safe: it has no state."""

    cancels_by_closing = True  # M10

    def _headers(self, message: Message) -> Mapping[str, str]:
        params = message.get("params") or {}
        version = params.get("_meta", {}).get(_VERSION_KEY, LATEST_MODERN)
        return modern_headers(version, message["method"], params)
