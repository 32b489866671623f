"""What asks those whom a server names: who issues its tokens, and where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..config import HttpServerConfig, is_user_sourced, is_where_the_operator_says
from ..http import Fetcher
from ..http.settings import Session, origin_of
from ..security.addresses import is_loopback
from ..security.guard import Guard


def fetcher_for(
    guard: Guard,
    config: HttpServerConfig,
    url: str,
    session: Session | None,
    *,
    headers: Mapping[str, str] | None = None,
    said: Iterable[str | None] = (),
) -> Fetcher:
    """Return what asks those whom the server at *url* names. (Requirement S1)

    Args:
        guard: Says where they may be.
        config: The server; its proxy is theirs, too.
        url: Where it is, its placeholders filled in.
        session: Where proxies and TLS settings come from.
        headers: Sent with every request.
        said: Further URLs that the configuration has; None where it does not say.
    """
    is_operators = is_where_the_operator_says(config)
    trusted: list[str] = []
    if guard.trusts(is_operators):
        trusted.append(url)
    if guard.trusts(not is_user_sourced(config)):
        trusted += [each for each in said if each is not None]
    is_local = is_loopback(origin_of(url)[1])
    policy = guard.for_named(is_operators, is_local)
    return Fetcher(
        session=session,
        policy=policy,
        headers=headers,
        trusted=trusted,
        is_operators=is_operators,
        proxy=config.proxy,
    )
