"""What our own side says no to, or cannot do: nothing was sent."""

from __future__ import annotations

from .base import MCPSyncError


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
