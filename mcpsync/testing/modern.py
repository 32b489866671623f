"""The modern era over HTTP: every request stands for itself."""

from __future__ import annotations

from .announcing import LISTEN
from .exchange import Exchange
from .headers import decode_header
from .journal import Journal
from .jsonrpc import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    META_CLIENT_INFO,
    JSONObject,
    RPCError,
    check_envelope,
    check_supported,
    kind_of,
)
from .listening import Listening
from .mirrored import check_parameters
from .rejection import Rejection, reject
from .runner import Runner
from .sessions import Session

NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}


class ModernHTTP:
    """Answers what modern clients POST; safe to call from many threads."""

    def __init__(
        self, journal: Journal, runner: Runner, listening: Listening | None = None
    ) -> None:
        self._journal = journal
        self._runner = runner
        self._listening = listening

    def post(self, exchange: Exchange, message: JSONObject) -> None:
        """Answer *message*.

        Raises:
            Rejection: It breaks a rule of this era.
        """
        self._note_leftovers(exchange.request.headers, message)
        kind = kind_of(message)
        if kind == "response":
            self._journal.add_violation("a response was sent to a modern server")
            text = "Invalid Request: in this era clients send no responses"
            raise reject(400, INVALID_REQUEST, text)
        if kind == "request":
            self._request(exchange, message)
            return
        check_notification(exchange.request.headers, message)
        self._journal.add_violation(f"{message['method']} was sent to a modern server over HTTP")
        exchange.finish(202, None)

    def _note_leftovers(self, headers: dict[str, str], message: JSONObject) -> None:
        for name in ("mcp-session-id", "last-event-id"):
            if name in headers:
                self._journal.add_violation(f"a modern {message.get('method')} carries {name}")

    def _request(self, exchange: Exchange, message: JSONObject) -> None:
        if message["method"] == "initialize":
            refuse_handshake(message)
        check_request(exchange.request.headers, message)
        if message["method"] == "tools/call":
            self._check_parameters(exchange.request.headers, message)
        if META_CLIENT_INFO not in message["params"]["_meta"]:
            self._journal.add_violation(f"{message['method']} has no clientInfo")
        exchange.cancellable = (message["id"], message["method"])
        if message["method"] == LISTEN and self._listening is not None:
            self._listening.listen(exchange, message)
        else:
            self._runner.run(exchange, "modern", Session(), message)

    def _check_parameters(self, headers: dict[str, str], message: JSONObject) -> None:
        try:
            tools = self._runner.dispatcher.tools.catalogue or ()
            check_parameters(headers, message["params"], tools)
        except RPCError as error:
            raise Rejection(400, error, knows_id=True) from error


def refuse_handshake(message: JSONObject) -> None:
    """Refuse an ``initialize`` that asks for a version which has a handshake.

    Raises:
        Rejection: 400 with -32022.
    """
    try:
        check_supported(str(message.get("params", {}).get("protocolVersion")))
    except RPCError as error:
        raise Rejection(400, error, knows_id=True) from error


def check_request(headers: dict[str, str], message: JSONObject) -> None:
    """Check that a modern request is complete and that its headers say what its body says.

    Raises:
        Rejection: 400 with -32602, -32020 or -32022, looked for in this order.
    """
    try:
        params = message.get("params", {})
        version = check_envelope(params)
        _check_header(headers, "MCP-Protocol-Version", version)
        _check_header(headers, "Mcp-Method", message["method"])
        named_by = NAMED_BY.get(message["method"])
        if named_by is not None and named_by in params:
            _check_header(headers, "Mcp-Name", str(params[named_by]), encoded=True)
        check_supported(version)
    except RPCError as error:
        raise Rejection(400, error, knows_id=True) from error


def check_notification(headers: dict[str, str], message: JSONObject) -> None:
    """Check the headers of a modern notification.

    Raises:
        Rejection: 400 with -32020.
    """
    try:
        _check_header(headers, "Mcp-Method", message["method"])
    except RPCError as error:
        raise Rejection(400, error) from error


def _check_header(
    headers: dict[str, str], name: str, wanted: str, *, encoded: bool = False
) -> None:
    value = headers.get(name.lower())
    if value is None:
        raise RPCError(HEADER_MISMATCH, f"Header mismatch: {name} is missing")
    if (decode_header(value) if encoded else value) != wanted:
        raise RPCError(HEADER_MISMATCH, f"Header mismatch: {name} differs from the body")
