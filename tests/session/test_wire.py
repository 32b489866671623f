"""From what came over the wire to models."""

import mcp_types
import pytest

from mcpsync import MessageInvalid
from mcpsync.session.wire import validated

RESULT = {"content": [{"type": "text", "text": "a"}], "isError": False}


def test_a_result_becomes_its_model():
    found = validated(mcp_types.CallToolResult, RESULT)
    assert isinstance(found, mcp_types.CallToolResult)
    assert found.content[0].text == "a"


def test_the_first_thing_that_is_wrong_is_named():
    with pytest.raises(MessageInvalid) as caught:
        validated(mcp_types.ListToolsResult, {"tools": [{"name": "a"}]})
    assert "ListToolsResult is wrong at 'tools.0.inputSchema'" in str(caught.value)
    assert caught.value.maybe_executed


def test_what_was_wrong_is_not_repeated_in_the_error():
    secret = "s3cr3t" * 10
    with pytest.raises(MessageInvalid) as caught:
        validated(mcp_types.CallToolResult, {"content": secret})
    assert secret not in str(caught.value)
