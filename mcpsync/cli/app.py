"""The commands, and what happens when one of them fails."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from io import TextIOWrapper
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from ..session.wire import dumped
from ..version import __version__
from . import exits, show
from .arguments import read_object, read_pairs
from .check import check
from .conversation import Conversation
from .demo import demo
from .exits import Exit, Interrupted
from .options import Settings, TargetCommand, command_after_dashes, shared_options
from .running import Terminated, ask, interruptible, logging_on_stderr
from .schema import schema
from .signing_in import login, logout, whoami
from .target import find_target
from .text import as_json
from .waiting import Waiting

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

TARGETS = ("TARGET", "-- COMMAND...")
WHERE = "TARGET is a URL or the name of a configured server; COMMAND starts a server over stdio."


@click.group(
    epilog=f"\b\nExit codes:\n{exits.table()}",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="mcpsync")
def cli() -> None:
    """Talk to MCP servers.

    Answers go to standard output. An error is one line on standard error, and with --json that
    line is {"error": {"type", "message", "maybe_executed", "retryable", "server", "tool",
    "exit_code"}}. What a server says is printed with its control characters escaped; --json loses
    nothing.
    """


cli.add_command(login)
cli.add_command(logout)
cli.add_command(whoami)
cli.add_command(demo)
cli.add_command(schema)
cli.add_command(check)


@cli.command(cls=TargetCommand, usages=TARGETS, about=WHERE)
@click.argument("target", required=False)
@shared_options
def tools(target: str | None, **options: Any) -> None:
    """List the tools of a server.

    On a pipe, a line is name, arguments and description, with tabs between them.
    """
    headings = ("tool", "arguments", "description")
    _list(target, Settings(**options), Conversation.tools, headings, show.tool_row)


@cli.command(cls=TargetCommand, usages=TARGETS, about=WHERE)
@click.argument("target", required=False)
@click.option("--templates", is_flag=True, help="List the resource templates instead.")
@shared_options
def resources(target: str | None, templates: bool, **options: Any) -> None:
    """List the resources of a server.

    On a pipe, a line is URI, name, type and description, with tabs between them.
    """
    settings = Settings(**options)
    headings = ("resource", "name", "type", "description")
    if templates:
        _list(target, settings, Conversation.resource_templates, headings, show.template_row)
    else:
        _list(target, settings, Conversation.resources, headings, show.resource_row)


@cli.command(cls=TargetCommand, usages=TARGETS, about=WHERE)
@click.argument("target", required=False)
@shared_options
def prompts(target: str | None, **options: Any) -> None:
    """List the prompts of a server.

    On a pipe, a line is name, arguments and description, with tabs between them.
    """
    headings = ("prompt", "arguments", "description")
    _list(target, Settings(**options), Conversation.prompts, headings, show.prompt_row)


@cli.command(cls=TargetCommand, usages=TARGETS, about=WHERE)
@click.argument("target", required=False)
@shared_options
def info(target: str | None, **options: Any) -> None:
    """Say what a server is, what it speaks, and what it can do."""
    settings = Settings(**options)
    facts = _ask(target, settings, "asking for info", lambda conversation, _: conversation.facts())
    _print(facts, settings, show.show_facts)


@cli.command(
    cls=TargetCommand,
    usages=(
        "TARGET TOOL [KEY=TEXT | KEY:=JSON]...",
        "TOOL [KEY=TEXT | KEY:=JSON]... -- COMMAND...",
    ),
    about=WHERE,
)
@click.argument("words", nargs=-1)
@click.option("--args", "source", metavar="JSON|@FILE|-", help="The arguments as a JSON object.")
@shared_options
def call(words: tuple[str, ...], source: str | None, **options: Any) -> None:
    """Call a tool.

    KEY=TEXT sends the text, converted if the tool's schema says integer, number or boolean.
    KEY:=JSON sends the JSON. Both go on top of --args.
    """
    settings = Settings(**options)
    target, tool, pairs = _call_words(words)
    settled, texts = read_pairs(pairs)
    settled = {**read_object(source), **settled}
    result = _ask(
        target,
        settings,
        f"calling {tool}",
        lambda conversation, waiting: conversation.call(
            tool, settled, texts, waiting.note if waiting.visible else None
        ),
    )
    _print(result, settings, show.show_result)
    if result.is_error:
        if not settings.as_json:
            click.echo(f"mcpsync: the tool {tool!r} answered with an error.", err=True)
        raise click.exceptions.Exit(Exit.TOOL_ERROR)


def _call_words(words: Sequence[str]) -> tuple[str | None, str, Sequence[str]]:
    """Take the words of ``call`` apart: the target if there is no ``--``, the tool, the pairs."""
    has_command = command_after_dashes() is not None
    wanted = 1 if has_command else 2
    if len(words) < wanted or "=" in words[wanted - 1]:
        names = "a TOOL" if has_command else "a TARGET and a TOOL"
        raise click.UsageError(f"call needs {names} before the arguments.")
    target = None if has_command else words[0]
    return target, words[wanted - 1], words[wanted:]


def _ask(
    word: str | None,
    settings: Settings,
    doing: str,
    work: Callable[[Conversation, Waiting], T],
) -> T:
    target = find_target(word, command_after_dashes(), settings.config)
    waiting = Waiting(doing, target.name, quiet=settings.verbose)
    with logging_on_stderr(settings.verbose):
        return ask(target, settings, waiting, lambda conversation: work(conversation, waiting))


def _list(
    word: str | None,
    settings: Settings,
    fetch: Callable[[Conversation], Iterable[M]],
    headings: show.Row,
    row: Callable[[M], show.Row],
) -> None:
    found = _ask(
        word, settings, f"listing {headings[0]}s", lambda conversation, _: list(fetch(conversation))
    )
    if settings.as_json:
        click.echo(as_json([dumped(item) for item in found]))
    else:
        show.show_rows(headings, map(row, found), f"no {headings[0]}s")


def _print(answer: T, settings: Settings, show_it: Callable[[T], None]) -> None:
    if settings.as_json:
        click.echo(as_json(dumped(answer) if isinstance(answer, BaseModel) else answer))
    else:
        show_it(answer)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; nothing is raised, and no traceback shown."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_object = "--json" in ours
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that knows few characters
            stream.reconfigure(errors="backslashreplace")
    try:
        with interruptible():
            return _invoke(list(arguments) or ["--help"])
    except KeyboardInterrupt as interrupt:
        terminated = isinstance(interrupt, Terminated)
        error: Exception = Interrupted(Exit.TERMINATED if terminated else Exit.INTERRUPTED)
    except BrokenPipeError:
        _drop_output()
        return Exit.BROKEN_PIPE
    except Exception as failure:  # noqa: BLE001 - a command line shows no traceback
        if exits.is_output_error(failure):
            _drop_output()
        error = failure
    return exits.report(error, as_object=as_object)


def _invoke(arguments: list[str]) -> int:
    """Do what ``cli.main()`` does, but for its own ideas of Ctrl-C and of broken pipes."""
    code: int = Exit.OK
    try:
        with cli.make_context("mcpsync", arguments) as context:
            cli.invoke(context)
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    if sys.stdout is not None:
        sys.stdout.flush()
    return code


def _drop_output() -> None:
    """Have standard output go nowhere, so that the interpreter does not fail on it at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
