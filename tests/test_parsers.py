"""What a language model's side gets: results as text and artifacts, tools, instructions."""

import base64
import hashlib
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import CallToolResult, Tool

from mcpsync import LimitExceeded, ResponseTooLarge, format_tool_content, parsers
from mcpsync.config.names import tool_key

PIXEL = base64.b64encode(b"a picture").decode()
PROVIDERS = [
    "google",
    "anthropic",
    "openai",
    "azureopenai",
    "openrouter",
    "xai",
    "deepseek",
    "ollama",
    "bedrock",
]
BOTH = pytest.mark.parametrize("provider", ["openai", None])


def result(*blocks, **fields):
    """A result as it comes over the wire."""
    return CallToolResult.model_validate({"content": list(blocks), **fields})


def text(words):
    return {"type": "text", "text": words}


def image(data=PIXEL, kind="image/png"):
    return {"type": "image", "data": data, "mimeType": kind}


def resource(**contents):
    return {"type": "resource", "resource": contents}


def urls(formatted):
    """The URLs of the images among the artifacts."""
    if formatted.artifacts is None:
        return []
    return [part["image_url"]["url"] for part in formatted.artifacts["content"]]


# -- text ------------------------------------------------------------------------------------------


@BOTH
def test_text_parts_are_joined_by_blank_lines(provider):
    formatted = format_tool_content(result(text("one"), text(""), text("two")), provider)
    assert formatted == ("one\n\ntwo", None)


@BOTH
@pytest.mark.parametrize("blocks", [[], [text("")]])
def test_a_result_without_content_is_its_structured_content(blocks, provider):
    formatted = format_tool_content(result(*blocks, structuredContent={"größe": [1]}), provider)
    assert formatted == ('{\n  "größe": [\n    1\n  ]\n}', None)


@BOTH
def test_what_has_content_does_not_show_its_structured_content_as_well(provider):
    formatted = format_tool_content(result(text("one"), structuredContent={"a": 1}), provider)
    assert formatted.content == "one"


@BOTH
@pytest.mark.parametrize("blocks", [[], [text("")]])
def test_a_result_that_says_nothing_is_no_response(blocks, provider):
    assert format_tool_content(result(*blocks), provider) == ("(No response)", None)


@BOTH
def test_a_failed_tool_is_read_like_any_other(provider):
    formatted = format_tool_content(result(text("it is broken"), isError=True), provider)
    assert formatted == ("it is broken", None)


@BOTH
def test_content_of_an_unknown_kind_is_json_as_on_the_wire(provider):
    sound = {"type": "audio", "data": PIXEL, "mimeType": "audio/wav", "_meta": {"a": 1}}
    formatted = format_tool_content(result(text("listen"), sound), provider)
    first, _, rest = formatted.content.partition("\n\n")
    assert first == "listen"
    assert json.loads(rest) == sound
    assert formatted.artifacts is None


# -- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", [*PROVIDERS, "OpenAI", "azureOpenAI", "BEDROCK"])
def test_images_are_artifacts_for_the_providers_that_are_known(provider):
    formatted = format_tool_content(result(text("look"), image(), image()), provider)
    assert formatted.content == "look"
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    assert formatted.artifacts == {"content": [part, part]}


@pytest.mark.parametrize("provider", [None, "", "someone"])
def test_for_all_others_a_result_is_one_text(provider):
    formatted = format_tool_content(result(text("look"), image()), provider)
    assert json.loads(formatted.content.partition("\n\n")[2]) == image()
    assert formatted.artifacts is None


def test_a_result_of_images_alone_has_no_text():
    assert format_tool_content(result(image()), "openai").content == ""


@BOTH
@pytest.mark.parametrize("size", [99, 100, 101, 102])
def test_an_image_may_be_as_large_as_the_limit_decoded_and_no_larger(size, provider):
    data = base64.b64encode(bytes(size)).decode()
    call = lambda: format_tool_content(result(image(data)), provider, max_image_bytes=100)  # noqa: E731
    if size <= 100:
        call()
        return
    with pytest.raises(ResponseTooLarge, match="MCP image result exceeds maximum size") as caught:
        call()
    assert str(size) in str(caught.value)
    assert caught.value.limit == 100
    assert caught.value.maybe_executed
    assert isinstance(caught.value, LimitExceeded)
    assert pickle.loads(pickle.dumps(caught.value)).limit == 100  # noqa: S301 - ours


def test_the_limit_is_ten_mebibytes():
    limit = 10 * 1024 * 1024
    format_tool_content(result(image(base64.b64encode(bytes(limit)).decode())), "openai")
    with pytest.raises(ResponseTooLarge):
        format_tool_content(result(image(base64.b64encode(bytes(limit + 1)).decode())), "openai")


@given(st.binary(max_size=200), st.integers(1, 80))
def test_line_breaks_in_base64_neither_count_nor_remain(blob, width):
    plain = base64.b64encode(blob).decode()
    lines = "\r\n".join(plain[at : at + width] for at in range(0, len(plain), width)) + "\n"
    formatted = format_tool_content(
        result(text("x"), image(lines)), "xai", max_image_bytes=len(blob)
    )
    assert urls(formatted) == ([f"data:image/png;base64,{plain}"] if blob else [])
    if blob:
        with pytest.raises(ResponseTooLarge):
            format_tool_content(result(image(lines)), "xai", max_image_bytes=len(blob) - 1)


@pytest.mark.parametrize("url", ["https://example.com/a.png", "HTTP://example.com/a.png"])
def test_the_address_of_an_image_is_handed_on(url):
    formatted = format_tool_content(result(image(url)), "openai", max_image_bytes=1)
    assert urls(formatted) == [url]


def test_a_data_uri_stays_one_and_its_type_counts():
    formatted = format_tool_content(
        result(image(f"data:image/webp;q=1;base64,{PIXEL}", kind="text/html")),
        "openai",
        max_image_bytes=len(b"a picture"),
    )
    assert urls(formatted) == [f"data:image/webp;base64,{PIXEL}"]


def test_the_parameters_of_an_images_type_are_left_out():
    formatted = format_tool_content(result(image(kind="image/svg+xml; charset=utf-8")), "openai")
    assert urls(formatted) == [f"data:image/svg+xml;base64,{PIXEL}"]


@pytest.mark.parametrize(
    "block",
    [
        image("not base64!"),
        image(""),
        image("QUJD==="),
        image("ümlaut"),
        image("https://example.com/a b"),
        image(f"data:text/html;base64,{PIXEL}"),
        image(kind="text/html"),
        image(kind="image/png,<script>"),
        image(kind=""),
    ],
    ids=lambda block: f"{block['data'][:12]} {block['mimeType']}",
)
def test_what_cannot_be_an_image_is_shown_as_json(block):
    formatted = format_tool_content(result(block), "openai")
    assert json.loads(formatted.content) == block
    assert formatted.artifacts is None


# -- resources -------------------------------------------------------------------------------------

NOTE = {"uri": "file:///note", "mimeType": "text/plain", "text": "buy milk"}


def test_a_resource_is_lines_of_text_address_and_type():
    formatted = format_tool_content(result(text("here"), resource(**NOTE)), "openai")
    assert formatted == (
        "here\n\nResource Text: buy milk\nResource URI: file:///note\n"
        "Resource MIME Type: text/plain",
        None,
    )


def test_a_resource_in_one_text_has_shorter_lines():
    formatted = format_tool_content(result(resource(**NOTE)))
    assert formatted.content == "buy milk\nResource URI: file:///note\nType: text/plain"


@BOTH
def test_the_bytes_of_a_resource_are_not_shown(provider):
    formatted = format_tool_content(result(resource(uri="file:///a", blob=PIXEL)), provider)
    assert formatted.content == "Resource URI: file:///a"


@pytest.mark.parametrize(("provider", "kind"), [("openai", "Resource MIME Type"), (None, "Type")])
def test_a_link_to_a_resource_is_lines_as_well(provider, kind):
    link = {"type": "resource_link", "name": "n", "uri": "file:///a", "mimeType": "text/csv"}
    formatted = format_tool_content(result(link), provider)
    assert formatted.content == f"Resource Link: n\nResource URI: file:///a\n{kind}: text/csv"
    described = result({**link, "title": "Prices", "description": "This year's."})
    lines = format_tool_content(described, provider).content.splitlines()
    assert lines[:2] == ["Resource Link: Prices", "This year's."]


def test_a_ui_resource_has_an_id_made_of_its_text_a_marker_and_an_artifact():
    view = {"uri": "ui://chart", "mimeType": "text/html", "text": "<b>", "_meta": {"w": 3}}
    formatted = format_tool_content(result(text("see"), resource(**view), image()), "anthropic")
    identity = hashlib.sha256(b"<b>").hexdigest()[:10]
    assert formatted.artifacts["ui_resources"] == {"data": [{**view, "resourceId": identity}]}
    assert len(urls(formatted)) == 1
    paragraphs = formatted.content.split("\n\n")
    assert paragraphs[:2] == [
        "see",
        f"UI Resource ID: {identity}\nUI Resource Marker: \\ui{{{identity}}}\n"
        "Resource URI: ui://chart\nResource MIME Type: text/html",
    ]
    assert r"\ui{id,id}" in paragraphs[2]
    assert "<b>" not in formatted.content


@pytest.mark.parametrize("contents", [{"text": ""}, {"blob": PIXEL}])
def test_a_ui_resource_without_text_has_an_id_made_of_its_address(contents):
    formatted = format_tool_content(result(resource(uri="ui://chart", **contents)), "openai")
    (shown,) = formatted.artifacts["ui_resources"]["data"]
    assert shown["resourceId"] == hashlib.sha256(b"ui://chart").hexdigest()[:10]
    assert "content" not in formatted.artifacts


def test_markers_are_explained_once_and_only_where_there_are_some():
    two = result(resource(uri="ui://a", text="a"), resource(uri="ui://b", text="b"))
    assert format_tool_content(two, "openai").content.count(r"\ui{id,id}") == 1
    assert r"\ui" not in format_tool_content(result(resource(**NOTE)), "openai").content


def test_in_one_text_a_ui_resource_is_a_resource():
    formatted = format_tool_content(result(resource(uri="ui://a", text="<b>")))
    assert formatted == ("<b>\nResource URI: ui://a", None)


# -- whatever comes --------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "block",
    [
        text("\ud800"),
        resource(uri="ui://\ud800", text="\ud800"),
        image("\ud800"),
        {"type": "audio", "data": "\ud800", "mimeType": "audio/wav"},
        resource(uri="", text=""),
    ],
    ids=["text", "ui", "image", "audio", "empty"],
)
def test_half_a_character_or_nothing_at_all_is_no_error(block, provider):
    assert isinstance(format_tool_content(result(block), provider).content, str)


def test_json_can_always_be_encoded():
    formatted = format_tool_content(result(structuredContent={"a": "\ud800"}))
    assert json.loads(formatted.content.encode()) == {"a": "\ud800"}


@BOTH
def test_what_is_nested_too_deeply_is_said_to_be(provider):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    response = CallToolResult(content=[])
    response.structured_content = deep
    assert format_tool_content(response, provider).content == parsers.TOO_DEEP


def test_metadata_may_be_nested_deeper_than_pydantic_shows():
    deep = {}
    for _ in range(300):
        deep = {"a": deep}
    view = result(resource(uri="ui://a", text="a", _meta=deep))
    (shown,) = format_tool_content(view, "openai").artifacts["ui_resources"]["data"]
    assert shown["_meta"] == deep


blocks = st.one_of(
    st.builds(text, st.text()),
    st.builds(image, st.text(), st.text()),
    st.builds(lambda uri, words: resource(uri=uri, text=words), st.text(), st.text()),
    st.builds(lambda uri, blob: resource(uri=f"ui://{uri}", blob=blob), st.text(), st.text()),
    st.builds(
        lambda name, uri: {"type": "resource_link", "name": name, "uri": uri}, *[st.text()] * 2
    ),
)


@given(st.lists(blocks), st.sampled_from([*PROVIDERS, None]))
def test_every_result_has_a_text_or_artifacts(contents, provider):
    content, artifacts = format_tool_content(result(*contents), provider)
    assert isinstance(content, str)
    assert content or artifacts
    assert json.loads(json.dumps(artifacts)) == artifacts


# -- tools and instructions ------------------------------------------------------------------------


def test_tools_are_functions_by_their_keys():
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    tools = [
        Tool(name="search", description="Look for it.", input_schema=schema),
        Tool(name="ping", input_schema={"type": "object"}),
    ]
    functions = parsers.tool_functions(tools, "crm")
    assert functions == {
        tool_key("search", "crm"): {
            "type": "function",
            "function": {
                "name": tool_key("search", "crm"),
                "description": "Look for it.",
                "parameters": schema,
            },
        },
        tool_key("ping", "crm"): {
            "type": "function",
            "function": {
                "name": tool_key("ping", "crm"),
                "description": "",
                "parameters": {"type": "object"},
            },
        },
    }


def test_a_key_names_tool_and_server():
    (key,) = parsers.tool_functions([Tool(name="search", input_schema={})], "my server")
    assert key == tool_key("search", "my server")
    assert key.startswith("search_mcp_")


def test_of_two_tools_of_one_name_the_later_counts():
    tools = [Tool(name="a", description=words, input_schema={}) for words in ("old", "new")]
    (function,) = parsers.tool_functions(tools, "crm").values()
    assert function["function"]["description"] == "new"


def test_instructions_stand_under_the_name_of_their_server():
    formatted = parsers.format_instructions({"crm": "Be brief.\n", "files": "Ask first."})
    paragraphs = formatted.split("\n\n")
    assert paragraphs[0] == "# MCP Server Instructions"
    assert paragraphs[2:6] == [
        "## crm MCP Server Instructions",
        "Be brief.",
        "## files MCP Server Instructions",
        "Ask first.",
    ]
    for sentence in (paragraphs[1], paragraphs[6]):
        assert sentence.endswith(".")
        assert "\n" not in sentence
    assert len(paragraphs) == 7


@pytest.mark.parametrize("instructions", [{}, {"crm": ""}, {"crm": " \n"}])
def test_no_instructions_are_no_text(instructions):
    assert parsers.format_instructions(instructions) == ""


def test_a_server_without_instructions_is_left_out():
    assert "files" not in parsers.format_instructions({"crm": "Be brief.", "files": " "})
