"""What urllib3, TLS and sockets raise, told as it is: what happened, and how far we had come."""

from __future__ import annotations

import socket
import ssl

from urllib3.exceptions import (
    HTTPError,
    LocationParseError,
    NameResolutionError,
    ProxyError,
)
from urllib3.exceptions import TimeoutError as PoolTimeoutError

from ..errors import ConnectError, ConnectTimeout, MCPSyncError
from ..security.redaction import safe_url
from .exchange import Exchange

EXPECTED = (OSError, HTTPError, ValueError)
"""What may come out of an exchange that fails. ``http.client`` and ``ssl`` errors are wrapped."""


def explain(
    error: BaseException, exchange: Exchange, host: str, proxy: str | None = None
) -> MCPSyncError:
    """Return the typed error for *error*, which ended *exchange* with *host* through *proxy*."""
    if exchange.aborted_by is not None:
        exchange.aborted_by.maybe_executed = exchange.bytes_sent > 0
        return exchange.aborted_by
    if _is_timeout(error) or exchange.deadline.expired:
        if not exchange.connected:
            return ConnectTimeout(
                f"could not connect to {host} within {exchange.deadline.timeout:g} s."
            )
        return exchange.deadline.error(
            f"waiting for {host} to answer", maybe_executed=exchange.bytes_sent > 0
        )
    if not exchange.connected:
        via = f" through the proxy {safe_url(proxy)}" if proxy is not None else ""
        return ConnectError(f"could not connect to {host}{via}: {reason_of(error)}.")
    if exchange.bytes_received == 0:
        return exchange.unanswered(f"{host} closed the connection without an answer.")
    return exchange.unanswered(f"the connection to {host} ended in the middle of the answer.")


def causes(error: BaseException) -> list[BaseException]:
    """Return *error* and what it wraps, outermost first."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        item = queue.pop(0)
        if isinstance(item, BaseException) and item not in found:
            found.append(item)
            queue += [*item.args, item.__cause__, getattr(item, "reason", None)]
    return found


def _is_timeout(error: BaseException) -> bool:
    return any(isinstance(item, TimeoutError | PoolTimeoutError) for item in causes(error))


def reason_of(error: BaseException) -> str:
    """Return the root of *error* in a few words."""
    chain = causes(error)
    for item in chain:
        if isinstance(item, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({item.verify_message})"
        if isinstance(item, ssl.SSLError):
            return f"TLS failed ({item.reason or 'it does not speak TLS'})"
        if isinstance(item, socket.gaierror | NameResolutionError):
            return "its name cannot be resolved"
        if isinstance(item, ConnectionRefusedError):
            return "nobody listens there (connection refused)"
        if isinstance(item, LocationParseError):
            return "its URL cannot be understood"
    for item in reversed(chain):
        if isinstance(item, OSError) and item.strerror:
            return item.strerror[0].lower() + item.strerror[1:]
    if any(isinstance(item, ProxyError) for item in chain):
        return "the proxy refused"
    text = str(chain[-1]) or type(chain[-1]).__name__
    return text.rstrip(".")
