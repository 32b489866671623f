"""The seed's lines on elicitation: the page that a user has to visit first. (8.4.8)"""

import mcp_types as types
import pytest

import mcpsync
from mcpsync import MCPManager
from transports.door import LONG
from transports.peer import DONE, ScriptedMCP, error, result

PAGE = {"mode": "url", "elicitationId": "e1", "message": "Link it.", "url": "https://example.com/x"}
URLS = types.ElicitationCapability(url=types.UrlElicitationCapability())


def refusing(pages, **how):
    """A server that refuses each second call until a page was visited."""
    left = [True]

    def answer(request):
        left[0] = not left[0]
        if left[0]:
            return result(request, DONE)
        return error(request, -32042, data={"elicitations": pages}, **how)

    return ScriptedMCP(server__discover=lambda request: error(request, -32601), tools__call=answer)


@pytest.mark.parametrize("how", [{}, {"status": "400 Bad Request"}])
def test_a_page_to_visit_is_found_in_an_error_and_in_an_http_body(how):
    visited = []

    def visit(context, params):
        visited.append((context.user_id, params.url))
        return types.ElicitResult(action="accept")

    with (
        refusing([PAGE], **how) as server,
        MCPManager(
            {"crm": {"url": server.url}},
            timeout=LONG,
            elicitation_callback=visit,
            elicitation_capabilities=URLS,
        ) as manager,
    ):
        assert manager.call_tool("crm", "t", user="42").content
    assert visited == [("42", PAGE["url"])]


def test_a_page_whose_url_is_not_http_is_dropped():
    pages = [{**PAGE, "url": url} for url in ("javascript:alert(1)", "file:///etc", "x", "")]
    with (
        refusing([*pages, PAGE]) as server,
        MCPManager({"crm": {"url": server.url}}, timeout=LONG) as manager,
        pytest.raises(mcpsync.UrlElicitationRequired) as caught,
    ):
        manager.call_tool("crm", "t", user="42")
    assert [each.url for each in caught.value.elicitations] == [PAGE["url"]]
    assert (caught.value.user_id, caught.value.server_name) == ("42", "crm")
