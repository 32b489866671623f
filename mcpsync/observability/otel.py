"""``OpenTelemetryTracing``: a span for each request, and its context in the request's ``_meta``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..errors import ConfigurationError, MCPError
from ..security.redaction import safe_url
from ..session.tracing import Span, TracedRequest
from ..version import __version__

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.propagators.textmap import TextMapPropagator


class OpenTelemetryTracing:
    """Traces requests with OpenTelemetry: ``Client(url, tracing=OpenTelemetryTracing())``.

    Each request of a client is a span of kind CLIENT, named and described by the semantic
    conventions for MCP, and current while the caller waits. Arguments, results, texts of errors
    and headers are never in it. ``traceparent`` and ``tracestate`` go along in the request's
    ``_meta``, where a server finds them; what the caller put there himself is left as it is.
    Thread-safe.

    Args:
        tracer_provider: Whose spans they are; the global one by default.
        propagator: What writes the context into ``_meta``; W3C trace context by default. Baggage
            would tell servers what the application knows of its users, so it does not go along
            unless a propagator is given that sends it.

    Raises:
        ConfigurationError: OpenTelemetry is not there (extra ``otel``).
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        propagator: TextMapPropagator | None = None,
    ) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise ConfigurationError(
                "tracing needs OpenTelemetry: pip install 'mcpsync[otel]'."
            ) from None
        self._tracer = trace.get_tracer("mcpsync", __version__, tracer_provider)
        self._propagator = propagator or TraceContextTextMapPropagator()
        self._kind = trace.SpanKind.CLIENT
        self._error = trace.StatusCode.ERROR

    @contextlib.contextmanager
    def request(self, request: TracedRequest, /) -> Iterator[Span]:
        """Open a span for *request*; it ends with the ``with``."""
        name = f"{request.method} {request.name}" if request.name else request.method
        with self._tracer.start_as_current_span(
            name,
            kind=self._kind,
            attributes=_attributes(request),
            record_exception=False,  # its text is the server's, and may quote arguments
            set_status_on_exception=False,
        ) as span:
            meta: dict[str, str] = {}
            self._propagator.inject(meta)
            try:
                yield _RequestSpan(self, span, meta)
            except BaseException as error:
                self._failed(span, error)
                raise

    def _failed(self, span: trace.Span, error: BaseException) -> None:
        if isinstance(error, MCPError):
            span.set_attribute("rpc.response.status_code", str(error.code))
        kind = str(error.code) if isinstance(error, MCPError) else type(error).__name__
        self.mark(span, kind)

    def mark(self, span: trace.Span, kind: str) -> None:
        """Let *span* be one that failed with an error of this *kind*."""
        span.set_attribute("error.type", kind)
        span.set_status(self._error)


class _RequestSpan:
    """One request's."""

    def __init__(
        self, tracing: OpenTelemetryTracing, span: trace.Span, meta: dict[str, str]
    ) -> None:
        self.meta: Mapping[str, str] = meta
        self._tracing = tracing
        self._span = span

    def answered(self, *, is_error: bool, protocol_version: str | None) -> None:
        if protocol_version is not None:
            self._span.set_attribute("mcp.protocol.version", protocol_version)
        if is_error:
            self._tracing.mark(self._span, "tool_error")


def _attributes(request: TracedRequest) -> dict[str, str | int]:
    found: dict[str, str | int | None] = {
        "mcp.method.name": request.method,
        "mcpsync.server.name": request.server_name,
        "network.transport": request.transport,
        "server.address": request.address,
        "server.port": request.port,
        "mcp.resource.uri": None if request.uri is None else safe_url(request.uri),
    }
    if request.method == "tools/call":
        found |= {"gen_ai.tool.name": request.name, "gen_ai.operation.name": "execute_tool"}
    elif request.method == "prompts/get":
        found["gen_ai.prompt.name"] = request.name
    return {key: value for key, value in found.items() if value is not None}
