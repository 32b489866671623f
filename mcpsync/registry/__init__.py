"""What servers exist, what they are, and who may say so."""

from .inspector import Inspection, ServerInspector
from .permissions import OboGate, Roles
from .registry import ServersRegistry

__all__ = ["Inspection", "OboGate", "Roles", "ServerInspector", "ServersRegistry"]
