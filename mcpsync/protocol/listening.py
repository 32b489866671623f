"""What a server says by itself: what is asked for, and what comes. (Requirements 5.5 and H8.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConfigurationError
from . import codec
from .codec import Message

LISTEN: Final = "subscriptions/listen"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
CANCELLED: Final = "notifications/cancelled"
UPDATED: Final = "notifications/resources/updated"
SUBSCRIPTION_KEY: Final = "io.modelcontextprotocol/subscriptionId"  # in _meta

# What a listener of the legacy era hears; the rest belongs to calls.
SAID_TO_ALL: Final = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        UPDATED,
    }
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a listener wants to hear.

    Args:
        tools: That the list of tools changed.
        prompts: That the list of prompts did.
        resources: That the list of resources did.
        uris: The resources whose changes are of interest.

    Raises:
        ConfigurationError: That is nothing at all, or *uris* is one string.
    """

    tools: bool
    prompts: bool
    resources: bool
    uris: Sequence[str]

    def __post_init__(self) -> None:
        if isinstance(self.uris, str):
            raise ConfigurationError("resource_subscriptions= takes a list of URIs, not a string.")
        if not (self.tools or self.prompts or self.resources or self.uris):
            raise ConfigurationError("say what to listen to, for instance tools_list_changed=True.")

    def as_filter(self) -> dict[str, Any]:
        """Return it as it goes over the wire."""
        named = {
            "toolsListChanged": self.tools,
            "promptsListChanged": self.prompts,
            "resourcesListChanged": self.resources,
            "resourceSubscriptions": [str(uri) for uri in self.uris],
        }
        return {name: value for name, value in named.items() if value}

    def includes(self, method: str) -> bool:
        """Whether a notification is one of those that are wanted."""
        return {
            "notifications/tools/list_changed": self.tools,
            "notifications/prompts/list_changed": self.prompts,
            "notifications/resources/list_changed": self.resources,
            UPDATED: bool(self.uris),  # the one that changed may lie below the one that was named
        }.get(method, False)


def subscription_of(message: Message) -> object:
    """Return the id of the subscription a message belongs to, if it says so."""
    meta = codec.params_of(message).get("_meta")
    return meta.get(SUBSCRIPTION_KEY) if isinstance(meta, dict) else None
