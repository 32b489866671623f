"""Signing in, as a manager offers it to a web application. (Seed 3.3, 3.7, 3.8)"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Protocol, Unpack

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..client.options import CallOptions, scope_of
from ..config import ServerConfig, User, as_user
from ..errors import MCPSyncError, RefusedError
from .connection import Key
from .factory import ConnectionFactory
from .reconnecting import Reconnecting
from .signing_in import AuthorizationStatus, CompletedSignIn, returned


class Unchecked(enum.Enum):
    """What stands for an argument that was left out, where None says something else."""

    UNCHECKED = "unchecked"

    def __repr__(self) -> str:
        return "UNCHECKED"


UNCHECKED = Unchecked.UNCHECKED


class Configurations(Protocol):
    """Where the configurations of servers are to be had."""

    def get_server_config(
        self,
        server_name: str,
        user: Any = None,
        timeout: float | Deadline | None = None,
        cancel: Cancellation | None = None,
    ) -> ServerConfig | None:
        """Return the configuration of a server, if there is one for this user."""

    def get_all_server_configs(
        self,
        user: Any = None,
        timeout: float | Deadline | None = None,
        cancel: Cancellation | None = None,
    ) -> Mapping[str, ServerConfig]:
        """Return all configurations that there are for this user, by name."""

    def require(
        self,
        server_name: str,
        user: Any = None,
        timeout: float | Deadline | None = None,
        cancel: Cancellation | None = None,
    ) -> ServerConfig:
        """Return the configuration of a server, or raise ``ServerNotFound``."""


class Authorizing(Reconnecting):
    """What a manager signs users in with."""

    _factory: ConnectionFactory

    def complete_authorization(
        self,
        *,
        state: str,
        code: str | None = None,
        iss: str | None = None,
        error: str | None = None,
        user: Any = UNCHECKED,
        browser_binding: str | Unchecked | None = UNCHECKED,
        reconnect: bool = True,
        **options: Unpack[CallOptions],
    ) -> CompletedSignIn:
        """Complete a sign-in, with what the user came back with. In whatever process.

        Hand on the parameters of the request as they came. Doing it twice, as a double click does,
        is harmless.

        The user's connection is then made anew, and the server asked for its tools; if that fails
        he is signed in all the same, and his next call tries again.

        Args:
            state: What tells which sign-in it is.
            code: What the tokens are had for.
            iss: Who answers. (RFC 9207)
            error: Why there is no code. What it describes besides is not wanted.
            user: Who is signed in to the application. It has to be who began; None is nobody.
            browser_binding: What the cookie holds that was set when it began: what
                ``AuthorizationRequired.browser_binding`` was. It has to be the same browser; None
                is one without the cookie. What is left out, of these two, is not looked at.
            reconnect: False leaves connecting to the user's next call.
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
            config = self._configs.require(name, user_id, scope.deadline, scope.cancel)
            is_new = self._sign_ins.complete(flow, config, back, scope)
        except MCPSyncError as failure:
            failure.with_context(server_name=name, user_id=user_id)
            raise
        self._factory.clear_cooldown(name, user_id)
        key = Key(user_id, name)
        self._reconnections.forget(key)
        if is_new and reconnect:
            owner = User(id=user_id) if user is UNCHECKED else as_user(user)
            self._reconnect_after_sign_in(key, owner, scope)
        return CompletedSignIn(name, user_id)

    def cancel_authorization(self, server: str, *, user: Any) -> bool:
        """Forget a user's sign-in that is under way; whether there was one.

        Whoever waits for it gets an ``OAuthError``. Tokens stay.
        """
        return self._sign_ins.cancel(Key(as_user(user).id, server))

    def authorization_status(self, server: str, *, user: Any) -> AuthorizationStatus:
        """Return where a user stands with a server, as far as the store knows. Asks nobody."""
        key = Key(as_user(user).id, server)
        return self._sign_ins.status(key, self._configs.get_server_config(server, key.user_id))

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
        try:
            config = self._configs.get_server_config(
                server, key.user_id, scope.deadline, scope.cancel
            )
            return self._sign_ins.revoke(key, config, scope)
        except MCPSyncError as failure:
            failure.with_context(server_name=server, user_id=key.user_id)
            raise
        finally:
            self._reconnections.forget(key)
            self._users.disconnect_user_connection(str(key.user_id), server)
            self._factory.clear_cooldown(server, key.user_id)
