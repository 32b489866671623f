"""Exit codes that a script can rely on, and the one line that says what went wrong."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import click

from ..errors import (
    AuthError,
    CircuitOpen,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    InputRequired,
    MCPError,
    MCPSyncError,
    NotFound,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
    ServerExited,
)
from .text import as_json, one_line


class Exit(IntEnum):
    """What the exit code says."""

    OK = 0
    TOOL_ERROR = 1
    USAGE = 2
    CONNECT = 3
    TIMEOUT = 4
    AUTH = 5
    MCP_ERROR = 6
    BROKEN = 7
    BUG = 70
    NO_OUTPUT = 74
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


MEANINGS: dict[Exit, str] = {
    Exit.OK: "it worked",
    Exit.TOOL_ERROR: "the tool answered, with an error (isError); no sign-in; the demo failed",
    Exit.USAGE: "wrong usage, arguments or configuration; no tool was called",
    Exit.CONNECT: "no connection (refused, too slow, no such command); no tool was called",
    Exit.TIMEOUT: "the time ran out; a tool may have run",
    Exit.AUTH: "the server wants (other) credentials",
    Exit.MCP_ERROR: "the server answered with an MCP error, or asks for input",
    Exit.BROKEN: "broken protocol, lost connection, HTTP error; a tool may have run",
    Exit.BUG: "a bug in mcpsync",
    Exit.NO_OUTPUT: "the answer could not be written",
    Exit.INTERRUPTED: "Ctrl-C (141: nobody reads our output any more, 143: SIGTERM)",
}

_CODES: tuple[tuple[type[MCPSyncError], Exit], ...] = (
    (RequestCancelled, Exit.INTERRUPTED),
    (ConfigurationError, Exit.USAGE),
    (NotFound, Exit.USAGE),
    (CircuitOpen, Exit.CONNECT),
    (RefusedError, Exit.USAGE),
    (ConnectError, Exit.CONNECT),
    (RequestTimeout, Exit.TIMEOUT),
    (AuthError, Exit.AUTH),
    (MCPError, Exit.MCP_ERROR),
    (InputRequired, Exit.MCP_ERROR),
)
_DETAILS = (
    "code",
    "data",
    "status",
    "retry_after",
    "returncode",
    "required_scopes",
    "file",
    "line",
    "field",
)


class Interrupted(Exception):
    """Ctrl-C or SIGTERM ended the command.

    Args:
        code: Which of them.
        maybe_executed: Whether the server may have run what was interrupted.
    """

    def __init__(self, code: Exit, maybe_executed: bool = False) -> None:
        super().__init__("interrupted." if code is Exit.INTERRUPTED else "terminated.")
        self.code = code
        self.maybe_executed = maybe_executed

    def __str__(self) -> str:
        ran = " The server may have run it." if self.maybe_executed else ""
        return f"{self.args[0]}{ran}"


def table() -> str:
    """Return the exit codes and their meanings, one a line."""
    return "\n".join(f"  {code.value:3}  {meaning}" for code, meaning in MEANINGS.items())


def code_for(error: BaseException) -> Exit:
    """Return the exit code that stands for *error*."""
    if isinstance(error, ServerExited | ConnectionLost):  # gone before it was asked: never there
        return Exit.BROKEN if error.maybe_executed else Exit.CONNECT
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    if isinstance(error, MCPSyncError):
        return Exit.BROKEN
    if isinstance(error, Interrupted):
        return error.code
    if is_output_error(error):
        return Exit.NO_OUTPUT
    return Exit.USAGE if isinstance(error, click.ClickException) else Exit.BUG


def is_output_error(error: BaseException) -> bool:
    """Whether *error* came of writing our answer: the system's errors elsewhere are typed ones."""
    return isinstance(error, OSError) and not isinstance(error, MCPSyncError)


def report(error: Exception, *, as_object: bool) -> Exit:
    """Write one line on standard error that says what went wrong; return the exit code.

    Args:
        error: Whatever ended the command.
        as_object: Make the line a JSON object instead of a sentence.
    """
    code = code_for(error)
    line = as_json({"error": described(error)}, None) if as_object else _sentence(error)
    click.echo(line, err=True)
    return code


def _sentence(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        hint = f" Try '{context.command_path} --help'." if context is not None else ""
        return f"mcpsync: {one_line(error.format_message())}{hint}"
    if isinstance(error, MCPSyncError | Interrupted):
        return f"mcpsync: {one_line(str(error))}"
    if isinstance(error, OSError):
        return f"mcpsync: the answer cannot be written: {error.strerror}."
    return f"mcpsync: this is a bug: {type(error).__name__}: {one_line(str(error))}"


def described(error: Exception) -> dict[str, Any]:
    """Return *error* as a script is told of it."""
    told: dict[str, Any] = {
        "type": type(error).__name__,
        "message": _message(error),
        "maybe_executed": getattr(error, "maybe_executed", False),
        "retryable": getattr(error, "retryable", False),
        "server": getattr(error, "server_name", None),
        "tool": getattr(error, "tool_name", None),
        "exit_code": int(code_for(error)),
    }
    if isinstance(error, MCPSyncError):
        details = {name: getattr(error, name, None) for name in _DETAILS}
        told |= {name: value for name, value in details.items() if value not in (None, ())}
    return told


def _message(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    return error.message if isinstance(error, MCPSyncError) else str(error)
