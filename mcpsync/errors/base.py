"""The base of every error: what happened, with whom, and whether it may have run."""

from __future__ import annotations

import copyreg
from typing import Any, Self

_MAY_HAVE_RUN = "The server may have run it, and it was not repeated."
_HAS_NOT_RUN = "The server has not run it."


class MCPSyncError(Exception):
    """The base of every error mcpsync raises on purpose.

    Args:
        message: What happened, as a sentence.
        maybe_executed: Whether the server may have run the request.
        context: Any of the public attributes below, by name.

    Attributes:
        message: What happened, as a sentence, without the context that ``str()`` puts around it.
        server_name: The server it happened with, as configured, or its URL or command.
        user_id: The user whose connection it was, if a manager made it.
        tool_name: The tool that was called, if one was.
        method: The MCP method that was requested, if one was.
        task_id: The task that the call had become, if it had; see ``client.tasks``.
        maybe_executed: Whether the server may have run the request.
        retryable: Whether trying again later may help.
    """

    server_name: str | None = None
    user_id: str | None = None
    tool_name: str | None = None
    method: str | None = None
    task_id: str | None = None
    maybe_executed: bool = False
    retryable: bool = False

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        for name, value in context.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
            setattr(self, name, value)

    def __str__(self) -> str:
        known = (("server", self.server_name), ("user", self.user_id), ("tool", self.tool_name))
        where = [f"{label} {value!r}" for label, value in known if value is not None]
        text = f"{', '.join(where)}: {self.message}" if where else self.message
        return f"{text} {self._verdict()}".rstrip()

    def _verdict(self) -> str:
        """Say whether the tool ran, if one was called."""
        if self.tool_name is None:
            return ""
        return _MAY_HAVE_RUN if self.maybe_executed else _HAS_NOT_RUN

    def __reduce__(self) -> tuple[Any, ...]:
        made = copyreg.__newobj__  # type: ignore[attr-defined] # as pickle itself does
        return made, (type(self), *self.args), {**self.__dict__, "args": self.args}

    def with_context(
        self,
        *,
        server_name: str | None = None,
        user_id: str | None = None,
        tool_name: str | None = None,
        method: str | None = None,
    ) -> Self:
        """Fill in whatever is not known yet, and return the error itself."""
        self.server_name = self.server_name if self.server_name is not None else server_name
        self.user_id = self.user_id if self.user_id is not None else user_id
        self.tool_name = self.tool_name if self.tool_name is not None else tool_name
        self.method = self.method if self.method is not None else method
        return self
