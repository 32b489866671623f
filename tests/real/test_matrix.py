"""The same script of calls against every server that somebody else wrote, and a table of it.

What a server does not offer is said by an entry in its vocabulary (`Vocabulary.lacks`), and what
it answers to whoever asks all the same is part of the script. The table is printed at the end.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import mcp_types
import pytest

import mcpsync
from support.counterparts import kinds
from support.matrix import TABLE

LONG = 30.0
SOON = 5.0  # what "at once" may take on a busy machine

Act = Callable[[mcpsync.Client, Any], str]


@dataclass(frozen=True)
class Step:
    """One step of the script.

    Args:
        name: What it is called in the table.
        act: Does it, and returns what the table says: "ok" where there is nothing to add.
        needs: What the server must offer for it.
        anyway: Asks for it where the server does not offer it; None if there is nothing to ask.
    """

    name: str
    act: Act
    needs: str | None = None
    anyway: Callable[[mcpsync.Client], object] | None = None

    def play(self, client: mcpsync.Client, counterpart: Any) -> str:
        """Play the step as this server can."""
        lacks = counterpart.kind.lacks
        if self.needs not in lacks:
            return self.act(client, counterpart)
        answer = lacks[self.needs]
        if self.anyway is None:
            assert not answer.startswith("-3"), f"nobody asks for {self.needs}"
            return answer
        with pytest.raises(mcpsync.MCPError) as caught:
            self.anyway(client)
        assert str(caught.value.code) == answer
        return answer


SCRIPT: list[Step] = []


def step(
    name: str,
    needs: str | None = None,
    anyway: Callable[[mcpsync.Client], object] | None = None,
) -> Callable[[Act], Act]:
    """Add a step to the script, in the order of the file."""

    def add(act: Act) -> Act:
        SCRIPT.append(Step(name, act, needs, anyway))
        return act

    return add


def is_well(client, words):
    """The connection still works."""
    name, arguments, expected = words.call
    assert client.call_tool(name, arguments, timeout=20).content[0].text == expected


@step("connect")
def _connect(client, counterpart):
    assert client.protocol_version == counterpart.kind.version
    assert client.server_info.name == counterpart.words.name
    assert client.server_capabilities.tools is not None
    return client.protocol_version


@step("instructions", "instructions")
def _instructions(client, counterpart):
    assert client.instructions.startswith(counterpart.words.instructions)
    return "ok"


@step("list tools")
def _tools(client, counterpart):
    names = [tool.name for tool in client.tools()]
    assert counterpart.words.tools <= set(names)
    assert len(names) == len(set(names))
    return str(len(names))


@step("list resources", "resource", lambda client: client.list_resources())
def _resources(client, counterpart):
    found = [str(resource.uri) for resource in client.resources()]
    assert counterpart.words.resource in found
    return str(len(found))


@step("list templates", "template", lambda client: client.list_resource_templates())
def _templates(client, counterpart):
    found = [template.uri_template for template in client.resource_templates()]
    assert counterpart.words.template in found
    return str(len(found))


@step("list prompts", "prompt", lambda client: client.list_prompts())
def _prompts(client, counterpart):
    found = [prompt.name for prompt in client.prompts()]
    assert counterpart.words.prompt[0] in found
    return str(len(found))


@step("call")
def _call(client, counterpart):
    name, arguments, expected = counterpart.words.call
    result = client.call_tool(name, arguments)
    assert isinstance(result, mcp_types.CallToolResult)
    assert result.content[0].text == expected
    assert not result.is_error
    return "ok"


@step("structured", "weather")
def _structured(client, counterpart):
    result = client.call_tool(*counterpart.words.weather)
    assert result.structured_content == counterpart.words.weather_answer
    return "ok"


@step("tool error")
def _failing(client, counterpart):
    """A tool that fails gives a result, not an exception."""
    result = client.call_tool(*counterpart.words.failing)
    assert result.is_error
    assert result.content[0].text
    return "ok"


@step("unknown tool")
def _unknown(client, counterpart):
    """Whether it is a result or an error is the server's word to say."""
    answer = counterpart.words.unknown_tool
    if answer == "result":
        result = client.call_tool("no-such-tool", {})
        assert result.is_error
        said = result.content[0].text
    else:
        with pytest.raises(mcpsync.MCPError) as caught:
            client.call_tool("no-such-tool", {})
        assert str(caught.value.code) == answer
        said = str(caught.value)
    assert "no-such-tool" in said
    return answer


@step("progress", "progress")
def _progress(client, counterpart):
    name, arguments = counterpart.words.slow
    seen = []
    result = client.call_tool(
        name, arguments(0.2, ""), progress_callback=lambda *report: seen.append(report)
    )
    assert not result.is_error
    assert seen
    assert [report[0] for report in seen] == sorted(report[0] for report in seen)
    progress, total, _ = seen[-1]
    assert progress == total
    return str(len(seen))


@step("read resource", "resource", lambda client: client.read_resource("config://app"))
def _read(client, counterpart):
    assert client.read_resource(counterpart.words.resource).contents[0].text
    return "ok"


@step("fill template", "filled_template", lambda client: client.read_resource("greeting://Ada"))
def _fill(client, counterpart):
    uri, text = counterpart.words.filled_template
    assert client.read_resource(uri).contents[0].text.startswith(text)
    return "ok"


@step("get prompt", "prompt", lambda client: client.get_prompt("review"))
def _prompt(client, counterpart):
    name, arguments, text = counterpart.words.prompt
    assert client.get_prompt(name, arguments).messages[0].content.text == text
    return "ok"


@step(
    "complete prompt",
    "complete_prompt",
    lambda client: client.complete(
        mcp_types.PromptReference(name="review"), {"name": "code", "value": "p"}
    ),
)
def _complete_prompt(client, counterpart):
    name, argument, context, expected = counterpart.words.complete_prompt
    reference = mcp_types.PromptReference(name=name)
    assert client.complete(reference, argument, context).completion.values == expected
    return "ok"


@step(
    "complete template",
    "complete_template",
    lambda client: client.complete(
        mcp_types.ResourceTemplateReference(uri="greeting://{name}"), {"name": "name", "value": "p"}
    ),
)
def _complete_template(client, counterpart):
    uri, argument, expected = counterpart.words.complete_template
    reference = mcp_types.ResourceTemplateReference(uri=uri)
    assert client.complete(reference, argument).completion.values == expected
    return "ok"


@step("ping", "ping", lambda client: client.send_ping())
def _ping(client, counterpart):
    client.send_ping()
    return "ok"


@step("log level", "logging", lambda client: client.set_logging_level("info"))
def _level(client, counterpart):
    client.set_logging_level("info")
    return "ok"


@step("cancelled before")
def _cancelled_before(client, counterpart):
    """What was cancelled beforehand is not sent."""
    cancel = mcpsync.Cancellation()
    cancel.cancel()
    name, arguments, _ = counterpart.words.call
    with pytest.raises(mcpsync.RequestCancelled) as caught:
        client.call_tool(name, arguments, cancel=cancel)
    assert not caught.value.maybe_executed
    is_well(client, counterpart.words)
    return "ok"


@step("cancel", "progress")
def _cancel(client, counterpart):
    """Another thread cancels a call, and the client still works."""
    name, arguments = counterpart.words.slow
    cancel, running = mcpsync.Cancellation(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            client.call_tool,
            name,
            arguments(LONG, "cancel"),
            cancel=cancel,
            progress_callback=lambda *_: running.set(),
        )
        assert running.wait(20)
        cancel.cancel("the user has left")
        with pytest.raises(mcpsync.RequestCancelled):
            call.result(SOON)
    is_well(client, counterpart.words)
    return "ok"


@step("timeout", "slow")
def _timeout(client, counterpart):
    """A call ends at its timeout, whatever progress it makes, and the client still works."""
    name, arguments = counterpart.words.slow
    started = time.monotonic()
    with pytest.raises(mcpsync.RequestTimeout) as caught:
        client.call_tool(
            name, arguments(LONG, "timeout"), timeout=0.7, progress_callback=lambda *_: None
        )
    assert 0.7 <= time.monotonic() - started < 0.7 + SOON
    assert caught.value.maybe_executed
    assert caught.value.tool_name == name
    is_well(client, counterpart.words)
    return "ok"


@step("close")
def _close(client, counterpart):
    with counterpart.client() as another:
        is_well(another, counterpart.words)
    with pytest.raises(mcpsync.ConnectionClosed):
        another.list_tools()
    another.close()
    is_well(client, counterpart.words)  # whoever else is there is not disturbed
    return "ok"


@pytest.mark.parametrize("played", SCRIPT, ids=lambda played: played.name.replace(" ", "-"))
@kinds()
def test_the_same_script_of_calls_works_with_every_server(client, counterpart, kind, played):
    TABLE.begin(kind.label, played.name)
    TABLE.note(kind.label, played.name, played.play(client, counterpart))
