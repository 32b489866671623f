"""How long clients are told that an answer is good, and for whom."""

from __future__ import annotations

from typing import Literal

from .jsonrpc import JSONObject

_USUAL: dict[str, JSONObject] = {
    **{
        method: {"ttlMs": 60_000, "cacheScope": "public"}
        for method in (
            "server/discover",
            "tools/list",
            "resources/list",
            "resources/templates/list",
            "prompts/list",
            "skills/list",
            "skills/get",
        )
    },
    "resources/read": {"ttlMs": 60_000, "cacheScope": "private"},
}


class CacheHints:
    """The hints of each method; safe to use from many threads."""

    def __init__(self) -> None:
        self._hints = dict(_USUAL)  # swapped whole

    def of(self, method: str) -> JSONObject:
        """Return the members of a modern result that say how long it is good."""
        return self._hints.get(method, {})

    def set(
        self, method: str, ttl_ms: int | None, scope: Literal["public", "private"] = "private"
    ) -> None:
        """Say something else of the results of *method* from now on; with None nothing."""
        hint: JSONObject = {} if ttl_ms is None else {"ttlMs": ttl_ms, "cacheScope": scope}
        self._hints = {**self._hints, method: hint}
