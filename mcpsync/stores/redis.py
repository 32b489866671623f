"""A store in Redis, for the processes of many machines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from .._runtime.locks import assert_none_held
from ..errors import ConfigurationError, StoreError
from .base import Entry, check_key, check_value
from .sealing import Keys, Sealer

if TYPE_CHECKING:
    from redis import Redis

PATIENCE: Final = 5.0  # seconds that Redis may take to answer

# Each script is one step for Redis. A key is a hash of value and version.
_KEEP = """
if ARGV[1] ~= '*' then
  local there = redis.call('HGET', KEYS[1], 'version')
  if (there or '') ~= ARGV[1] then return false end
end
local version = redis.call('INCR', KEYS[2])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'value', ARGV[2], 'version', version)
if ARGV[3] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return version
"""
_DELETE = """
if ARGV[1] ~= '*' and redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
_TAKE = """
local value = redis.call('HGET', KEYS[1], 'value')
redis.call('DEL', KEYS[1])
return value
"""
_ACQUIRE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token, 'PX', ARGV[1])
return token
"""
_EXTEND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class RedisStore:
    """Keeps everything in Redis, which many processes of many machines may use at a time.

    Tokens are as durable as Redis is set up to be: see its ``appendonly``. A lock's lease is what
    Redis says it is; should it lose its memory, locks are lost, and the versions of values see to
    it that nothing is overwritten.

    Args:
        redis: ``redis://host:port/database``, or a ``redis.Redis`` of your own, with
            ``decode_responses`` off; that one is not closed here.
        key: What values are encrypted with, see :func:`new_key`; several to rotate.
        prefix: What every key begins with.

    Raises:
        ConfigurationError: The key is none, or the package ``redis`` is missing.
    """

    is_shared = True

    def __init__(self, redis: str | Redis, *, key: Keys = None, prefix: str = "mcpsync:") -> None:
        self._sealer = Sealer(key, "Redis")
        self._prefix = prefix
        self._counter = f"{prefix}n"
        self._is_ours = isinstance(redis, str)
        self._redis: Any = _connected(redis) if isinstance(redis, str) else redis
        if self._redis.get_connection_kwargs().get("decode_responses"):
            raise ConfigurationError("RedisStore needs a Redis with decode_responses=False.")
        register = self._redis.register_script
        self._keep, self._delete, self._take = map(register, (_KEEP, _DELETE, _TAKE))
        self._acquire, self._extend, self._release = map(register, (_ACQUIRE, _EXTEND, _RELEASE))

    def get(self, key: str) -> Entry | None:
        """See :meth:`Store.get`."""
        check_key(key)
        with self._asking():
            value, version = self._redis.hmget(self._value(key), "value", "version")
        return None if value is None else Entry(self._sealer.open(key, value), int(version))

    def set(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """See :meth:`Store.set`."""
        version = self._put(key, "*", value, ttl)
        assert version is not None
        return version

    def compare_and_set(
        self, key: str, version: int | None, value: bytes, ttl: float | None = None
    ) -> int | None:
        """See :meth:`Store.compare_and_set`."""
        return self._put(key, "" if version is None else str(version), value, ttl)

    def delete(self, key: str, version: int | None = None) -> bool:
        """See :meth:`Store.delete`."""
        check_key(key)
        wanted = "*" if version is None else str(version)
        with self._asking():
            return bool(self._delete(keys=[self._value(key)], args=[wanted]))

    def take(self, key: str) -> bytes | None:
        """See :meth:`Store.take`."""
        check_key(key)
        with self._asking():
            value = self._take(keys=[self._value(key)])
        return None if value is None else self._sealer.open(key, value)

    def acquire(self, name: str, lease: float) -> int | None:
        """See :meth:`Store.acquire`."""
        check_key(name)
        with self._asking():
            token = self._acquire(keys=[self._lock(name), self._counter], args=[_ms(lease)])
        return None if token is None else int(token)

    def extend(self, name: str, token: int, lease: float) -> bool:
        """See :meth:`Store.extend`."""
        with self._asking():
            return bool(self._extend(keys=[self._lock(name)], args=[token, _ms(lease)]))

    def release(self, name: str, token: int) -> bool:
        """See :meth:`Store.release`."""
        with self._asking():
            return bool(self._release(keys=[self._lock(name)], args=[token]))

    def close(self) -> None:
        """See :meth:`Store.close`. A closed store connects again when it is used."""
        if self._is_ours:
            self._redis.close()

    def _put(self, key: str, wanted: str, value: bytes, ttl: float | None) -> int | None:
        check_key(key)
        check_value(value, ttl)
        sealed = self._sealer.seal(key, value)
        with self._asking():
            version = self._keep(
                keys=[self._value(key), self._counter],
                args=[wanted, sealed, "" if ttl is None else _ms(ttl)],
            )
        return None if version is None else int(version)

    def _value(self, key: str) -> str:
        return f"{self._prefix}v:{key}"

    def _lock(self, name: str) -> str:
        return f"{self._prefix}l:{name}"

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        assert_none_held("using the store")
        from redis.exceptions import RedisError

        try:
            yield
        except (RedisError, OSError) as error:
            raise StoreError(f"Redis cannot be used: {error}.") from error


def _connected(url: str) -> Redis:
    try:
        from redis import Redis
    except ImportError as error:
        raise ConfigurationError("RedisStore needs redis: pip install 'mcpsync[redis]'.") from error
    try:
        return Redis.from_url(
            url,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            health_check_interval=30,
        )
    except ValueError as error:
        raise ConfigurationError(f"RedisStore: {error}.") from None


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
