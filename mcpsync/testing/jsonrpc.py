"""JSON-RPC messages, protocol versions and error codes, as the test server needs them."""

from __future__ import annotations

import json
from typing import Any, Literal, TypeAlias

JSONObject: TypeAlias = dict[str, Any]
RequestId: TypeAlias = int | str
Era: TypeAlias = Literal["legacy", "modern"]
Kind: TypeAlias = Literal["request", "notification", "response"]

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
LATEST_LEGACY = LEGACY_VERSIONS[-1]
MODERN_VERSION = "2026-07-28"
MODERN_VERSIONS = (MODERN_VERSION,)

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META_CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
META_SERVER_INFO = "io.modelcontextprotocol/serverInfo"
META_LOG_LEVEL = "io.modelcontextprotocol/logLevel"

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SERVER_ERROR = -32000
SESSION_NOT_FOUND = -32001
RESOURCE_NOT_FOUND = -32002
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
URL_ELICITATION_REQUIRED = -32042

LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


class RPCError(Exception):
    """An error that is answered to the client as a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def to_message(self, request_id: RequestId | None) -> JSONObject:
        """Build the error response for *request_id* (None where the id is not known)."""
        error: JSONObject = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return {"jsonrpc": "2.0", "id": request_id, "error": error}


class CallCancelled(Exception):
    """Raised inside a tool when its caller has cancelled or gone away."""


def result_message(request_id: RequestId, result: JSONObject) -> JSONObject:
    """Build the response that answers *request_id* with *result*."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def request_message(request_id: RequestId, method: str) -> JSONObject:
    """Build a request without parameters."""
    return {"jsonrpc": "2.0", "id": request_id, "method": method}


def notification_message(method: str, params: JSONObject) -> JSONObject:
    """Build a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def encode(message: object) -> bytes:
    """Serialise *message* on one line, as UTF-8 and without escapes for non-ASCII text."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def decode(raw: bytes) -> object:
    """Parse *raw*, answering a broken text with the JSON-RPC parse error."""
    try:
        value: object = json.loads(raw)
    except ValueError as error:
        raise RPCError(PARSE_ERROR, f"Parse error: {error}") from error
    return value


def check_message(body: object) -> JSONObject:
    """Return *body* when it is one well-formed JSON-RPC message.

    Raises:
        RPCError: It is a batch or breaks JSON-RPC.
    """
    if isinstance(body, list):
        raise RPCError(INVALID_REQUEST, "Invalid Request: batches are not accepted")
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise RPCError(INVALID_REQUEST, 'Invalid Request: "jsonrpc" must be "2.0"')
    if "method" in body:
        _check_call(body)
    elif "id" not in body or ("result" in body) == ("error" in body):
        raise RPCError(INVALID_REQUEST, "Invalid Request: neither a call nor a response")
    return body


def _check_call(body: JSONObject) -> None:
    if not isinstance(body["method"], str):
        raise RPCError(INVALID_REQUEST, "Invalid Request: method must be a string")
    if "id" in body and (not isinstance(body["id"], int | str) or isinstance(body["id"], bool)):
        raise RPCError(INVALID_REQUEST, "Invalid Request: id must be a string or an integer")
    if "params" in body and not isinstance(body["params"], dict):
        raise RPCError(INVALID_PARAMS, "Invalid params: params must be an object")


def kind_of(message: JSONObject) -> Kind:
    """Say what a checked *message* is."""
    if "method" not in message:
        return "response"
    return "request" if "id" in message else "notification"


def meta_of(params: JSONObject) -> JSONObject:
    """Return the ``_meta`` object of *params*, empty where there is none."""
    meta = params.get("_meta")
    return meta if isinstance(meta, dict) else {}


def check_supported(requested: str) -> None:
    """Refuse a version which is not a modern one, naming those that are.

    Raises:
        RPCError: -32022 with ``supported`` and ``requested``.
    """
    if requested not in MODERN_VERSIONS:
        data = {"supported": list(MODERN_VERSIONS), "requested": requested}
        raise RPCError(UNSUPPORTED_VERSION, f"Unsupported protocol version: {requested}", data)


def check_envelope(params: JSONObject) -> str:
    """Check the ``_meta`` that every modern request must carry; return its protocol version.

    Raises:
        RPCError: -32602, naming what is missing or wrong.
    """
    meta = meta_of(params)
    missing = [key for key in (META_VERSION, META_CAPABILITIES) if key not in meta]
    if missing:
        raise RPCError(INVALID_PARAMS, f"Invalid params: _meta lacks {', '.join(missing)}")
    version = meta[META_VERSION]
    if not isinstance(version, str) or not isinstance(meta[META_CAPABILITIES], dict):
        raise RPCError(INVALID_PARAMS, "Invalid params: _meta has a value of the wrong type")
    if meta.get(META_LOG_LEVEL, "debug") not in LOG_LEVELS:
        raise RPCError(INVALID_PARAMS, "Invalid params: unknown logLevel")
    return version
