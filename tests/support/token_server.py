"""A token endpoint whose answers are written down, for what no decent server would say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl

from mcpsync.testing import LocalServer, Page

TOKENS = {"access_token": "access-1", "token_type": "Bearer", "expires_in": 3600}
Answer = Page | Callable[["Asking"], Page]


@dataclass(frozen=True)
class Asking:
    """One request as it came; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """The form; no field may come twice. (RFC 6749, section 3.2)"""
        pairs = parse_qsl(self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
        found = dict(pairs)
        assert len(found) == len(pairs), "a field came twice"
        return found


class TokenServer:
    """A server that answers each request with the next of its pages, the last one for ever.

    Attributes:
        asked: What came, oldest first.
    """

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers) or [Page.json(TOKENS)]
        self._lock = threading.Lock()
        self.asked: list[Asking] = []
        self._server = LocalServer(front=self._answer)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return self._server.url.removesuffix("/mcp")

    @property
    def url(self) -> str:
        """The token endpoint."""
        return f"{self.origin}/token"

    def _answer(self, request: Any) -> Page:
        asking = Asking(request.path, dict(request.headers), request.body)
        with self._lock:
            self.asked.append(asking)
            answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        return answer if isinstance(answer, Page) else answer(asking)
