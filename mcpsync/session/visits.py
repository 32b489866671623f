"""Error -32042: the user has to visit a page before the server does what was asked.

Of 2025-11-25 alone. (Requirements 4.5, 5.3.)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..errors import MCPError, UrlElicitationRequired
from .answers import ELICIT, Answers, Refusal, is_web_url

logger = logging.getLogger(__name__)

MOST_VISITS = 20  # pages that one error may send a user to


def url_elicitation_required(error: MCPError) -> UrlElicitationRequired:
    """Return the error with what the user has to visit; what is no web page is dropped."""
    found = list(_elicitations(error.data))
    return UrlElicitationRequired(
        error.message,
        code=error.code,
        data=error.data,
        status=error.status,
        maybe_executed=error.maybe_executed,
        elicitations=tuple(found[:MOST_VISITS]),
    )


def was_visited(required: UrlElicitationRequired, answers: Answers) -> bool:
    """Have the user asked for each page; whether there are any and all were accepted."""
    if not answers.visits_urls or not required.elicitations:
        return False
    for asked in required.elicitations:
        params = asked.model_dump(by_alias=True, exclude_none=True)
        try:
            answer = answers.answer(ELICIT, params, asked.elicitation_id or "")
        except Refusal:  # it has been logged
            return False
        if answer["action"] != "accept":
            return False
    return True


def _elicitations(data: Any) -> Any:
    from mcp_types import ElicitRequestURLParams
    from pydantic import ValidationError

    given = data.get("elicitations") if isinstance(data, Mapping) else None
    for each in given if isinstance(given, list) else ():
        try:
            asked = ElicitRequestURLParams.model_validate(each)
        except ValidationError:
            logger.warning("the server sent the user to something that is no page; dropped")
            continue
        if is_web_url(asked.url):
            yield asked
        else:
            logger.warning("the server sent the user to a URL that is not http(s); dropped")
