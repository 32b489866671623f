"""What never appears in a log line, a repr or an exception."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from ..config import ServerConfig

MAX_SHOWN: Final = 300  # characters of a URL that are shown

# What is not listed is not shown, so that nothing new is shown by being forgotten. (Seed 5.8)
_FIELDS: Final = (
    *("type", "title", "description", "icon_path", "chat_menu", "scope", "startup"),
    *("timeout", "connect_timeout", "server_instructions", "requires_oauth", "capabilities"),
    *("tools", "tool_functions", "init_duration", "updated_at", "db_id", "source"),
    *("consume_only", "inspection_failed"),
)
_OAUTH: Final = (
    *("grant", "client_id", "signing_algorithm", "idp_client_id", "scope"),
    *("token_endpoint_auth_method", "dpop", "send_resource_parameter"),
    "skip_code_challenge_check",
)
_OAUTH_URLS: Final = (
    *("issuer", "authorization_url", "token_url", "revocation_url", "redirect_uri"),
    "idp_token_url",
)
_VARIABLE: Final = ("title", "description", "sensitive")
_API_KEY: Final = ("source", "authorization_type", "custom_header")
_OBO: Final = ("scopes",)


def redact_server_secrets(
    config: ServerConfig | Mapping[str, Any], *, can_edit: bool = False
) -> dict[str, Any]:
    """Return of a configuration what may be shown, as JSON can have it. [seed: 5.8]

    Headers, variables, commands and their arguments are never shown, nor is any secret; what is
    not known is left out. URLs come without user info and query. *config* stays as it is.

    Args:
        config: The configuration, or its fields by name.
        can_edit: Whether it is for somebody who may change it; others see no URLs.
    """
    given: Mapping[str, Any] = (
        config if isinstance(config, Mapping) else config.model_dump(mode="json")
    )
    shown = _some(given, _FIELDS)
    if can_edit and isinstance(given.get("url"), str):
        shown["url"] = safe_url(given["url"])
    for name, fields in (("api_key", _API_KEY), ("obo", _OBO), ("oauth", _OAUTH)):
        if isinstance(given.get(name), Mapping):
            shown[name] = _some(given[name], fields)
    if can_edit and "oauth" in shown:
        urls = _some(given["oauth"], _OAUTH_URLS)
        shown["oauth"] |= {name: safe_url(str(url)) for name, url in urls.items()}
    variables = given.get("custom_user_vars")
    if isinstance(variables, Mapping) and variables:
        shown["custom_user_vars"] = {
            name: _some(each, _VARIABLE)
            for name, each in variables.items()
            if isinstance(each, Mapping)
        }
    return shown


def redact_all_server_secrets(
    configs: Mapping[str, ServerConfig],
    *,
    can_edit: bool | Callable[[ServerConfig], bool] = False,
) -> dict[str, dict[str, Any]]:
    """Return of each configuration what may be shown, by the same names. [seed: 8.9.2]

    Args:
        configs: The configurations.
        can_edit: Whether it is for somebody who may change them; or a function that says so of
            each.
    """
    may = can_edit if callable(can_edit) else lambda _: can_edit
    return {
        name: redact_server_secrets(config, can_edit=may(config) is True)
        for name, config in configs.items()
    }


def _some(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return a copy of those fields that are given."""
    return {name: copy.deepcopy(given[name]) for name in names if given.get(name) is not None}


def safe_url(url: str) -> str:
    """Return *url* as scheme, host and path only: no user info, no query, no fragment.

    Somebody else may have written it: what is shown is short, and neither ends a line, nor is it
    markup, nor does a terminal obey it.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "<unreadable URL>"
    if not parts.netloc and (parts.scheme or "@" in parts.path):
        return "<unreadable URL>"  # such as user:password@host, which has no scheme
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path
    if len(shown) > MAX_SHOWN:
        shown = f"{shown[:MAX_SHOWN]}…"
    return "".join(char if _is_harmless(char) else _encoded(char) for char in shown)


def _is_harmless(char: str) -> bool:
    return char.isprintable() and char not in ' <>"\\`'


def _encoded(char: str) -> str:
    return quote(char, safe="", errors="replace")
