"""An MCP server over WebSocket, with a library that the client does not know."""

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from transports.door import LONG
from transports.peer import DONE, INITIALIZED

Handler = Callable[["Server", ServerConnection, Any], None]


class Server:
    """An MCP server over WebSocket.

    Attributes:
        messages: What came, oldest first.
        connections: One for each that was opened.
    """

    def __init__(self, handlers: dict[str, Handler], **options: Any) -> None:
        self._handlers = handlers
        self.messages: list[Any] = []
        self.connections: list[ServerConnection] = []
        self._server = serve(
            self._converse, "127.0.0.1", 0, **{"subprotocols": ["mcp"], "max_size": None, **options}
        )
        self.port = self._server.socket.getsockname()[1]
        scheme = "wss" if "ssl" in options else "ws"
        self.url = f"{scheme}://127.0.0.1:{self.port}/mcp?key=1"
        self._thread = threading.Thread(target=self._server.serve_forever, name="ws", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        for connection in self.connections:
            connection.close_socket()
        self._thread.join(LONG)

    def _converse(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        with contextlib.suppress(ConnectionClosed, OSError):
            for text in connection:
                message = json.loads(text)
                self.messages.append(message)
                handler = self._handlers.get(message.get("method"), answer)
                handler(self, connection, message)

    @property
    def methods(self) -> list[str | None]:
        return [message.get("method") for message in self.messages]


def answer(server: Server, connection: ServerConnection, message: Any) -> None:
    """Answer as a decent server would."""
    if "id" in message and "method" in message:
        value = INITIALIZED if message["method"] == "initialize" else DONE
        connection.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": value}))


def ignore(server: Server, connection: ServerConnection, message: Any) -> None:
    """Answer nothing."""
