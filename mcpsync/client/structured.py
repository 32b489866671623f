"""Structured results, held against what the tool says they are. (Requirements 5.8, S12, S13)

Schema and content both come from the server, so neither is trusted to be small, quick or harmless:
nothing is ever fetched, sizes are limited, and so is time, regular expressions included.
"""

from __future__ import annotations

import functools
import json
import marshal
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..errors import StructuredContentInvalid

if TYPE_CHECKING:
    from mcp_types import CallToolResult

MAX_BYTES: Final = 256 * 1024  # of one outputSchema
MAX_SUBSCHEMAS: Final = 2000  # JSON objects in it
MAX_DEPTH: Final = 64
MAX_PATTERN: Final = 2000  # characters of one regular expression
MAX_STEPS: Final = 5_000_000  # keywords applied to one result, and what they have to look at
CHECK_SECONDS: Final = 2.0  # that holding one result against its schema may take
LEAST_SECONDS: Final = 0.1  # of it that an answer has that came at the last moment
LOOK_EVERY: Final = 256  # steps between two looks at the clock

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_BY_VALUE: Final = 2  # the format of marshal in which equal values are equal bytes
_BUNDLED: Final = "json-schema.org"  # documents that jsonschema has at hand

Keyword = Callable[[Any, Any, Any, Any], Any]


class _Unusable(Exception):
    """The schema is none that can be used; the text says why."""


class _TooMuch(Exception):
    """Looking at the result takes more time or steps than it may."""


class OutputSchema:
    """A tool's ``outputSchema``. Thread-safe.

    What it takes to check with it is made when the first result comes, once for all the clients
    of the process that know the same schema.

    Args:
        written: It, as ``marshal`` writes it: compact, and nobody's to change.
        fault: Why it cannot be used, if that is known already.

    Attributes:
        written: The same.
    """

    def __init__(self, written: bytes, fault: str | None = None) -> None:
        self.written = written
        self._fault = fault
        self._validator: Any = None

    def check(self, result: CallToolResult, deadline: Deadline, *, any_json: bool) -> None:
        """Hold the structured content of *result* against the schema.

        Args:
            result: What the tool returned; not an error.
            deadline: The call's. A result that came in time has a tenth of a second all the same.
            any_json: Whether the content may be other than an object, as since 2026-07-28.

        Raises:
            StructuredContentInvalid: It does not fit, or that cannot be found out.
        """
        problem = self._problem(result, deadline, any_json)
        if problem is not None:
            raise StructuredContentInvalid(problem, result=result, maybe_executed=True)

    def _problem(self, result: CallToolResult, deadline: Deadline, any_json: bool) -> str | None:
        if "structured_content" not in result.model_fields_set:
            return "the tool has an outputSchema, and its result has no structuredContent."
        content = result.structured_content
        if not any_json and not isinstance(content, dict):
            return "the structuredContent of the tool's result is not an object."
        seconds = max(LEAST_SECONDS, min(CHECK_SECONDS, deadline.remaining()))
        try:
            error = _first_error(self._usable(), content, seconds)
        except _Unusable as unusable:
            return f"the tool's outputSchema cannot be used: {unusable}."
        except _TooMuch:
            return (
                "the tool's structuredContent could not be held against its outputSchema "
                "within the limits of time and steps."
            )
        return None if error is None else _told(error)

    def _usable(self) -> Any:
        if self._validator is None and self._fault is None:
            try:
                self._validator = _compiled(marshal.loads(self.written))  # noqa: S302 - our own
            except _Unusable as unusable:
                self._fault = str(unusable)
        if self._fault is not None:
            raise _Unusable(self._fault)
        return self._validator


class OutputSchemas:
    """The schemas that somebody knows, each once however many know it. Thread-safe.

    Lock: _lock guards _known.
    """

    def __init__(self) -> None:
        self._lock = new_lock("output schemas")
        self._known: weakref.WeakValueDictionary[bytes, OutputSchema] = (
            weakref.WeakValueDictionary()
        )
        after_fork_in_child(self._forget)

    def of(self, schema: dict[str, Any]) -> OutputSchema:
        """Return what to check results with; never fails, whatever *schema* is."""
        try:
            written = marshal.dumps(schema, _BY_VALUE)
        except ValueError:
            return OutputSchema(b"", "it is nested too deeply")
        if len(written) > MAX_BYTES:
            return OutputSchema(b"", f"it has more than {MAX_BYTES} bytes")
        with self._lock:
            return self._known.setdefault(written, OutputSchema(written))

    def _forget(self) -> None:
        self._lock = new_lock("output schemas")


output_schemas = OutputSchemas()


# -- from a schema to what checks with it ----------------------------------------------------------


def _compiled(schema: dict[str, Any]) -> Any:
    """Return a validator of ``jsonschema`` for *schema*, which is ours to change.

    Raises:
        _Unusable: It is no schema, or none that can be used here.
    """
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    dialect = schema.pop("$schema", DIALECT)
    nothing: Any = None
    known = _is_text(dialect)
    chosen = validator_for({"$schema": dialect}, default=nothing) if known else nothing
    if chosen is None:
        raise _Unusable(f"its dialect, {_short(dialect)}, is not known here")
    _look_over(schema)
    try:
        chosen.check_schema(schema)
    except SchemaError as error:
        raise _Unusable(f"it is no JSON Schema, see {_short(error.json_path)}") from None
    except RecursionError:
        raise _Unusable("it is nested too deeply") from None
    # An empty registry: what does not resolve within the schema does not resolve. No fetching.
    return _watched_dialect(chosen)(schema, registry=Registry())


def _look_over(schema: dict[str, Any]) -> None:
    """Refuse a schema that is too large, or would lead a validator out of our hands.

    A subschema with a dialect of its own, and a document that ``jsonschema`` brings along, would be
    checked by its own classes, which know no limits of time. The same goes for the patterns that
    ``unevaluatedProperties`` looks at.
    """
    waiting: list[tuple[Any, int]] = [(schema, 1)]
    objects, words = 0, set()
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, list):
            waiting += [(inner, depth + 1) for inner in node]
        if not isinstance(node, dict):
            continue
        objects += 1
        words |= node.keys() & {"unevaluatedProperties", "patternProperties"}
        if objects > MAX_SUBSCHEMAS or depth > MAX_DEPTH:
            raise _Unusable(f"it has over {MAX_SUBSCHEMAS} subschemas or {MAX_DEPTH} levels")
        if _is_text(node.get("$schema")):
            raise _Unusable("a part of it has a dialect of its own")
        for key in ("$ref", "$dynamicRef", "$recursiveRef", "$id", "id"):
            if _is_text(node.get(key)) and _BUNDLED in node[key]:
                raise _Unusable(f"it refers to another document, {_short(node[key])}")
        waiting += [(inner, depth + 1) for inner in node.values()]
    if len(words) == 2:
        raise _Unusable("it has both patternProperties and unevaluatedProperties")


@functools.lru_cache(maxsize=8)
def _watched_dialect(dialect: Any) -> Any:
    """Return the validators of *dialect*, kept within time."""
    from jsonschema import validators

    keywords = {**dialect.VALIDATORS}
    ours: dict[str, Keyword] = {
        "additionalProperties": _additional_properties,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "uniqueItems": _unique_items,
    }
    latest = validators.Draft202012Validator.VALIDATORS
    if keywords["type"] is latest["type"]:  # draft 3 has schemas among the types
        ours["type"] = _type
    keywords |= {name: keyword for name, keyword in ours.items() if name in keywords}
    watched = {name: _watched(keyword) for name, keyword in keywords.items() if name != "format"}
    extend: Any = validators.extend
    return extend(dialect, validators={**watched, "format": _anything})


# -- keywords --------------------------------------------------------------------------------------

_running = threading.local()  # the watch over the check that this thread makes


class _Watch:
    """Counts the steps of one check, and looks at the clock now and then."""

    def __init__(self, seconds: float) -> None:
        self.deadline = Deadline(seconds)
        self._steps = 0
        self._look_at = LOOK_EVERY

    def spend(self, steps: int) -> None:
        """Take note of work."""
        self._steps += steps
        if self._steps >= self._look_at:
            self._look_at = self._steps + LOOK_EVERY
            self.look()

    def look(self) -> None:
        """Raise ``_TooMuch`` if it is time."""
        if self._steps > MAX_STEPS or self.deadline.expired:
            raise _TooMuch


def _watched(keyword: Keyword) -> Keyword:
    def watched(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        watch: _Watch = _running.watch
        watch.spend(_size(value) + _size(instance))
        for error in keyword(validator, value, instance, schema) or ():
            error.message = ""  # it holds the whole content as text, and there may be many
            watch.look()
            yield error

    return watched


def _size(value: Any) -> int:
    return 1 + len(value) if isinstance(value, dict | list) else 1


def _anything(validator: Any, value: Any, instance: Any, schema: Any) -> tuple[()]:
    """``format`` says what a text is meant to be, and is no rule."""
    return ()


def _type(validator: Any, types: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """As ``jsonschema`` has it, but without the whole content written into each error."""
    if not any(validator.is_type(instance, kind) for kind in _listed(types)):
        yield _failure()


def _listed(types: Any) -> Any:
    return types if isinstance(types, list) else (types,)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not _finds(pattern, instance):
        yield _failure()


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, subschema in patterns.items():
            for name, value in instance.items():
                if _finds(pattern, name):
                    yield from validator.descend(value, subschema, name, pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", ()), schema.get("patternProperties", ())
    for name, value in instance.items():
        if name in known or any(_finds(pattern, name) for pattern in patterns):
            continue
        if isinstance(allowed, dict):
            yield from validator.descend(value, allowed, path=name)
        elif not allowed:
            yield _failure()
            return


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not wanted or not isinstance(instance, list):
        return
    if len({_comparable(item) for item in instance}) < len(instance):
        yield _failure()


def _comparable(value: Any) -> Any:
    """Return what is equal for equal JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((name, _comparable(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(_comparable(inner) for inner in value)
    return (value, isinstance(value, bool))


def _finds(pattern: str, text: str) -> bool:
    """Search *text* within the time there is: ``re`` cannot be stopped, ``regex`` can."""
    watch: _Watch = _running.watch
    watch.spend(1)
    try:
        return _regex(pattern).search(text, timeout=watch.deadline.remaining()) is not None
    except TimeoutError:
        raise _TooMuch from None


@functools.lru_cache(maxsize=256)
def _regex(pattern: str) -> Any:
    import regex

    if len(pattern) > MAX_PATTERN:
        raise _Unusable(f"it has a pattern of more than {MAX_PATTERN} characters")
    try:
        return regex.compile(pattern)
    except regex.error:
        raise _Unusable(f"its pattern {_short(pattern)} is no regular expression") from None


def _failure() -> Any:
    from jsonschema import ValidationError

    return ValidationError("")


# -- checking --------------------------------------------------------------------------------------


def _first_error(validator: Any, content: Any, seconds: float) -> Any:
    """Return the first thing that is wrong with *content*, or None.

    Raises:
        _Unusable: The schema turns out to be none.
        _TooMuch: There was no time to find out.
    """
    from referencing.exceptions import Unresolvable

    before = getattr(_running, "watch", None)
    _running.watch = _Watch(seconds)
    try:
        return next(validator.iter_errors(content), None)
    except (_Unusable, _TooMuch):
        raise
    except Unresolvable as error:
        reference = _short(getattr(error, "ref", ""))
        raise _Unusable(
            f"its $ref {reference} leads nowhere in it, and nothing is fetched"
        ) from None
    except RecursionError:
        raise _Unusable("schema and content are nested too deeply") from None
    except Exception as error:  # whatever a schema can bring a validator to
        raise _Unusable(f"{type(error).__name__} while it was applied") from error
    finally:
        _running.watch = before


def _told(error: Any) -> str:
    """Say what is wrong, without the content: that is the user's."""
    rule = "nothing is allowed there"
    if error.validator is not None:
        try:
            value = json.dumps(error.validator_value)
        except (TypeError, ValueError, RecursionError):
            value = "…"
        rule = f"{_cut(error.validator)}: {_cut(value)}"
    return (
        "the tool's structuredContent does not fit its outputSchema: "
        f"at {_cut(error.json_path)} the rule is {rule}."
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"


def _short(value: Any) -> str:
    return repr(_cut(str(value)))
