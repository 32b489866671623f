"""What to ask for. (Requirements A14 to A16, S6)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from .metadata import ResourceMetadata, ServerMetadata

OFFLINE: Final = "offline_access"

Scopes = tuple[str, ...]


def scopes_to_ask_for(
    challenged: Sequence[str],
    configured: Sequence[str] | None,
    resource: ResourceMetadata | None,
    server: ServerMetadata,
    granted: Iterable[str] = (),
) -> Scopes:
    """Return the scopes of an authorization request.

    A configuration decides; else the challenge; else what the resource lists; else none, which
    leaves it to the server. What was asked for before is asked for again, so that a step up loses
    nothing. ``offline_access`` is added only if the authorization server lists it.

    Args:
        challenged: Of the server's challenge.
        configured: Of the operator's configuration; None if that says nothing.
        resource: What the server says of itself.
        server: Who is asked.
        granted: What was asked for before.
    """
    if configured is not None:
        wanted = [*configured, *challenged]
    elif challenged:
        wanted = list(challenged)
    else:
        wanted = list(resource.scopes_supported) if resource is not None else []
    wanted = [*granted, *wanted]
    if wanted and OFFLINE in server.scopes_supported:
        wanted.append(OFFLINE)
    elif configured is None or OFFLINE not in configured:
        wanted = [scope for scope in wanted if scope != OFFLINE or OFFLINE in challenged]
    return tuple(dict.fromkeys(wanted))


def split(scope: object) -> Scopes:
    """Return the scopes of a ``scope`` parameter, each once."""
    return tuple(dict.fromkeys(scope.split())) if isinstance(scope, str) else ()
