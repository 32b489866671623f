"""A span for each request, and its context in the request's ``_meta``."""

import subprocess
import sys

import pytest

import mcpsync
from mcpsync.testing import Fault, LocalServer, stdio_command

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import baggage, context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from mcpsync.observability import OpenTelemetryTracing

SECRET = "s3cr3t"


@pytest.fixture
def provider():
    """Where the spans of a test come from."""
    return TracerProvider(shutdown_on_exit=False)


@pytest.fixture
def exporter(provider):
    """Where they go."""
    found = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(found))
    return found


@pytest.fixture
def tracing(provider, exporter):
    """What makes them."""
    return OpenTelemetryTracing(provider)


@pytest.fixture(params=["legacy", "modern"])
def server(request):
    """A server of each era."""
    with LocalServer(request.param, tasks=True) as server:
        yield server


def sent(server, method):
    """The body of the last request of *method*."""
    return [each.body for each in server.requests if each.rpc_method == method][-1]


def test_a_call_is_a_span_by_the_conventions_for_mcp(server, exporter, tracing):
    with mcpsync.Client(server.url, tracing=tracing, server_name="crm") as client:
        client.call_tool("add", {"a": 1, "b": 2})
        version = client.protocol_version
    (span,) = exporter.get_finished_spans()
    assert span.name == "tools/call add"
    assert span.kind is SpanKind.CLIENT
    assert dict(span.attributes) == {
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "add",
        "gen_ai.operation.name": "execute_tool",
        "mcp.protocol.version": version,
        "mcpsync.server.name": "crm",
        "network.transport": "tcp",
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2].removesuffix("/mcp")),
    }
    assert span.status.status_code is StatusCode.UNSET


def test_its_context_goes_along_in_meta(server, provider, exporter, tracing):
    with (
        mcpsync.Client(server.url, tracing=tracing) as client,
        provider.get_tracer("app").start_as_current_span("the application's"),
    ):
        client.call_tool("echo", {"text": "hello"}, meta={"com.example/x": 1})
    span, outer = exporter.get_finished_spans()
    meta = sent(server, "tools/call")["params"]["_meta"]
    trace_id, span_id = format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)
    assert meta["traceparent"].startswith(f"00-{trace_id}-{span_id}-")
    assert meta["com.example/x"] == 1
    assert span.parent.span_id == outer.context.span_id


def test_a_context_that_the_caller_put_there_is_left_as_it_is(server, tracing):
    theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with mcpsync.Client(server.url, tracing=tracing) as client:
        client.call_tool("echo", {"text": "hello"}, meta={"traceparent": theirs})
    assert sent(server, "tools/call")["params"]["_meta"]["traceparent"] == theirs


def test_baggage_goes_along_only_if_a_propagator_sends_it(server, provider, tracing):
    token = context.attach(baggage.set_baggage("user", "42"))
    try:
        with mcpsync.Client(server.url, tracing=tracing) as client:
            client.call_tool("echo", {"text": "hello"})
        assert "baggage" not in sent(server, "tools/call")["params"]["_meta"]
        generous = OpenTelemetryTracing(provider, W3CBaggagePropagator())
        with mcpsync.Client(server.url, tracing=generous) as client:
            client.call_tool("echo", {"text": "hello"})
        assert sent(server, "tools/call")["params"]["_meta"]["baggage"] == "user=42"
    finally:
        context.detach(token)


def test_prompts_resources_and_listings_are_named_by_what_they_ask_for(server, exporter, tracing):
    with mcpsync.Client(server.url, tracing=tracing) as client:
        client.get_prompt("summary")
        client.read_resource("test://notes/one")
        client.list_tools()
    prompt, resource, listing = exporter.get_finished_spans()
    assert (prompt.name, prompt.attributes["gen_ai.prompt.name"]) == (
        "prompts/get summary",
        "summary",
    )
    assert (resource.name, resource.attributes["mcp.resource.uri"]) == (
        "resources/read",
        "test://notes/one",
    )
    assert listing.name == "tools/list"


def test_what_fails_says_so_in_one_word(server, exporter, tracing):
    with mcpsync.Client(server.url, tracing=tracing) as client:
        client.call_tool("fail", {"message": SECRET})
        with pytest.raises(mcpsync.MCPError):
            client.call_tool(SECRET)
        server.inject(Fault.HANG, "tools/call")
        with pytest.raises(mcpsync.RequestTimeout):
            client.call_tool("echo", {"text": "hello"}, timeout=0.2)
    tool, refused, late = exporter.get_finished_spans()
    assert [span.status.status_code for span in (tool, refused, late)] == [StatusCode.ERROR] * 3
    kinds = [span.attributes["error.type"] for span in (tool, refused, late)]
    assert kinds == ["tool_error", "-32602", "RequestTimeout"]
    assert refused.attributes["rpc.response.status_code"] == "-32602"


def test_arguments_results_and_texts_of_errors_are_never_in_a_span(server, exporter, tracing):
    with mcpsync.Client(
        server.url, tracing=tracing, headers={"Authorization": f"Bearer {SECRET}"}
    ) as client:
        client.call_tool("echo", {"text": SECRET})
        client.call_tool("fail", {"message": SECRET})
        with pytest.raises(mcpsync.MCPError):
            client.read_resource(f"test://nowhere?token={SECRET}")
        with pytest.raises(mcpsync.MCPError):
            client.get_prompt("greet", {"language": SECRET})
    for span in exporter.get_finished_spans():
        assert SECRET not in span.to_json()
        assert span.events == ()


def test_a_call_that_becomes_a_task_is_one_span(server, exporter, tracing):
    extensions = [mcpsync.TasksExtension()]
    with mcpsync.Client(server.url, tracing=tracing, extensions=extensions) as client:
        client.call_tool("job", {"seconds": 0.1})
    (span,) = exporter.get_finished_spans()
    assert span.name == "tools/call job"


def test_a_child_process_is_reached_through_a_pipe(exporter, tracing):
    command, *arguments = stdio_command()
    parameters = mcpsync.StdioServerParameters(command=command, args=arguments)
    with mcpsync.Client(parameters, tracing=tracing) as client:
        client.call_tool("echo", {"text": "hello"})
    (span,) = exporter.get_finished_spans()
    assert span.attributes["network.transport"] == "pipe"
    assert "server.address" not in span.attributes


def test_a_manager_hands_it_to_its_connections(server, exporter, tracing):
    manager = mcpsync.MCPManager({"crm": {"url": server.url}}, tracing=tracing)
    with manager:
        manager.call_tool("crm", "echo", {"text": "hello"}, user="42")
    (span,) = exporter.get_finished_spans()
    assert span.attributes["mcpsync.server.name"] == "crm"
    assert "42" not in span.attributes.values()  # who the user is, is the application's to say


def test_a_span_is_current_while_the_callers_callbacks_run(server, exporter, tracing, provider):
    def progress(*_):
        with provider.get_tracer("app").start_as_current_span("callback"):
            pass

    with mcpsync.Client(server.url, tracing=tracing) as client:
        client.call_tool("slow", {"seconds": 0.01, "steps": 1}, progress_callback=progress)
    inner, span = exporter.get_finished_spans()
    assert inner.parent.span_id == span.context.span_id


def test_without_opentelemetry_it_says_what_to_install():
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from mcpsync.observability import OpenTelemetryTracing\n"
        "try: OpenTelemetryTracing()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("ConfigurationError")
    assert "mcpsync[otel]" in done.stdout
