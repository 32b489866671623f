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

from .auth import AuthError, AuthorizationRequired, InsufficientScope, OAuthError, OboTokenError
from .base import MCPSyncError
from .calls import InputRequired, RequestCancelled, RequestTimeout, TaskCancelled
from .ours import (
    CircuitOpen,
    ConfigurationError,
    FeatureUnsupported,
    InspectionFailed,
    ListenNotSupported,
    NotFound,
    NotPermitted,
    PlaceholderError,
    RefusedError,
    SecretRequired,
    ServerNotFound,
    StoreError,
)
from .protocol import (
    LimitExceeded,
    MCPError,
    MessageInvalid,
    ProtocolError,
    ResponseTooLarge,
    SkillInvalid,
    StructuredContentInvalid,
    UnsupportedProtocolVersion,
    UrlElicitationRequired,
)
from .transport import (
    ConnectError,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    HTTPStatusError,
    RateLimited,
    ServerExited,
    SessionExpired,
    SubscriptionLost,
    TransportError,
)

__all__ = [
    "AuthError",
    "AuthorizationRequired",
    "CircuitOpen",
    "ConfigurationError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionLost",
    "FeatureUnsupported",
    "HTTPStatusError",
    "InputRequired",
    "InspectionFailed",
    "InsufficientScope",
    "LimitExceeded",
    "ListenNotSupported",
    "MCPError",
    "MCPSyncError",
    "MessageInvalid",
    "NotFound",
    "NotPermitted",
    "OAuthError",
    "OboTokenError",
    "PlaceholderError",
    "ProtocolError",
    "RateLimited",
    "RefusedError",
    "RequestCancelled",
    "RequestTimeout",
    "ResponseTooLarge",
    "SecretRequired",
    "ServerExited",
    "ServerNotFound",
    "SessionExpired",
    "SkillInvalid",
    "StoreError",
    "StructuredContentInvalid",
    "SubscriptionLost",
    "TaskCancelled",
    "TransportError",
    "UnsupportedProtocolVersion",
    "UrlElicitationRequired",
]
