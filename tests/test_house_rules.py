"""The rules of the house that a syntax tree can show; each has a twin that shows it failing."""

import ast
from collections.abc import Callable, Iterator

import pytest

from support.source import ROOT, Module, library

pytestmark = pytest.mark.once  # it reads the source

MODULE_LINES = 500
FUNCTION_LINES = 60
FORBIDDEN = {
    ("threading", "RLock"),
    ("threading", "Condition"),
    ("threading", "Timer"),
    ("time", "sleep"),
}
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[Module], Iterator[str]]


def modules_are_short(module: Module) -> Iterator[str]:
    """A module has at most MODULE_LINES lines."""
    lines = len(module.text.splitlines())
    if lines > MODULE_LINES:
        yield f"{module.file}:{lines}: {lines} lines, and {MODULE_LINES} are the limit"


def functions_are_short(module: Module) -> Iterator[str]:
    """A function has at most FUNCTION_LINES lines, its docstring and decorators not counted."""
    for node in ast.walk(module.tree):
        if isinstance(node, FunctionNode):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if lines > FUNCTION_LINES:
                yield module.at(
                    node, f"{node.name} has {lines} lines; {FUNCTION_LINES} is the limit"
                )


def nothing_sleeps_or_reenters(module: Module) -> Iterator[str]:
    """No RLock, Condition, Timer or time.sleep: wait on an Event, a Queue or a Future."""
    if module.unit == "testing":
        return
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if (owner, name) in FORBIDDEN:
                yield module.at(node, f"{owner}.{name} is not used here")
            case ast.ImportFrom(module=str(owner), names=names):
                for alias in names:
                    if (owner, alias.name) in FORBIDDEN:
                        yield module.at(node, f"{owner}.{alias.name} is not used here")


def locks_come_from_new_lock(module: Module) -> Iterator[str]:
    """threading.Lock is called in _runtime/locks.py alone."""
    if module.unit == "testing" or module.name == "mcpsync._runtime.locks":
        return
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="threading"), attr="Lock")):
                yield module.at(node, "locks are made by new_lock()")
            case ast.ImportFrom(module="threading", names=names):
                if any(alias.name == "Lock" for alias in names):
                    yield module.at(node, "locks are made by new_lock()")


def nothing_to_wait_for_is_made_at_import(module: Module) -> Iterator[str]:
    """No Event of a module's own: a fork may copy it in the midst of a wait, with its lock held."""
    if module.unit == "testing":
        return
    for statement in module.tree.body:
        value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Call) and _called_name(value) == "Event":
            yield module.at(statement, "an Event is made by whoever waits for it, not at import")


def owners_of_locks_say_what_they_guard(module: Module) -> Iterator[str]:
    """A class that makes a lock has a line `Lock: _lock guards ...` in its docstring."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        makes_one = any(
            isinstance(inner, ast.Call) and _called_name(inner) == "new_lock"
            for inner in ast.walk(node)
        )
        if makes_one and "Lock:" not in (ast.get_docstring(node) or ""):
            yield module.at(node, f"{node.name} has a lock; its docstring says not what it guards")


def every_wait_is_bounded(module: Module) -> Iterator[str]:
    """No bare wait(), join(), result(), acquire(), nor get() of a queue."""
    if module.unit == "testing" or module.name == "mcpsync._runtime.locks":
        return
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        waits = name in {"wait", "join", "result", "acquire", "communicate"} or (
            name == "get" and _looks_like_a_queue(node.func.value)
        )
        if waits and not node.args and not node.keywords:
            yield module.at(node, f"{name}() may wait for ever: give it a timeout")


def public_things_have_docstrings(module: Module) -> Iterator[str]:
    """Modules, public classes, functions and methods say what they are."""
    if ast.get_docstring(module.tree) is None:
        yield f"{module.file}:1: the module has no docstring"
    yield from _undocumented(module, module.tree.body)


def _undocumented(module: Module, body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if not isinstance(node, FunctionNode | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not _is_exempt(node):
            yield module.at(node, f"{node.name} has no docstring")
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(module, node.body)


def _is_exempt(node: FunctionNode | ast.ClassDef) -> bool:
    """Overloads, setters and overrides are documented elsewhere."""
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(names & {"overload", "setter", "override"})


def _called_name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _looks_like_a_queue(receiver: ast.expr) -> bool:
    name = ast.unparse(receiver).lower()
    return any(word in name for word in ("queue", "inbox", "mailbox", "errands"))


RULES: list[Rule] = [
    modules_are_short,
    functions_are_short,
    nothing_sleeps_or_reenters,
    locks_come_from_new_lock,
    nothing_to_wait_for_is_made_at_import,
    owners_of_locks_say_what_they_guard,
    every_wait_is_bounded,
    public_things_have_docstrings,
]
LONG_FUNCTION = '"""M."""\ndef _f():\n' + "    x = 1\n" * (FUNCTION_LINES + 1)
LOCKED_CLASS = '"""M."""\nclass _A:\n    """An A."""\n    def __init__(self):\n        self._l = {}'


def offences(rule: Rule, text: str, name: str = "mcpsync.client.client") -> list[str]:
    """What *rule* says about a module with this *text*."""
    return list(rule(Module.from_text(name, text)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_library_keeps_the_rule(rule):
    assert [offence for module in library() for offence in rule(module)] == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (modules_are_short, "x = 1\n" * (MODULE_LINES + 1)),
        (functions_are_short, LONG_FUNCTION),
        (nothing_sleeps_or_reenters, "import time\ntime.sleep(1)"),
        (nothing_sleeps_or_reenters, "from time import sleep"),
        (nothing_sleeps_or_reenters, "import threading\nlock = threading.RLock()"),
        (nothing_sleeps_or_reenters, "from threading import Condition"),
        (nothing_sleeps_or_reenters, "import threading\nthreading.Timer(1, f)"),
        (locks_come_from_new_lock, "import threading\nlock = threading.Lock()"),
        (locks_come_from_new_lock, "from threading import Lock"),
        (nothing_to_wait_for_is_made_at_import, "import threading\nnever = threading.Event()"),
        (nothing_to_wait_for_is_made_at_import, "never: Event = Event()"),
        (owners_of_locks_say_what_they_guard, LOCKED_CLASS.format("new_lock('a')")),
        (owners_of_locks_say_what_they_guard, LOCKED_CLASS.format("locks.new_lock('a')")),
        (every_wait_is_bounded, "event.wait()"),
        (every_wait_is_bounded, "thread.join()"),
        (every_wait_is_bounded, "future.result()"),
        (every_wait_is_bounded, "self._lock.acquire()"),
        (every_wait_is_bounded, "self._queue.get()"),
        (public_things_have_docstrings, "x = 1"),
        (public_things_have_docstrings, '"""M."""\ndef f(): ...'),
        (public_things_have_docstrings, '"""M."""\nclass A:\n    """A."""\n    def f(self): ...'),
    ],
)
def test_breaking_the_rule_is_noticed(rule, text):
    assert len(offences(rule, text)) == 1


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (modules_are_short, "x = 1\n" * MODULE_LINES),
        (
            functions_are_short,
            "def f():\n" + '    """A\n' + "long\n" * 90 + '    story."""\n    x = 1',
        ),
        (
            owners_of_locks_say_what_they_guard,
            'class A:\n    """Lock: _l."""\n    x = new_lock("a")',
        ),
        (every_wait_is_bounded, "event.wait(1)\nthread.join(timeout=1)\n', '.join(x)\nd.get()"),
        (public_things_have_docstrings, '"""M."""\nclass _A:\n    def f(self): ...'),
    ],
)
def test_keeping_the_rule_is_not_reported(rule, text):
    assert offences(rule, text) == []


def test_only_the_shared_helpers_of_the_tests_are_a_package():
    """A package tests/http would hide the standard library's http from every test."""
    packages = {path.parent.name for path in (ROOT / "tests").rglob("__init__.py")}
    assert packages <= {"support"}
