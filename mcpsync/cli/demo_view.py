"""How the demo is shown: live on a terminal, a line now and then on a pipe, or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .demo_tally import Count
from .waiting import is_terminal

LINE_EVERY = 1.0  # seconds between two lines on a pipe


class View(Protocol):
    """What the demo tells whoever watches."""

    def say(self, sentence: str) -> None:
        """Say what is shown next."""

    def show(self, count: Count, seconds: float, users: int, *, last: bool = False) -> None:
        """Show the numbers; called several times a second.

        Args:
            count: The numbers.
            seconds: How long the users have been calling.
            users: How many they are.
            last: Whether these are the last ones before something else is said.
        """

    def finish(self, rows: list[tuple[str, str]], failures: list[str]) -> None:
        """Show the final table, and what did not hold."""


class PlainView:
    """Lines of text."""

    def __init__(self) -> None:
        self._next = LINE_EVERY

    def say(self, sentence: str) -> None:
        """Say what is shown next."""
        click.echo(sentence)

    def show(self, count: Count, seconds: float, users: int, *, last: bool = False) -> None:
        """Write a line, if it is the last or the one before was a while ago."""
        if last or seconds >= self._next:
            self._next = seconds + LINE_EVERY
            numbers = ", ".join(f"{label} {value}" for label, value in _numbers(count, seconds))
            click.echo(f"  {len(count.connected)} of {users} users connected, {numbers}")

    def finish(self, rows: list[tuple[str, str]], failures: list[str]) -> None:
        """Write the final table."""
        width = max(len(label) for label, _ in rows)
        for label, value in rows:
            click.echo(f"  {label:{width}}  {value}")
        click.echo(_verdict(failures))


class QuietView:
    """Nothing: the numbers are printed as JSON."""

    def say(self, sentence: str) -> None:
        """Say nothing."""

    def show(self, count: Count, seconds: float, users: int, *, last: bool = False) -> None:
        """Show nothing."""

    def finish(self, rows: list[tuple[str, str]], failures: list[str]) -> None:
        """Show nothing."""


class LiveView:
    """A picture that moves.

    Args:
        live: Where it is drawn.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._picture: RenderableType = Text()

    def say(self, sentence: str) -> None:
        """Say what is shown next, above the picture."""
        self._live.console.print(Text(sentence, style="bold"))

    def show(self, count: Count, seconds: float, users: int, *, last: bool = False) -> None:
        """Draw a dot for each user, and the numbers."""
        open_ones = len(count.connected)
        dots = Text("● " * open_ones, "green").append("○ " * max(0, users - open_ones), "dim")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="cyan")
        grid.add_row("users connected", dots)
        for label, value in _numbers(count, seconds):
            grid.add_row(label, value)
        self._picture = Padding(grid, (0, 2))
        self._live.update(self._picture)

    def finish(self, rows: list[tuple[str, str]], failures: list[str]) -> None:
        """Draw the final table below the last picture."""
        table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
        table.add_column(style="cyan")
        for row in rows:
            table.add_row(*row)
        verdict = Text(_verdict(failures), style="bold red" if failures else "bold green")
        self._live.update(Group(self._picture, table, verdict))


@contextmanager
def open_view(quiet: bool) -> Iterator[View]:
    """Return what suits standard output, for a ``with`` block.

    Args:
        quiet: Show nothing.
    """
    if quiet:
        yield QuietView()
    elif not is_terminal(sys.stdout):
        yield PlainView()
    else:
        with Live(console=Console(file=sys.stdout), refresh_per_second=10) as live:
            yield LiveView(live)


def milliseconds(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{seconds * 1000:.1f} ms"


def _numbers(count: Count, seconds: float) -> list[tuple[str, str]]:
    rate = count.calls / seconds if seconds else 0.0
    return [
        ("callers coalesced", str(count.joined)),
        ("calls", f"{count.calls} in {seconds:.1f} s, {rate:.0f}/s"),
        ("p50", f"{milliseconds(count.p50)}, p99 {milliseconds(count.p99)}"),
        ("errors", str(count.errors)),
        ("swept", str(count.swept)),
    ]


def _verdict(failures: list[str]) -> str:
    if not failures:
        return "Everything held."
    return "\n".join(f"FAILED: {failure}" for failure in failures)
