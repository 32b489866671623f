"""What servers exist, what they are, and who may say so."""

from ..security.redaction import redact_all_server_secrets, redact_server_secrets
from .inspector import Inspection, ServerInspector
from .permissions import OboGate, Roles
from .registry import ServersRegistry

__all__ = [
    "Inspection",
    "OboGate",
    "Roles",
    "ServerInspector",
    "ServersRegistry",
    "redact_all_server_secrets",
    "redact_server_secrets",
]
