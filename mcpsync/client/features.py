"""The requests a client makes, a method for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import BaseModel

from ..errors import ConfigurationError, InputRequired, MCPError, MCPSyncError
from ..protocol.listening import Wanted
from ..session.base import Call
from ..session.callbacks import ProgressCallback
from .asking import Through
from .caching import CacheMode
from .calling import Calling
from .options import CallOptions
from .resuming import inputs_of, resumption_of
from .skills import Skills
from .tasks import Tasks, ToolTasks

if TYPE_CHECKING:
    import mcp_types as types

    from .subscriptions import Subscription


class Features(Calling):
    """Tools, resources, prompts and the rest of what a server may be asked."""

    _tool_tasks: ToolTasks

    # -- tools --------------------------------------------------------------------------------

    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        read_timeout_seconds: float | None = None,
        progress_callback: ProgressCallback | None = None,
        *,
        input_responses: Mapping[str, Any] | None = None,
        request_state: str | None = None,
        task: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> types.CallToolResult:
        """Call a tool, once.

        A tool that fails gives a result whose ``is_error`` is true; that is not an exception.
        A call that the server carries out as a task is waited for like any other.

        Args:
            name: The tool.
            arguments: Its arguments, as JSON has them.
            read_timeout_seconds: Another name for *timeout*, as the official SDK has it.
            progress_callback: Called with progress, total and message, on this thread.
            input_responses: Answers to what a modern server wanted first, by its keys; see
                :meth:`resume`, which makes this call.
            request_state: What it wanted back with them.
            task: Whether to have it carried out as a task where the tool leaves that to us.
            options: See :class:`CallOptions`.

        Raises:
            FeatureUnsupported: *task* is true, and the server or the tool has no tasks.
            MCPError: The server turned the call down, for instance because there is no such tool.
            ConnectionLost, RequestTimeout, RequestCancelled: ``maybe_executed`` says whether the
                server may have run the tool.
            InputRequired: A modern server wants something of the user, and no callback answers.
            UrlElicitationRequired: A legacy server wants the user to visit a page first.
            MCPSyncError: See :mod:`mcpsync.errors` for the others.
        """
        if read_timeout_seconds is not None:
            options.setdefault("timeout", read_timeout_seconds)
        inputs = inputs_of(input_responses, request_state)
        call = self._call(options, progress_callback)
        return self._call_tool(call, name, arguments, inputs, task)

    def _call_tool(
        self,
        call: Call,
        name: str,
        arguments: Mapping[str, Any] | None,
        inputs: Mapping[str, Any] | None = None,
        task: bool | None = None,
    ) -> types.CallToolResult:
        from mcp_types import CallToolResult

        arguments = self._object(arguments, "arguments", name)
        params: dict[str, Any] = {"name": name, "arguments": arguments}
        if inputs is not None:
            params.update(inputs)
        through = self._through_tasks(params, task)
        mirroring = self._mirroring(call, name, arguments)
        try:
            result = self._ask_in(mirroring, "tools/call", params, CallToolResult, name, through)
        except MCPError as error:
            mirroring = self._mirroring_anew(mirroring, name, arguments, error)
            result = self._ask_in(mirroring, "tools/call", params, CallToolResult, name, through)
        return self._checked(call, name, result)

    def _through_tasks(self, params: Mapping[str, Any], task: bool | None) -> Through | None:
        """Return what makes a call that may become a task; None if it cannot."""
        tasks = self._tool_tasks
        if not task and tasks.are_out_of_the_question:
            return None
        return lambda request, _, __, call: tasks.call(request, params, call, task, self._answer)

    @property
    def tasks(self) -> Tasks:
        """The tasks of the server, to be begun, asked after, waited for and cancelled."""
        return Tasks(self._means, self._tool_tasks)

    @property
    def skills(self) -> Skills:
        """The skills of the server, to be listed, and loaded once they are verified."""
        return Skills(self._means)

    def list_tools(
        self,
        *,
        cursor: str | None = None,
        cache_mode: CacheMode = "use",
        **options: Unpack[CallOptions],
    ) -> types.ListToolsResult:
        """Return one page of tools; the first, or the one *cursor* stands for.

        In the modern era tools that break the rules of ``x-mcp-header`` are left out, over HTTP.

        Args:
            cursor: The page's, as the page before it named it.
            cache_mode: ``"use"`` takes a page that the server said is still good; ``"refresh"``
                asks and keeps the answer; ``"bypass"`` asks and leaves what is kept alone.
            options: See :class:`CallOptions`.
        """
        from mcp_types import ListToolsResult

        page = self._ask_cached(
            "tools/list", cursor, _page(cursor), ListToolsResult, options, cache_mode
        )
        return self._learn(page, cursor)

    def tools(
        self, *, cache_mode: CacheMode = "use", **options: Unpack[CallOptions]
    ) -> Iterator[types.Tool]:
        """Yield every tool, page by page as they are needed; *timeout* is for each page."""
        return self._every(self.list_tools, lambda page: page.tools, options, cache_mode)

    # -- resources ----------------------------------------------------------------------------

    def list_resources(
        self,
        *,
        cursor: str | None = None,
        cache_mode: CacheMode = "use",
        **options: Unpack[CallOptions],
    ) -> types.ListResourcesResult:
        """Return one page of resources."""
        from mcp_types import ListResourcesResult

        return self._ask_cached(
            "resources/list", cursor, _page(cursor), ListResourcesResult, options, cache_mode
        )

    def resources(
        self, *, cache_mode: CacheMode = "use", **options: Unpack[CallOptions]
    ) -> Iterator[types.Resource]:
        """Yield every resource; *timeout* is for each page."""
        return self._every(self.list_resources, lambda page: page.resources, options, cache_mode)

    def list_resource_templates(
        self,
        *,
        cursor: str | None = None,
        cache_mode: CacheMode = "use",
        **options: Unpack[CallOptions],
    ) -> types.ListResourceTemplatesResult:
        """Return one page of resource templates."""
        from mcp_types import ListResourceTemplatesResult

        method, model = "resources/templates/list", ListResourceTemplatesResult
        return self._ask_cached(method, cursor, _page(cursor), model, options, cache_mode)

    def resource_templates(
        self, *, cache_mode: CacheMode = "use", **options: Unpack[CallOptions]
    ) -> Iterator[types.ResourceTemplate]:
        """Yield every resource template; *timeout* is for each page."""
        fetch = self.list_resource_templates
        return self._every(fetch, lambda page: page.resource_templates, options, cache_mode)

    def read_resource(
        self,
        uri: str,
        *,
        input_responses: Mapping[str, Any] | None = None,
        request_state: str | None = None,
        cache_mode: CacheMode = "use",
        **options: Unpack[CallOptions],
    ) -> types.ReadResourceResult:
        """Return the contents of the resource *uri*.

        Args:
            uri: The resource.
            input_responses: See :meth:`call_tool`.
            request_state: See :meth:`call_tool`.
            cache_mode: See :data:`CacheMode`.
            options: See :class:`CallOptions`.
        """
        from mcp_types import ReadResourceResult

        params: dict[str, Any] = {"uri": str(uri)}
        inputs = inputs_of(input_responses, request_state)
        if inputs is not None:
            params.update(inputs)
            return self._ask("resources/read", params, ReadResourceResult, options)
        model = ReadResourceResult
        return self._ask_cached("resources/read", str(uri), params, model, options, cache_mode)

    def subscribe_resource(self, uri: str, **options: Unpack[CallOptions]) -> types.EmptyResult:
        """Ask a legacy server to tell when the resource *uri* changes.

        It tells whoever listens, or the ``message_handler`` during a call. :meth:`listen` does
        this by itself, in both eras.
        """
        from mcp_types import EmptyResult

        return self._ask("resources/subscribe", {"uri": str(uri)}, EmptyResult, options)

    def unsubscribe_resource(self, uri: str, **options: Unpack[CallOptions]) -> types.EmptyResult:
        """Undo :meth:`subscribe_resource`."""
        from mcp_types import EmptyResult

        return self._ask("resources/unsubscribe", {"uri": str(uri)}, EmptyResult, options)

    # -- hearing of changes ---------------------------------------------------------------------

    def listen(
        self,
        *,
        tools_list_changed: bool = False,
        prompts_list_changed: bool = False,
        resources_list_changed: bool = False,
        resource_subscriptions: Sequence[str] = (),
        **options: Unpack[CallOptions],
    ) -> Subscription:
        """Begin to hear of changes; ``with client.listen(…) as changes: for change in changes``.

        Args:
            tools_list_changed: Whether there are other tools.
            prompts_list_changed: Whether there are other prompts.
            resources_list_changed: Whether there are other resources.
            resource_subscriptions: The resources whose changes are of interest.
            options: See :class:`CallOptions`. *timeout* is for beginning, *cancel* ends it all.

        Raises:
            ListenNotSupported: The server tells nothing by itself.
            ConfigurationError: There is nothing to listen to.
            MCPSyncError: It could not be begun.
        """
        from .subscriptions import Subscription

        wanted = Wanted(
            tools_list_changed,
            prompts_list_changed,
            resources_list_changed,
            resource_subscriptions,
        )
        names = {"server_name": self.server_name, "user_id": self.user_id}
        return Subscription(self._keeper, wanted, self._call(options), names, self._forget_answers)

    # -- prompts, completion, the rest --------------------------------------------------------

    def list_prompts(
        self,
        *,
        cursor: str | None = None,
        cache_mode: CacheMode = "use",
        **options: Unpack[CallOptions],
    ) -> types.ListPromptsResult:
        """Return one page of prompts."""
        from mcp_types import ListPromptsResult

        return self._ask_cached(
            "prompts/list", cursor, _page(cursor), ListPromptsResult, options, cache_mode
        )

    def prompts(
        self, *, cache_mode: CacheMode = "use", **options: Unpack[CallOptions]
    ) -> Iterator[types.Prompt]:
        """Yield every prompt; *timeout* is for each page."""
        return self._every(self.list_prompts, lambda page: page.prompts, options, cache_mode)

    def get_prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        *,
        input_responses: Mapping[str, Any] | None = None,
        request_state: str | None = None,
        **options: Unpack[CallOptions],
    ) -> types.GetPromptResult:
        """Return the messages of the prompt *name*.

        Args:
            name: The prompt.
            arguments: Its arguments.
            input_responses: See :meth:`call_tool`.
            request_state: See :meth:`call_tool`.
            options: See :class:`CallOptions`.
        """
        from mcp_types import GetPromptResult

        params: dict[str, Any] = {"name": name}
        if arguments is not None:
            params["arguments"] = self._object(arguments, "arguments")
        inputs = inputs_of(input_responses, request_state)
        if inputs is not None:
            params.update(inputs)
        return self._ask("prompts/get", params, GetPromptResult, options)

    def complete(
        self,
        ref: types.PromptReference | types.ResourceTemplateReference | Mapping[str, Any],
        argument: Mapping[str, str],
        context_arguments: Mapping[str, str] | None = None,
        **options: Unpack[CallOptions],
    ) -> types.CompleteResult:
        """Return what the server suggests for one argument of a prompt or resource template.

        Args:
            ref: The prompt or the template.
            argument: ``{"name": …, "value": …}``: the argument, and what was typed so far.
            context_arguments: Arguments that are settled already.
            options: See :class:`CallOptions`.
        """
        from mcp_types import CompleteResult

        reference = (
            ref.model_dump(by_alias=True, exclude_none=True) if isinstance(ref, BaseModel) else ref
        )
        params: dict[str, Any] = {"ref": reference, "argument": self._object(argument, "argument")}
        if context_arguments is not None:
            params["context"] = {"arguments": self._object(context_arguments, "context_arguments")}
        return self._ask("completion/complete", params, CompleteResult, options)

    def resume(
        self,
        required: InputRequired,
        responses: Mapping[str, Any],
        **options: Unpack[CallOptions],
    ) -> types.CallToolResult | types.GetPromptResult | types.ReadResourceResult:
        """Make the request again that led to ``InputRequired``, with the answers.

        That may be in another process and much later; it has to be for the same user. The server
        may ask for more, which is an ``InputRequired`` again.

        Args:
            required: What was raised, or made by ``InputRequired.from_dict``.
            responses: The answers by the keys of ``required.requests``, as ``mcp_types`` results
                or mappings. To decline is an answer, too: ``{"action": "decline"}``.
            options: See :class:`CallOptions`.

        Raises:
            ConfigurationError: An answer is missing, is to nothing that was asked, or does not
                fit. Nothing was sent.
            MCPSyncError: As :meth:`call_tool`.
        """
        again = resumption_of(required, responses)
        make: Callable[..., types.CallToolResult] = getattr(self, again.name)
        return make(*again.arguments, **again.keywords, **options)

    def _resume_task(
        self, task_id: str, responses: Mapping[str, Any], **options: Unpack[CallOptions]
    ) -> types.CallToolResult:
        return self.tasks.go_on(task_id, responses, **options)

    def send_roots_list_changed(self, **options: Unpack[CallOptions]) -> None:
        """Tell a legacy server to ask for the roots again; a modern one asks each time.

        Raises:
            ConfigurationError: There is no ``list_roots_callback``, so it knows of no roots.
        """
        call = self._call(options)
        try:
            if self._keeper.answers.roots is None:
                raise ConfigurationError("there are no roots without a list_roots_callback.")
            self._keeper.notify("notifications/roots/list_changed", None, call)
        except MCPSyncError as error:
            error.with_context(server_name=self.server_name, user_id=self.user_id)
            raise

    def send_ping(self, **options: Unpack[CallOptions]) -> types.EmptyResult:
        """Ask a legacy server whether it is there; the modern era has no ping."""
        from mcp_types import EmptyResult

        return self._ask("ping", None, EmptyResult, options)

    def set_logging_level(
        self, level: types.LoggingLevel, **options: Unpack[CallOptions]
    ) -> types.EmptyResult:
        """Ask a legacy server for log messages from *level* on; modern: ``Client(log_level=)``."""
        from mcp_types import EmptyResult

        return self._ask("logging/setLevel", {"level": level}, EmptyResult, options)


def _page(cursor: str | None) -> dict[str, str] | None:
    return None if cursor is None else {"cursor": cursor}
