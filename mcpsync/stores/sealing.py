"""Values that only the holder of a key can read, or put in another's place. (NIST SP 800-38D)"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

logger = logging.getLogger(__name__)

Keys = str | bytes | Sequence[str | bytes] | None

_SEALED: Final = b"\x01"  # the first byte of a sealed value
_PLAIN: Final = b"\x00"
_NONCE: Final = 12  # bytes
_ID: Final = 4  # bytes of a key's fingerprint, which say what key a value was sealed with


def new_key() -> str:
    """Return a new key for a store: 32 random bytes, in base64."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


class Sealer:
    """Encrypts values with AES-256-GCM, bound to the keys they are kept under. Thread-safe.

    Args:
        keys: One or several, each 32 bytes or their base64 as :func:`new_key` returns it. The
            first encrypts, every one decrypts: to rotate, put a new one in front. None keeps
            values as they are, and says so in the log, once.
        what: The store, for that line.

    Raises:
        ConfigurationError: One is no key, or the library ``cryptography`` is missing.
    """

    def __init__(self, keys: Keys, what: str) -> None:
        given = [keys] if isinstance(keys, str | bytes) else list(keys or ())
        self._ciphers: dict[bytes, AESGCM] = dict(map(_cipher, given))
        self._current = next(iter(self._ciphers), None)
        if self._current is None:
            logger.warning(
                "%s keeps tokens unencrypted: whoever reads it can act as your users. "
                "Give it a key, see mcpsync.stores.new_key().",
                what,
            )

    def seal(self, key: str, value: bytes) -> bytes:
        """Return *value* as it is kept under *key*."""
        if self._current is None:
            return _PLAIN + value
        nonce = os.urandom(_NONCE)
        head = _SEALED + self._current + nonce
        return head + self._ciphers[self._current].encrypt(nonce, value, key.encode())

    def open(self, key: str, kept: bytes) -> bytes:
        """Return the value that is kept under *key*.

        Raises:
            StoreError: It was sealed with another key, or changed since.
        """
        if kept[:1] == _PLAIN and self._current is None:
            return kept[1:]
        cipher = self._ciphers.get(kept[1 : 1 + _ID]) if kept[:1] == _SEALED else None
        if cipher is None:
            raise StoreError(
                "a value in the store was encrypted with a key that is not among those given."
                if kept[:1] == _SEALED
                else "a value in the store is not encrypted, though a key is given."
            )
        from cryptography.exceptions import InvalidTag

        start = 1 + _ID
        try:
            return cipher.decrypt(
                kept[start : start + _NONCE], kept[start + _NONCE :], key.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise StoreError(
                "a value in the store was changed since it was encrypted, or given another name."
            ) from error


def _cipher(key: str | bytes) -> tuple[bytes, AESGCM]:
    try:
        raw = key if isinstance(key, bytes) and len(key) == 32 else base64.urlsafe_b64decode(key)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ConfigurationError("a store's key is 32 bytes, or their base64.")
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigurationError(
            "encrypting a store needs cryptography: pip install 'mcpsync[crypto]'."
        ) from error
    return hashlib.sha256(raw).digest()[:_ID], AESGCM(raw)
