"""``mcpsync login``, ``logout`` and ``whoami``: signing in from a command line. (RFC 8252)"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import webbrowser
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click

from ..auth import OAuth
from ..client import Client
from ..config import HttpServerConfig
from ..errors import RequestTimeout
from ..stores import SQLiteStore, Store
from .target import Target

PORT = 33_418  # tried first, so that a registration can be used again
LOOPBACK = "127.0.0.1"
PATH = "/callback"
PATIENCE = 300.0  # seconds for the user to sign in
LOOK_UP = 0.2  # seconds between looks at the clock while nobody comes

_PAGE = (
    "<!doctype html><title>mcpsync</title><p>{}</p><p>You may close this page and go back to the "
    "terminal.</p>"
)


def store_path() -> Path:
    """Return where the command line keeps tokens: MCPSYNC_STORE, or a file of the user's."""
    given = os.environ.get("MCPSYNC_STORE")
    if given:
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "mcpsync" / "tokens.db"


@contextlib.contextmanager
def opened_store() -> Iterator[Store]:
    """Lend the store of the command line; its folder is the user's alone."""
    path = store_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = SQLiteStore(path, key=os.environ.get("MCPSYNC_STORE_KEY") or None)
    try:
        yield store
    finally:
        store.close()


class Listener:
    """Waits on this machine for what a browser comes back with: once, and only by loopback. (S8)

    Args:
        port: The port that is tried first; any other does.
    """

    def __init__(self, port: int = PORT) -> None:
        self._came_to: str | None = None
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = listener._take(self.path)
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", "default-src 'none'")
                self.end_headers()
                text = "This was passed on." if found else "There is nothing here."
                self.wfile.write(_PAGE.format(text).encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing: the URL has a code in it."""

        try:
            self._server = HTTPServer((LOOPBACK, port), Handler)
        except OSError:
            self._server = HTTPServer((LOOPBACK, 0), Handler)
        self._server.timeout = LOOK_UP

    @property
    def redirect_uri(self) -> str:
        """Where the browser is to come back to."""
        return f"http://{LOOPBACK}:{self._server.server_port}{PATH}"

    def _take(self, path: str) -> bool:
        parts = urlsplit(path)
        if parts.path != PATH or "state" not in parse_qs(parts.query):
            return False
        self._came_to = self._came_to or path
        return True

    def wait(self, patience: float = PATIENCE) -> str:
        """Return the URL that the browser came to.

        Raises:
            RequestTimeout: It did not come.
        """
        until = time.monotonic() + patience
        while self._came_to is None:
            if time.monotonic() > until:
                raise RequestTimeout(f"nobody signed in within {patience:g} s.", timeout=patience)
            self._server.handle_request()
        return f"http://{LOOPBACK}{self._came_to}"

    def close(self) -> None:
        """Listen no more."""
        self._server.server_close()


def sign_in(
    target: Target, store: Store, *, browser: bool, scope: str | None, client_id: str | None
) -> bool:
    """Have the user sign in at a server; false if he was, or nobody has to.

    Args:
        target: The server.
        store: Where the tokens go.
        browser: Whether to open one; without, the user is shown the URL and asked where he came to.
        scope: What to ask for.
        client_id: A client that was registered by hand.

    Raises:
        MCPSyncError: It did not work out.
    """
    url = url_of(target)
    shown: list[str] = []
    listener = Listener() if browser else None
    redirect_uri = f"http://{LOOPBACK}:{PORT}{PATH}" if listener is None else listener.redirect_uri

    def show(there: str) -> None:
        shown.append(there)
        if listener is None or not webbrowser.open(there):
            click.echo(f"Open this page, and sign in:\n\n  {there}\n", err=True)
        else:
            click.echo("Sign in with your browser. It was sent there.", err=True)

    def come_back() -> str:
        if listener is not None:
            return listener.wait(PATIENCE)
        click.echo("Then paste the address of the page that you came to:", err=True)
        return sys.stdin.readline().strip()

    options: dict[str, Any] = {} if client_id is None else {"client_id": client_id}
    if scope is not None:
        options["scopes"] = tuple(scope.split())
    auth = OAuth(
        redirect_uri, redirect_handler=show, callback_handler=come_back, store=store, **options
    )
    try:
        with Client(url, auth=auth, timeout=PATIENCE, server_name=target.name) as client:
            client.list_tools()
    finally:
        if listener is not None:
            listener.close()
    return bool(shown)


def url_of(target: Target) -> str:
    """Return the URL of a server that can be signed in to.

    Raises:
        click.UsageError: It has none.
    """
    if not isinstance(target.config, HttpServerConfig):
        raise click.UsageError("only servers with an http:// or https:// URL are signed in to.")
    return target.config.url


def stored_auth(store: Store) -> OAuth:
    """Return what sends the tokens that were kept; who has none is told to sign in."""
    return OAuth(f"http://{LOOPBACK}:{PORT}{PATH}", store=store)
