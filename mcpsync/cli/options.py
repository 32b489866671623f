"""The options that all commands share, and the ``--`` behind which a server's command stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from ..protocol.versions import MODERN_VERSIONS
from . import exits

MODES = ("auto", "legacy", *MODERN_VERSIONS)
CONFIG_VARIABLE = "MCPSYNC_CONFIG"
_BEHIND_DASHES = "mcpsync.cli.command"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Settings:
    """The shared options, as they were given."""

    as_json: bool
    timeout: float | None = None
    headers: tuple[str, ...] = ()
    bearer_env: str | None = None
    mode: str = "auto"
    config: str | None = None
    verbose: bool = False


_OPTIONS = {
    "json": click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, as the protocol spells it."
    ),
    "timeout": click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Time for the whole command. [default: the configuration's, or 60]",
    ),
    "header": click.option(
        "-H",
        "--header",
        "headers",
        multiple=True,
        metavar="'NAME: VALUE'",
        help="Send this HTTP header; may be repeated.",
    ),
    "bearer": click.option(
        "--bearer-env", metavar="VARIABLE", help="Send the token in this environment variable."
    ),
    "mode": click.option(
        "--mode",
        type=click.Choice(MODES),
        default="auto",
        show_default=True,
        help="The era to speak; auto asks the server.",
    ),
    "config": click.option(
        "--config",
        metavar="FILE",
        envvar=CONFIG_VARIABLE,
        help="YAML or JSON with 'servers:' or 'mcpServers:'. "
        f"[env: {CONFIG_VARIABLE}; default: mcpsync.yaml]",
    ),
    "verbose": click.option(
        "-v", "--verbose", is_flag=True, help="Log what happens, on standard error."
    ),
}


def shared_options(function: F) -> F:
    """Give a command the options of :class:`Settings`."""
    return some_options(*_OPTIONS)(function)


def some_options(*names: str) -> Callable[[F], F]:
    """Give a command some of them."""

    def add(function: F) -> F:
        for name in reversed(names):
            function = _OPTIONS[name](function)
        return function

    return add


class TargetCommand(click.Command):
    """A command for one server: what stands behind ``--`` is how that server is started.

    Args:
        usages: The ways to write it, without the program's name and the options.
        about: What the words in them mean.
        options: What click takes.
    """

    def __init__(
        self, name: str | None, *, usages: tuple[str, ...], about: str, **options: Any
    ) -> None:
        options["epilog"] = f"{about}\n\n\b\nExit codes:\n{exits.table()}"
        super().__init__(name, **options)
        self._usages = usages

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what is behind ``--`` for :func:`command_after_dashes`; parse the rest."""
        command: tuple[str, ...] | None = None
        if "--" in args:
            where = args.index("--")
            args, command = args[:where], tuple(args[where + 1 :])
        ctx.meta[_BEHIND_DASHES] = command
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each way to write it."""
        for number, usage in enumerate(self._usages):
            prefix = " " * len("Usage: ") if number else "Usage: "
            formatter.write_usage(ctx.command_path, f"[OPTIONS] {usage}", prefix)


def command_after_dashes() -> tuple[str, ...] | None:
    """Return what stood behind ``--`` on the line being run; None if that was not there."""
    found: tuple[str, ...] | None = click.get_current_context().meta[_BEHIND_DASHES]
    return found
