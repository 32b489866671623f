"""JSON Schema of what a configuration file may hold, for editors; and of what a user may send."""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any

from pydantic import BaseModel

from .dialects import FOREIGN, NAMES
from .dialects import TYPES as FOREIGN_TYPES
from .oauth import OAuthConfig
from .parsing import ANY_SERVER, MODELS, OF_FIELDS, SPELLINGS
from .user_input import user_fields, user_oauth_fields

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"
_URLS = {"http": "^(?![Ww][Ss][Ss]?://)", "websocket": "^([Ww][Ss][Ss]?://|\\$\\{|\\{\\{)"}
_OF_OAUTH = {
    "revocation_endpoint": "revocation_url",
    "token_exchange_method": "token_endpoint_auth_method",
}
_REFUSED = {"headers", "obo"}  # fields of commands and WebSocket that can hold nothing
_ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.M)

Schema = dict[str, Any]


def file_schema() -> Schema:
    """Return the JSON Schema of a configuration file, with ``servers`` or ``mcpServers``.

    Editors check and complete by it. Rules that concern several fields at once are not in it.
    """
    servers, shared = _servers()
    foreign = {f"{name}Elsewhere": _as_elsewhere(each) for name, each in servers.items()}
    return {
        "$schema": DIALECT,
        "title": "mcpsync configuration",
        "type": "object",
        "anyOf": [{"required": ["servers"]}, {"required": ["mcpServers"]}],
        "properties": {
            "servers": _by_name(servers, "Each server, by its name. Durations are seconds."),
            "mcpServers": _by_name(
                foreign, "The same as other programs write it. Durations are milliseconds."
            ),
        },
        "$defs": {**shared, **servers, **foreign},
    }


def user_schema() -> Schema:
    """Return the JSON Schema of what a user may send to have a server of their own."""
    servers, shared = _servers()
    allowed: Schema = {}
    for model in (MODELS["http"], MODELS["websocket"]):
        fields = user_fields(model)
        spelt = {theirs for theirs, ours in SPELLINGS.items() if ours in fields}
        each = allowed[model.__name__] = servers[model.__name__]
        each["properties"] = _only(each["properties"], {*fields, *spelt})
    oauth = shared["OAuthConfig"]
    oauth["properties"] = _only(oauth["properties"], {*user_oauth_fields(), *_OF_OAUTH})
    return {
        "$schema": DIALECT,
        "title": "A server of a user's own",
        "anyOf": [{"$ref": _REF + name} for name in allowed],
        "$defs": {**shared, **allowed},
    }


def _servers() -> tuple[Schema, Schema]:
    """Return the schema of each kind of server, and of what they have in common."""
    shared = ANY_SERVER.json_schema(ref_template=_REF + "{model}")["$defs"]
    for part in OF_FIELDS.values():
        _describe(shared[part.__name__], part)
    _spell(shared[OAuthConfig.__name__]["properties"], _OF_OAUTH)
    servers: Schema = {}
    for transport, model in MODELS.items():
        each = servers[model.__name__] = shared.pop(model.__name__)
        _describe(each, model)
        properties = each["properties"]
        if transport != "http":
            each["properties"] = properties = _only(properties, properties.keys() - _REFUSED)
        if transport in _URLS:
            properties["url"]["pattern"] = _URLS[transport]
        _spell(properties, SPELLINGS)
    return servers, shared


def _as_elsewhere(schema: Schema) -> Schema:
    """Return the schema of a server for what other programs write."""
    elsewhere = copy.deepcopy(schema)
    properties = elsewhere["properties"]
    properties.pop("connect_timeout")
    properties |= copy.deepcopy(dict(FOREIGN))
    kinds = properties["type"]
    said = kinds.pop("enum", None) or [kinds.pop("const")]
    kinds["enum"] = [*said, *(each for each, ours in FOREIGN_TYPES.items() if ours in said)]
    if "url" in properties:
        _spell(properties, NAMES)
        elsewhere["required"].remove("url")
        elsewhere["oneOf"] = [{"required": [name]} for name in ("url", *NAMES)]
    return elsewhere


def _spell(properties: Schema, spellings: Any) -> None:
    for theirs, ours in spellings.items():
        if ours in properties:
            properties[theirs] = copy.deepcopy(properties[ours])


def _describe(schema: Schema, model: type[BaseModel]) -> None:
    """Say in *schema* what the docstrings of *model* say of it and of its fields."""
    schema["description"] = (inspect.getdoc(model) or "").partition("\n\n")[0]
    for base in reversed(model.__mro__[: model.__mro__.index(BaseModel)]):
        for name, text in _ARGUMENT.findall(inspect.getdoc(base) or ""):
            if name in schema["properties"]:
                schema["properties"][name]["description"] = " ".join(text.split())


def _only(properties: Schema, names: Any) -> Schema:
    return {name: value for name, value in properties.items() if name in names}


def _by_name(servers: Schema, description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": {"anyOf": [{"$ref": _REF + name} for name in servers]},
    }
