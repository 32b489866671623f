"""Servers that somebody else wrote, and what each of them is asked for and answers."""

import ast
import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

import mcpsync

from . import processes, provision
from .source import ROOT


def _install_requires() -> tuple[str, ...]:
    """What the library itself needs, as setup.py says."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (found,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "INSTALL_REQUIRES"
    )
    return tuple(ast.literal_eval(found))


LEGACY, MODERN = "2025-11-25", "2026-07-28"
SERVERS = Path(__file__).parent / "servers"
SDK2 = ("mcp==2.3.*", "uvicorn")
SDK1 = ("mcp<2",)
LIBRARY = _install_requires()
SIGNING_IN = ("flask>=3", "cryptography>=42", "pyjwt>=2.9")  # for examples/flask_signin
PROGRAMS = (*LIBRARY, *SIGNING_IN, "gunicorn>=23", "gevent>=24.11", "packaging", "celery>=5.4")
UWSGI = (*LIBRARY, "pyuwsgi>=2.0.28", "--only-binary=pyuwsgi")
EVERYTHING = ("@modelcontextprotocol/server-everything", "2026.8.31")
FILESYSTEM = ("@modelcontextprotocol/server-filesystem", "2026.8.31")
FASTMCP = ("fastmcp==4.1.*",)
TS2 = (
    "@modelcontextprotocol/server",
    "2.4.0",
    "@modelcontextprotocol/node@2.1.2",
    "express@5.3.0",
    "zod@4.6.7",
)
OIDC = ("oidc-provider", "9.13.3")

PYTHONS = {"sdk1": SDK1, "sdk2": SDK2, "fastmcp": FASTMCP}

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Vocabulary:
    """What things are called at one server, and what it answers.

    A field that is None is something the server does not offer; *lacks* says of each such field,
    and of each method it does not know, what it answers to whoever asks all the same: an error
    code, or "no tool" where there is nothing to ask for.
    """

    name: str
    call: tuple[str, Arguments, str]
    failing: tuple[str, Arguments]
    unknown_tool: str  # "result", or the code of the error
    tools: frozenset[str]
    add: str | None = None
    echo: tuple[str, str] | None = None
    weather: tuple[str, Arguments] | None = None
    weather_answer: Arguments | None = None
    slow: tuple[str, Callable[[float, str], Arguments]] | None = None
    resource: str | None = None
    template: str | None = None
    filled_template: tuple[str, str] | None = None
    prompt: tuple[str, Arguments, str] | None = None
    complete_prompt: tuple[str, Arguments, Arguments | None, list[str]] | None = None
    complete_template: tuple[str, Arguments, list[str]] | None = None
    instructions: str | None = None
    logged: Any = "hello"  # what its tool `log` sends for that word
    lacks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        silent = [each.name for each in fields(self) if getattr(self, each.name) is None]
        assert not set(silent) - set(self.lacks), f"{self.name} must say what it answers: {silent}"


def in_python(name: str, **differences: Any) -> Vocabulary:
    """The words of our own scripts in tests/support/servers."""
    words: dict[str, Any] = {
        "name": name,
        "call": ("add", {"a": 2, "b": 40}, "42"),
        "failing": ("fail", {"text": "as asked"}),
        "unknown_tool": "result",
        "tools": frozenset({"add", "echo", "weather", "fail", "slow", "log", "header", "pid"}),
        "add": "add",
        "echo": ("echo", "text"),
        "weather": ("weather", {"city": "Rome"}),
        "weather_answer": {"city": "Rome", "degrees": 20.5},
        "slow": ("slow", lambda seconds, word: {"seconds": seconds, "steps": 2, "word": word}),
        "resource": "config://app",
        "template": "greeting://{name}",
        "filled_template": ("greeting://Ada", "Hello, Ada!"),
        "prompt": ("review", {"code": "x = 1"}, "Please review: x = 1"),
        "complete_prompt": (
            "review",
            {"name": "code", "value": "p"},
            {"family": "gems"},
            ["perl"],
        ),
        "complete_template": (
            "greeting://{name}",
            {"name": "name", "value": "p"},
            ["perl", "python"],
        ),
        "instructions": "Add things up.",
    }
    return Vocabulary(**(words | differences))


EVERYTHING_WORDS = Vocabulary(
    name="mcp-servers/everything",
    call=("get-sum", {"a": 2, "b": 40}, "The sum of 2 and 40 is 42."),
    failing=("get-sum", {"a": "not a number", "b": 1}),
    unknown_tool="result",
    tools=frozenset({"echo", "get-sum", "get-structured-content", "simulate-research-query"}),
    add="get-sum",
    echo=("echo", "message"),
    weather=("get-structured-content", {"location": "Chicago"}),
    weather_answer={"temperature": 36, "conditions": "Light rain / drizzle", "humidity": 82},
    slow=(
        "trigger-long-running-operation",
        # A step is half a second, so that a progress report soon says that it runs.
        lambda seconds, _: {"duration": seconds, "steps": max(1, round(seconds / 0.5))},
    ),
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
    instructions="# Everything Server",
)
FILESYSTEM_WORDS = Vocabulary(
    name="secure-filesystem-server",
    call=("read_text_file", {"path": "notes.txt"}, "remember the milk\n"),
    failing=("read_text_file", {"path": "no-such-file.txt"}),
    unknown_tool="result",
    tools=frozenset({"read_text_file", "write_file", "list_directory", "search_files"}),
    weather=("read_text_file", {"path": "notes.txt", "head": 1}),
    weather_answer={"content": "remember the milk"},
    lacks={
        "add": "no tool",
        "echo": "no tool",
        "slow": "no tool",
        "resource": "-32601",
        "template": "-32601",
        "filled_template": "-32601",
        "prompt": "-32601",
        "complete_prompt": "-32601",
        "complete_template": "-32601",
        "logging": "-32601",
        "instructions": "none",
    },
)
WORDS = {
    "sdk1": in_python("sdk1"),
    "sdk2": in_python("sdk2"),
    "fastmcp": in_python(
        "fastmcp",
        logged={"msg": "hello", "extra": None},
        complete_prompt=None,
        complete_template=None,
        lacks={"complete_prompt": "-32601", "complete_template": "-32601"},
    ),
    "ts2": in_python("ts2", unknown_tool="-32602"),
    "everything": EVERYTHING_WORDS,
    "filesystem": FILESYSTEM_WORDS,
}


@dataclass(frozen=True)
class Kind:
    """One server, over one transport, spoken to in one era."""

    label: str
    family: str  # a key of WORDS
    transport: str  # http, sse, stdio
    version: str = LEGACY
    mode: str = "auto"
    flags: tuple[str, ...] = ()
    sessions: bool = False
    notifies: bool = True  # whether progress arrives while a call runs
    logs: bool = True  # whether a log message rides on the answer to a call
    often: bool = True  # whether it is started for single tests, too: some take seconds

    @property
    def words(self) -> Vocabulary:
        """What things are called there."""
        return WORDS[self.family]

    @property
    def lacks(self) -> Mapping[str, str]:
        """What it does not offer, and what it answers instead."""
        return {**(NOT_MODERN if self.version == MODERN else {}), **self._lacks_here()}

    def _lacks_here(self) -> Mapping[str, str]:
        silent = {} if self.notifies else {"progress": "none"}
        return {**self.words.lacks, **silent}

    def offers(self, *words: str) -> bool:
        """Whether all these fields of its vocabulary are there."""
        return not set(words) & set(self.lacks)

    @property
    def process_key(self) -> tuple[str, ...]:
        """Kinds with the same key can share a server process."""
        return (self.family, self.transport, *self.flags)


NOT_MODERN = {"ping": "-32601", "logging": "-32601"}  # the modern era has neither
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
    Kind("fastmcp-http-modern", "fastmcp", "http", version=MODERN),
    Kind("fastmcp-http-legacy", "fastmcp", "http", mode="legacy", sessions=True),
    Kind("fastmcp-stdio-modern", "fastmcp", "stdio", version=MODERN, often=False),
    Kind("fastmcp-stdio-legacy", "fastmcp", "stdio", mode="legacy", often=False),
    Kind("ts2-http-modern", "ts2", "http", version=MODERN),
    Kind("ts2-http-legacy", "ts2", "http", mode="legacy"),
    Kind("ts2-stdio-modern", "ts2", "stdio", version=MODERN),
    Kind("ts2-stdio-legacy", "ts2", "stdio", mode="legacy"),
    Kind("filesystem-stdio", "filesystem", "stdio", notifies=False, logs=False),
]
BY_LABEL = {kind.label: kind for kind in KINDS}


def kinds(
    *labels: str, offers: str | tuple[str, ...] = (), **facts: object
) -> pytest.MarkDecorator:
    """Run a test against these counterparts, or against those of which these facts are true.

    Args:
        labels: Which; all by default.
        offers: Only those that offer this, or all of these.
        facts: Only those whose attributes are like that.
    """
    named = [BY_LABEL[label] for label in labels] or KINDS
    wanted = (offers,) if isinstance(offers, str) else offers
    chosen = [
        kind
        for kind in named
        if kind.offers(*wanted) and all(getattr(kind, name) == is_ for name, is_ in facts.items())
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
    if family == "redis":
        return [provision.program("redis-server")]
    if family in PYTHONS:
        interpreter = provision.python_environment(family, *PYTHONS[family])
        return [str(interpreter), str(SERVERS / f"{family}_server.py")]
    if family == "protected":
        interpreter = provision.python_environment("sdk2", *SDK2)
        return [str(interpreter), str(SERVERS / "sdk2_protected.py")]
    if family == "oidc":
        modules = provision.npm_package(*OIDC).parents[1]
        return [provision.node(at_least=22), str(SERVERS / "oidc_provider.mjs"), str(modules)]
    if family in ("programs", "uwsgi"):  # these run the library, so with the Python that is tested
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        wanted = PROGRAMS if family == "programs" else UWSGI
        return [str(provision.python_environment(f"{family}-{version}", *wanted))]
    if family == "ts2":
        modules = provision.npm_package(*TS2).parents[1]
        return [provision.node(at_least=20), str(SERVERS / "ts2_server.cjs"), str(modules)]
    package = provision.npm_package(*(EVERYTHING if family == "everything" else FILESYSTEM))
    return [provision.node(), str(package / "dist" / "index.js")]


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
    elif kind.family == "ts2":
        command = [*command, "http", str(port)]
    else:
        command = [*command, kind.transport, "--port", str(port), *kind.flags]
    path = "/sse" if kind.transport == "sse" else "/mcp"
    return processes.ServerProcess(command, port=port, log=log, env=environment, path=path)


def stdio_parameters(kind: Kind, folder: Path | None = None) -> mcpsync.StdioServerParameters:
    """The command of *kind*'s server, for a client to start.

    Args:
        kind: Which.
        folder: The folder that a server of files serves.
    """
    command, *arguments = obtain(kind.family)
    where = "." if kind.family == "filesystem" else "stdio"
    return mcpsync.StdioServerParameters(
        command=command, args=[*arguments, where], cwd=str(folder) if folder else None
    )


@dataclass
class Counterpart:
    """A server to talk to: its kind, its process if it has one of its own, its folder."""

    kind: Kind
    process: processes.ServerProcess | None = None
    folder: Path | None = None

    def client(self, **options: Any) -> mcpsync.Client:
        """A client for this server, speaking the era that is asked for."""
        target = self.process.url if self.process else stdio_parameters(self.kind, self.folder)
        return mcpsync.Client(target, mode=self.kind.mode, **options)

    @property
    def words(self) -> Vocabulary:
        """What things are called there."""
        return self.kind.words
