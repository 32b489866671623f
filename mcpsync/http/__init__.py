"""The one door to the network: nothing else imports ``requests`` or ``urllib3``."""

from .adapter import reset_pools
from .authorizing import Authorizer, AuthorizerSource, Occasion
from .endpoint import HttpEndpoint
from .fetching import Fetched, Fetcher
from .limits import Limits
from .response import HttpResponse
from .settings import HttpSettings

__all__ = [
    "Authorizer",
    "AuthorizerSource",
    "Fetched",
    "Fetcher",
    "HttpEndpoint",
    "HttpResponse",
    "HttpSettings",
    "Limits",
    "Occasion",
    "reset_pools",
]
