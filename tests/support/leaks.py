"""What is secret in a test, and whether any of it is in a log line or in the text of an error."""

import contextlib
import logging
import secrets
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jwt
import pytest

from mcpsync.auth.dpop import DPoPKey
from mcpsync.errors import MCPSyncError

from .authority import Authority

LOGGERS = ("mcpsync", "urllib3", "requests")
BY_NAME = ("s3cret", "s3cr3t")  # what tests call a secret of their own
SHORTEST = 6  # characters; what is shorter may be in a text by chance


class Leaks(logging.Handler):
    """Hears every log line and sees every error of a test, and knows what must be in none of them.

    Secret are: what an :class:`Authority` gave out or was shown, every random text (verifiers,
    states), every JWT that was signed, private keys, and what tests name so.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self.seen: list[str] = []
        self.made: list[str] = []
        self.authorities: list[Authority] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line with its traceback, unless it is about a request of a test's own browser."""
        if record.name.startswith("urllib3") and _is_of_a_browser():
            return
        self.seen.append(f"logged by {self.format(record)}")

    def secrets(self) -> set[str]:
        """Return all that is secret so far."""
        known = {*BY_NAME, *self.made}
        for authority in list(self.authorities):
            known.update(authority.secrets)
        return {secret for secret in known if len(secret) >= SHORTEST}

    def take(self) -> list[str]:
        """Return the lines and texts with a secret in them, and forget them."""
        secret, (seen, self.seen) = self.secrets(), (self.seen, [])
        return [text for text in seen if any(each in text for each in secret)]

    @contextlib.contextmanager
    def listening(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """Hear and see everything in the meantime."""
        self._watch(patch)
        loggers = [logging.getLogger(name) for name in LOGGERS]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.addHandler(self)
            logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.removeHandler(self)
                logger.setLevel(level)

    def _watch(self, patch: pytest.MonkeyPatch) -> None:
        """Have whoever makes a secret, or an error, make it known here."""
        authority, key, error = Authority.__init__, DPoPKey.__init__, MCPSyncError.__init__
        token_urlsafe, encode = secrets.token_urlsafe, jwt.encode

        def new_authority(this: Authority, *args: Any, **options: Any) -> None:
            authority(this, *args, **options)
            self.authorities.append(this)

        def new_key(this: DPoPKey, *args: Any, **options: Any) -> None:
            key(this, *args, **options)
            self.made.extend(line for line in this.pem.splitlines() if "-----" not in line)

        def new_error(this: MCPSyncError, message: str, **context: Any) -> None:
            error(this, message, **context)
            self.seen.append(f"raised: {type(this).__name__}: {this}")

        def noted_token(nbytes: int | None = None) -> str:
            self.made.append(token_urlsafe(nbytes))
            return self.made[-1]

        def noted_jwt(*args: Any, **options: Any) -> str:
            self.made.append(encode(*args, **options))
            return self.made[-1]

        patch.setattr(Authority, "__init__", new_authority)
        patch.setattr(DPoPKey, "__init__", new_key)
        patch.setattr(MCPSyncError, "__init__", new_error)
        patch.setattr(secrets, "token_urlsafe", noted_token)
        patch.setattr(jwt, "encode", noted_jwt)


def _is_of_a_browser() -> bool:
    """Whether this is said of a request by ``requests`` itself, which the library never makes."""
    frame: FrameType | None = sys._getframe()
    return any(
        at.f_code.co_filename.endswith(("requests/sessions.py", "requests\\sessions.py"))
        for at, _ in traceback.walk_stack(frame)
    )
