"""The faults that change a message, for every transport."""

from __future__ import annotations

from .dispatch import encode_cursor
from .faults import Fault, Injection
from .jsonrpc import JSONObject, RequestId, encode, notification_message
from .responder import Message

GARBAGE = b'}{ "jsonrpc": nonsense'
STRAY = notification_message("notifications/message", {"level": "info", "data": "first of a batch"})
_LIST_KEYS = ("tools", "resources", "resourceTemplates", "prompts", "skills")


def spoil(injection: Injection | None, message: JSONObject) -> Message:
    """Return the answer *message* as the fault wants it."""
    fault = injection.fault if injection else None
    if fault is Fault.WRONG_ID:
        return {**message, "id": _other_id(message["id"])}
    if fault is Fault.REPEAT_CURSOR:
        return _with_repeated_cursor(message)
    if fault is Fault.BATCH:
        return [STRAY, message]
    return message


def _other_id(request_id: RequestId) -> RequestId:
    return request_id + 1_000_000 if isinstance(request_id, int) else f"{request_id}-other"


def _with_repeated_cursor(message: JSONObject) -> JSONObject:
    result = message.get("result", {})
    for key in _LIST_KEYS:
        if key in result:
            return {**message, "result": {**result, "nextCursor": encode_cursor(key, 0)}}
    return message


def halves(message: Message) -> tuple[bytes, bytes]:
    """Return the two ends of *message*; any amount of spaces may stand between them."""
    text = encode(message)
    return text[:-1], text[-1:]
