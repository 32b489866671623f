"""``mcpsync check``: is a configuration file right, and do its servers work?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from .._runtime.cancel import Cancellation
from ..config import ServerConfig, read_settings, try_yaml
from ..config.documents import read_document
from ..errors import ConfigurationError, MCPSyncError
from ..manager import MCPManager
from ..registry import Inspection
from ..registry.inspector import why_not_to_be_connected
from ..registry.registry import INSPECTIONS_TIMEOUT
from . import exits
from .options import CONFIG_VARIABLE, some_options
from .running import logging_on_stderr, watched
from .show import Row, show_rows
from .target import DEFAULT_CONFIG
from .text import as_json
from .waiting import Waiting


@click.command(epilog=f"\b\nExit codes:\n{exits.table()}")
@click.argument("file", required=False, envvar=CONFIG_VARIABLE)
@click.option("--connect", is_flag=True, help="Look at the servers, too: do they work?")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=INSPECTIONS_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Time for looking at all of them.",
)
@some_options("json", "verbose")
def check(file: str | None, *, connect: bool, timeout: float, **options: Any) -> None:
    """Check a configuration file, mcpsync.yaml by default.

    Every mistake is told, with its line. On a pipe, a line is the server, ok or failed, and what
    there is to say, with tabs between them.

    With --connect each server is connected to, as far as that can be done with no user there, and
    left again.
    """
    path = _file(file)
    document = read_document(path)
    found = try_yaml(document)
    settings: dict[str, Any] = {**read_settings(document)}
    good = {name: each for name, each in found.items() if not isinstance(each, MCPSyncError)}
    with (
        MCPManager(good, connect_attempts=1, **settings) as manager,
        logging_on_stderr(options["verbose"]),
    ):
        inspections: Mapping[str, Inspection] = {}
        if connect:
            cancel = Cancellation()
            inspections = watched(
                lambda: manager.inspect_servers(timeout=timeout, cancel=cancel),
                Waiting("looking at the servers", path, quiet=options["verbose"]),
                cancel,
                manager.close,
            )
    checked = [_Checked(name, each, inspections.get(name)) for name, each in found.items()]
    if options["as_json"]:
        click.echo(as_json([each.described() for each in checked]))
    else:
        show_rows(("server", "", ""), [each.row() for each in checked], "no servers")
    errors = [each.error for each in checked if each.error is not None]
    if errors:
        raise click.exceptions.Exit(exits.code_for(errors[0]))


def _file(file: str | None) -> str:
    if file is not None:
        return file
    if not os.path.exists(DEFAULT_CONFIG):
        raise click.UsageError(f"there is no {DEFAULT_CONFIG} here; name a FILE.")
    return DEFAULT_CONFIG


class _Checked(NamedTuple):
    """What is known of one server: its configuration or what is wrong, and what was seen."""

    name: str
    found: ServerConfig | ConfigurationError
    inspection: Inspection | None

    @property
    def error(self) -> MCPSyncError | None:
        if isinstance(self.found, ConfigurationError):
            return self.found
        return None if self.inspection is None else self.inspection.error

    def row(self) -> Row:
        if self.error is not None:
            return self.name, "failed", self.error.message
        return self.name, "ok", self._seen()

    def described(self) -> dict[str, Any]:
        told: dict[str, Any] = {"server": self.name, "ok": self.error is None}
        if self.error is not None:
            return {**told, "error": exits.described(self.error)}
        if (seen := self.inspection) is None:
            return told
        return {
            **told,
            "connected": seen.connected,
            "requires_oauth": seen.requires_oauth,
            "tools": None if seen.tools is None else [tool.name for tool in seen.tools],
            "seconds": round(seen.init_duration, 3),
            "skipped": seen.skipped,
        }

    def _seen(self) -> str:
        config, seen = self.found, self.inspection
        assert not isinstance(config, ConfigurationError)
        if seen is None:
            return config.target
        if seen.skipped:
            return "not looked at: there was no time left"
        if seen.connected:
            tools = "tools unknown" if seen.tools is None else f"{len(seen.tools)} tools"
            return f"{tools}, {seen.init_duration:.2f} s"
        if seen.requires_oauth:
            return "its users have to sign in"
        return f"not connected to: {why_not_to_be_connected(config)}"
