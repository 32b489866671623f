"""Signing in, as a manager offers it to a web application. (Seed 3.3, 3.7, 3.8)"""

from __future__ import annotations

import enum
from typing import Any, Protocol, Unpack

from ..client.options import CallOptions, scope_of
from ..config import ServerConfig, as_user
from ..errors import MCPSyncError, OAuthError, RefusedError
from .connection import Key
from .factory import ConnectionFactory
from .signing_in import AuthorizationStatus, CompletedSignIn, SignIns, returned
from .users import UserConnectionManager


class Unchecked(enum.Enum):
    """What stands for an argument that was left out, where None says something else."""

    UNCHECKED = "unchecked"

    def __repr__(self) -> str:
        return "UNCHECKED"


UNCHECKED = Unchecked.UNCHECKED


class Configurations(Protocol):
    """Where the configurations of servers are to be had."""

    def get_server_config(self, server_name: str) -> ServerConfig | None:
        """Return the configuration of a server, if there is one."""

    def require(self, server_name: str) -> ServerConfig:
        """Return the configuration of a server, or raise ``ServerNotFound``."""


class Authorizing:
    """What a manager signs users in with."""

    _sign_ins: SignIns
    _configs: Configurations
    _users: UserConnectionManager
    _factory: ConnectionFactory
    _timeout: float

    def complete_authorization(
        self,
        *,
        state: str,
        code: str | None = None,
        iss: str | None = None,
        error: str | None = None,
        user: Any = UNCHECKED,
        browser_binding: str | Unchecked | None = UNCHECKED,
        **options: Unpack[CallOptions],
    ) -> CompletedSignIn:
        """Complete a sign-in, with what the user came back with. In whatever process.

        Hand on the parameters of the request as they came. Doing it twice, as a double click does,
        is harmless.

        Args:
            state: What tells which sign-in it is.
            code: What the tokens are had for.
            iss: Who answers. (RFC 9207)
            error: Why there is no code. What it describes besides is not wanted.
            user: Who is signed in to the application. It has to be who began; None is nobody.
            browser_binding: What the cookie holds that was set when it began: what
                ``AuthorizationRequired.browser_binding`` was. It has to be the same browser; None
                is one without the cookie. What is left out, of these two, is not looked at.
            options: *timeout* and *cancel*.

        Returns:
            Which server, and which user.

        Raises:
            OAuthError: The state is unknown or over, another server answers, or somebody said no.
            RefusedError: It is another user, or another browser. Nothing was redeemed.
            MCPSyncError: The tokens could not be had; the user has to sign in again.
        """
        scope = scope_of(options, self._timeout)
        back = returned(state, code, iss, error)
        flow = self._sign_ins.find(state)
        facts = flow.facts
        name, user_id = facts["server_name"], facts["user_id"]
        try:
            if user is None or (user is not UNCHECKED and as_user(user).id != user_id):
                raise RefusedError("another user began this sign-in; nothing was redeemed.")
            if browser_binding is not UNCHECKED and not flow.is_of_browser(browser_binding or ""):
                raise RefusedError("another browser began this sign-in; nothing was redeemed.")
            done = self._sign_ins.complete(flow, self._configs.require(name), back, scope)
        except MCPSyncError as failure:
            failure.with_context(server_name=name, user_id=user_id)
            raise
        self._factory.clear_cooldown(name, user_id)
        return done

    def cancel_authorization(self, server: str, *, user: Any) -> bool:
        """Forget a user's sign-in that is under way; whether there was one.

        Whoever waits for it gets an ``OAuthError``. Tokens stay.
        """
        return self._sign_ins.cancel(Key(as_user(user).id, server))

    def authorization_status(self, server: str, *, user: Any) -> AuthorizationStatus:
        """Return where a user stands with a server, as far as the store knows. Asks nobody."""
        return self._sign_ins.status(Key(as_user(user).id, server))

    def revoke(self, server: str, *, user: Any, **options: Unpack[CallOptions]) -> bool:
        """Sign a user out of a server: tokens, sign-ins and connections go, the breaker is reset.

        What is kept here goes in every case, whatever the authorization server says.

        Returns:
            Whether the authorization server has revoked the tokens, too.

        Raises:
            StoreError: The store cannot be reached.
        """
        key = Key(as_user(user).id, server)
        scope = scope_of(options, self._timeout)
        config = self._configs.get_server_config(server)
        try:
            return self._sign_ins.revoke(key, config, scope)
        except OAuthError as failure:
            raise failure.with_context(server_name=server, user_id=key.user_id) from None
        finally:
            self._users.disconnect_user_connection(str(key.user_id), server)
            self._factory.clear_cooldown(server, key.user_id)
