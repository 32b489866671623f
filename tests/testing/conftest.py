"""A client on nothing but http.client, and a stdio client on nothing but subprocess."""

import contextlib
import http.client
import json
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from mcpsync.testing import LocalServer, stdio_command

TIMEOUT = 10.0
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "0"},
}
HANDSHAKE = {"capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}


@dataclass
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def messages(self) -> list[Any]:
        """The messages of a stream, or the one of a JSON answer."""
        if self.headers.get("content-type") != "text/event-stream":
            return [self.json]
        text = self.body.decode("utf-8-sig").replace("\r\n", "\n")
        found = []
        for block in text.split("\n\n"):
            fields = [line.partition(":") for line in block.split("\n")]
            kind = [value.strip() for name, _, value in fields if name == "event"]
            data = [value.removeprefix(" ") for name, _, value in fields if name == "data"]
            if any(data) and kind in ([], ["message"]):
                found.append(json.loads("\n".join(data)))
        return found

    @property
    def result(self) -> Any:
        return self.messages[-1]["result"]

    @property
    def error(self) -> Any:
        return self.messages[-1]["error"]


@dataclass
class RawClient:
    """One kept-alive connection to a server, in either era."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    last_id: int = 0

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=TIMEOUT)

    def send(self, http_method: str, body: bytes | None = None, **headers: str) -> None:
        """Send a request; in the names of headers _ stands for -, and "" leaves one out."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **self.headers,
            **named,
        }
        path = urlsplit(self.url).path
        self.connection.request(http_method, path, body, {k: v for k, v in sent.items() if v})

    def receive(self) -> Answer:
        """Read the answer."""
        response = self.connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())

    def start(self, method: str, params: Any = None, **headers: str) -> int:
        """Send a JSON-RPC request and return its id."""
        self.last_id += 1
        message = {"jsonrpc": "2.0", "id": self.last_id, "method": method}
        if params is not None:
            message["params"] = params
        self.send("POST", json.dumps(message).encode(), **headers)
        return self.last_id

    def post(self, message: Any, **headers: str) -> Answer:
        """Exchange any JSON."""
        self.send("POST", json.dumps(message).encode(), **headers)
        return self.receive()

    def legacy(self, method: str, params: Any = None, **headers: str) -> Answer:
        """Exchange a request of the legacy era."""
        self.start(method, params, **headers)
        return self.receive()

    def start_modern(self, method: str, params: Any = None, **headers: str) -> int:
        """Send a request of the modern era with all that belongs to it."""
        params = {"_meta": META, **(params or {})}
        mirrored = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
        if name := params.get("name") or params.get("uri"):
            mirrored["Mcp-Name"] = name
        return self.start(method, params, **mirrored, **headers)

    def modern(self, method: str, params: Any = None, **headers: str) -> Answer:
        """Exchange a request of the modern era."""
        self.start_modern(method, params, **headers)
        return self.receive()

    def handshake(self, version: str = "2025-11-25") -> Answer:
        """Open a session and say that it is open."""
        answer = self.legacy("initialize", {"protocolVersion": version, **HANDSHAKE})
        if "mcp-session-id" in answer.headers:
            self.headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
        self.headers["MCP-Protocol-Version"] = answer.result["protocolVersion"]
        assert self.notify("notifications/initialized").status == 202
        return answer

    def notify(self, method: str, params: Any = None, **headers: str) -> Answer:
        """Exchange a notification."""
        return self.post({"jsonrpc": "2.0", "method": method, "params": params or {}}, **headers)

    def call(self, tool: str, meta: Any = None, **arguments: Any) -> Answer:
        """Call a tool in the legacy era."""
        params = {"name": tool, "arguments": arguments}
        return self.legacy("tools/call", {**params, "_meta": meta} if meta else params)

    def close(self) -> None:
        self.connection.close()


Connect = Callable[[LocalServer], RawClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make raw clients that are closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_client(server: LocalServer) -> RawClient:
            client = RawClient(server.url)
            stack.callback(client.close)
            return client

        yield open_client


class Child:
    """A stdio server, and what it wrote."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.stderr = b""
        self._readers = [threading.Thread(target=t) for t in (self._read, self._read_stderr)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)

    def _read_stderr(self) -> None:
        self.stderr = self.process.stderr.read()

    def write(self, message: Any) -> None:
        """Write one message."""
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        """Read one message."""
        return json.loads(self.lines.get(timeout=TIMEOUT))

    def ask(self, method: str, params: Any = None, request_id: int = 1) -> Any:
        """Exchange a request."""
        self.write({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}})
        return self.read()

    def handshake(self) -> Any:
        """Open the conversation of the legacy era."""
        answer = self.ask("initialize", {"protocolVersion": "2025-11-25", **HANDSHAKE}, 0)
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    def end(self) -> int:
        """Close its stdin and wait for its exit code."""
        self.process.stdin.close()
        return self.process.wait(TIMEOUT)

    def destroy(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT)
        for reader in self._readers:
            reader.join(TIMEOUT)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


Spawn = Callable[..., Child]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start stdio servers that are gone at the end."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> Child:
            child = Child(stdio_command(*arguments, **options))
            stack.callback(child.destroy)
            return child

        yield start
