"""Servers that somebody else wrote, and what each of them is asked for and answers."""

import functools
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mcpsync

from . import processes, provision

LEGACY, MODERN = "2025-11-25", "2026-07-28"
SERVERS = Path(__file__).parent / "servers"
SDK2 = ("mcp==2.3.*", "uvicorn")
SDK1 = ("mcp<2",)
LIBRARY = (  # what the library itself needs, as setup.py says
    "requests>=2.32.3",
    "urllib3>=2.6",
    "sseclient-py>=1.8",
    "pydantic>=2.12",
    "mcp-types>=2.3,<3",
)
PROGRAMS = (*LIBRARY, "gunicorn>=23", "gevent>=24.11", "packaging", "celery>=5.4")
UWSGI = (*LIBRARY, "pyuwsgi>=2.0.28", "--only-binary=pyuwsgi")
EVERYTHING = ("@modelcontextprotocol/server-everything", "2026.8.31")

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Vocabulary:
    """What things are called at one server, and what it answers."""

    add: str
    slow: tuple[str, Callable[[float, str], Arguments]]
    weather: tuple[str, Arguments]
    weather_answer: Arguments
    failing: tuple[str, Arguments]
    tools: frozenset[str]
    resource: str
    template: str
    filled_template: tuple[str, str]
    prompt: tuple[str, Arguments, str]
    complete_prompt: tuple[str, Arguments, Arguments | None, list[str]]
    complete_template: tuple[str, Arguments, list[str]]


PYTHON = Vocabulary(
    add="add",
    slow=("slow", lambda seconds, word: {"seconds": seconds, "steps": 2, "word": word}),
    weather=("weather", {"city": "Rome"}),
    weather_answer={"city": "Rome", "degrees": 20.5},
    failing=("fail", {"text": "as asked"}),
    tools=frozenset(
        {"add", "echo", "weather", "fail", "slow", "log", "header", "pid", "spawn"},
    ),
    resource="config://app",
    template="greeting://{name}",
    filled_template=("greeting://Ada", "Hello, Ada!"),
    prompt=("review", {"code": "x = 1"}, "Please review: x = 1"),
    complete_prompt=(
        "review",
        {"name": "code", "value": "p"},
        {"family": "gems"},
        ["perl"],
    ),
    complete_template=("greeting://{name}", {"name": "name", "value": "p"}, ["perl", "python"]),
)
NODE = Vocabulary(
    add="get-sum",
    slow=(
        "trigger-long-running-operation",
        # A step is half a second, so that a progress report soon says that it runs.
        lambda seconds, _: {"duration": seconds, "steps": max(1, round(seconds / 0.5))},
    ),
    weather=("get-structured-content", {"location": "Chicago"}),
    weather_answer={"temperature": 36, "conditions": "Light rain / drizzle", "humidity": 82},
    failing=("get-sum", {"a": "not a number", "b": 1}),
    tools=frozenset({"echo", "get-sum", "get-structured-content", "simulate-research-query"}),
    resource="demo://resource/static/document/architecture.md",
    template="demo://resource/dynamic/text/{resourceId}",
    filled_template=("demo://resource/dynamic/text/7", "Resource 7: This is a plaintext resource"),
    prompt=("args-prompt", {"city": "Rome"}, "What's weather in Rome?"),
    complete_prompt=(
        "completable-prompt",
        {"name": "name", "value": ""},
        {"department": "Sales"},
        ["David", "Eve", "Frank"],
    ),
    complete_template=(
        "demo://resource/dynamic/text/{resourceId}",
        {"name": "resourceId", "value": "12"},
        ["12"],
    ),
)


@dataclass(frozen=True)
class Kind:
    """One server, over one transport, spoken to in one era."""

    label: str
    family: str  # sdk1, sdk2, everything
    transport: str  # http, sse, stdio
    version: str = LEGACY
    mode: str = "auto"
    flags: tuple[str, ...] = ()
    sessions: bool = False
    notifies: bool = True  # whether progress arrives while a call runs
    logs: bool = True  # whether a log message rides on the answer to a call

    @property
    def words(self) -> Vocabulary:
        """What things are called there."""
        return NODE if self.family == "everything" else PYTHON

    @property
    def process_key(self) -> tuple[str, ...]:
        """Kinds with the same key can share a server process."""
        return (self.family, self.transport, *self.flags)


KINDS = [
    Kind("everything-http", "everything", "http", sessions=True, logs=False),
    Kind("everything-sse", "everything", "sse", logs=False),
    Kind("everything-stdio", "everything", "stdio", logs=False),
    Kind("sdk1-http", "sdk1", "http", sessions=True),
    Kind(
        "sdk1-http-stateless-json",
        "sdk1",
        "http",
        flags=("--stateless", "--json"),
        notifies=False,
        logs=False,
    ),
    Kind("sdk1-sse", "sdk1", "sse"),
    Kind("sdk1-stdio", "sdk1", "stdio"),
    Kind("sdk2-http-modern", "sdk2", "http", version=MODERN),
    Kind("sdk2-http-legacy", "sdk2", "http", mode="legacy", sessions=True),
    Kind("sdk2-stdio-modern", "sdk2", "stdio", version=MODERN),
    Kind("sdk2-stdio-legacy", "sdk2", "stdio", mode="legacy"),
]
BY_LABEL = {kind.label: kind for kind in KINDS}


def kinds(*labels: str, **facts: object) -> pytest.MarkDecorator:
    """Run a test against these counterparts, or against those of which these facts are true."""
    named = [BY_LABEL[label] for label in labels] or KINDS
    chosen = [
        kind for kind in named if all(getattr(kind, name) == is_ for name, is_ in facts.items())
    ]
    assert chosen, "no counterpart is like that"
    # The scope lets servers and clients outlive one test; pytest groups the tests by counterpart.
    return pytest.mark.parametrize(
        "kind", chosen, ids=[kind.label for kind in chosen], scope="session"
    )


def obtain(family: str) -> list[str]:
    """The start of the command that runs a server of *family*, installed now if need be.

    For the programs that tests/programs runs, it is the interpreter of their environment.

    Where it cannot be had, the test is skipped and says why; with MCPSYNC_REQUIRE_COUNTERPARTS=1
    it fails instead.
    """
    found = attempt(family)
    if isinstance(found, list):
        return found
    if os.environ.get("MCPSYNC_REQUIRE_COUNTERPARTS") == "1":
        pytest.fail(f"the counterpart {family} is required: {found}", pytrace=False)
    pytest.skip(f"the counterpart {family} cannot be had: {found}")


@functools.cache
def attempt(family: str) -> list[str] | provision.Unavailable:
    """Install the server once a run; a failure is remembered, for it takes long to find out."""
    try:
        return _command(family)
    except provision.Unavailable as error:
        return error


def _command(family: str) -> list[str]:
    if family == "sdk2":
        return [str(provision.python_environment("sdk2", *SDK2)), str(SERVERS / "sdk2_server.py")]
    if family == "sdk1":
        return [str(provision.python_environment("sdk1", *SDK1)), str(SERVERS / "sdk1_server.py")]
    if family in ("programs", "uwsgi"):  # these run the library, so with the Python that is tested
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        wanted = PROGRAMS if family == "programs" else UWSGI
        return [str(provision.python_environment(f"{family}-{version}", *wanted))]
    package = provision.npm_package(*EVERYTHING)
    node = shutil.which("node") or "node"
    return [node, str(package / "dist" / "index.js")]


def http_server(kind: Kind, log: Path, port: int | None = None) -> processes.ServerProcess:
    """A server process for *kind*, not started yet."""
    port = port or processes.free_port()
    command = obtain(kind.family)
    environment = provision.child_environment(PYTHONUNBUFFERED="1")
    if kind.family == "everything":
        node, script = command
        transport = "sse" if kind.transport == "sse" else "streamableHttp"
        command = [node, "--require", str(SERVERS / "loopback.cjs"), script, transport]
        environment["PORT"] = str(port)
    else:
        command = [*command, kind.transport, "--port", str(port), *kind.flags]
    path = "/sse" if kind.transport == "sse" else "/mcp"
    return processes.ServerProcess(command, port=port, log=log, env=environment, path=path)


def stdio_parameters(kind: Kind) -> mcpsync.StdioServerParameters:
    """The command of *kind*'s server, for a client to start."""
    command, *arguments = [*obtain(kind.family), "stdio"]
    return mcpsync.StdioServerParameters(command=command, args=arguments)


@dataclass
class Counterpart:
    """A server to talk to: its kind, and its process if it has one of its own."""

    kind: Kind
    process: processes.ServerProcess | None = None

    def client(self, **options: Any) -> mcpsync.Client:
        """A client for this server, speaking the era that is asked for."""
        target = self.process.url if self.process else stdio_parameters(self.kind)
        return mcpsync.Client(target, mode=self.kind.mode, **options)

    @property
    def words(self) -> Vocabulary:
        """What things are called there."""
        return self.kind.words
