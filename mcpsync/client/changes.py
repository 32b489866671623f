"""What a subscription yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.listening import UPDATED


@dataclass(frozen=True, slots=True)
class ToolsListChanged:
    """The server has other tools than before."""


@dataclass(frozen=True, slots=True)
class PromptsListChanged:
    """The server has other prompts than before."""


@dataclass(frozen=True, slots=True)
class ResourcesListChanged:
    """The server has other resources than before."""


@dataclass(frozen=True, slots=True)
class ResourceUpdated:
    """A resource changed.

    Attributes:
        uri: Which; it may lie below the one that was subscribed to.
    """

    uri: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Something may have been missed: fetch again whatever you depend on.

    It comes after the stream was cut and begun anew, and when too many changes waited for the
    one who listens.
    """


Change: TypeAlias = (
    ToolsListChanged | PromptsListChanged | ResourcesListChanged | ResourceUpdated | Gap
)

_LISTS: dict[str, Change] = {
    "notifications/tools/list_changed": ToolsListChanged(),
    "notifications/prompts/list_changed": PromptsListChanged(),
    "notifications/resources/list_changed": ResourcesListChanged(),
}


def change_in(message: Message) -> Change | None:
    """Return what a notification tells of; None if it is another one, or an odd one."""
    method = message["method"]
    if method == UPDATED:
        uri = codec.params_of(message).get("uri")
        return ResourceUpdated(uri) if isinstance(uri, str) else None
    return _LISTS.get(method)
