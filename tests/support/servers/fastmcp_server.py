"""A small server on fastmcp 4, which speaks both eras.

It runs in an environment of its own::

    python fastmcp_server.py stdio
    python fastmcp_server.py http --port 4104
    python fastmcp_server.py sse --port 4104
"""

import argparse
import os
import subprocess
import sys
import threading

import anyio
from fastmcp import Context, FastMCP
from fastmcp.server.dependencies import get_http_headers
from pydantic import BaseModel

server = FastMCP("fastmcp", instructions="Add things up.")


class Weather(BaseModel):
    """What the tool `weather` answers."""

    city: str
    degrees: float


@server.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool
def weather(city: str) -> Weather:
    """Always mild."""
    return Weather(city=city, degrees=20.5)


@server.tool
def fail(text: str) -> str:
    """Fail with a text."""
    raise ValueError(text)


@server.tool
async def slow(ctx: Context, seconds: float, steps: int = 1, word: str = "") -> str:
    """Take some time and report progress."""
    print(f"slow started {word}", file=sys.stderr, flush=True)
    await ctx.report_progress(0, steps, "started")
    for step in range(steps):
        await anyio.sleep(seconds / steps)
        await ctx.report_progress(step + 1, steps, f"step {step + 1}")
    return "done"


@server.tool
async def log(ctx: Context, text: str) -> str:
    """Log something, then answer."""
    await ctx.log(text, level="warning", logger_name="fastmcp")
    return "logged"


@server.tool
def header(name: str) -> str:
    """The value of a header of this very request."""
    return get_http_headers(include_all=True).get(name, "")


@server.tool
def pid() -> int:
    """The server's process id."""
    return os.getpid()


@server.tool
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


@server.prompt
def review(code: str) -> str:
    """A prompt with an argument."""
    return f"Please review: {code}"


def end_with_stdin() -> None:
    """End when whoever started this is gone."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", choices=["stdio", "http", "sse"])
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.transport == "stdio":
        server.run("stdio", show_banner=False)
    else:
        threading.Thread(target=end_with_stdin, daemon=True).start()
        server.run(options.transport, show_banner=False, host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
