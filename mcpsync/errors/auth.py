"""The server, or who issues tokens for it, would not let us in."""

from __future__ import annotations

from .base import MCPSyncError


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
