"""Credentials, worked out for each request and never kept on a connection."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .bearer import BearerAuth

if TYPE_CHECKING:
    from .clients import CimdDocument
    from .grants import ClientCredentialsGrant, EnterpriseManaged, WorkloadIdentity
    from .oauth import OAuth
    from .token_endpoint import ClientKey

__all__ = [
    "BearerAuth",
    "CimdDocument",
    "ClientCredentialsGrant",
    "ClientKey",
    "EnterpriseManaged",
    "OAuth",
    "WorkloadIdentity",
]

_HOMES = {
    "CimdDocument": "clients",
    "ClientCredentialsGrant": "grants",
    "ClientKey": "token_endpoint",
    "EnterpriseManaged": "grants",
    "OAuth": "oauth",
    "WorkloadIdentity": "grants",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)
