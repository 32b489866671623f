"""What a client may be made with that a manager hands on to all of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .extensions import settings_of
from .options import AnsweringOptions, checked_answering

if TYPE_CHECKING:
    from ..session.tracing import Tracing
    from .caching import CacheConfig
    from .extensions import Extensions


class ClientOptions(AnsweringOptions, total=False):
    """Keywords of :class:`~mcpsync.Client` that :class:`~mcpsync.MCPManager` has, too.

    Attributes:
        extensions: What to offer servers besides the core protocol.
        tracing: What traces the requests.
        cache: How answers are kept that are good for a while; None to keep none.
        validate_structured_content: Whether structured content is held against its schema.
    """

    extensions: Extensions | None
    tracing: Tracing | None
    cache: CacheConfig | None
    validate_structured_content: bool


def checked_client_options(options: ClientOptions) -> ClientOptions:
    """Return a copy of *options*, found wrong now and not by the first user.

    Raises:
        TypeError: There is no such option.
        ConfigurationError: One of them is not usable.
    """
    checked = options.copy()
    answering = AnsweringOptions.__annotations__.keys()
    others = ClientOptions.__annotations__.keys() - answering
    checked_answering({k: v for k, v in options.items() if k not in others})  # type: ignore[arg-type]
    if "extensions" in checked:
        checked["extensions"] = settings_of(checked["extensions"])
    return checked
