"""The adapters that own the process's sockets: one per (verify, cert, proxy), shared by everybody.

Sockets belong to the process and identity to the request: a thousand users of one origin use the
same few sockets, and an idle connection has none.
"""

from __future__ import annotations

import math
import os
import ssl
from typing import Any, NamedTuple, TypeAlias

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, PoolManager, Retry, Timeout
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import assert_none_held, new_lock
from ..errors import ConfigurationError
from ..security.guard import ANYWHERE, AddressPolicy
from ..security.redaction import safe_url
from .exchange import Exchange
from .pools import POOL_CLASSES
from .sockets import TLSSocket, current

Verify: TypeAlias = bool | str
Cert: TypeAlias = str | tuple[str, str] | None

MAX_ORIGINS = 256  # pools kept; the least recently used beyond that is closed
MAX_IDLE_SOCKETS = 64  # kept per origin; more may be open while they are in use

_NO_RETRIES = Retry.from_int(False, redirect=False)
_NO_TIMEOUT = Timeout(connect=None, read=None)  # the sockets know the deadline themselves
_REAL_SEND = HTTPAdapter.send


class AdapterKey(NamedTuple):
    """Everything that makes two adapters different."""

    verify: Verify
    cert: Cert
    proxy: str | None
    policy: AddressPolicy = ANYWHERE


class SharedAdapter(HTTPAdapter):
    """A ``requests`` adapter whose sockets know their deadline. Thread-safe."""

    def __init__(self, key: AdapterKey) -> None:
        self._key = key
        self._context: ssl.SSLContext | None = None
        self._making: SingleFlight[None, ssl.SSLContext] = SingleFlight()
        super().__init__(pool_connections=MAX_ORIGINS, pool_maxsize=MAX_IDLE_SOCKETS)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any
    ) -> None:
        """Make the pool manager, with pools that have our sockets in them."""
        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, **pool_kwargs
        )
        self.poolmanager.pool_classes_by_scheme = POOL_CLASSES

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Return the pool manager for *proxy*, with our sockets in its pools."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = POOL_CLASSES
        return manager

    def pool_for(self, url: str) -> HTTPConnectionPool:
        """Return the pool of the sockets for *url*'s origin.

        Raises:
            ConfigurationError: The CA bundle or the client certificate cannot be loaded.
        """
        proxy = self._key.proxy
        manager = self.poolmanager if proxy is None else self.proxy_manager_for(proxy)
        parts = parse_url(url)
        extra = {"ssl_context": self.tls_context()} if parts.scheme == "https" else None
        pool: HTTPConnectionPool = manager.connection_from_host(
            parts.host, parts.port, parts.scheme, pool_kwargs=extra
        )
        return pool

    def tls_context(self) -> ssl.SSLContext:
        """Return the one TLS context of all the pools; it takes long to make, and it is large."""
        if self._context is None:
            self._context = self._making.do(
                None,
                lambda: self._context or _tls_context(self._key.verify, self._key.cert),
                deadline=Deadline(math.inf),
            )
        return self._context

    def close(self) -> None:
        """Close every idle socket. (urllib3 leaves that to whoever collects the pools.)"""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            keys = manager.pools.keys()  # a copy; the container itself cannot be walked
            for key in keys:
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        super().close()

    def open(
        self, pool: HTTPConnectionPool, request: PreparedRequest, target: str, exchange: Exchange
    ) -> BaseHTTPResponse:
        """Send *request* and return the response as soon as its headers are there.

        Raises:
            Whatever urllib3 and sockets raise; :mod:`mcpsync.http.failures` makes sense of it.
        """
        assert_none_held("sending")
        if HTTPAdapter.send is not _REAL_SEND:  # ``responses`` and its like: honour them
            raw: BaseHTTPResponse = self.send(request, stream=True).raw
            exchange.connected = True
            return raw
        current.exchange = exchange
        try:
            return pool.urlopen(
                request.method or "POST",
                target,
                body=request.body,
                headers=request.headers,
                retries=_NO_RETRIES,
                redirect=False,
                assert_same_host=False,
                timeout=_NO_TIMEOUT,
                preload_content=False,
                decode_content=True,
            )
        finally:
            current.exchange = None


def _tls_context(verify: Verify, cert: Cert) -> ssl.SSLContext:
    context = create_urllib3_context()
    context.sslsocket_class = TLSSocket
    try:
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            bundle = DEFAULT_CA_BUNDLE_PATH if verify is True else verify
            is_folder = os.path.isdir(bundle)
            context.load_verify_locations(
                cafile=None if is_folder else bundle, capath=bundle if is_folder else None
            )
        if cert is not None:
            context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the TLS files cannot be loaded: {error}.") from error
    return context


class _Adapters:
    """Every adapter of the process.

    Lock: _lock guards _adapters, generation.
    """

    def __init__(self) -> None:
        self._lock = new_lock("adapters")
        self._adapters: dict[AdapterKey, SharedAdapter] = {}
        self.generation = 0  # rises whenever what was handed out must not be used any more
        after_fork_in_child(self._forget)

    def get(self, key: AdapterKey) -> SharedAdapter:
        adapter = self._adapters.get(key)
        if adapter is not None:
            return adapter
        made = SharedAdapter(key)
        with self._lock:
            return self._adapters.setdefault(key, made)

    def reset(self) -> None:
        with self._lock:
            adapters, self._adapters = list(self._adapters.values()), {}
            self.generation += 1
        for adapter in adapters:
            adapter.close()

    def _forget(self) -> None:
        self._lock = new_lock("adapters")
        self._adapters = {}
        self.generation += 1


adapters = _Adapters()


def reset_pools() -> None:
    """Close every idle socket of the process. Calls under way finish; later ones open new ones."""
    adapters.reset()


def proxy_for(url: str, proxies: Any) -> str | None:
    """Return the proxy that ``requests`` would choose for *url*.

    Raises:
        ConfigurationError: It is not spoken to over plain HTTP. Through others, SOCKS and TLS in
            TLS, the sockets would not know their deadline.
    """
    chosen = select_proxy(url, proxies)
    if not chosen:
        return None
    proxy = chosen if "://" in chosen else f"http://{chosen}"
    if not proxy.lower().startswith("http://"):
        raise ConfigurationError(
            f"the proxy {safe_url(proxy)} cannot be used: only http:// proxies are supported "
            "(https:// servers are reached through them, too)."
        )
    return proxy
