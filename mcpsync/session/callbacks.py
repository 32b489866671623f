"""What the application wants to hear while a call waits, always on the thread that waits."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.versions import Era
from .answers import MOST_QUESTIONS, Answers

if TYPE_CHECKING:
    from mcp_types import Implementation, LoggingLevel, LoggingMessageNotificationParams

logger = logging.getLogger(__name__)

RELATED_TASK: Final = "io.modelcontextprotocol/related-task"

ProgressCallback: TypeAlias = Callable[[float, float | None, str | None], None]
"""Called with progress, total (if known) and message (if given)."""

LoggingCallback: TypeAlias = "Callable[[LoggingMessageNotificationParams], None]"
MessageHandler: TypeAlias = Callable[[Any], None]

MAX_ROUNDS = 10  # how often one request is sent again with what the server asked for


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
        answers: Answers what the server asks.
        max_rounds: How often a request is sent again with answers; 0 leaves that to the caller.
    """

    client_info: Implementation
    logging: LoggingCallback | None = None
    message_handler: MessageHandler | None = None
    log_level: LoggingLevel | None = None
    extensions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    result_types: frozenset[str] = frozenset()
    answers: Answers = field(default_factory=Answers)
    max_rounds: int = MAX_ROUNDS

    def capabilities(self, era: Era = Era.MODERN) -> dict[str, Any]:
        """Return what we can do, as it goes over the wire: what there is a callback for."""
        found = self.answers.capabilities(era)
        if self.extensions:
            found["extensions"] = {name: dict(each) for name, each in self.extensions.items()}
        return found


def dispatcher(
    callbacks: Callbacks,
    token: object,
    progress: ProgressCallback | None,
    most_questions: float = math.inf,
) -> Callable[[Message], Message | None]:
    """Return what handles the messages that come before the answer to one request.

    Args:
        callbacks: The client's.
        token: The progress token of the request.
        progress: The request's own callback.
        most_questions: How many requests of the server are answered; pings do not count.
    """

    answered = 0

    def dispatch(message: Message) -> Message | None:
        nonlocal answered
        if codec.is_request(message):
            answered += message["method"] != "ping"
            if answered > most_questions:
                return _enough(message, answered)
            return _naming_the_task(message, callbacks.answers.reply_to(message))
        try:
            _notify(message, callbacks, token, progress)
        except Exception:
            logger.exception("a callback for %s failed", message["method"])
        return None

    return dispatch


def _enough(message: Message, asked: int) -> Message:
    """Answer no more: the application, and its user, have had enough of one call."""
    if asked == MOST_QUESTIONS + 1:
        logger.warning("one call made the server ask over %d times", MOST_QUESTIONS)
    text = f"One call answers {MOST_QUESTIONS} requests"
    return codec.error_reply(message["id"], codec.INTERNAL_ERROR, text)


def _naming_the_task(asked: Message, reply: Message) -> Message:
    """Say in the answer which task the request was about, if it said so. (Requirements 4.6)"""
    meta = codec.params_of(asked).get("_meta")
    if not isinstance(meta, Mapping) or RELATED_TASK not in meta or "result" not in reply:
        return reply
    result = reply["result"]
    related = {**(result.get("_meta") or {}), RELATED_TASK: meta[RELATED_TASK]}
    return {**reply, "result": {**result, "_meta": related}}


def _notify(
    message: Message,
    callbacks: Callbacks,
    token: object,
    progress: ProgressCallback | None,
) -> None:
    params = codec.params_of(message)
    method = message["method"]
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
