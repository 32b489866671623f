"""Names that tools have towards a model: which tool, of which server.

A tool's key is ``<tool>_mcp_<server>``. Models take letters, digits and a few signs only, so the
server's name is normalised in it, and two servers can come to the same one. One of them is then
*shadowed*: its tools have no keys, so that nothing meant for it is sent to the other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

DELIMITER = "_mcp_"
_OAUTH = "oauth" + DELIMITER
_FOREIGN = re.compile(r"[^a-zA-Z0-9_.-]")


def normalize_server_name(name: str) -> str:
    """Return *name* with nothing but ASCII letters, digits, ``_``, ``.`` and ``-`` in it.

    A name that has nothing else stays as it is. If nothing is left of it, a hash names it.
    [seed: 6]
    """
    if not _FOREIGN.search(name) and name:
        return name
    kept = _FOREIGN.sub("_", name).strip("_")
    return kept or f"server_{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"


def tool_key(tool: str, server: str) -> str:
    """Return the key of *tool* of *server*. [seed: 1.1]"""
    return tool + DELIMITER + normalize_server_name(server)


def split_tool_key(key: str) -> tuple[str, str] | None:
    """Return the tool and the normalised server of *key*, or None if it is no key.

    It is split at the last delimiter, since a tool's own name may have one. [seed: issue #14440]
    """
    tool, delimiter, server = key.rpartition(DELIMITER)
    return (tool, server) if tool and delimiter and server else None


def server_of_key(key: str, names: Iterable[str]) -> str | None:
    """Return which of the configured *names* the tool with this *key* belongs to, if any.

    A server whose name has the delimiter in it is found, too, if no other comes first. One that
    is shadowed is never found.
    """
    servers = _by_normal_name(names)
    tails = _tails(key)
    return next((servers[tail] for tail in tails if tail in servers), None)


def tool_of_key(key: str, server: str) -> str:
    """Return the tool in *key*, which is known to belong to *server*."""
    return key.removesuffix(DELIMITER + normalize_server_name(server))


def shadowed_names(names: Iterable[str]) -> dict[str, str]:
    """Return which of the configured *names* are shadowed, and by which other.

    Of names that are normalised to the same one, that which is normalised already wins, else
    the first. A name is shadowed as well if its keys would be taken for keys of another server:
    ``a_mcp_b`` beside ``b``.
    """
    names = list(dict.fromkeys(names))
    servers = _by_normal_name(names)
    shadowed: dict[str, str] = {}
    for name in names:
        normal = normalize_server_name(name)
        taker = next(
            (servers[tail] for tail in _tails("tool" + DELIMITER + normal) if tail in servers), None
        )
        if taker is not None and taker != name:
            shadowed[name] = taker
    return shadowed


def takes_keys(name: str, names: Iterable[str]) -> bool:
    """Whether a server called *name* would have keys that belong to one of *names*."""
    return name in shadowed_names([*names, name]).values()


def oauth_tool_name(server: str) -> str:
    """Return the name of the pseudo tool that asks a user to sign in to *server*. [seed: 1.1]"""
    normal = normalize_server_name(server)
    return normal if normal.startswith(_OAUTH) else _OAUTH + normal


def _by_normal_name(names: Iterable[str]) -> dict[str, str]:
    servers: dict[str, str] = {}
    for name in names:
        normal = normalize_server_name(name)
        if name == normal:
            servers[normal] = name
        else:
            servers.setdefault(normal, name)
    return servers


def _tails(key: str) -> Iterable[str]:
    """Yield what follows each delimiter in *key* but one at its start: a tool has a name."""
    end = len(key)
    while (at := key.rfind(DELIMITER, 1, end)) >= 0:
        yield key[at + len(DELIMITER) :]
        end = at + len(DELIMITER) - 1  # delimiters may share an underscore
