"""Every exception mcpsync raises, in one tree.

::

    MCPSyncError            .server_name .user_id .tool_name .task_id .maybe_executed .retryable
    ├── ConfigurationError (ValueError)         wrong before it started  .field .file .line
    │   ├── PlaceholderError                    a ${VARIABLE} or {{VARIABLE}} without a value
    │   └── SecretRequired                      it leads elsewhere: type it again  .fields
    ├── NotFound (LookupError)
    │   └── ServerNotFound                      no server of that name is configured
    ├── RefusedError                            our own policy said no; nothing was sent  .rule
    │   ├── CircuitOpen                         it failed too often  .retry_after (seconds)
    │   ├── FeatureUnsupported                  the server does not offer that  .feature
    │   └── NotPermitted                        whoever asks may not do that  .fields
    ├── InspectionFailed                        a server was looked at, and does not work
    ├── ListenNotSupported                      the server does not tell what changes there
    ├── StoreError                              where tokens are kept cannot be used
    ├── AuthError                               the server would not let us in
    │   ├── AuthorizationRequired               401           .authorization_url .challenge
    │   │                                       .browser_binding .state .flow_id
    │   ├── InsufficientScope                   403           .required_scopes
    │   ├── OAuthError                          signing in, or a token, failed  .error
    │   └── OboTokenError                       no token on behalf of a user  .reason
    │                                           .user_message .error
    ├── TransportError
    │   ├── ConnectError                        nothing was sent: safe to repeat
    │   │   └── ConnectTimeout (TimeoutError)
    │   ├── ConnectionLost                      cut while we waited  .stale
    │   ├── ConnectionClosed                    we closed it ourselves
    │   ├── HTTPStatusError                     .status
    │   │   └── RateLimited                     429           .retry_after (seconds)
    │   ├── SessionExpired                      the server forgot our session, twice
    │   ├── SubscriptionLost                    a stream of changes is cut, again and again
    │   └── ServerExited                        a stdio server ended  .returncode .stderr_tail
    ├── ProtocolError                           the server broke the rules
    │   ├── MessageInvalid
    │   │   └── StructuredContentInvalid        .result
    │   ├── LimitExceeded
    │   │   └── ResponseTooLarge                .limit (bytes)
    │   ├── SkillInvalid                        a skill is not what its entry says  .uri
    │   └── UnsupportedProtocolVersion          .supported
    ├── RequestTimeout (TimeoutError)           .timeout (seconds)
    ├── RequestCancelled                        the caller's Cancellation fired  .reason
    ├── InputRequired                           the server asks the user something first
    │                                           .params .input_requests .request_state .responses
    ├── TaskCancelled                           a task was cancelled before it was done  .task_id
    └── MCPError                                a JSON-RPC error reply  .code .message .data
        └── UrlElicitationRequired              first the user has to visit  .elicitations

Two questions, two attributes. *Did the server see it?* ``maybe_executed``: when it is false the
server has not run the request, and repeating it is safe. *Is there a point in trying again?*
``retryable``. Code that retries looks at these, never at the text.

A tool that fails answers with a result whose ``is_error`` is true; that is not an exception.
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from typing import Any, Self

_MAY_HAVE_RUN = "The server may have run it, and it was not repeated."
_HAS_NOT_RUN = "The server has not run it."


class MCPSyncError(Exception):
    """The base of every error mcpsync raises on purpose.

    Args:
        message: What happened, as a sentence.
        maybe_executed: Whether the server may have run the request.
        context: Any of the public attributes below, by name.

    Attributes:
        message: What happened, as a sentence, without the context that ``str()`` puts around it.
        server_name: The server it happened with, as configured, or its URL or command.
        user_id: The user whose connection it was, if a manager made it.
        tool_name: The tool that was called, if one was.
        method: The MCP method that was requested, if one was.
        task_id: The task that the call had become, if it had; see ``client.tasks``.
        maybe_executed: Whether the server may have run the request.
        retryable: Whether trying again later may help.
    """

    server_name: str | None = None
    user_id: str | None = None
    tool_name: str | None = None
    method: str | None = None
    task_id: str | None = None
    maybe_executed: bool = False
    retryable: bool = False

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        for name, value in context.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
            setattr(self, name, value)

    def __str__(self) -> str:
        known = (("server", self.server_name), ("user", self.user_id), ("tool", self.tool_name))
        where = [f"{label} {value!r}" for label, value in known if value is not None]
        text = f"{', '.join(where)}: {self.message}" if where else self.message
        return f"{text} {self._verdict()}".rstrip()

    def _verdict(self) -> str:
        """Say whether the tool ran, if one was called."""
        if self.tool_name is None:
            return ""
        return _MAY_HAVE_RUN if self.maybe_executed else _HAS_NOT_RUN

    def __reduce__(self) -> tuple[Any, ...]:
        made = copyreg.__newobj__  # type: ignore[attr-defined] # as pickle itself does
        return made, (type(self), *self.args), {**self.__dict__, "args": self.args}

    def with_context(
        self,
        *,
        server_name: str | None = None,
        user_id: str | None = None,
        tool_name: str | None = None,
        method: str | None = None,
    ) -> Self:
        """Fill in whatever is not known yet, and return the error itself."""
        self.server_name = self.server_name if self.server_name is not None else server_name
        self.user_id = self.user_id if self.user_id is not None else user_id
        self.tool_name = self.tool_name if self.tool_name is not None else tool_name
        self.method = self.method if self.method is not None else method
        return self


class ConfigurationError(MCPSyncError, ValueError):
    """Something is wrong with what the application gave us; nothing was started or sent.

    ``field``, with dots, is what is wrong in a server's configuration; ``file`` and ``line`` (from
    1) are where that stands. Each is None if it is not known.
    """

    field: str | None = None
    file: str | None = None
    line: int | None = None


class PlaceholderError(ConfigurationError):
    """A placeholder in a server's configuration has no value."""


class SecretRequired(ConfigurationError):
    """A server is to lead elsewhere: its secrets (``fields``) have to be given again."""

    fields: tuple[str, ...] = ()


class NotFound(MCPSyncError, LookupError):
    """Something was asked for by a name nobody has."""


class ServerNotFound(NotFound):
    """No server of that name is configured."""


class RefusedError(MCPSyncError):
    """Our own policy said no; nothing was sent. ``rule`` says which of the guard's, if it was."""

    rule: str = ""


class CircuitOpen(RefusedError):
    """Connecting failed so often that the server is left in peace for a while; nothing was sent.

    Attributes:
        retry_after: Seconds until an attempt is allowed again, if known.
    """

    retryable = True
    retry_after: float | None = None


class FeatureUnsupported(RefusedError):
    """The server does not say that it can do this, so it was not asked.

    Attributes:
        feature: What it would have to offer.
    """

    feature: str = ""


class NotPermitted(RefusedError):
    """A permission is missing, or ``fields`` are locked; nothing was changed or sent."""

    fields: tuple[str, ...] = ()


class InspectionFailed(MCPSyncError):
    """A server was looked at before it was taken in, and does not work. The cause says why."""


class ListenNotSupported(MCPSyncError):
    """The server does not tell by itself what changes there; calls are not affected."""


class StoreError(MCPSyncError):
    """The store cannot be reached, or what it holds cannot be read."""

    retryable = True


class AuthError(MCPSyncError):
    """The server, or its authorization server, would not let us in."""


class AuthorizationRequired(AuthError):
    """The server wants (other) credentials: HTTP 401.

    Attributes:
        authorization_url: Where to send the user, once a sign-in was begun; otherwise None.
        browser_binding: What to keep in a cookie of the user's browser, and to hand to
            ``complete_authorization`` with what comes back, so that nobody else can complete it.
        state: What the user comes back with; a name for that cookie, where each has its own.
        flow_id: Whose sign-in it is, at which server.
        challenge: The server's ``WWW-Authenticate`` header, if it sent one.
    """

    authorization_url: str | None = None
    browser_binding: str | None = None
    state: str | None = None
    flow_id: str | None = None
    challenge: str | None = None


class InsufficientScope(AuthError):
    """The credentials are good but do not reach that far: HTTP 403 ``insufficient_scope``."""

    required_scopes: tuple[str, ...] = ()
    challenge: str | None = None


class OAuthError(AuthError):
    """Signing in, or getting a token, failed; what is said is ours, not the other side's.

    Attributes:
        error: A word for the reason: the authorization server's (RFC 6749) if it gave one, or ours.
    """

    error: str = ""


class OboTokenError(AuthError):
    """No token could be had on behalf of a user. Nothing was sent to the server.

    Attributes:
        reason: ``missing_upstream_token``, ``missing_upstream_access_token``,
            ``session_refresh_failed``, ``empty_exchange_response``, ``exchange_failed`` or
            ``not_permitted``.
        user_message: What users may be shown.
        error: The identity provider's word for it, if it gave one, such as ``invalid_grant``.
    """

    reason: str = ""
    user_message: str = ""
    error: str = ""

    def _verdict(self) -> str:
        return f"({self.error}) {super()._verdict()}" if self.error else super()._verdict()


class TransportError(MCPSyncError):
    """The bytes did not get there, or not back."""


class ConnectError(TransportError):
    """No connection could be made. Nothing was sent, so it is safe to try again."""

    retryable = True


class ConnectTimeout(ConnectError, TimeoutError):
    """No connection could be made within the time allowed."""


class ConnectionLost(TransportError):
    """The connection ended before the answer was whole.

    Attributes:
        stale: It had been used before and ended without one byte of answer, likely while idle.
    """

    retryable = True
    stale: bool = False


class ConnectionClosed(TransportError):
    """This client or connection was closed by our own side."""


class HTTPStatusError(TransportError):
    """The server answered with an HTTP status that means failure.

    Attributes:
        status: The HTTP status code.
    """

    status: int = 0


class RateLimited(HTTPStatusError):
    """The server asks us to slow down: HTTP 429.

    Attributes:
        retry_after: How long the server asks us to wait, in seconds, if it said.
    """

    retryable = True
    retry_after: float | None = None


class SessionExpired(TransportError):
    """The server no longer knows our session.

    Its request was not run, unless the session went while the answer was under way.
    """

    retryable = True


class SubscriptionLost(TransportError):
    """A stream of changes was cut, and beginning it anew came to nothing.

    What changed since is not known: whoever listens again fetches everything again.
    """

    retryable = True


class ServerExited(TransportError):
    """A server we talk to over stdio ended.

    Attributes:
        returncode: Its exit status, or the negative of the signal that ended it, if known.
        stderr_tail: The last lines it wrote to standard error.
    """

    retryable = True
    returncode: int | None = None
    stderr_tail: str = ""


class ProtocolError(MCPSyncError):
    """The server broke the rules of the protocol."""


class MessageInvalid(ProtocolError):
    """What the server sent is not the message it should be."""


class StructuredContentInvalid(MessageInvalid):
    """A tool's structured content is not what its ``outputSchema`` says, or that is no schema.

    The tool has run, so what it returned is here.

    Attributes:
        result: The ``CallToolResult`` as received.
    """

    result: Any = None


class LimitExceeded(ProtocolError):
    """The server sent more than we are willing to take."""


class ResponseTooLarge(LimitExceeded):
    """An answer was larger than the limit.

    Attributes:
        limit: The limit it exceeded, in bytes.
    """

    limit: int = 0


class SkillInvalid(ProtocolError):
    """A skill, or a file of it, is not what its entry says; nothing of it is to be used.

    Attributes:
        uri: The skill, or its file.
    """

    uri: str = ""


class UnsupportedProtocolVersion(ProtocolError):
    """Client and server have no protocol version in common.

    Attributes:
        supported: What the server said it supports.
    """

    supported: tuple[str, ...] = ()


class RequestTimeout(MCPSyncError, TimeoutError):
    """The call's time ran out.

    Attributes:
        timeout: The time it had, in seconds.
    """

    retryable = True
    timeout: float | None = None


class RequestCancelled(MCPSyncError):
    """The caller's :class:`~mcpsync.Cancellation` fired while the call waited.

    Attributes:
        reason: What was given to ``cancel()``.
    """

    reason: str | None = None


class TaskCancelled(MCPSyncError):
    """The task that a call had become was cancelled before it was done, and not by this call."""


class InputRequired(MCPSyncError):
    """The server wants input from the user before it goes on (multi round-trip request).

    It has all that is needed to answer later, in another process if need be:
    :meth:`to_dict` and :meth:`from_dict` are for the way there, and ``client.resume(error,
    responses)`` sends the request again with the answers. A callback raises it to leave the answer
    for later. ``request_state`` may stand for something the server keeps for this user: give it
    to nobody else.

    Attributes:
        params: The params of the request that was made, without ``_meta``.
        input_requests: What the server asks, as it came: key to ``{"method": …, "params": …}``.
        request_state: What the server wants back as it is; None if it gave none.
        responses: What was answered here before it came to this, by key.
        result: The server's ``InputRequiredResult`` as received.
    """

    params: Mapping[str, Any] = {}
    input_requests: Mapping[str, Any] = {}
    request_state: str | None = None
    responses: Mapping[str, Any] = {}
    result: Mapping[str, Any] | None = None

    @property
    def requests(self) -> dict[str, Any]:
        """What the server asks, by key, as ``mcp_types`` models; as it came if it is none."""
        from mcp_types import InputRequest
        from pydantic import TypeAdapter, ValidationError

        adapter: TypeAdapter[Any] = TypeAdapter(InputRequest)
        found: dict[str, Any] = {}
        for key, request in self.input_requests.items():
            try:
                found[key] = adapter.validate_python(request)
            except ValidationError:
                found[key] = request
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {
            "message": self.message,
            **{name: getattr(self, name) for name in _KEPT},
            **{name: dict(getattr(self, name)) for name in _KEPT_MAPPINGS},
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Make it anew from what :meth:`to_dict` returned.

        Raises:
            ConfigurationError: It is something else.
        """
        names = ("message", *_KEPT, *_KEPT_MAPPINGS)
        if not isinstance(kept, Mapping) or not set(kept) >= set(names):
            raise ConfigurationError("this is not what InputRequired.to_dict() returned.")
        return cls(kept["message"], **{n: kept[n] for n in names[1:] if kept[n] is not None})


_WHOSE = ("server_name", "user_id", "tool_name", "method", "task_id")
_KEPT = (*_WHOSE, "request_state", "maybe_executed")
_KEPT_MAPPINGS = ("params", "input_requests", "responses")


class MCPError(MCPSyncError):
    """The server answered with a JSON-RPC error.

    Attributes:
        code: The JSON-RPC or MCP error code.
        message: The server's own words.
        data: Whatever the server attached.
        status: The HTTP status the error came with, if it was not a success.
    """

    code: int = 0
    data: Any = None
    status: int | None = None

    def _verdict(self) -> str:
        return f"(code {self.code})"


class UrlElicitationRequired(MCPError):
    """The user has to visit a page first; the request was not run (code -32042, 2025-11-25).

    Show the user who asks and the whole URL, and open it only with his consent. When he is done,
    make the call again.

    Attributes:
        elicitations: What the server asks, as ``mcp_types.ElicitRequestURLParams``; those whose
            URL is not http or https have been dropped.
    """

    code: int = -32042
    elicitations: tuple[Any, ...] = ()
