"""Asking on a thread while this one shows that we wait, and can be interrupted."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from .._runtime.cancel import Cancellation
from .._runtime.threads import start_thread
from ..client.options import CLOSE_TIMEOUT
from ..errors import MCPSyncError
from .conversation import Conversation
from .exits import Exit, Interrupted
from .kept import credentials_for
from .options import Settings
from .target import Target, make_client, timeout_of
from .text import printable
from .waiting import Waiting

logger = logging.getLogger(__name__)

BEFORE_SPINNING = 0.15  # seconds; what is quicker than that needs no spinner
FRAME = 0.1
LAST_WAIT = 1.0  # seconds that telling the server may take

T = TypeVar("T")


class Terminated(KeyboardInterrupt):
    """SIGTERM came: to be treated as Ctrl-C, with another exit code."""


def ask(
    target: Target, settings: Settings, waiting: Waiting, work: Callable[[Conversation], T]
) -> T:
    """Do *work* with the server and close the conversation, whatever happens.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the call was cancelled, and the server told.
        MCPSyncError: As *work* does.
    """
    cancel = Cancellation()
    with credentials_for(target, settings) as credentials:
        client = make_client(target, settings, credentials.auth)
        conversation = Conversation(client, timeout_of(target, settings), cancel)

        def converse() -> T:
            try:
                with client:
                    return work(conversation)
            except MCPSyncError as error:
                conversation.explain(error)
                credentials.explain(error)
                raise

        return watched(converse, waiting, cancel, client.close)


def watched(
    work: Callable[[], T],
    waiting: Waiting,
    cancel: Cancellation,
    close: Callable[[], None] = lambda: None,
) -> T:
    """Do *work* on a thread while this one waits, so that it can be interrupted.

    Args:
        work: What is to be done.
        waiting: Shows that we wait.
        cancel: Ends *work*.
        close: Does so if that was not heeded.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
        MCPSyncError: As *work* does.
    """
    future: Future[T] = Future()
    start_thread("cli", lambda: _do(future, work))
    try:
        _watch(future, waiting)
    except KeyboardInterrupt as interrupt:
        code = Exit.TERMINATED if isinstance(interrupt, Terminated) else Exit.INTERRUPTED
        raise Interrupted(code, _give_up(future, cancel, close)) from None
    return future.result(0)


def _do(future: Future[T], work: Callable[[], T]) -> None:
    try:
        result = work()
    except BaseException as error:
        logger.debug("the command failed", exc_info=True)
        future.set_exception(error)
    else:
        future.set_result(result)


def _watch(future: Future[T], waiting: Waiting) -> None:
    """Wait until it is done; if that takes a moment, show that we wait."""
    if not wait([future], BEFORE_SPINNING).not_done:
        return
    with waiting.shown():
        while wait([future], FRAME).not_done:
            waiting.refresh()


def _give_up(future: Future[T], cancel: Cancellation, close: Callable[[], None]) -> bool:
    """Cancel what is under way and close; say whether the server may have run it."""
    with _deaf():
        cancel.cancel("interrupted")
        if wait([future], LAST_WAIT + CLOSE_TIMEOUT).not_done:
            close()
            wait([future], CLOSE_TIMEOUT)
    error = future.exception(0) if future.done() else None
    return error.maybe_executed if isinstance(error, MCPSyncError) else True


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore further signals within the block: a child that is being ended must not be left."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[None]:
    """Make SIGTERM raise within the block, as Ctrl-C does, so that no child is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def logging_on_stderr(verbose: bool) -> Iterator[None]:
    """Write the library's log to standard error within the block; without *verbose*, nowhere."""
    library = logging.getLogger(__name__.partition(".")[0])
    handler = logging.StreamHandler() if verbose else logging.NullHandler()
    handler.setFormatter(_Printable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = library.level, library.propagate
    library.addHandler(handler)
    library.propagate = False
    if verbose:
        library.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.level, library.propagate = before
