"""Begin again in a forked child.

A child inherits memory but no threads, and shares its parent's sockets. Whoever owns such things
registers a method here; it runs in the child, before anything else there, and *forgets* without
closing: closing politely would end the parent's sessions.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

_forgetters: weakref.WeakSet[_Forgetter] = weakref.WeakSet()


class _Forgetter:
    """Calls a method of an object as long as the object lives."""

    def __init__(self, method: Callable[[], None]) -> None:
        self._method = weakref.WeakMethod(method)

    def forget(self) -> None:
        method = self._method()
        if method is not None:
            method()


def after_fork_in_child(method: Callable[[], None]) -> object:
    """Have the bound *method* called in every forked child.

    Returns a handle that the owner keeps: when it dies with its owner, so does the registration.
    """
    forgetter = _Forgetter(method)
    _forgetters.add(forgetter)
    return forgetter


def _run_in_child() -> None:
    for forgetter in list(_forgetters):
        forgetter.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run_in_child)
