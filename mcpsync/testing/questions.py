"""Tools, a prompt and a resource that ask the client for something."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .asking import Asker, Questions, Refused
from .call import Call
from .jsonrpc import URL_ELICITATION_REQUIRED, JSONObject, RPCError, encode

FORM: JSONObject = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Name", "minLength": 1, "default": "Ada"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150, "default": 36},
        "height": {"type": "number", "default": 1.65},
        "newsletter": {"type": "boolean", "default": True},
        "colour": {"type": "string", "enum": ["red", "green"], "default": "green"},
        "size": {
            "type": "string",
            "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}],
            "default": "s",
        },
        "days": {
            "type": "array",
            "items": {"enum": ["Monday", "Friday"]},
            "default": ["Friday"],
        },
        "email": {"type": "string", "format": "email"},
    },
    "required": ["name"],
}
PAGE = "https://accounts.example.com/link?of=1"
_NAME: JSONObject = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}


def _tool(name: str, description: str, **properties: JSONObject) -> JSONObject:
    schema = {"type": "object", "properties": properties, "required": []}
    return {"name": name, "description": description, "inputSchema": schema}


_TIMES: JSONObject = {"type": "integer", "minimum": 0}
ASKING_TOOLS: tuple[JSONObject, ...] = (
    _tool("ask_form", "Ask the user to fill in a form that has a default almost everywhere."),
    _tool("ask_url", "Ask the user to visit a page.", url={"type": "string"}),
    _tool(
        "ask_url_first",
        "Refuse to do anything (-32042, legacy) until it was called so many times.",
        url={"type": "string"},
        times=_TIMES,
    ),
    _tool("ask_model", "Ask the user's language model.", prompt={"type": "string"}),
    _tool("ask_roots", "Ask for the roots."),
    _tool("ask_all", "Ask for a form, the model and the roots at once, without a state."),
    _tool("ask_twice", "Ask for a name, and whether it is right."),
    _tool("ask_often", "Ask for a name so many times.", times=_TIMES),
    _tool("come_again", "Ask for nothing, so many times (modern).", times=_TIMES),
)
ASKING_PROMPT: JSONObject = {"name": "introduce", "description": "Ask for a name, then greet."}
ASKING_RESOURCE: JSONObject = {
    "uri": "test://asked/name",
    "name": "asked",
    "title": "A name that is asked for",
    "mimeType": "text/plain",
}


def form(message: str, schema: JSONObject) -> tuple[str, JSONObject]:
    """Build the request for a form."""
    params = {"mode": "form", "message": message, "requestedSchema": schema}
    return "elicitation/create", params


class Questioner:
    """What asks; safe to call from many threads.

    Lock: _lock guards _visits.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._lock = threading.Lock()
        self._visits: dict[object, int] = {}
        self.tools: dict[str, Callable[[Call, JSONObject], JSONObject]] = {
            "ask_form": self._one(lambda _: form("Who are you?", FORM)),
            "ask_url": self._ask_url,
            "ask_url_first": self._ask_url_first,
            "ask_model": self._one(_sampling),
            "ask_roots": self._one(lambda _: ("roots/list", {})),
            "ask_all": self._ask_all,
            "ask_twice": self._ask_twice,
            "ask_often": self._ask_often,
            "come_again": self._come_again,
        }

    def prompt(self, call: Call) -> JSONObject:
        """Answer ``prompts/get`` of ``introduce``."""
        text = f"Say hello to {self._ask_name(call)}."
        message = {"role": "user", "content": {"type": "text", "text": text}}
        return {"messages": [message]}

    def resource(self, call: Call) -> JSONObject:
        """Answer ``resources/read`` of ``test://asked/name``."""
        uri = ASKING_RESOURCE["uri"]
        text = self._ask_name(call)
        return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": text}]}

    def _ask_name(self, call: Call) -> str:
        answers = self._asker.begin(call).ask({"name": form("Your name?", _NAME)})
        return str(answers["name"].get("content", {}).get("name", "nobody"))

    def _one(
        self, build: Callable[[JSONObject], tuple[str, JSONObject]]
    ) -> Callable[[Call, JSONObject], JSONObject]:
        def run(call: Call, arguments: JSONObject) -> JSONObject:
            return self._asked(call, {"answer": build(arguments)})

        return run

    def _asked(self, call: Call, questions: Questions, *, state: bool = True) -> JSONObject:
        try:
            answers = self._asker.begin(call).ask(questions, state=state)
        except Refused as refused:
            return _refusal(refused)
        return _told(answers["answer"] if list(answers) == ["answer"] else answers)

    def _ask_url(self, call: Call, arguments: JSONObject) -> JSONObject:
        return self._asked(call, {"answer": ("elicitation/create", _visit(call, arguments))})

    def _ask_url_first(self, call: Call, arguments: JSONObject) -> JSONObject:
        if call.era == "modern":
            return self._ask_url(call, arguments)
        with self._lock:
            key = (call.session.id, call.identity.key, arguments.get("url", PAGE))
            self._visits[key] = before = self._visits.get(key, 0) + 1
        if before <= arguments.get("times", 1):
            data = {"elicitations": [_visit(call, arguments)]}
            raise RPCError(URL_ELICITATION_REQUIRED, "Visit a page first", data)
        return _told({"visits": before - 1})

    def _ask_all(self, call: Call, _: JSONObject) -> JSONObject:
        questions: Questions = {
            "form": form("Who are you?", FORM),
            "model": _sampling({}),
            "roots": ("roots/list", {}),
        }
        return self._asked(call, questions, state=False)

    def _ask_twice(self, call: Call, _: JSONObject) -> JSONObject:
        try:
            dialogue = self._asker.begin(call)
            name = dialogue.ask({"name": form("Your name?", _NAME)})["name"]
            said = name.get("content", {}).get("name", "")
            sure = {"type": "object", "properties": {"sure": {"type": "boolean"}}}
            again = dialogue.ask({"sure": form(f"Are you {said}?", sure)})["sure"]
        except Refused as refused:
            return _refusal(refused)
        return _told({"name": name, "sure": again})

    def _ask_often(self, call: Call, arguments: JSONObject) -> JSONObject:
        try:
            dialogue = self._asker.begin(call)
            times = range(1, arguments.get("times", 3) + 1)
            answers = [dialogue.ask({"name": form(f"Name {n}?", _NAME)}) for n in times]
        except Refused as refused:
            return _refusal(refused)
        return _told({"answers": [each["name"] for each in answers]})

    def _come_again(self, call: Call, arguments: JSONObject) -> JSONObject:
        dialogue = self._asker.begin(call)
        times = arguments.get("times", 1)
        for _ in range(times):
            dialogue.ask({})
        return _told({"times": times})


def _visit(call: Call, arguments: JSONObject) -> JSONObject:
    params = {"mode": "url", "message": "Link your account.", "url": arguments.get("url", PAGE)}
    return params if call.era == "modern" else {**params, "elicitationId": "visit-1"}


def _sampling(arguments: JSONObject) -> tuple[str, JSONObject]:
    text = arguments.get("prompt", "Say hello.")
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return "sampling/createMessage", {"messages": [message], "maxTokens": 100}


def _told(answer: JSONObject) -> JSONObject:
    text = encode(answer).decode()
    return {"content": [{"type": "text", "text": text}], "structuredContent": answer}


def _refusal(refused: Refused) -> JSONObject:
    return {**_told({"error": refused.error}), "isError": True}
