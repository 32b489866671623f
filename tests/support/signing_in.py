"""A process that calls tools for a user who signs in: the other process of tests about that."""

import dataclasses
import json
import sys
import threading
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import mcpsync
from mcpsync._runtime.clock import SystemClock
from mcpsync.auth import tokens
from mcpsync.stores import Store

from .stores import make

CALLBACK = "https://app.example/callback"

USER = "ada"
OWNER = "ada:crm"


class Watched:
    """A store that tells how far a refresh has come, and stops there if it is told to.

    A refresh takes the lock, notes its attempt, redeems the token, stores what came of it, and
    gives the lock back. To be stopped is to wait for the end of the process.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop_at: str | None = None
        self._tells = False
        self._writes = 0  # to what it guards, since the lock was taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def stop_at(self, step: str) -> None:
        """Stop when a refresh has ``locked``, ``noted``, got its answer (``answered``), or
        ``stored`` it."""
        self._stop_at = step

    def tell_waits(self) -> None:
        """Say so when somebody else has the lock."""
        self._tells = True

    def acquire(self, name: str, lease: float) -> int | None:
        token = self._store.acquire(name, lease)
        if not name.endswith(":refresh"):
            return token
        if token is not None:
            self._writes = 0
            self._reached("locked")
        elif self._tells:
            self._tells = False
            say("waits")
        return token

    def compare_and_set(self, key: str, *args: Any) -> int | None:
        if not key.startswith("oauth:grant:"):
            return self._store.compare_and_set(key, *args)
        self._writes += 1
        if self._writes == 2:
            self._reached("answered")
        version = self._store.compare_and_set(key, *args)
        self._reached("noted" if self._writes == 1 else "stored")
        return version

    def _reached(self, step: str) -> None:
        if step == self._stop_at:
            say("stopped")
            threading.Event().wait()


def serve(url: str, lease: str, *store: str) -> None:
    """Do what is told, a line of Python each: the methods of :class:`Watched`, and these.

    Args:
        url: The server.
        lease: Seconds that the lock of a refresh is held at most.
        store: What :func:`support.stores.make` wants to know.
    """
    tokens.LEASE = float(lease)  # type: ignore[misc]
    watched = Watched(make(*store))
    with manager_of(url, watched) as manager:
        names = {
            "call": lambda *said: call(manager, *said),
            "wait": lambda *said: call(manager, *said, oauth_start=lambda url: say({"go": url})),
            "complete": lambda back: complete(manager, back),
            "revoke": lambda: manager.revoke("crm", user=USER),
            "stop_at": watched.stop_at,
            "tell_waits": watched.tell_waits,
        }
        for line in sys.stdin:
            say(eval(line, names))  # noqa: S307 - the test's own
    watched.close()


def manager_of(url: str, store: Any) -> mcpsync.MCPManager:
    """The same manager in every process."""
    servers = {"crm": {"url": url}}
    return mcpsync.MCPManager(servers, store=store, oauth_redirect_uri=CALLBACK, timeout=60)


def call(
    manager: mcpsync.MCPManager, tool: str, arguments: Any = None, **options: Any
) -> dict[str, Any]:
    """Call a tool for the user; what came of it, or where he has to go."""
    try:
        result = manager.call_tool("crm", tool, arguments, user=USER, **options)
    except mcpsync.AuthorizationRequired as required:
        return {"url": required.authorization_url, "binding": required.browser_binding}
    except mcpsync.MCPSyncError as error:
        return {"error": type(error).__name__}
    return {"text": result.content[0].text}


def complete(manager: mcpsync.MCPManager, back: str) -> list[str] | dict[str, str]:
    """Complete a sign-in with the URL that the user came back to; whose it was, or why not."""
    came = dict(parse_qsl(urlsplit(back).query))
    try:
        return list(manager.complete_authorization(user=USER, **came))
    except mcpsync.OAuthError as error:
        return {"error": error.error}


def age(store: Store) -> tokens.Grant:
    """Have the user's token be over, as if time had passed; return what there is."""
    storage = tokens.TokenStorage(store, SystemClock())
    grant = storage.find(OWNER)
    assert grant is not None
    old = dataclasses.replace(grant.tokens, expires_at=0.0)
    storage.keep(OWNER, dataclasses.replace(grant, tokens=old))
    return grant


def say(value: Any) -> None:
    """Tell the test."""
    print(json.dumps(value), flush=True)
