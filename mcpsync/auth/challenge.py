"""What a ``WWW-Authenticate`` header says. (RFC 9110 section 11.6.1; requirement A1)"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_LENGTH: Final = 16_384  # characters that are looked at

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME: Final = re.compile(rf"\s*({_WORD})(?:\s+|$|(?=,))")
_PARAMETER: Final = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_TOKEN68: Final = re.compile(r"\s*[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")
_COMMA: Final = re.compile(r"[\s,]*")


class Challenge(NamedTuple):
    """One challenge: what credentials are wanted, and what for.

    Args:
        scheme: In lower case: ``bearer``, ``dpop``.
        parameters: By their names in lower case; the first of a name counts.
    """

    scheme: str
    parameters: Mapping[str, str]


def challenges_in(header: str | None) -> list[Challenge]:
    """Return the challenges of a header, or of several joined by commas; never raises.

    What does not follow the grammar is left out, so that one odd challenge does not hide others.
    """
    text = (header or "")[:MAX_LENGTH]
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(text):
        at = _end(_COMMA.match(text, at), at)
        parameter = _PARAMETER.match(text, at)
        if parameter is not None and found:
            quoted, bare = parameter[2], parameter[3]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
            found[-1][1].setdefault(parameter[1].lower(), value)
            at = parameter.end()
            continue
        scheme = _SCHEME.match(text, at)
        if scheme is not None and parameter is None:
            found.append((scheme[1].lower(), {}))
            at = _end(_TOKEN68.match(text, scheme.end()), scheme.end())
            continue
        at = _end(re.compile(r"[^,]*").match(text, at), at) + 1
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def _end(match: re.Match[str] | None, otherwise: int) -> int:
    return otherwise if match is None else match.end()


class Demand(NamedTuple):
    """What a server that turned a request down wants. (Requirement A1)

    Args:
        resource_metadata: Where it says who issues tokens for it; None if it does not say.
        scope: The scopes it names, in its order.
        error: ``invalid_token``, ``insufficient_scope``, ``use_dpop_nonce``, …
    """

    resource_metadata: str | None = None
    scope: tuple[str, ...] = ()
    error: str | None = None


def demand_of(header: str | None) -> Demand:
    """Return what the bearer or DPoP challenges of a header ask for, taken together."""
    together: dict[str, str] = {}
    for challenge in challenges_in(header):
        if challenge.scheme in ("bearer", "dpop"):
            for name, value in challenge.parameters.items():
                together.setdefault(name, value)
    return Demand(
        together.get("resource_metadata") or None,
        tuple(dict.fromkeys(together.get("scope", "").split())),
        together.get("error") or None,
    )
