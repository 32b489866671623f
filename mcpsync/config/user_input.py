"""What a user may send to have a server of their own: less than an operator may write. [seed: 6]

A user could otherwise have commands run, our environment read, or what belongs to other users
sent to a server of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ConfigurationError
from .fields import API_KEY_VAR
from .oauth import OAuthConfig
from .parsing import MODELS, as_we_spell, mistake, nearest, parse_server, transport_of
from .placeholders import DEEPEST
from .servers import HttpServerConfig, OfUsers, ServerConfig, WebSocketServerConfig
from .templates import kind_of, placeholders_in

# A file of this machine, whose tokens, and where users come back to, are not theirs to say.
_NOT_OF_OAUTH = frozenset({"assertion_file", "redirect_uri"})
_ENVIRONMENT = re.compile(r"\$\{[^{}]*\}")
_MOST = 10_000  # values in what a user may send; the same ones may be in it many times
_FOR_PEOPLE = {"title", "description", "custom_user_vars"}


def user_fields(model: type[ServerConfig]) -> tuple[str, ...]:
    """Return the fields of *model* that a user may send: those that say so, and none that is new.

    [seed: the edit allowlist and the user-input schema are derived from the schema]
    """
    return tuple(
        name
        for name, field in model.model_fields.items()
        if any(isinstance(each, OfUsers) for each in field.metadata)
    )


def user_oauth_fields() -> tuple[str, ...]:
    """Return the fields of ``oauth`` that a user may send."""
    return tuple(name for name in OAuthConfig.model_fields if name not in _NOT_OF_OAUTH)


def parse_user_server(
    name: str, value: Mapping[str, Any], *, author: str | None = None
) -> ServerConfig:
    """Make the configuration of a server from what a user sent, by a form or an API.

    It becomes one with ``source: user``. There are no commands in it, no ``${NAME}``, of
    ``{{NAME}}`` only the variables that it declares itself, and no fields that are the operator's.

    Args:
        name: What the server is called.
        value: What the user sent.
        author: Who that is.

    Raises:
        ConfigurationError: It is wrong, or not for users to say; the field is named, and no value.
    """
    if not isinstance(value, Mapping):
        return parse_server(name, value)  # which says what is wrong
    written = as_we_spell(name, value)
    transport = transport_of(written)
    if transport == "stdio":
        raise mistake(name, ("type",), "a user's own server cannot be a command")
    _check_fields(name, written, transport)
    said = written.get("custom_user_vars")
    declared = said if isinstance(said, Mapping) else {}
    for count, (at, value) in enumerate(_parts(name, written, ())):
        if count > _MOST:
            raise mistake(name, at[:1], f"there are more than {_MOST} values in it")
        if isinstance(value, str):
            _check_text(name, at, value, declared)
    return parse_server(name, {**written, "source": "user", "author": author})


def _check_fields(name: str, written: Mapping[str, Any], transport: str) -> None:
    allowed = user_fields(MODELS[transport])
    for key in written:
        if key not in allowed:
            raise _not_theirs(name, (key,), transport, allowed)
    oauth = written.get("oauth")
    for key in oauth if isinstance(oauth, Mapping) else ():
        if key in _NOT_OF_OAUTH:
            raise mistake(name, ("oauth", key), "it is not for users to say")


def _not_theirs(
    name: str, at: tuple[str, ...], transport: str, allowed: tuple[str, ...]
) -> ConfigurationError:
    if at[-1] in MODELS[transport].model_fields:
        return mistake(name, at, "it is not for users to say")
    if any(at[-1] in model.model_fields for model in (HttpServerConfig, WebSocketServerConfig)):
        return mistake(name, at, f"it is not permitted for a server over {transport}")
    return mistake(name, at, f"it is not permitted, for nobody knows it{nearest(at[-1], allowed)}")


def _parts(name: str, value: Any, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield everything that is sent, and where it is.

    What JSON cannot have is refused: a text may come of it that nobody has looked at.
    """
    if len(at) > DEEPEST:
        raise mistake(name, at[:1], "it is nested too deeply")
    yield at, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            if at or key not in _FOR_PEOPLE:
                yield from _parts(name, item, (*at, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _parts(name, item, (*at, str(index)))
    elif not isinstance(value, str | int | float | None):
        raise mistake(name, at, f"it is {type(value).__name__}, which JSON does not have")


def _check_text(name: str, at: tuple[str, ...], text: str, declared: Mapping[str, object]) -> None:
    if _ENVIRONMENT.search(text):
        where = " in URLs" if at[-1] == "url" or at[-1].endswith("_url") else ""
        raise mistake(name, at, f"environment variable references are not allowed{where}")
    for found in placeholders_in(text, declared):
        if found in declared or found == API_KEY_VAR:
            continue
        trusted = kind_of(found, declared)[0] != "custom"
        why = "is not resolved in what a user configured" if trusted else "is not declared"
        raise mistake(name, at, f"{{{{{found}}}}} {why}")
