"""The methods of the protocol, without any transport."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from .asking import Asker, InputNeeded, Refused
from .call import Call, Options
from .catalogue import (
    COMPLETIONS,
    CONTENTS,
    INSTRUCTIONS,
    PROMPTS,
    RESOURCES,
    SERVER_INFO,
    TEMPLATE_PREFIX,
    TEMPLATES,
    TOOLS,
)
from .journal import Journal
from .jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    LATEST_LEGACY,
    LEGACY_VERSIONS,
    LOG_LEVELS,
    META_SERVER_INFO,
    METHOD_NOT_FOUND,
    MODERN_VERSIONS,
    RESOURCE_NOT_FOUND,
    Era,
    JSONObject,
    RPCError,
)
from .questions import ASKING_PROMPT, ASKING_RESOURCE, ASKING_TOOLS, Questioner
from .skills import SKILLS_EXTENSION, SkillShelf
from .tasks import TASK_TOOL_NAMES, TASK_TOOLS, TASKS_CAPABILITY, TASKS_EXTENSION, TaskStore
from .tools import Tools

_CACHEABLE = frozenset(
    {
        "server/discover",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "skills/list",
        "skills/get",
    }
)
_CAPABILITIES: JSONObject = {
    "tools": {"listChanged": True},
    "resources": {},
    "prompts": {},
    "completions": {},
    "logging": {},
}

Handler = Callable[[Call], JSONObject]


class Dispatcher:
    """Answers the methods of both eras; safe to call from many threads."""

    def __init__(self, options: Options, journal: Journal) -> None:
        self._options = options
        self.tasks = TaskStore(journal)
        self.skills = SkillShelf()
        asking = ASKING_TOOLS if options.asks else ()
        questioner = self._questioner = Questioner(Asker(journal))
        tasks = TASK_TOOLS if options.tasks else ()
        own_tools = (*TOOLS, *asking, *tasks, *options.extra_tools)
        self.tools = Tools(own_tools, journal.add_execution, questioner.tools)
        resources = (*RESOURCES, ASKING_RESOURCE) if options.asks else RESOURCES
        prompts = (*PROMPTS, ASKING_PROMPT) if options.asks else PROMPTS
        shared: dict[str, Handler] = {
            "tools/list": self._list_tools,
            "tools/call": self.tools.run,
            "resources/list": lambda call: self._page(call, "resources", resources),
            "resources/templates/list": lambda call: self._page(
                call, "resourceTemplates", TEMPLATES
            ),
            "resources/read": self._read_resource,
            "prompts/list": lambda call: self._page(call, "prompts", prompts),
            "prompts/get": self._get_prompt,
            "completion/complete": _complete,
        }
        self._handlers: dict[Era, dict[str, Handler]] = {
            "legacy": {
                **shared,
                "initialize": lambda call: _initialize(call, self._capabilities("legacy")),
                "ping": lambda _: {},
                "logging/setLevel": _set_level,
            },
            "modern": {
                **shared,
                "server/discover": lambda _: _discover(self._capabilities("modern")),
            },
        }
        if options.tasks:
            self._handlers["legacy"] |= self.tasks.legacy_handlers()
            self._handlers["modern"] |= self.tasks.modern_handlers()
            for name in TASK_TOOL_NAMES:
                self.tools.define(name, self.tasks.create)
        if options.skills:
            for handlers in self._handlers.values():
                handlers |= self.skills.handlers(self._page, handlers["resources/read"])

    def run(self, call: Call) -> JSONObject:
        """Carry out *call* and return its result, complete for its era.

        Raises:
            RPCError: What the client is to be told instead.
            CallCancelled: The caller has cancelled or gone away.
        """
        handler = self._handlers[call.era].get(call.method)
        if handler is None:
            raise RPCError(METHOD_NOT_FOUND, f"Method not found: {call.method}")
        try:
            result = handler(call)
        except InputNeeded as needed:
            return needed.result
        except Refused as refused:
            raise RPCError(INTERNAL_ERROR, f"No answer: {refused}") from refused
        return result if call.era == "legacy" else self._modernise(call.method, result)

    def knows(self, era: Era, method: str) -> bool:
        """Say whether there is such a method in *era*."""
        return method in self._handlers[era]

    def _modernise(self, method: str, result: JSONObject) -> JSONObject:
        result = {**result, "_meta": {META_SERVER_INFO: SERVER_INFO}}
        if not self._options.omit_result_type:
            result.setdefault("resultType", "complete")
        if method in _CACHEABLE:
            private = method == "resources/read"
            result |= {"ttlMs": 60_000, "cacheScope": "private" if private else "public"}
        return result

    def _capabilities(self, era: Era) -> JSONObject:
        found = dict(_CAPABILITIES)
        if self.tools.catalogue is None:
            del found["tools"]
        extensions: JSONObject = {}
        if self._options.tasks and era == "legacy":
            found["tasks"] = TASKS_CAPABILITY
        elif self._options.tasks:
            extensions[TASKS_EXTENSION] = {}
        if self._options.skills:
            extensions[SKILLS_EXTENSION] = {"directoryRead": self.skills.directory_read}
        return {**found, "extensions": extensions} if extensions else found

    def _read_resource(self, call: Call) -> JSONObject:
        asks = self._options.asks and call.params.get("uri") == ASKING_RESOURCE["uri"]
        return self._questioner.resource(call) if asks else _read_resource(call)

    def _get_prompt(self, call: Call) -> JSONObject:
        asks = self._options.asks and call.params.get("name") == ASKING_PROMPT["name"]
        return self._questioner.prompt(call) if asks else _get_prompt(call)

    def _list_tools(self, call: Call) -> JSONObject:
        offered = self.tools.catalogue
        if offered is None:
            raise RPCError(METHOD_NOT_FOUND, "Method not found: tools/list")
        return self._page(call, "tools", offered)

    def _page(self, call: Call, key: str, items: tuple[JSONObject, ...]) -> JSONObject:
        start = _decode_cursor(call.params.get("cursor"), key, len(items))
        size = self._options.page_size or len(items)
        result: JSONObject = {key: list(items[start : start + size])}
        if start + size < len(items):
            result["nextCursor"] = encode_cursor(key, start + size)
        return result


def encode_cursor(key: str, start: int) -> str:
    """Make the opaque cursor of the page of *key* that begins at *start*."""
    return base64.urlsafe_b64encode(f"{key}:{start}".encode()).decode()


def _decode_cursor(cursor: object, key: str, length: int) -> int:
    if cursor is None:
        return 0
    try:
        listed, _, start = base64.urlsafe_b64decode(str(cursor)).decode().partition(":")
        if listed == key and 0 <= int(start) < length:
            return int(start)
    except ValueError:
        pass
    raise RPCError(INVALID_PARAMS, "Invalid cursor")


def _initialize(call: Call, capabilities: JSONObject) -> JSONObject:
    params = call.params
    info = params.get("clientInfo")
    requested = params.get("protocolVersion")
    if not isinstance(requested, str) or not isinstance(params.get("capabilities"), dict):
        raise RPCError(INVALID_PARAMS, "Invalid params: protocolVersion, capabilities are needed")
    if not isinstance(info, dict) or not {"name", "version"} <= info.keys():
        raise RPCError(INVALID_PARAMS, "Invalid params: clientInfo needs name and version")
    call.session.capabilities = params["capabilities"]
    call.session.version = requested if requested in LEGACY_VERSIONS else LATEST_LEGACY
    return {
        "protocolVersion": call.session.version,
        "capabilities": capabilities,
        "serverInfo": SERVER_INFO,
        "instructions": INSTRUCTIONS,
    }


def _discover(capabilities: JSONObject) -> JSONObject:
    return {
        "supportedVersions": list(MODERN_VERSIONS),
        "capabilities": capabilities,
        "instructions": INSTRUCTIONS,
    }


def _set_level(call: Call) -> JSONObject:
    level = call.params.get("level")
    if level not in LOG_LEVELS:
        raise RPCError(INVALID_PARAMS, f"Invalid log level: {level}")
    call.session.log_level = str(level)
    return {}


def _read_resource(call: Call) -> JSONObject:
    uri = call.params.get("uri")
    if not isinstance(uri, str):
        raise RPCError(INVALID_PARAMS, "Invalid params: uri must be a string")
    found = CONTENTS.get(uri)
    if found is None and uri.startswith(TEMPLATE_PREFIX) and uri != TEMPLATE_PREFIX:
        name = uri.removeprefix(TEMPLATE_PREFIX)
        found = {"mimeType": "text/plain", "text": f"Hello, {name}!"}
    if found is None:
        code = RESOURCE_NOT_FOUND if call.era == "legacy" else INVALID_PARAMS
        raise RPCError(code, f"Resource not found: {uri}", {"uri": uri})
    return {"contents": [{"uri": uri, **found}]}


def _get_prompt(call: Call) -> JSONObject:
    name = call.params.get("name")
    arguments = call.params.get("arguments") or {}
    if not isinstance(arguments, dict) or not all(isinstance(v, str) for v in arguments.values()):
        raise RPCError(INVALID_PARAMS, "Invalid params: prompt arguments must be strings")
    if name == "summary":
        return _prompt("Ask for a summary.", "Summarise what we have said.")
    if name != "greet":
        raise RPCError(INVALID_PARAMS, f"Unknown prompt: {name}")
    if "name" not in arguments:
        raise RPCError(INVALID_PARAMS, "Missing required argument: name")
    language = arguments.get("language", "english")
    return _prompt("Ask for a greeting.", f"Greet {arguments['name']} in {language}.")


def _prompt(description: str, text: str) -> JSONObject:
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return {"description": description, "messages": [message]}


def _complete(call: Call) -> JSONObject:
    ref, argument = call.params.get("ref"), call.params.get("argument")
    if not isinstance(ref, dict) or not isinstance(argument, dict):
        raise RPCError(INVALID_PARAMS, "Invalid params: ref and argument are needed")
    kinds: dict[Any, str] = {"ref/prompt": "name", "ref/resource": "uri"}
    if ref.get("type") not in kinds or not isinstance(argument.get("value"), str):
        raise RPCError(INVALID_PARAMS, "Invalid params: ref or argument is malformed")
    target = str(ref.get(kinds[ref["type"]]))
    if target not in {known for known, _ in COMPLETIONS}:
        raise RPCError(INVALID_PARAMS, f"Unknown reference: {target}")
    known = COMPLETIONS.get((target, str(argument.get("name"))), ())
    values = [value for value in known if value.startswith(argument["value"])]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}}
