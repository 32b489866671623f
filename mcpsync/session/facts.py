"""What a server says of itself. It says the same to all its users, so it is kept once for them."""

from __future__ import annotations

import json
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

if TYPE_CHECKING:
    from mcp_types import Implementation, ServerCapabilities

M = TypeVar("M", bound=BaseModel)

_said: weakref.WeakValueDictionary[tuple[type, str], Any] = weakref.WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself.

    Its models may be those of other sessions as well: nobody changes them, and whoever hands them
    to an application hands out copies.
    """

    protocol_version: str
    capabilities: ServerCapabilities
    server_info: Implementation | None
    instructions: str | None

    @classmethod
    def of(
        cls,
        version: str,
        capabilities: ServerCapabilities,
        server_info: Implementation | None,
        instructions: str | None,
    ) -> ServerFacts:
        """Return facts of a session of its own, with models and text that are kept once."""
        return cls(
            sys.intern(version),
            _shared(capabilities),
            None if server_info is None else _shared(server_info),
            None if instructions is None else sys.intern(instructions),
        )


def _shared(model: M) -> M:
    """Return *model*, or the one that says the same and that some session has already."""
    try:
        written = json.dumps(model.model_dump(exclude_unset=True))
    except (TypeError, ValueError, RecursionError):  # strange, but no reason to fail
        return model
    found: M = _said.setdefault((type(model), written), model)
    return found
