"""Stdio servers: the one of the package, and tiny ones whose script is in the test."""

import sys
from typing import Any

from mcpsync import Client, StdioServerParameters
from mcpsync.testing import stdio_command
from support.processes import alive, wait_until

PREAMBLE = """
import json, os, signal, subprocess, sys, time

def out(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
    sys.stdout.flush()

def result(message, value):
    out({"id": message["id"], "result": value})

def text(message, said):
    result(message, {"content": [{"type": "text", "text": str(said)}]})

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "tiny", "version": "1"},
}

def on_call(message, name):
    text(message, name)

"""
LOOP = """
for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize":
        result(message, HELLO)
    elif method == "tools/call":
        on_call(message, message["params"]["name"])
    elif "id" in message and method:
        out({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
"""


def tiny(script: str = "", **config: Any) -> StdioServerParameters:
    """A legacy server whose *script* runs before it serves, and may define ``on_call``."""
    code = PREAMBLE + script + LOOP
    return StdioServerParameters(command=sys.executable, args=("-c", code), **config)


def packaged(era: str = "both", fault: Any = None, **config: Any) -> StdioServerParameters:
    """The server of ``mcpsync.testing``."""
    command, *arguments = stdio_command(era, fault)  # type: ignore[arg-type]
    return StdioServerParameters(command=command, args=tuple(arguments), **config)


def pid_of(client: Client) -> int:
    """The process id of the client's child; starts it if need be."""
    client.connect()
    pid: int = client._keeper._session._transport.pid
    return pid


def wait_for_end(*pids: int) -> None:
    """Wait until none of the processes runs."""
    for pid in pids:
        wait_until(lambda pid=pid: not alive(pid), f"process {pid} ends")  # type: ignore[misc]


def said(client: Client, name: str = "hello", **options: Any) -> str:
    """The text that a tool of a tiny server answers."""
    text: str = client.call_tool(name, **options).content[0].text
    return text
