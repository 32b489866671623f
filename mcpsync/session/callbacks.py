"""What the application wants to hear while a call waits, always on the thread that waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ..protocol import codec
from ..protocol.codec import Message

if TYPE_CHECKING:
    from mcp_types import Implementation, LoggingLevel, LoggingMessageNotificationParams

logger = logging.getLogger(__name__)

ProgressCallback: TypeAlias = Callable[[float, float | None, str | None], None]
"""Called with progress, total (if known) and message (if given)."""

LoggingCallback: TypeAlias = "Callable[[LoggingMessageNotificationParams], None]"
MessageHandler: TypeAlias = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What one client was given. What a callback raises is logged and ends nothing.

    Args:
        client_info: How we introduce ourselves.
        logging: Called with each log message of the server.
        message_handler: Called with every other notification, as its ``mcp_types`` model.
        log_level: From which level on a modern server is asked for log messages.
        extensions: What we say we can do besides, by the extension's id.
        result_types: Kinds of results that our extensions know.
        on_notification: Called with method and params of every notification, before anything of
            the application's: what the client keeps is dropped before anybody can ask for it.
    """

    client_info: Implementation
    logging: LoggingCallback | None = None
    message_handler: MessageHandler | None = None
    log_level: LoggingLevel | None = None
    extensions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    result_types: frozenset[str] = frozenset()
    on_notification: Callable[[str, Mapping[str, Any]], None] | None = None

    def capabilities(self) -> dict[str, Any]:
        """Return what we can do, as it goes over the wire: what there is a callback for."""
        found: dict[str, Any] = {}
        if self.extensions:
            found["extensions"] = {name: dict(each) for name, each in self.extensions.items()}
        return found


def dispatcher(
    callbacks: Callbacks, token: object, progress: ProgressCallback | None
) -> Callable[[Message], Message | None]:
    """Return what handles the messages that come before the answer to one request.

    Args:
        callbacks: The client's.
        token: The progress token of the request.
        progress: The request's own callback.
    """

    def dispatch(message: Message) -> Message | None:
        if codec.is_request(message):
            return _answer(message)
        try:
            _notify(message, callbacks, token, progress)
        except Exception:
            logger.exception("a callback for %s failed", message["method"])
        return None

    return dispatch


def _answer(message: Message) -> Message:
    """Answer a request of the server: every ping, and nothing else so far. (Requirement L8)"""
    if message["method"] == "ping":
        return codec.result_reply(message["id"], {})
    return codec.error_reply(
        message["id"], codec.METHOD_NOT_FOUND, f"Method not found: {message['method']}"
    )


def _notify(
    message: Message,
    callbacks: Callbacks,
    token: object,
    progress: ProgressCallback | None,
) -> None:
    params = codec.params_of(message)
    method = message["method"]
    if callbacks.on_notification is not None:
        callbacks.on_notification(method, params)
    if method == "notifications/progress":
        if progress is not None and params.get("progressToken") == token:
            progress(params["progress"], params.get("total"), params.get("message"))
    elif method == "notifications/message" and callbacks.logging is not None:
        from mcp_types import LoggingMessageNotificationParams

        callbacks.logging(LoggingMessageNotificationParams.model_validate(params))
    elif callbacks.message_handler is not None:
        from mcp_types import server_notification_adapter

        callbacks.message_handler(
            server_notification_adapter.validate_python({"method": method, "params": params})
        )
