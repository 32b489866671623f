"""Begin again in a forked child.

A child inherits memory but no threads, and shares its parent's sockets. Whoever owns such things
registers a method here; it runs in the child, before anything else there, and *forgets* without
closing: closing politely would end the parent's sessions.

A program that forks in C may not tell Python (uWSGI does not unless it is asked to). So whoever is
called from outside says :func:`notice_fork` first, which then does the same.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any, cast

logger = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds to wait for another thread that begins again; it waits for nobody

_forgetters: set[_Forgetter] = set()
_process = os.getpid()  # in which everything here was made
_beginnings: dict[int, threading.Event] = {}


class _Forgetter(weakref.ref[Any]):
    """Calls a method of an object as long as the object lives.

    There are some for each client, so it is one small object, which goes by itself.
    """

    __slots__ = ("_function",)
    __hash__ = object.__hash__  # a weak reference else stands for what it refers to
    __eq__ = object.__eq__

    _function: Callable[[Any], None]

    @classmethod
    def of(cls, method: MethodType) -> _Forgetter:
        forgetter = cls(method.__self__, _gone)
        forgetter._function = method.__func__
        return forgetter

    def forget(self) -> None:
        owner = self()
        if owner is not None:
            self._function(owner)


def _gone(forgetter: weakref.ref[Any]) -> None:
    _forgetters.discard(cast("_Forgetter", forgetter))


def after_fork_in_child(method: Callable[[], None]) -> None:
    """Have a bound *method* called in every forked child, as long as its object lives."""
    assert isinstance(method, MethodType)
    forgetter = _Forgetter.of(method)
    _forgetters.add(forgetter)


def notice_fork() -> None:
    """Begin again if this process was forked and nobody said so; costs one ``getpid``.

    Thread-safe: of several threads one does it, and the others wait for it.
    """
    process = os.getpid()
    if process == _process:
        return
    mine = threading.Event()
    beginning = _beginnings.setdefault(process, mine)
    if beginning is not mine:
        beginning.wait(PATIENCE)
    elif process != _process:  # and nobody has done it between our look and our turn
        _run_in_child()


def has_begun() -> bool:
    """Whether what is here is this process's own: false in a forked child that still forgets."""
    return os.getpid() == _process


def _run_in_child() -> None:
    global _process
    for forgetter in list(_forgetters):
        try:
            forgetter.forget()
        except Exception:  # the others must not take what is the parent's for theirs
            logger.exception("something was not forgotten after a fork")
    _process = os.getpid()
    while _beginnings:  # an id may come again, in a child of a child
        _beginnings.popitem()[1].set()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run_in_child)
