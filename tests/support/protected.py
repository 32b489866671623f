"""An authorization server and a protected MCP server that somebody else wrote, as processes."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import requests

from . import counterparts, processes, provision
from .signing_in import CALLBACK


@dataclass(frozen=True)
class Protected:
    """Both servers.

    Attributes:
        provider: ``oidc-provider``; it writes a line for each thing that happened.
        server: A server of the official SDK that wants its tokens.
    """

    provider: processes.ServerProcess
    server: processes.ServerProcess

    @property
    def url(self) -> str:
        """The MCP server's."""
        return self.server.url

    @property
    def issuer(self) -> str:
        """The authorization server's."""
        return self.provider.url

    def count(self, happened: str) -> int:
        """How often the provider has said so, such as ``granted refresh_token``."""
        return self.provider.output.splitlines().count(happened)


@contextlib.contextmanager
def protected(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Protected]:
    """Start both servers.

    Args:
        folder: Where their output goes.
        environment: What the provider is told: ``DPOP_NONCE=1`` wants nonces.
    """
    with contextlib.ExitStack() as stack:
        provider = _server(counterparts.obtain("oidc"), folder / "oidc.log", "", environment or {})
        stack.callback(provider.stop)
        provider.start()
        server = _server(
            [*counterparts.obtain("protected"), provider.url], folder / "protected.log", "/mcp", {}
        )
        stack.callback(server.stop)
        yield Protected(provider, server.start())


def _server(
    command: list[str], log: Path, path: str, environment: Mapping[str, str]
) -> processes.ServerProcess:
    port = processes.free_port()
    env = provision.child_environment(PYTHONUNBUFFERED="1", **environment)
    return processes.ServerProcess([*command, str(port)], port=port, log=log, env=env, path=path)


def sign_in(url: str, back_at: str = CALLBACK) -> str:
    """Go where a user is sent, as his browser does, until he is sent back; return where to."""
    with requests.Session() as browser:
        browser.trust_env = False
        while not url.startswith(back_at):
            answer = browser.get(url, allow_redirects=False, timeout=10)
            assert answer.is_redirect, (answer.status_code, answer.text)
            url = urljoin(url, answer.headers["location"])
    return url
