"""What a client knows of its server's tools, as they were last listed. (Requirements 5.7, 5.8)"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..protocol.mirroring import NOTHING, MirroredParameter, is_mentioned, mirroring_of
from .structured import OutputSchema, output_schemas

if TYPE_CHECKING:
    from mcp_types import ListToolsResult, Tool

logger = logging.getLogger(__name__)

MAX_TOOLS: Final = 10_000  # the oldest are forgotten first
MAX_BYTES: Final = 16 * 1024 * 1024  # of all their names and schemas
MAX_TOLD: Final = 1000  # warnings about tools that break the rules

_NOTHING: Final[frozenset[tuple[str, str]]] = frozenset()


class KnownTool(NamedTuple):
    """What a call of one tool has to heed.

    Args:
        parameters: Arguments that go along as headers.
        output: What its structured content has to be, if it says so.
    """

    parameters: tuple[MirroredParameter, ...] = ()
    output: OutputSchema | None = None

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return len(self.output.written) if self.output is not None else 0


class KnownTools:
    """The tools of one server of which there is more to know than the name. Thread-safe.

    Most tools mirror nothing and promise nothing, and then nothing is kept of them.

    Args:
        with_output: Whether to keep what tools say of their structured content.

    Lock: _lock guards _tools, _bytes, _told.
    """

    def __init__(self, *, with_output: bool) -> None:
        self._with_output = with_output
        self._lock = new_lock("known tools")
        self._tools: dict[str, KnownTool] = {}
        self._bytes = 0
        self._told = _NOTHING
        self._is_used = False

    def get(self, name: str) -> KnownTool | None:
        """Return what is known of a tool; None if that is nothing."""
        return self._tools.get(name)

    def learn(self, page: ListToolsResult, *, is_whole: bool, mirrors: bool) -> None:
        """Take what a page of a listing says, and take tools from it that must not be used.

        Args:
            page: The page; its list of tools is replaced if one of them breaks the rules.
            is_whole: Whether it is all there is, so that other tools are no more.
            mirrors: Whether arguments go along as headers: in the modern era, over HTTP.
        """
        kept: list[Tool] = []
        learned: dict[str, KnownTool | None] = {}
        faults: list[tuple[str, str]] = []
        mirrors = mirrors and is_mentioned([tool.input_schema for tool in page.tools])
        for tool in page.tools:
            mirroring = mirroring_of(tool.input_schema) if mirrors else NOTHING
            if mirroring.fault is not None:
                faults.append((tool.name, mirroring.fault))
                learned[tool.name] = None
                continue
            kept.append(tool)
            output = None
            if self._with_output and tool.output_schema is not None:
                output = output_schemas.of(tool.output_schema)
            heeded = mirroring.parameters or output is not None
            learned[tool.name] = KnownTool(mirroring.parameters, output) if heeded else None
        if faults:
            page.tools = kept
        if not self._is_used and (faults or any(learned.values())):
            self._is_used = True
            after_fork_in_child(self._forget)  # twice does no harm
        if self._tools or any(learned.values()):
            self._keep(learned, is_whole)
        if faults:
            self._warn(faults)

    def _keep(self, learned: dict[str, KnownTool | None], is_whole: bool) -> None:
        with self._lock:
            if is_whole:
                self._tools, self._bytes = {}, 0
            for name, tool in learned.items():
                self._drop(name)
                if tool is not None:
                    self._tools[name] = tool
                    self._bytes += len(name) + tool.size
            while len(self._tools) > MAX_TOOLS or self._bytes > MAX_BYTES:
                self._drop(next(iter(self._tools)))

    def _drop(self, name: str) -> None:
        tool = self._tools.pop(name, None)
        if tool is not None:
            self._bytes -= len(name) + tool.size

    def _warn(self, faults: list[tuple[str, str]]) -> None:
        """Log each fault once, so that a listing that is asked for often does not fill the log."""
        with self._lock:
            news = [fault for fault in faults if fault not in self._told]
            news = news[: max(0, MAX_TOLD - len(self._told))]
            self._told = self._told.union(news)
        for name, fault in news:
            logger.warning("the tool %r is left out of the listing: %s", name[:200], fault)

    def _forget(self) -> None:
        self._lock = new_lock("known tools")
