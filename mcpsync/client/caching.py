"""Answers that may be given again for a while. (Requirements 5.6, S14; SEP-2549)

A server says of a listing or a resource how long it is good (``ttlMs``) and whether it is the same
for everybody (``cacheScope``). What is kept belongs to one client, and so to one principal.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel

from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)

CacheMode: TypeAlias = Literal["use", "refresh", "bypass"]
"""``"use"`` takes an answer that is still good, ``"refresh"`` asks and keeps the answer,
``"bypass"`` asks and leaves what is kept alone."""

MODES: Final = ("use", "refresh", "bypass")
MAX_TTL_MS: Final = 24 * 60 * 60 * 1000  # a server may say more; nobody means it
MIB: Final = 1024 * 1024

_DROPPED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "notifications/tools/list_changed": ("tools/list",),
    "notifications/prompts/list_changed": ("prompts/list",),
    "notifications/resources/list_changed": ("resources/list", "resources/templates/list"),
    "notifications/resources/updated": ("resources/read",),
}


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """How answers are kept that a server says are good for a while.

    Args:
        max_entries: How many pages and resources are kept; those not used for longest go first.
        max_bytes: How much memory they may take (8 MiB).
        default_ttl_ms: Milliseconds for which an answer is good that says nothing itself; by
            default it is not kept.
        share_public: Whether the users of a manager share what a server calls ``"public"``. It
            takes the server's word for it. A client alone has nobody to share with.
        clock: Tells the time, in seconds; only differences matter.

    Raises:
        ConfigurationError: A number is negative.
    """

    max_entries: int = 1024
    max_bytes: int = 8 * MIB
    default_ttl_ms: int = 0
    share_public: bool = False
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        for name in ("max_entries", "max_bytes", "default_ttl_ms"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigurationError(f"CacheConfig({name}=) is a number from 0, not {value!r}.")


DEFAULT_CACHE: Final = CacheConfig()


class _Key(NamedTuple):
    """Whose answer, to which method, about what: a cursor, a URI, or nothing."""

    where: str
    method: str
    about: str | None


class _Entry(NamedTuple):
    """An answer as bytes, so that whoever gets it gets a copy of his own."""

    content: bytes
    good_until: float


class AnswerStore:
    """Answers within limits of number and size. Thread-safe.

    Args:
        config: Its limits and its clock.

    Lock: _lock guards _entries, _bytes, _drops.
    """

    def __init__(self, config: CacheConfig) -> None:
        self._config = config
        self._lock = new_lock("response cache")
        self._entries: dict[_Key, _Entry] = {}  # those not used for longest come first
        self._bytes = 0
        self._drops: dict[str, int] = {}  # by method, so there are few
        after_fork_in_child(self._forget)

    def get(self, key: _Key) -> bytes | None:
        """Return what is kept and still good."""
        if key not in self._entries:
            return None
        now = self._config.clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.good_until <= now:
                self._remove(key)
                return None
            self._entries[key] = self._entries.pop(key)
        return entry.content

    def drops_of(self, method: str) -> int:
        """Return how often answers to *method* were dropped; for :meth:`put`, before asking."""
        return self._drops.get(method, 0)

    def put(self, key: _Key, content: bytes, ttl_ms: int, drops: int) -> None:
        """Keep an answer, unless one like it was dropped since it was asked for.

        Args:
            key: Of which answer.
            content: It; nothing if it is not to be kept, nor what was kept before.
            ttl_ms: Milliseconds for which it is good.
            drops: What :meth:`drops_of` returned before the server was asked.
        """
        limit = self._config.max_bytes
        good_until = self._config.clock() + min(ttl_ms, MAX_TTL_MS) / 1000
        with self._lock:
            self._remove(key)
            if not content or len(content) > limit or self._drops.get(key.method, 0) != drops:
                return
            self._entries[key] = _Entry(content, good_until)
            self._bytes += len(content)
            while len(self._entries) > self._config.max_entries or self._bytes > limit:
                self._remove(next(iter(self._entries)))

    def drop(self, method: str, matches: Callable[[_Key], bool]) -> None:
        """Forget the answers to *method* whose keys match, and keep none that is on its way."""
        with self._lock:
            self._drops[method] = self._drops.get(method, 0) + 1
            for key in [key for key in self._entries if key.method == method and matches(key)]:
                self._remove(key)

    def _remove(self, key: _Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry.content)

    def _forget(self) -> None:
        """Begin anew in a forked child: the lock may have been held, with the rest half done."""
        self._lock = new_lock("response cache")
        self._entries, self._bytes = {}, 0


class Asked(NamedTuple):
    """A question on its way to the server, see :meth:`ResponseCache.ask`."""

    method: str
    about: str | None
    drops: int
    public_drops: int


class ResponseCache:
    """The answers that one client keeps. Thread-safe.

    Args:
        config: How.
        public: Where public answers are shared with others, if they are.
        where: Which server *public* means by this client's; whoever shares has the same.
    """

    def __init__(
        self, config: CacheConfig, public: AnswerStore | None = None, where: str = ""
    ) -> None:
        self._config = config
        self._own: AnswerStore | None = None  # from the first answer, or drop, on
        self._public = public
        self._where = where

    def look_up(self, method: str, about: str | None) -> Any:
        """Return a copy of the answer that is kept and still good, or None."""
        own = self._own
        content = None if own is None else own.get(_Key("", method, about))
        if content is None and self._public is not None:
            content = self._public.get(_Key(self._where, method, about))
        return None if content is None else pickle.loads(content)  # noqa: S301 - our own, see keep

    def ask(self, method: str, about: str | None) -> Asked:
        """Take note, before the server is asked, of what was dropped so far."""
        own, public = self._own, self._public
        return Asked(
            method,
            about,
            0 if own is None else own.drops_of(method),
            0 if public is None else public.drops_of(method),
        )

    def keep(self, asked: Asked, answer: BaseModel, *, is_modern: bool) -> None:
        """Keep an answer if, and where, it may be kept; what was kept before it goes.

        Args:
            asked: What :meth:`ask` returned before.
            answer: The result, as a model.
            is_modern: Whether the server's hints count: before 2026-07-28 there were none.
        """
        ttl_ms, is_public = self._config.default_ttl_ms, False
        if is_modern:
            if "ttl_ms" in answer.model_fields_set:
                ttl_ms = getattr(answer, "ttl_ms", 0)
            is_public = getattr(answer, "cache_scope", None) == "public"
        shared = self._public is not None and is_public
        content = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL) if ttl_ms > 0 else b""
        mine = b"" if shared else content
        if mine or self._own is not None:
            key = _Key("", asked.method, asked.about)
            self._store().put(key, mine, ttl_ms, asked.drops)
        if self._public is not None:
            key = _Key(self._where, asked.method, asked.about)
            self._public.put(key, content if shared else b"", ttl_ms, asked.public_drops)

    def drop(self, method: str, about: str | None = None) -> None:
        """Forget the answers to a method: all, or those about *about* and what it is part of."""

        def matches(key: _Key) -> bool:
            if about is None or key.about is None or key.about == about:
                return True
            return about.startswith(key.about.rstrip("/") + "/")

        self._store().drop(method, matches)
        if self._public is not None:
            where = self._where
            self._public.drop(method, lambda key: key.where == where and matches(key))

    def _store(self) -> AnswerStore:
        """Return this client's own store. A drop makes it, too: an answer may be on its way."""
        own = self._own
        if own is None:  # one step, so that two threads get the same
            own = self._own = vars(self).setdefault("_made", AnswerStore(self._config))
        return own

    def drop_all(self) -> None:
        """Forget the answers to every method of which a server tells when they change."""
        for methods in _DROPPED_BY.values():
            for method in methods:
                self.drop(method)

    def notified(self, method: str, params: Mapping[str, Any]) -> None:
        """Forget at once what a notification of the server says is no longer so."""
        for dropped in _DROPPED_BY.get(method, ()):
            uri = params.get("uri") if dropped == "resources/read" else None
            self.drop(dropped, uri if isinstance(uri, str) else None)


def check_mode(mode: str) -> None:
    """Raise ``ConfigurationError`` if there is no such mode."""
    if mode not in MODES:
        raise ConfigurationError(
            f"cache_mode= is {', '.join(map(repr, MODES[:-1]))} or {MODES[-1]!r}, not {mode!r}."
        )
