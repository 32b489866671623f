"""Credentials, worked out for each request and never kept on a connection."""

from .bearer import BearerAuth
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
