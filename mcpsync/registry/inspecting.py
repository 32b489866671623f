"""What a manager says of its servers, and looks at them with."""

from __future__ import annotations

from .._runtime.cancel import Cancellation
from .inspector import Inspection
from .registry import INSPECTIONS_TIMEOUT, ServersRegistry


class Inspecting:
    """What a manager knows of its servers."""

    _registry: ServersRegistry

    @property
    def server_names(self) -> list[str]:
        """The names of the configured servers."""
        return self._registry.server_names

    @property
    def registry(self) -> ServersRegistry:
        """The configurations; they may be changed while calls go on."""
        return self._registry

    def inspect_servers(
        self, *, timeout: float = INSPECTIONS_TIMEOUT, cancel: Cancellation | None = None
    ) -> dict[str, Inspection]:
        """Look at the operator's servers before anybody uses them: when an application starts.

        It blocks for as long as it takes, and nothing is left running. A server that fails is
        logged and in the answer; nothing is raised for it. See
        :meth:`ServersRegistry.inspect_servers`.

        Args:
            timeout: Seconds for all of them.
            cancel: Ends it.

        Raises:
            RequestCancelled: *cancel* fired.
        """
        return self._registry.inspect_servers(timeout=timeout, cancel=cancel)
