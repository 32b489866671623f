"""From what was written for one server to its configuration, and what each mistake is called."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, TypeAdapter, ValidationError

from ..errors import ConfigurationError
from .fields import ApiKeyConfig, CustomUserVar, OboConfig
from .oauth import OAuthConfig
from .servers import HttpServerConfig, ServerConfig, StdioServerConfig, WebSocketServerConfig

MODELS: Mapping[str, type[ServerConfig]] = {
    "stdio": StdioServerConfig,
    "websocket": WebSocketServerConfig,
    "http": HttpServerConfig,
}
TYPES = ("stdio", "streamable-http", "http", "sse", "websocket")
# As other programs spell it, in their files and in what their pages send.
SPELLINGS: Mapping[str, str] = {
    "iconPath": "icon_path",
    "chatMenu": "chat_menu",
    "connectTimeout": "connect_timeout",
    "serverInstructions": "server_instructions",
    "requiresOAuth": "requires_oauth",
    "oauthHeaders": "oauth_headers",
    "apiKey": "api_key",
    "customUserVars": "custom_user_vars",
    "dbId": "db_id",
    "consumeOnly": "consume_only",
    "updatedAt": "updated_at",
    "inspectionFailed": "inspection_failed",
}
OF_FIELDS: Mapping[str, type[BaseModel]] = {
    "oauth": OAuthConfig,
    "obo": OboConfig,
    "api_key": ApiKeyConfig,
    "custom_user_vars": CustomUserVar,
}
_NEAR = 0.6
_LONGEST = 250  # characters of a name that nobody knows that are shown


def transport_of(written: Any) -> str:
    """Return which of :data:`MODELS` *written* is for: what ``type`` says, else what it has.

    A ``command`` makes it stdio, a ``url`` HTTP, or WebSocket if it begins with ``ws``.
    """
    if isinstance(written, ServerConfig):
        return written.type if written.type in MODELS else "http"
    if not isinstance(written, Mapping):
        return "http"
    said, url = written.get("type"), written.get("url")
    if said == "stdio" or ("command" in written and "url" not in written):
        return "stdio"
    if "type" in written:
        return "websocket" if said == "websocket" else "http"
    over_websocket = isinstance(url, str) and url[:6].lower().startswith(("ws://", "wss://"))
    return "websocket" if over_websocket else "http"


AnyServer: TypeAlias = Annotated[
    Annotated[StdioServerConfig, Tag("stdio")]
    | Annotated[WebSocketServerConfig, Tag("websocket")]
    | Annotated[HttpServerConfig, Tag("http")],
    Discriminator(transport_of),
]
"""Any server, told apart by its transport."""

ANY_SERVER: TypeAdapter[ServerConfig] = TypeAdapter(
    AnyServer, config=ConfigDict(hide_input_in_errors=True)
)


def parse_server(name: str, value: ServerConfig | Mapping[str, Any]) -> ServerConfig:
    """Make the configuration of the server *name* from what was written.

    A ``command`` makes it stdio, a ``url`` streamable HTTP, or WebSocket if it begins with
    ``ws://`` or ``wss://``, unless ``type`` says so itself.

    Raises:
        ConfigurationError: It is neither; the sentence names server and field, and of a field
            that nobody knows the nearest one.
    """
    if isinstance(value, ServerConfig):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"the configuration of server {name!r} is {type(value).__name__}, not a mapping.",
            server_name=name,
        )
    written = as_we_spell(name, value)
    transport = transport_of(written)
    said = written.get("type")
    if said is not None and said not in TYPES:
        near = nearest(str(said), TYPES)
        raise mistake(name, ("type",), f"it is none of {', '.join(TYPES)}{near}")
    try:
        return ANY_SERVER.validate_python(written)
    except ValidationError as error:
        raise _told(name, error, transport) from None


def mistake(name: str, at: Iterable[str | int], problem: str) -> ConfigurationError:
    """Make the error for what is wrong at a field of the server *name*."""
    field = ".".join(str(each)[:_LONGEST] for each in at)
    return ConfigurationError(
        f"its configuration is wrong{f' at {field!r}' if field else ''}: {problem}.",
        server_name=name,
        field=field or None,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return which of *known* is near to *name*, as the end of a sentence, if one is."""
    found = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=_NEAR)
    return f"; the nearest is {found[0]!r}" if found else ""


def as_we_spell(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return *value* with each field of the server spelt as we do.

    Raises:
        ConfigurationError: A field is there twice, spelt in two ways, or its name is no text.
    """
    written: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise mistake(name, (str(key)[:100],), "the name of a field is a text")
        ours = SPELLINGS.get(key, key)
        if ours in written:
            raise mistake(name, (ours,), "it is there twice, spelt in two ways")
        written[ours] = item
    return written


def _told(name: str, error: ValidationError, transport: str) -> ConfigurationError:
    first = error.errors()[0]
    at = first["loc"][1:] if first["loc"][:1] == (transport,) else first["loc"]
    if first["type"] == "extra_forbidden":
        return mistake(name, at, _unknown(at, transport))
    return mistake(name, at, first["msg"].removeprefix("Value error, "))


def _unknown(at: tuple[str | int, ...], transport: str) -> str:
    *above, last = map(str, at)
    model: type[BaseModel] | None = OF_FIELDS.get(above[0]) if above else MODELS[transport]
    known = () if model is None else (*model.model_fields, *(() if above else SPELLINGS))
    if not above and any(last in other.model_fields for other in MODELS.values()):
        return f"it is not permitted for a server over {_SHOWN[transport]}"
    return f"it is not permitted, for nobody knows it{nearest(last, known)}"


_SHOWN = {"stdio": "stdio", "websocket": "WebSocket", "http": "HTTP"}
