"""The one door to the network: nothing else imports ``requests`` or ``urllib3``."""

from .adapter import reset_pools
from .endpoint import HttpEndpoint
from .limits import Limits
from .response import HttpResponse
from .settings import HttpSettings

__all__ = ["HttpEndpoint", "HttpResponse", "HttpSettings", "Limits", "reset_pools"]
