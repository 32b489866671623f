"""Fixtures that the tests of http, transports, sessions and clients share."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from transports.peer import RawServer

Serve = Callable[..., RawServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start raw servers that are closed at the end."""
    with contextlib.ExitStack() as stack:

        def start(*args: object, **kwargs: object) -> RawServer:
            return stack.enter_context(RawServer(*args, **kwargs))  # type: ignore[arg-type]

        yield start
