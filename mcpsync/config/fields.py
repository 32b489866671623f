"""What the fields of a configuration may hold, and the small models among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from .frozen import frozen
from .templates import NAME, placeholders_in
from .urls import check_url

# What was written may hold secrets, and errors are logged.
STRICT = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
LONGEST_NAME = 200
API_KEY_VAR = "MCP_API_KEY"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _seconds_since_epoch(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError("a time without a time zone is not one moment")
    return value.timestamp()


def _is_short(name: str) -> str:
    if len(name) > LONGEST_NAME:
        raise ValueError(f"its name is longer than {LONGEST_NAME} characters")
    return name


def _is_name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise ValueError("its name must be letters, digits, '_', '.' and '-'")
    return _is_short(name)


def _is_title(title: str) -> str:
    if not all(char == " " or char.isalnum() for char in title) or not title.strip():
        raise ValueError("a title can only contain letters, numbers, and spaces")
    return _is_short(title)


def _is_constant(text: str) -> str:
    if any(True for _ in placeholders_in(text, ())):
        raise ValueError("placeholders are not replaced here")
    return text


def _has_no_null(text: str) -> str:
    if "\0" in text:
        raise ValueError("there is a NUL in it, which a command cannot be given")
    return text


def _is_variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError("it cannot be the name of an environment variable")
    return _is_short(name)


def _is_header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("it cannot be the name of a header")
    return _is_short(name)


def _is_header_value(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("there is a line break or another control character in it")
    return value


def _is_constant_header(value: str) -> str:
    return _is_constant(_is_header_value(value))


def _is_proxy(url: str) -> str:
    check_url(_is_constant(_is_header_value(url)))
    return url


def _is_instructions(value: Any) -> Any:
    if not isinstance(value, bool | str):
        raise ValueError("it is true, false, or the text of instructions")
    return value


def _is_stderr(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not is_number and value not in ("pipe", "ignore", "inherit"):
        raise ValueError("it is 'pipe', 'ignore' or 'inherit', or the number of an open file")
    return value


Instructions = Annotated[bool | str, BeforeValidator(_is_instructions, bool | str)]
Stderr = Annotated[
    int | Literal["pipe", "ignore", "inherit"],
    BeforeValidator(_is_stderr, Annotated[int, Field(ge=0)] | Literal["pipe", "ignore", "inherit"]),
]
Seconds = Annotated[float, Field(gt=0)]
Time = Annotated[float, BeforeValidator(_seconds_since_epoch), Field(allow_inf_nan=False)]
Title = Annotated[str, AfterValidator(_is_title)]
Name = Annotated[str, AfterValidator(_is_name)]
Constant = Annotated[str, AfterValidator(_is_constant)]
Argument = Annotated[str, AfterValidator(_has_no_null)]
VariableName = Annotated[str, AfterValidator(_is_variable)]
HeaderName = Annotated[str, AfterValidator(_is_header_name)]
HeaderValue = Annotated[str, AfterValidator(_is_header_value)]
ConstantHeader = Annotated[str, AfterValidator(_is_constant_header)]
Headers = Annotated[Mapping[HeaderName, HeaderValue], AfterValidator(frozen)]
ConstantHeaders = Annotated[Mapping[HeaderName, ConstantHeader], AfterValidator(frozen)]
Variables = Annotated[Mapping[VariableName, Argument], AfterValidator(frozen)]
Proxy = Annotated[str, AfterValidator(_is_proxy)]


class CustomUserVar(BaseModel):
    """A variable that each user fills in, such as a key of their own.

    Args:
        title: For people.
        description: For people.
        sensitive: Whether its values are secrets.
    """

    model_config = STRICT

    title: str = ""
    description: str = ""
    sensitive: bool = True


class OboConfig(BaseModel):
    """How a user's token is exchanged for one that the server takes (on behalf of).

    Args:
        scopes: What to ask for, separated by blanks.
    """

    model_config = STRICT

    scopes: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_is_constant)
    ]


class ApiKeyConfig(BaseModel):
    """A key that is sent as a header. [seed: apiKey]

    Args:
        source: ``"admin"``: *key* is everybody's. ``"user"``: each user fills in a key of their
            own, as the custom variable ``MCP_API_KEY``.
        key: The key; it may have placeholders.
        authorization_type: ``"bearer"`` and ``"basic"`` send it as ``Authorization``, after that
            word; ``"custom"`` as *custom_header*.
        custom_header: The name of the header, for ``"custom"``; ``X-Api-Key`` by default.
    """

    model_config = STRICT

    source: Literal["admin", "user"] = "admin"
    key: Annotated[HeaderValue | None, Field(min_length=1)] = Field(default=None, repr=False)
    authorization_type: Literal["basic", "bearer", "custom"] = "bearer"
    custom_header: HeaderName | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.source == "admin") != (self.key is not None):
            raise ValueError(
                "'key' is for 'source: admin', and needed there; with 'source: user' each user "
                "fills it in"
            )
        if self.custom_header is not None and self.authorization_type != "custom":
            raise ValueError("'custom_header' is for 'authorization_type: custom'")
        return self

    @property
    def header(self) -> tuple[str, str]:
        """The header that is sent: its name, and its value, which may have a placeholder."""
        key = self.key if self.key is not None else f"{{{{{API_KEY_VAR}}}}}"
        if self.authorization_type == "custom":
            return self.custom_header or "X-Api-Key", key
        return "Authorization", f"{self.authorization_type.capitalize()} {key}"
