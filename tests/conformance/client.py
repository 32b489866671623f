"""The client that the official conformance suite starts: python client.py URL.

The suite names the scenario in MCP_CONFORMANCE_SCENARIO, the protocol version in
MCP_CONFORMANCE_PROTOCOL_VERSION and data for the scenario in MCP_CONFORMANCE_CONTEXT (JSON).
It judges what it sees on the wire, and that this exits with 0.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import auth_client

import mcpsync

FIRST_MODERN = "2026-07-28"
TIMEOUT = 20.0

Context = dict[str, Any]
Handler = Callable[[mcpsync.Client, Context], None]
HANDLERS: dict[str, Handler] = {}


def scenario(*names: str) -> Callable[[Handler], Handler]:
    """Register what the client does in the scenarios of these names."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


@scenario("initialize", "request-metadata", "json-schema-ref-no-deref")
def list_tools(client: mcpsync.Client, context: Context) -> None:
    """Connect, and list the tools."""
    for _ in client.tools():
        pass


@scenario("tools_call")
def call_add_numbers(client: mcpsync.Client, context: Context) -> None:
    """Add two numbers, and expect their sum."""
    assert "add_numbers" in {tool.name for tool in client.tools()}
    result = client.call_tool("add_numbers", {"a": 5, "b": 3})
    assert "8" in result.content[0].text, result


@scenario("http-standard-headers")
def use_every_method_with_a_header(client: mcpsync.Client, context: Context) -> None:
    """List everything, and use everything that was listed."""
    for tool in client.tools():
        client.call_tool(tool.name, {})
    for resource in client.resources():
        client.read_resource(str(resource.uri))
    for prompt in client.prompts():
        client.get_prompt(prompt.name)


@scenario("sse-retry")
def have_an_answer_cut(client: mcpsync.Client, context: Context) -> None:
    """Call the tool whose answer comes on a second stream."""
    client.call_tool("test_reconnection", {})


@scenario("http-custom-headers")
def make_the_calls_of_the_context(client: mcpsync.Client, context: Context) -> None:
    """List the tools, so that their headers are known, and make the calls the suite asks for."""
    client.list_tools()
    for call in context["toolCalls"]:
        client.call_tool(call["name"], call["arguments"])


@scenario("http-invalid-tool-headers")
def call_every_tool_that_was_listed(client: mcpsync.Client, context: Context) -> None:
    """Call what is left of the listing."""
    for tool in client.tools():
        client.call_tool(tool.name, {"region": "us-west1"})


@scenario("json-schema-2020-12-preservation")
def echo_the_schema(client: mcpsync.Client, context: Context) -> None:
    """Send the input schema of one tool back through another, untouched."""
    schemas = {tool.name: tool.input_schema for tool in client.tools()}
    client.call_tool("json_schema_echo", {"schema": schemas["json_schema_2020_12_tool"]})


@scenario("sep-2640-client-no-prefetch")
def list_skills(client: mcpsync.Client, context: Context) -> None:
    """List the skills, and load none."""
    assert [skill.name for skill in client.skills.list()] == ["pdf-processing"]


@scenario(
    "sep-2640-client-verify-digest",
    "sep-2640-client-verify-size",
    "sep-2640-client-verify-frontmatter",
)
def load_a_forged_skill(client: mcpsync.Client, context: Context) -> None:
    """Load a skill that is not what its entry says, and go on with its files if that works."""
    (skill,) = client.skills.list()
    try:
        loaded = client.skills.load(skill)
    except mcpsync.SkillInvalid:
        return
    loaded.read("references/FORMS.md")


@scenario("elicitation-sep1034-client-defaults")
def accept_the_defaults(client: mcpsync.Client, context: Context) -> None:
    """Call the tool that asks, whose form is filled in with its defaults.

    It asks on the stream of its own and not on that of the call, so somebody has to listen.
    """
    with client.listen(tools_list_changed=True) as changes:
        listening = threading.Thread(target=lambda: list(changes))
        listening.start()
        client.call_tool("test_client_elicitation_defaults", {})
    listening.join(TIMEOUT)


@scenario("sep-2322-client-request-state")
def go_the_rounds(client: mcpsync.Client, context: Context) -> None:
    """Call, in this order, what wants input with a state, nothing, without one, and is old."""
    for name in ("echo_state", "unrelated", "no_state", "no_result_type"):
        client.call_tool(f"test_mrtr_{name}", {})


def mode_for(version: str) -> str:
    """The suite decides the era: a version before the modern one means `initialize`."""
    return "legacy" if version < FIRST_MODERN else "auto"


def main(arguments: list[str]) -> int:
    """Play the scenario; 1 if it is unknown, 2 if the call was wrong."""
    name = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
    if len(arguments) != 1:
        print("usage: client.py URL, with MCP_CONFORMANCE_SCENARIO set", file=sys.stderr)
        return 2
    if name.startswith(auth_client.PREFIX):
        handler: Handler | None = lambda client, _: auth_client.use(client, name)  # noqa: E731
    else:
        handler = HANDLERS.get(name)
    if handler is None:
        known = ", ".join(sorted(HANDLERS))
        print(f"unknown scenario {name!r}; this client plays {known}", file=sys.stderr)
        return 1
    version = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2025-11-25")
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    with mcpsync.Client(
        arguments[0],
        mode=mode_for(version),
        auth=auth_client.auth_for(name, context) if name.startswith(auth_client.PREFIX) else None,
        timeout=TIMEOUT,
        elicitation_callback=mcpsync.accept_defaults,
        sampling_callback=mcpsync.answer_later,
        list_roots_callback=mcpsync.answer_later,
    ) as client:
        handler(client, context)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
