"""Bytes and JSON-RPC messages. (JSON-RPC 2.0; specification, basic/index.)"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from ..errors import ConfigurationError, MCPError, MessageInvalid

Message: TypeAlias = dict[str, Any]
RequestId: TypeAlias = int | str

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022
URL_ELICITATION_REQUIRED: Final = -32042

# Requests that change nothing: asking one twice does no harm.
SAFE_METHODS: Final = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",  # what was answered already is ignored
        "tasks/cancel",
        "skills/list",
        "skills/get",
        "resources/directory/read",
    }
)

# Errors that say a request was turned down before anything was done.
_TURNED_DOWN = frozenset(
    {
        PARSE_ERROR,
        INVALID_REQUEST,
        METHOD_NOT_FOUND,
        INVALID_PARAMS,
        HEADER_MISMATCH,
        MISSING_CLIENT_CAPABILITY,
        UNSUPPORTED_VERSION,
        URL_ELICITATION_REQUIRED,
    }
)

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def encode(message: Mapping[str, Any]) -> bytes:
    """Return *message* as one line of UTF-8 JSON, with no newline in it or after it.

    Raises:
        ConfigurationError: It holds something JSON has no word for, such as a ``datetime``.
    """
    try:
        return _encode(message).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"the arguments cannot be sent as JSON: {error}.") from error


def request(request_id: RequestId, method: str, params: Mapping[str, Any] | None) -> Message:
    """Make a request."""
    message: Message = {"jsonrpc": "2.0", "id": request_id, "method": method}
    if params is not None:
        message["params"] = params
    return message


def notification(method: str, params: Mapping[str, Any] | None = None) -> Message:
    """Make a notification."""
    message: Message = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        message["params"] = params
    return message


def result_reply(request_id: RequestId, result: Mapping[str, Any]) -> Message:
    """Make the reply to a request of the server."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_reply(request_id: RequestId, code: int, text: str, data: Any = None) -> Message:
    """Make the error reply to a request of the server."""
    error = {"code": code, "message": text}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


def decode(data: bytes | str) -> list[Message]:
    """Return the messages in *data*: one, or those of a batch.

    A batch is taken from any legacy peer and never sent. (Requirement L5.)

    Raises:
        MessageInvalid: It is not JSON, or not JSON-RPC.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MessageInvalid(f"the server sent something that is not JSON ({error}).") from error
    if type(value) is dict:
        return [_checked(value)]
    if isinstance(value, list) and value:
        return [_checked(item) for item in value]
    raise MessageInvalid("the server sent JSON that is not a JSON-RPC message.")


def _checked(value: Any) -> Message:
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise MessageInvalid("the server sent JSON that is not a JSON-RPC 2.0 message.")
    if isinstance(value.get("id"), dict | list):
        raise MessageInvalid("the server sent a JSON-RPC message whose id is not a scalar.")
    method = value.get("method")
    if method is None:
        if "result" in value or "error" in value:
            return value
        raise MessageInvalid("the server sent a JSON-RPC message that is neither asked nor said.")
    if not isinstance(method, str):
        raise MessageInvalid("the server sent a JSON-RPC message whose method is not a string.")
    return value


def params_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the params of a request or notification; of odd ones, none."""
    params = message.get("params")
    return params if isinstance(params, Mapping) else {}


def is_reply(message: Mapping[str, Any]) -> bool:
    """Whether *message* answers a request."""
    return "method" not in message


def is_request(message: Mapping[str, Any]) -> bool:
    """Whether *message* wants an answer."""
    return "method" in message and "id" in message


def is_error(message: Mapping[str, Any]) -> bool:
    """Whether a reply is an error. Some servers put a null there when it is not."""
    return message.get("error") is not None


def result_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a reply.

    Raises:
        MCPError: The reply is an error.
        MessageInvalid: It is neither a proper result nor a proper error.
    """
    if is_error(message):
        raise error_of(message)
    result = message.get("result")
    if not isinstance(result, dict):
        raise MessageInvalid(
            "the server's answer has a result that is not an object.", maybe_executed=True
        )
    return result


def error_of(message: Mapping[str, Any]) -> MCPError:
    """Return the error of an error reply as an exception.

    Raises:
        MessageInvalid: The error has no code.
    """
    error = message.get("error")
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        raise MessageInvalid(
            "the server's answer has an error without a code.", maybe_executed=True
        )
    text = error.get("message")
    return MCPError(
        text if isinstance(text, str) and text else "the server gave no reason.",
        code=error["code"],
        data=error.get("data"),
        maybe_executed=error["code"] not in _TURNED_DOWN,
    )


def find_error(body: bytes) -> MCPError | None:
    """Return the JSON-RPC error in the body of a failed HTTP answer, if there is one.

    Its ``id`` is not looked at: servers put null, or words, there. (Requirements, section 3.)
    """
    try:
        messages = decode(body)
        return error_of(messages[0]) if is_error(messages[0]) else None
    except MessageInvalid:
        return None
