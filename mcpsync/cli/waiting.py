"""A spinner, or a bar if the server reports progress: on a terminal, and only while we wait."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
from rich.text import Text

from .text import one_line


class Step(NamedTuple):
    """What the server last said about how far it is."""

    progress: float
    total: float | None
    message: str | None


class Waiting:
    """Shows that something is going on. Nothing is shown unless standard error is a terminal.

    :meth:`note` may be called from any thread; the rest is for the thread that waits.

    Args:
        doing: What we wait for, in a few words.
        server: Who is to answer.
        quiet: Show nothing in any case.
    """

    def __init__(self, doing: str, server: str, *, quiet: bool = False) -> None:
        self._doing = one_line(doing, 40)
        self._server = one_line(server, 40)
        self._step: Step | None = None  # swapped whole, so that it needs no lock
        self._progress: Progress | None = None
        self.visible = not quiet and is_terminal(sys.stderr)

    def note(self, progress: float, total: float | None, message: str | None) -> None:
        """Take a progress notification."""
        self._step = Step(progress, total, message)

    def shown(self) -> AbstractContextManager[None]:
        """Show it within the ``with`` block."""
        return self._shown() if self.visible else nullcontext()

    @contextmanager
    def _shown(self) -> Iterator[None]:
        console = Console(file=sys.stderr, force_terminal=True)
        progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            _Bar(bar_width=30),
            _Share("", markup=False),
            console=console,
            transient=True,
            disable=console.is_dumb_terminal,
        )
        with progress:
            self._progress = progress
            progress.add_task(f"{self._doing} on {self._server}", total=None)
            yield
        self._progress = None

    def refresh(self) -> None:
        """Show what was noted since the last time."""
        step = self._step
        if self._progress is None or step is None:
            return
        said = f": {one_line(step.message, 40)}" if step.message else ""
        self._progress.update(
            self._progress.task_ids[0],
            description=f"{self._doing}{said}",
            total=step.total,
            completed=step.progress,
        )


def is_terminal(stream: object) -> bool:
    """Whether *stream* is one; rich would believe FORCE_COLOR instead."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty is not None and isatty())


class _Bar(BarColumn):
    """A bar once there is progress."""

    def render(self, task: Task) -> Any:
        return super().render(task) if task.completed else Text()


class _Share(TextColumn):
    """How much of it is done, once there is progress."""

    def render(self, task: Task) -> Text:
        if not task.completed:
            return Text()
        return Text(f"{task.completed:g}" + ("" if task.total is None else f"/{task.total:g}"))
