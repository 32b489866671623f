"""From what came over the wire to ``mcp_types`` models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

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
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the result"
        raise MessageInvalid(
            f"the server's {model.__name__} is wrong at {field!r}: {first['msg']}.",
            maybe_executed=True,
        ) from error
