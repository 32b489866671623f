"""A bearer token the application already has. (RFC 6750)"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..errors import ConfigurationError

_TOKEN = re.compile(r"[\x21-\x7e]+")


class BearerAuth:
    """Adds ``Authorization: Bearer …`` to each request. Thread-safe if *token* is.

    Args:
        token: The token, or a callable that returns it and is asked for every request, so that a
            rotated token is used at once.
    """

    def __init__(self, token: str | Callable[[], str]) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        """Add the header to *request*, a ``requests.PreparedRequest``.

        Raises:
            ConfigurationError: There is no token, or it has a character no token has.
        """
        token = self._token() if callable(self._token) else self._token
        if not token:
            raise ConfigurationError("the bearer token is empty.")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise ConfigurationError(
                "the bearer token is not one: it may hold printable ASCII only, and no white space."
            )
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    def __repr__(self) -> str:
        return "BearerAuth(…)"
