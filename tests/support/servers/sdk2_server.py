"""A small server on the official SDK 2.3, which speaks both eras.

It runs in an environment of its own::

    python sdk2_server.py stdio
    python sdk2_server.py http --port 4103
"""

import argparse
import os
import subprocess
import sys
import threading
from typing import Annotated

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp.types import (
    Completion,
    CreateMessageResult,
    EmptyResult,
    ListRootsResult,
    ListToolsResult,
    PaginatedRequestParams,
    SamplingMessage,
    SetLevelRequestParams,
    TextContent,
)
from pydantic import BaseModel, Field

PAGE = 3

server = MCPServer("sdk2", version="2.3", instructions="Add things up.", log_level="INFO")


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
    await ctx.log("warning", text, logger_name="sdk2")
    return "logged"


@server.tool()
def header(ctx: Context, name: str) -> str:
    """The value of a header of this very request."""
    return (ctx.headers or {}).get(name, "")


@server.tool()
def pid() -> int:
    """The server's process id."""
    return os.getpid()


@server.tool()
def spawn() -> int:
    """Start a child that would live for ten minutes; answer its process id."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return child.pid


class Person(BaseModel):
    """What the tool `introduce` asks the user."""

    name: str
    age: int = Field(default=36, ge=0)


class Sure(BaseModel):
    """What it asks next."""

    sure: bool = True


def ask_who() -> Elicit[Person]:
    """Ask for a name."""
    return Elicit("Who are you?", Person)


def ask_again(person: Annotated[Person, Resolve(ask_who)]) -> Elicit[Sure]:
    """Ask once more, knowing the name."""
    return Elicit(f"Are you {person.name}?", Sure)


@server.tool()
def introduce(
    person: Annotated[Person, Resolve(ask_who)], again: Annotated[Sure, Resolve(ask_again)]
) -> str:
    """Ask the user two questions, in both eras."""
    return f"{person.name}, {person.age}, {again.sure}"


def ask_the_model() -> Sample:
    """Ask for a greeting."""
    return Sample(
        [SamplingMessage(role="user", content=TextContent(text="Say hello."))], max_tokens=9
    )


@server.tool()
def greeting_of_the_model(answer: Annotated[CreateMessageResult, Resolve(ask_the_model)]) -> str:
    """Ask the user's language model."""
    return answer.content.text


def ask_for_roots() -> ListRoots:
    """Ask for the roots."""
    return ListRoots()


@server.tool()
def roots(found: Annotated[ListRootsResult, Resolve(ask_for_roots)]) -> str:
    """Ask for the roots."""
    return " ".join(str(root.uri) for root in found.roots)


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
    return Completion(values=values, total=len(values), has_more=False)


async def list_tools(ctx, params):
    """The tools, a few a page: clients must follow the cursor."""
    tools = await server.list_tools()
    start = int(params.cursor) if params and params.cursor else 0
    end = start + PAGE
    return ListToolsResult(
        tools=tools[start:end], next_cursor=str(end) if end < len(tools) else None
    )


async def set_level(ctx, params):
    """Accept any level; the legacy era asks for it with a request."""
    return EmptyResult()


server._lowlevel_server.add_request_handler("tools/list", PaginatedRequestParams, list_tools)
server._lowlevel_server.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)


def end_with_stdin() -> None:
    """End when whoever started this is gone."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", choices=["stdio", "http"])
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.transport == "stdio":
        server.run("stdio")
    else:
        threading.Thread(target=end_with_stdin, daemon=True).start()
        server.run("streamable-http", host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
