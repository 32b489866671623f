"""A small server on the official SDK before version 2, which speaks the legacy era.

It runs in an environment of its own::

    python sdk1_server.py stdio
    python sdk1_server.py http --port 4102 [--stateless] [--json]
    python sdk1_server.py sse --port 4102
"""

import argparse
import os
import subprocess
import sys
import threading

import anyio
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import Completion
from pydantic import BaseModel

server = FastMCP("sdk1", instructions="Add things up.", log_level="INFO", host="127.0.0.1")


class Weather(BaseModel):
    """What the tool `weather` answers."""

    city: str
    degrees: float


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def weather(city: str) -> Weather:
    """Always mild."""
    return Weather(city=city, degrees=20.5)


@server.tool()
def fail(text: str) -> str:
    """Fail with a text."""
    raise ValueError(text)


@server.tool()
async def slow(ctx: Context, seconds: float, steps: int = 1, word: str = "") -> str:
    """Take some time and report progress."""
    print(f"slow started {word}", file=sys.stderr, flush=True)
    await ctx.report_progress(0, steps, "started")
    for step in range(steps):
        await anyio.sleep(seconds / steps)
        await ctx.report_progress(step + 1, steps, f"step {step + 1}")
    return "done"


@server.tool()
async def log(ctx: Context, text: str) -> str:
    """Log something, then answer."""
    await ctx.log("warning", text, logger_name="sdk1")
    return "logged"


@server.tool()
def header(ctx: Context, name: str) -> str:
    """The value of a header of this very request."""
    request = ctx.request_context.request
    return request.headers.get(name, "") if request is not None else ""


@server.tool()
def pid() -> int:
    """The server's process id."""
    return os.getpid()


@server.tool()
def spawn() -> int:
    """Start a child that would live for ten minutes; answer its process id."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return child.pid


@server.resource("config://app", mime_type="application/json")
def app_config() -> str:
    """A resource with a fixed address."""
    return '{"theme": "dark"}'


@server.resource("greeting://{name}")
def greeting(name: str) -> str:
    """A resource with a parameter."""
    return f"Hello, {name}!"


@server.prompt()
def review(code: str) -> str:
    """A prompt with an argument."""
    return f"Please review: {code}"


@server.completion()
async def complete(ref, argument, context):
    """Languages; with the argument `family` given, only that family's."""
    languages = {"snakes": ["python"], "gems": ["perl", "ruby"]}
    family = (context.arguments or {}).get("family") if context else None
    words = languages[family] if family else ["perl", "python", "ruby"]
    values = [word for word in words if word.startswith(argument.value)]
    return Completion(values=values, total=len(values), hasMore=False)


@server._mcp_server.set_logging_level()
async def set_level(level: str) -> None:
    """Accept any level."""


def end_with_stdin() -> None:
    """End when whoever started this is gone."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", choices=["stdio", "http", "sse"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--stateless", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    server.settings.port = options.port
    server.settings.stateless_http = options.stateless
    server.settings.json_response = options.json
    if options.transport == "stdio":
        server.run("stdio")
    else:
        threading.Thread(target=end_with_stdin, daemon=True).start()
        server.run("sse" if options.transport == "sse" else "streamable-http")


if __name__ == "__main__":
    main()
