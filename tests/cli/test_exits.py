"""Which exit code stands for which error, and the line that goes with it."""

import json

import click
import pytest

from mcpsync import errors
from mcpsync.cli.exits import MEANINGS, Exit, Interrupted, code_for, report, table


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("x"), Exit.USAGE),
        (errors.PlaceholderError("x"), Exit.USAGE),
        (errors.ServerNotFound("x"), Exit.USAGE),
        (errors.RefusedError("x"), Exit.USAGE),
        (errors.CircuitOpen("x"), Exit.CONNECT),
        (errors.ConnectError("x"), Exit.CONNECT),
        (errors.ConnectTimeout("x"), Exit.CONNECT),
        (errors.ServerExited("x"), Exit.CONNECT),
        (errors.ServerExited("x", maybe_executed=True), Exit.BROKEN),
        (errors.RequestTimeout("x"), Exit.TIMEOUT),
        (errors.AuthorizationRequired("x"), Exit.AUTH),
        (errors.InsufficientScope("x"), Exit.AUTH),
        (errors.MCPError("x"), Exit.MCP_ERROR),
        (errors.InputRequired("x"), Exit.MCP_ERROR),
        (errors.ConnectionLost("x"), Exit.CONNECT),
        (errors.ConnectionLost("x", maybe_executed=True), Exit.BROKEN),
        (errors.HTTPStatusError("x"), Exit.BROKEN),
        (errors.RateLimited("x"), Exit.BROKEN),
        (errors.SessionExpired("x"), Exit.BROKEN),
        (errors.MessageInvalid("x"), Exit.BROKEN),
        (errors.ResponseTooLarge("x"), Exit.BROKEN),
        (errors.UnsupportedProtocolVersion("x"), Exit.BROKEN),
        (errors.RequestCancelled("x"), Exit.INTERRUPTED),
        (errors.MCPSyncError("x"), Exit.BROKEN),
        (Interrupted(Exit.TERMINATED), Exit.TERMINATED),
        (click.UsageError("x"), Exit.USAGE),
        (OSError(28, "No space left on device"), Exit.NO_OUTPUT),
        (KeyError("x"), Exit.BUG),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_every_error_has_its_code(error, code):
    assert code_for(error) is code


def test_no_error_of_the_library_is_a_bug():
    def tree(cls: type[errors.MCPSyncError]) -> list[type[errors.MCPSyncError]]:
        return [cls, *(each for sub in cls.__subclasses__() for each in tree(sub))]

    for cls in tree(errors.MCPSyncError):
        assert code_for(cls("x")) not in (Exit.BUG, Exit.NO_OUTPUT, Exit.OK, Exit.TOOL_ERROR)


def test_the_table_explains_every_code():
    explained = table()
    for code in Exit:
        assert code in MEANINGS or str(int(code)) in explained


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.ConnectError("no\nway.", server_name="s"), "mcpsync: server 's': no way.\n"),
        (errors.MCPError("\x1b[31mNo", code=-1), "mcpsync: \\u001b[31mNo (code -1)\n"),
        (errors.MCPError("[bold]No", code=-1), "mcpsync: [bold]No (code -1)\n"),
        (click.UsageError("wrong."), "mcpsync: wrong.\n"),
        (Interrupted(Exit.INTERRUPTED), "mcpsync: interrupted.\n"),
        (
            Interrupted(Exit.TERMINATED, maybe_executed=True),
            "mcpsync: terminated. The server may have run it.\n",
        ),
        (OSError(28, "No space"), "mcpsync: the answer cannot be written: No space.\n"),
        (KeyError("x"), "mcpsync: this is a bug: KeyError: 'x'\n"),
    ],
)
def test_an_error_is_one_line(error, line, capsys):
    report(error, as_object=False)
    assert capsys.readouterr() == ("", line)


def test_as_an_object_an_error_says_everything_a_script_asks(capsys):
    error = errors.MCPError("No.", code=-32602, data={"a": 1}, server_name="s", tool_name="t")
    assert report(error, as_object=True) is Exit.MCP_ERROR
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "type": "MCPError",
            "message": "No.",
            "maybe_executed": False,
            "retryable": False,
            "server": "s",
            "tool": "t",
            "exit_code": 6,
            "code": -32602,
            "data": {"a": 1},
        }
    }


@pytest.mark.parametrize("error", [click.UsageError("x"), KeyError("x"), OSError(28, "x")])
def test_every_error_can_be_an_object(error, capsys):
    code = report(error, as_object=True)
    assert json.loads(capsys.readouterr().err)["error"]["exit_code"] == code
