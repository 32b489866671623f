"""What a server asks of the client, and the one way in which it is answered, in both eras.

A request of a legacy server and an input request of a modern one (``inputRequests``) come by here:
elicitation, sampling, roots. (Requirements L8, 4.5, 5.4, section 8.) What cannot be answered is a
:class:`Refusal`; what that means is for the era to say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

from ..errors import ConfigurationError, InputRequired
from ..protocol import codec, forms
from ..protocol.codec import Message
from ..protocol.versions import Era
from .sampling import objection_to
from .wire import dumped, first_fault

if TYPE_CHECKING:
    import mcp_types as types
    from pydantic import BaseModel

logger = logging.getLogger(__name__)

ELICIT: Final = "elicitation/create"
SAMPLE: Final = "sampling/createMessage"
ROOTS: Final = "roots/list"
MOST_QUESTIONS: Final = 100  # requests of the server that one call answers

ElicitationCallback: TypeAlias = (
    "Callable[[ClientRequestContext, types.ElicitRequestParams], "
    "types.ElicitResult | types.ErrorData]"
)
SamplingCallback: TypeAlias = (
    "Callable[[ClientRequestContext, types.CreateMessageRequestParams], "
    "types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData]"
)
ListRootsCallback: TypeAlias = (
    "Callable[[ClientRequestContext], types.ListRootsResult | types.ErrorData]"
)


@dataclass(frozen=True, slots=True)
class ClientRequestContext:
    """Who asks, and for whom. Given to the callbacks that answer a server.

    Attributes:
        server_name: The server, as configured, or its URL or command.
        user_id: The user whose connection it is, if a manager made it.
        method: What the server requests, such as ``"elicitation/create"``.
        request_id: The id of the server's request; in the modern era its key.
        meta: The ``_meta`` of the server's request, if it has one.
    """

    server_name: str
    user_id: str | None
    method: str
    request_id: str | int
    meta: Mapping[str, Any] | None = None


class Refusal(Exception):
    """A request of the server gets no result: why, as an error reply says it. Stays in here.

    Args:
        code: The JSON-RPC code.
        text: Why, for the server.
        data: Whatever is to be attached.
        later: Whether the application wants to answer later.
    """

    def __init__(self, code: int, text: str, data: Any = None, *, later: bool = False) -> None:
        super().__init__(text)
        self.code, self.text, self.data, self.later = code, text, data, later


def accept_defaults(
    context: ClientRequestContext, params: types.ElicitRequestParams
) -> types.ElicitResult:
    """Accept a form with its defaults; decline to open a URL. Use as ``elicitation_callback``."""
    from mcp_types import ElicitResult

    return ElicitResult(action="accept" if params.mode == "form" else "decline")


def answer_later(context: ClientRequestContext, params: Any = None) -> Any:
    """Leave the answer for later: the call raises ``InputRequired``. Use as any of the callbacks.

    A legacy server cannot wait: a form is cancelled there, anything else refused.

    Raises:
        InputRequired: Always.
    """
    raise InputRequired(f"{context.method} is to be answered later.")


@dataclass(frozen=True, slots=True)
class Answers:
    """How one client answers its server. Thread-safe if its callbacks are.

    Args:
        server_name: What the callbacks are told of whom they answer.
        user_id: Whose connection it is, if a manager made it.
        elicitation: Asks the user.
        elicitation_capabilities: Which modes it can; forms alone by default.
        sampling: Asks a language model.
        sampling_capabilities: What it can besides.
        roots: Says which directories the server may look at.
    """

    server_name: str = ""
    user_id: str | None = None
    elicitation: ElicitationCallback | None = None
    elicitation_capabilities: types.ElicitationCapability | None = None
    sampling: SamplingCallback | None = None
    sampling_capabilities: types.SamplingCapability | None = None
    roots: ListRootsCallback | None = None

    def capabilities(self, era: Era) -> dict[str, Any]:
        """Return what there is a callback for, as it goes over the wire."""
        found: dict[str, Any] = {}
        if self.elicitation is not None:
            found["elicitation"] = _declared(self.elicitation_capabilities) or {"form": {}}
        if self.sampling is not None:
            found["sampling"] = _declared(self.sampling_capabilities)
        if self.roots is not None:
            found["roots"] = {"listChanged": True} if era is Era.LEGACY else {}
        return found

    @property
    def visits_urls(self) -> bool:
        """Whether URL mode was declared."""
        declared = self.elicitation_capabilities
        return self.elicitation is not None and declared is not None and declared.url is not None

    def reply_to(self, message: Message) -> Message:
        """Return the reply to a request of a legacy server. (Requirement L8)"""
        request_id, method = message["id"], message["method"]
        if method == "ping":
            return codec.result_reply(request_id, {})
        try:
            result = self.answer(method, codec.params_of(message), request_id)
        except Refusal as refusal:
            if refusal.later and method == ELICIT:  # it waits, and the user was not asked
                return codec.result_reply(request_id, {"action": "cancel"})
            return _error_reply(request_id, refusal)
        return codec.result_reply(request_id, result)

    def answer(
        self, method: str, params: Mapping[str, Any], request_id: str | int
    ) -> dict[str, Any]:
        """Ask the callback, and return its answer as it goes over the wire.

        Raises:
            Refusal: There is no answer. What the callback did wrong has been logged.
        """
        asked = self.understood(method, params)
        meta = params.get("_meta")
        context = ClientRequestContext(
            self.server_name,
            self.user_id,
            method,
            request_id,
            meta if isinstance(meta, Mapping) else None,
        )
        try:
            return answer_on_wire(method, asked, self._ask(context, asked))
        except Refusal:
            raise
        except InputRequired as later:
            logger.info("[%s] %s is left for later", self.server_name, method)
            raise Refusal(codec.INTERNAL_ERROR, "Nobody can answer now", later=True) from later
        except ConfigurationError as error:
            logger.error("[%s] the answer to %s was not sent: %s", self.server_name, method, error)
            raise Refusal(codec.INTERNAL_ERROR, f"No answer: {error.message}") from error
        except Exception as error:
            logger.exception("[%s] the callback for %s failed", self.server_name, method)
            raise Refusal(codec.INTERNAL_ERROR, "No answer: the callback failed") from error

    def understood(self, method: str, params: Mapping[str, Any]) -> BaseModel | None:
        """Return the params of a request that there is somebody to answer.

        Raises:
            Refusal: There is nobody, or the request is not as it should be.
        """
        if method not in self._callbacks:
            raise Refusal(codec.METHOD_NOT_FOUND, f"Method not found: {method}")
        asked = understood(method, params)
        if method == ELICIT:
            self._check_mode(asked)
        elif method == SAMPLE:
            offered = self.sampling_capabilities
            objection = objection_to(asked, offered is not None and offered.tools is not None)
            if objection is not None:
                raise Refusal(codec.INVALID_PARAMS, objection)
        return asked

    @property
    def _callbacks(self) -> dict[str, Callable[..., Any]]:
        given = {ELICIT: self.elicitation, SAMPLE: self.sampling, ROOTS: self.roots}
        return {method: callback for method, callback in given.items() if callback is not None}

    def _ask(self, context: ClientRequestContext, asked: BaseModel | None) -> Any:
        callback = self._callbacks[context.method]
        return callback(context) if context.method == ROOTS else callback(context, asked)

    def _check_mode(self, asked: Any) -> None:
        declared = self.elicitation_capabilities
        form = declared is None or declared.form is not None or declared.url is None
        if asked.mode == "form" and not form:
            raise Refusal(codec.INVALID_PARAMS, "Forms were not declared")
        if asked.mode == "url":
            if not self.visits_urls:
                raise Refusal(codec.INVALID_PARAMS, "URL mode was not declared")
            if not is_web_url(asked.url):
                logger.warning("[%s] a URL that is not http(s) was refused", self.server_name)
                raise Refusal(codec.INVALID_PARAMS, "The URL must be http or https")


def understood(method: str, params: Mapping[str, Any]) -> BaseModel | None:
    """Return the params of a server's request as their model.

    Raises:
        Refusal: They are not as they should be, or nobody knows the method.
    """
    from mcp_types import (
        CreateMessageRequestParams,
        ElicitRequestFormParams,
        ElicitRequestURLParams,
    )
    from pydantic import ValidationError

    if method == ROOTS:
        return None
    models: dict[str, Any] = {SAMPLE: CreateMessageRequestParams}
    if method == ELICIT:
        mode = params.get("mode", "form")
        found = {"form": ElicitRequestFormParams, "url": ElicitRequestURLParams}.get(str(mode))
        if found is None:
            raise Refusal(codec.INVALID_PARAMS, f"There is no mode {mode!r:.40}")
        models[ELICIT] = found
    if method not in models:
        raise Refusal(codec.METHOD_NOT_FOUND, f"Method not found: {method}")
    try:
        return cast("BaseModel", models[method].model_validate(dict(params)))
    except ValidationError as error:
        field, fault = first_fault(error)
        raise Refusal(codec.INVALID_PARAMS, f"{field}: {fault}") from error


def answer_on_wire(method: str, asked: BaseModel | None, given: Any) -> dict[str, Any]:
    """Return what the application answered as it goes over the wire.

    Args:
        method: What was asked.
        asked: The params of that.
        given: An ``mcp_types`` result, or a mapping like one.

    Raises:
        Refusal: It answered with an ``ErrorData``.
        ConfigurationError: It is no answer to what was asked; it says why.
    """
    from mcp_types import CreateMessageResultWithTools, ElicitResult, ErrorData, ListRootsResult
    from pydantic import ValidationError

    if isinstance(given, ErrorData):
        raise Refusal(given.code, given.message, given.data)
    models: dict[str, Any] = {
        ELICIT: ElicitResult,
        SAMPLE: CreateMessageResultWithTools,
        ROOTS: ListRootsResult,
    }
    try:
        result = without_type(models[method].model_validate(plain(given)))
    except ValidationError as error:
        field, fault = first_fault(error)
        text = f"this is no answer to {method}: {field or 'it'}: {fault}."
        raise ConfigurationError(text) from error
    if method == ELICIT:
        result = _elicited(asked, result)
    codec.encode(result)  # now, since a reply that cannot be sent would leave the server waiting
    return result


def _error_reply(request_id: str | int, refusal: Refusal) -> Message:
    reply = codec.error_reply(request_id, refusal.code, refusal.text, refusal.data)
    try:
        codec.encode(reply)
    except ConfigurationError as error:
        logger.error("the data of an ErrorData was not sent: %s", error)
        return codec.error_reply(request_id, refusal.code, refusal.text)
    return reply


def _elicited(asked: Any, result: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to an elicitation: content is for forms that were accepted."""
    content = result.pop("content", None) or {}
    if result["action"] != "accept" or asked.mode == "url":
        return result
    content = forms.filled_in(asked.requested_schema, content)
    wrong = forms.problem(asked.requested_schema, content)
    if wrong is not None:
        raise ConfigurationError(f"the answer does not fit the server's form: {wrong}.")
    return {**result, "content": content}


def is_web_url(url: str) -> bool:
    """Whether *url* is one that a browser may be shown: http or https, with a host."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    clean = url.isprintable() and not any(letter.isspace() for letter in url)
    return clean and parts.scheme in ("http", "https") and bool(host)


def plain(given: Any) -> Any:
    """Return an answer as JSON has it: a model as it goes over the wire, anything else as it is."""
    return without_type(given) if hasattr(given, "model_dump") else given


def without_type(model: BaseModel) -> dict[str, Any]:
    """Return *model* as it goes over the wire; an answer has no ``resultType``."""
    found = dumped(model)
    found.pop("resultType", None)
    return found


def _declared(capabilities: BaseModel | None) -> dict[str, Any]:
    return {} if capabilities is None else dumped(capabilities)
