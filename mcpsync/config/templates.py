"""The grammar of ``{{NAME}}`` in a configuration: what such a placeholder stands for."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, Literal
from uuid import UUID

Kind = Literal["user", "openid", "graph", "body", "custom"]

NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
PLACEHOLDER = re.compile(r"\{\{\s*(" + NAME + r")\s*\}\}")
_TRUSTED = re.compile(r"(?:LIBRECHAT_)?(USER|OPENID|GRAPH|BODY)_([A-Z0-9_.-]+)")
_KINDS: Mapping[str, Kind] = {"USER": "user", "OPENID": "openid", "GRAPH": "graph", "BODY": "body"}

# In the seed's order, which is that of its messages.
BODY_FIELDS = {
    "MESSAGEID": "messageId",
    "PARENTMESSAGEID": "parentMessageId",
    "CONVERSATIONID": "conversationId",
}


def placeholders_in(text: str, declared: Container[str]) -> Iterator[str]:
    """Yield the name of each placeholder in *text*.

    One in capitals always is a placeholder; any other only if it is *declared*, since programs
    have templates of their own in their arguments, such as ``--format={{json}}``.
    """
    for match in PLACEHOLDER.finditer(text):
        if is_placeholder(match[1], declared):
            yield match[1]


def is_placeholder(name: str, declared: Container[str]) -> bool:
    """Whether ``{{name}}`` is ours: it is in capitals, or a variable of that name is declared."""
    return name in declared or name == name.upper()


def kind_of(name: str, declared: Container[str]) -> tuple[Kind, str]:
    """Return what the placeholder *name* stands for, and which field of it.

    Args:
        name: As it stands between the braces.
        declared: The custom variables of the server, which come first.
    """
    trusted = None if name in declared else _TRUSTED.fullmatch(name)
    return ("custom", name) if trusted is None else (_KINDS[trusted[1]], trusted[2])


def folded(name: str) -> str:
    """Return *name* as fields are compared: ``parentMessageId`` is ``PARENT_MESSAGE_ID``."""
    return re.sub(r"[_.-]", "", name).upper()


def body_field(field: str) -> str:
    """Return how the field of a request's body is called in messages: the seed's way, or ours."""
    return BODY_FIELDS.get(folded(field), field.lower())


def in_seed_order(fields: Iterable[str]) -> tuple[str, ...]:
    """Return the names of body fields, each once: those the seed knows first, in its order."""
    found = dict.fromkeys(fields)
    known = [name for name in BODY_FIELDS.values() if name in found]
    return (*known, *(name for name in found if name not in known))


def field_of(values: Mapping[str, Any] | None, field: str) -> str | None:
    """Return the text of *field* among *values*, however its name is spelt; None if blank."""
    wanted = folded(field)
    for name, value in (values or {}).items():
        if folded(str(name)) == wanted and (text := text_of(value)) is not None:
            return text
    return None


def text_of(value: Any) -> str | None:
    """Return *value* as it is put in place of a placeholder; None if it is blank or no value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | UUID):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        return None
    return str.__str__(value)  # an enumeration's member would print its own name
