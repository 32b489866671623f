"""From what came over the wire to ``mcp_types`` models, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import MessageInvalid

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], result: Mapping[str, object]) -> M:
    """Return *result* as *model*.

    Raises:
        MessageInvalid: It is something else; the first thing that is wrong is named.
    """
    try:
        return model.model_validate(result)
    except ValidationError as error:
        field, fault = first_fault(error)
        raise MessageInvalid(
            f"the server's {model.__name__} is wrong at {field or 'the result'!r}: {fault}.",
            maybe_executed=True,
        ) from error


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Return the first thing that is wrong: at which field, if at one, and what. No value of it."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]


def dumped(model: BaseModel) -> dict[str, Any]:
    """Return *model* as JSON has it, in the protocol's spelling, without what is not there."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
