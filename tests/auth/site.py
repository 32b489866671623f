"""A web server whose pages are written down, and which writes down who asked for what."""

import json
from typing import Any

from transports.peer import Peer, RawServer, Request, Script, response

Page = Any  # bytes of a whole response, a script for the connection, or what is JSON


class Site(RawServer):
    """Answers each path as it is told, and 404 elsewhere.

    Attributes:
        pages: By path: JSON as an object, a whole response as bytes, or a script that answers.
        requests: What came, oldest first.
    """

    def __init__(self, **pages: Page) -> None:
        self.pages: dict[str, Page] = {f"/{path}": page for path, page in pages.items()}
        self.requests: list[Request] = []
        super().__init__(self._converse)
        self.origin = self.url.removesuffix("/mcp")

    def _converse(self, peer: Peer) -> None:
        while (request := peer.read()) is not None:
            self.requests.append(request)
            page = self.pages.get(request.target)
            if page is None:
                peer.send(response(b"{}", "404 Not Found"))
            elif isinstance(page, bytes):
                peer.send(page)
            elif callable(page):
                script: Script = page
                script(peer)
            else:
                peer.send(response(json.dumps(page).encode()))

    @property
    def targets(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [request.target for request in self.requests]
