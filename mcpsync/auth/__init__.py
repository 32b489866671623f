"""Credentials, worked out for each request and never kept on a connection."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .bearer import BearerAuth

if TYPE_CHECKING:
    from .clients import CimdDocument
    from .grants import ClientCredentialsGrant, EnterpriseManaged, WorkloadIdentity
    from .oauth import OAuth
    from .obo import GraphTokenService, OboTokenService
    from .obo_tokens import OboToken, OpenIDToken, resolve_obo_token
    from .token_endpoint import ClientKey

__all__ = [
    "BearerAuth",
    "CimdDocument",
    "ClientCredentialsGrant",
    "ClientKey",
    "EnterpriseManaged",
    "GraphTokenService",
    "OAuth",
    "OboToken",
    "OboTokenService",
    "OpenIDToken",
    "WorkloadIdentity",
    "resolve_obo_token",
]

_HOMES = {
    "CimdDocument": "clients",
    "ClientCredentialsGrant": "grants",
    "ClientKey": "token_endpoint",
    "EnterpriseManaged": "grants",
    "GraphTokenService": "obo",
    "OAuth": "oauth",
    "OboToken": "obo_tokens",
    "OboTokenService": "obo",
    "OpenIDToken": "obo_tokens",
    "WorkloadIdentity": "grants",
    "resolve_obo_token": "obo_tokens",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)
