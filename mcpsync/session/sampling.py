"""The rules for what a server may have a language model asked. (Requirements L8, section 8)"""

from __future__ import annotations

from typing import Any


def objection_to(asked: Any, tools: bool) -> str | None:
    """Say what is wrong with the params of ``sampling/createMessage``; None if nothing is.

    Args:
        asked: A ``CreateMessageRequestParams``.
        tools: Whether we said that tools may be offered.
    """
    if not tools and (asked.tools is not None or asked.tool_choice is not None):
        return "Tools in sampling were not declared"
    open_uses: set[str] = set()
    for message in asked.messages:
        content = message.content_as_list
        results = {each.tool_use_id for each in content if each.type == "tool_result"}
        if results and any(each.type != "tool_result" for each in content):
            return "A message with tool results must have nothing else"
        if results and message.role != "user":
            return "Tool results must come from the user"
        if results != open_uses:
            return "Every tool use must be followed by its result, and no result by itself"
        open_uses = {each.id for each in content if each.type == "tool_use"}
        if open_uses and message.role != "assistant":
            return "Tool uses must come from the assistant"
    return "Every tool use must be followed by its result" if open_uses else None
