"""Tasks: tool calls that become one, and ``client.tasks``, which shows them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from pydantic import RootModel

from ..errors import (
    ConfigurationError,
    FeatureUnsupported,
    MCPError,
    MCPSyncError,
    RequestCancelled,
    RequestTimeout,
)
from ..protocol import codec
from ..protocol.versions import Era
from ..session.base import Call, ClientSession
from ..session.callbacks import ProgressCallback
from ..session.tasks import Answer, Request, Task, TaskWatch, task_of
from .core import SessionKeeper
from .options import CallOptions, check_options
from .paging import pages

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ServerTasksCapability

    from .asking import Means

MOST_TOOLS = 10_000  # of one server, whose support of tasks is remembered

_CALL: Final = "tools/call"
_UNKNOWN: Final = object()

Anything = RootModel[dict[str, Any]]


class ToolTasks:
    """Says which tool calls of a client are to be tasks, and sees those through. Thread-safe.

    Args:
        keeper: The client's.
        offered: Whether the client offers modern servers the tasks extension.
        max_pages: How many pages the server's tools may have.
    """

    def __init__(self, keeper: SessionKeeper, offered: bool, max_pages: int) -> None:
        self._keeper = keeper
        self._offered = offered
        self._max_pages = max_pages
        # Both are swapped whole: what was found out about one conversation with the server.
        self._plain: object = _UNKNOWN
        self._support: tuple[object, dict[str, str]] = _UNKNOWN, {}

    @property
    def are_out_of_the_question(self) -> bool:
        """Whether no call to this server becomes a task, as far as is known. Costs nothing."""
        return self._keeper.conversation is self._plain

    def call(
        self,
        request: Request,
        params: Mapping[str, Any],
        call: Call,
        wanted: bool | None,
        answer: Answer | None,
    ) -> dict[str, Any]:
        """Call a tool, and return its result, whether it was a task or not.

        Args:
            request: Makes requests.
            params: Those of the call.
            call: Bounds all of it.
            wanted: Whether it is to be a task where the tool leaves that to us.
            answer: Answers what the server asks of the user.

        Raises:
            MCPSyncError: As the call; ``task_id`` is set if it had become a task. If time ran out
                or the caller cancelled, the server is told to cancel the task.
        """
        found, era, token = self.begin(request, params, call, wanted, None)
        if not isinstance(found, Task):
            return found
        watch = TaskWatch(request, replace(call, token=token), era, answer)
        try:
            return watch.result_of(found)
        except (RequestTimeout, RequestCancelled):
            self._keeper.ask_behind("tasks/cancel", {"taskId": found.task_id}, call.scope.headers)
            raise

    def begin(
        self,
        request: Request,
        params: Mapping[str, Any],
        call: Call,
        wanted: bool | None,
        ttl: float | None,
    ) -> tuple[dict[str, Any] | Task, Era, str | None]:
        """Call a tool, and return its result or the task it became.

        With it comes the form of the task, and the progress token that goes on being valid.
        """
        session = self._keeper.session(call)
        if session.era is Era.MODERN:
            return self._begin_modern(session, request, params, call, wanted), Era.MODERN, None
        if _declared(session, call) is None:
            if wanted:
                raise _unsupported("tasks.requests.tools.call")
            self._plain = session.conversation
            return request(_CALL, params, call), Era.LEGACY, None
        token = f"task-{uuid.uuid4().hex}" if call.progress is not None else None
        found = self._begin_legacy(session, request, params, call, wanted, ttl, token)
        return found, Era.LEGACY, token

    def _begin_modern(
        self,
        session: ClientSession,
        request: Request,
        params: Mapping[str, Any],
        call: Call,
        wanted: bool | None,
    ) -> dict[str, Any] | Task:
        if not self._offered:
            if wanted:
                raise ConfigurationError(
                    "a modern server may answer with a task only if the client was made with "
                    "extensions=[TasksExtension()]."
                )
            self._plain = session.conversation
        result = request(_CALL, params, call)
        return task_of(result, Era.MODERN) if result.get("resultType") == "task" else result

    def _begin_legacy(
        self,
        session: ClientSession,
        request: Request,
        params: Mapping[str, Any],
        call: Call,
        wanted: bool | None,
        ttl: float | None,
        token: str | None,
    ) -> dict[str, Any] | Task:
        name = params["name"]
        is_task = _is_task(name, self._support_of(session, name, request, call), wanted)
        for is_last in (False, True):
            try:
                if not is_task:
                    return request(_CALL, params, call)
                return _begun(request, params, call, ttl, token)
            except MCPError as error:
                # How a server says that it is the other way round; the tool has not run.
                if is_last or error.code != codec.METHOD_NOT_FOUND:
                    raise
                self._support = _UNKNOWN, {}
                other = _is_task(name, self._support_of(session, name, request, call), wanted)
                if other == is_task:
                    raise
                is_task = other
        raise AssertionError("the second round returns or raises")

    def _support_of(
        self, session: ClientSession, name: str, request: Request, call: Call
    ) -> str | None:
        """Return what the server says of tasks of a tool, asking for its tools once."""
        known_of, known = self._support
        conversation = session.conversation
        if known_of is not conversation:
            known = {}
            quiet = Call(call.scope)
            for tool in pages(
                lambda cursor: request(
                    "tools/list", None if cursor is None else {"cursor": cursor}, quiet
                ),
                lambda page: _listed(page.get("tools")),
                lambda page: page.get("nextCursor"),
                self._max_pages,
            ):
                execution = tool.get("execution")
                support = execution.get("taskSupport") if isinstance(execution, Mapping) else None
                if support in ("required", "optional") and len(known) < MOST_TOOLS:
                    known[tool.get("name", "")] = support
            self._support = conversation, known
        return known.get(name)


class Tasks:
    """The tasks of one server, as ``client.tasks`` shows them. Thread-safe.

    ``call_tool`` sees a call through that became a task, and needs none of this. This is for
    tasks that outlive the call, or the process: begun here, or left behind by an error that
    carries a ``task_id``. *options* are those of every call, see :class:`CallOptions`.
    """

    def __init__(self, means: Means, tools: ToolTasks) -> None:
        self._means = means
        self._tools = tools

    def start(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        ttl: float | None = None,
        progress_callback: ProgressCallback | None = None,
        **options: Unpack[CallOptions],
    ) -> Task | CallToolResult:
        """Call a tool and return its task at once, without waiting for the result.

        Args:
            name: The tool.
            arguments: Its arguments.
            ttl: Seconds for which the server is asked to keep the task (2025-11-25 only).
            progress_callback: Called with what comes before the task is there.
            options: See :class:`CallOptions`.

        Returns:
            The task. A server that decides by itself, and one whose tool cannot be a task, may
            answer with the result instead.

        Raises:
            FeatureUnsupported: The server has no tasks.
            ConfigurationError: It is a modern one, and the client does not offer the extension.
            MCPSyncError: As ``call_tool``.
        """
        call = self._means.call(options, progress_callback)
        params = {"name": name, "arguments": self._means.checked(arguments, "arguments", name)}
        begun: list[Task] = []

        def begin(
            request: Request, _: str, params: Mapping[str, Any] | None, call: Call
        ) -> Mapping[str, Any]:
            found, _era, _token = self._tools.begin(request, params or {}, call, True, ttl)
            if isinstance(found, Task):
                begun.append(found)
                return {"content": []}
            return found

        result = self._means.ask_in(call, _CALL, params, _tool_result(), name, begin)
        return begun[0] if begun else result

    def get(self, task_id: str, **options: Unpack[CallOptions]) -> Task:
        """Return a task as it is now.

        Raises:
            MCPError: The server does not know it (any more).
            MCPSyncError: See :mod:`mcpsync.errors`.
        """
        seen: list[Task] = []

        def look(
            request: Request, _: str, __: Mapping[str, Any] | None, call: Call
        ) -> Mapping[str, Any]:
            seen.append(self._watch(request, call).look(task_id))
            return {}

        self._ask("tasks/get", {"taskId": task_id}, options, look)
        return seen[0]

    def result(
        self,
        task_id: str,
        *,
        progress_callback: ProgressCallback | None = None,
        **options: Unpack[CallOptions],
    ) -> CallToolResult:
        """Wait until a task is over, and return what its tool returned.

        Time that runs out here is no reason to cancel the task: ask again later.

        Raises:
            MCPError: It failed, or the server does not know it.
            TaskCancelled: It was cancelled.
            InputRequired: The server wants to know something first: see :meth:`update`.
            MCPSyncError: See :mod:`mcpsync.errors`; each carries the ``task_id``.
        """

        def wait(
            request: Request, _: str, __: Mapping[str, Any] | None, call: Call
        ) -> Mapping[str, Any]:
            return self._watch(request, call).result_of(task_id)

        call = self._means.call(options, progress_callback)
        found: CallToolResult = self._means.ask_in(
            call, "tasks/get", None, _tool_result(), None, wait
        )
        return found

    def update(
        self,
        task_id: str,
        input_responses: Mapping[str, Mapping[str, Any]],
        **options: Unpack[CallOptions],
    ) -> None:
        """Tell a task of a modern server what it wanted to know.

        Args:
            task_id: The task.
            input_responses: The results of its ``input_requests``, by their keys.
            options: See :class:`CallOptions`.
        """
        params = {"taskId": task_id, "inputResponses": input_responses}
        self._ask("tasks/update", params, options)

    def go_on(
        self,
        task_id: str,
        input_responses: Mapping[str, Any],
        **options: Unpack[CallOptions],
    ) -> CallToolResult:
        """Tell a task what it wanted to know, and wait for its result: as both do, in one."""

        def answer(
            request: Request, _: str, __: Mapping[str, Any] | None, call: Call
        ) -> Mapping[str, Any]:
            return self._watch(request, call).go_on(task_id, input_responses)

        call = self._means.call(options)
        found: CallToolResult = self._means.ask_in(
            call, "tasks/update", None, _tool_result(), None, answer
        )
        return found

    def cancel(self, task_id: str, **options: Unpack[CallOptions]) -> None:
        """Ask the server to stop working on a task. It may be over before it heard of that.

        Raises:
            MCPError: The server does not know it, or it is over already.
            MCPSyncError: See :mod:`mcpsync.errors`.
        """
        self._ask("tasks/cancel", {"taskId": task_id}, options)

    def list(self, **options: Unpack[CallOptions]) -> Iterator[Task]:
        """Yield every task the server shows us, page by page; *timeout* is for each page.

        Raises:
            FeatureUnsupported: It does not list them; modern servers never do.
            MCPSyncError: See :mod:`mcpsync.errors`.
        """
        check_options(options)

        def fetch(cursor: str | None) -> dict[str, Any]:
            params = None if cursor is None else {"cursor": cursor}
            return self._ask("tasks/list", params, options, self._list)

        return self._means.pages_of(
            fetch,
            lambda page: [task_of(each, Era.LEGACY) for each in _listed(page.get("tasks"))],
            lambda page: page.get("nextCursor"),
        )

    def _list(
        self, request: Request, method: str, params: Mapping[str, Any] | None, call: Call
    ) -> Mapping[str, Any]:
        session = self._means.keeper.session(call)
        declared = None if session.era is Era.MODERN else _capability(session, call)
        if declared is None or declared.list is None:
            raise _unsupported("tasks.list")
        return request(method, params, call)

    def _watch(self, request: Request, call: Call) -> TaskWatch:
        era = self._means.keeper.session(call).era
        return TaskWatch(request, call, era, self._means.answer)

    def _ask(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        options: CallOptions,
        through: Any = None,
    ) -> dict[str, Any]:
        call = self._means.call(options)
        try:
            found: dict[str, Any]
            found = self._means.ask_in(call, method, params, Anything, None, through).root
            return found
        except MCPSyncError as error:
            error.task_id = error.task_id or (params or {}).get("taskId")
            raise


def _is_task(name: str, support: str | None, wanted: bool | None) -> bool:
    """Say whether a call is to be a task. (Requirements 4.6)"""
    if support is None and wanted:
        raise _unsupported(f"tasks of the tool {name!r}")
    return support == "required" or (support == "optional" and bool(wanted))


def _begun(
    request: Request,
    params: Mapping[str, Any],
    call: Call,
    ttl: float | None,
    token: str | None,
) -> dict[str, Any] | Task:
    task: dict[str, Any] = {} if ttl is None else {"ttl": round(ttl * 1000)}
    if token is not None:
        call = replace(call, meta={**(call.meta or {}), "progressToken": token})
    result = request(_CALL, {**params, "task": task}, call)
    made = result.get("task")
    return task_of(made, Era.LEGACY) if isinstance(made, Mapping) else result


def _capability(session: ClientSession, call: Call) -> ServerTasksCapability | None:
    return session.facts(call).capabilities.tasks


def _declared(session: ClientSession, call: Call) -> object | None:
    """Return what a legacy server says of tool calls as tasks; None if nothing."""
    declared = _capability(session, call)
    requests = declared.requests if declared is not None else None
    return requests.tools.call if requests is not None and requests.tools is not None else None


def _listed(items: Any) -> list[dict[str, Any]]:
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []


def _unsupported(feature: str) -> FeatureUnsupported:
    return FeatureUnsupported(f"the server does not offer {feature}.", feature=feature)


def _tool_result() -> type[CallToolResult]:
    from mcp_types import CallToolResult

    return CallToolResult
