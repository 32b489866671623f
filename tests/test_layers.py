"""The strata of the house: what may import what. Every rule has a twin that shows it failing."""

import ast
from collections.abc import Iterator

import pytest

from support.source import Module, library

pytestmark = pytest.mark.once  # it reads the source

FLOORS = [
    {"errors", "version"},
    {"_runtime"},
    {"config"},
    {"events"},
    {"protocol"},
    {"security"},
    {"http"},
    {"stores"},
    {"transports"},
    {"auth"},
    {"session"},
    {"client"},
    {"parsers"},
    {"connections"},
    {"registry"},
    {"manager"},
    {"batch", "integrations", "observability", "cli", "testing"},  # edges: nothing imports these
    {"", "__main__"},  # the package itself, which re-exports; and python -m mcpsync
]
RANK = {unit: rank for rank, floor in enumerate(FLOORS) for unit in floor}
EDGES = RANK["cli"]
EXCEPTIONS = {("__main__", "cli")}

NOWHERE = {"asyncio", "anyio", "trio", "httpx", "aiohttp", "mcp"}
ONLY_IN = {
    "requests": {"http"},
    "urllib3": {"http"},
    "websocket": {"http"},
    "redis": {"stores"},
    "sqlite3": {"stores"},
    "jwt": {"auth"},
    "sseclient": {"protocol"},
    "flask": {"integrations"},
    "django": {"integrations"},
    "click": {"cli"},
    "rich": {"cli"},
    "prometheus_client": {"observability"},
    "opentelemetry": {"observability"},
}
SANS_IO = {"protocol", "config", "events"}
NO_IO = {"socket", "ssl", "select", "threading", "time", "subprocess", "http", "queue"}
MAY_START_THREADS = {"_runtime", "transports", "testing"}


def broken_rules(modules: list[Module]) -> list[str]:
    """Every import that runs against a rule, by file and line."""
    return [offence for module in modules for offence in _offences(module)]


def _offences(module: Module) -> Iterator[str]:
    if module.unit not in RANK:
        yield f"{module.file}:1: {module.unit} has no floor; give it one in tests/test_layers.py"
        return
    for node, name in module.imports():
        top, _, rest = name.partition(".")
        if top == "mcpsync":
            wrong = _wrong_direction(module.unit, rest.partition(".")[0])
        else:
            wrong = _wrong_place(module.unit, top)
        if wrong:
            yield module.at(node, wrong)
    yield from _threads(module)


def _wrong_direction(unit: str, imported: str) -> str | None:
    """Why *unit* may not import *imported*; None if it may."""
    target = imported if imported in RANK else ""  # `from . import name`: the package itself
    if target == unit or (unit, target) in EXCEPTIONS:
        return None
    if RANK[target] == EDGES:
        return f"{unit or 'mcpsync'} imports {target}, an edge: nothing imports these"
    if RANK[target] >= RANK[unit]:
        return f"{unit} imports {target or 'mcpsync itself'}, which is not on a floor above it"
    return None


def _wrong_place(unit: str, top: str) -> str | None:
    """Why *unit* may not import the foreign package *top*; None if it may."""
    if top in NOWHERE:
        return f"{top} is imported nowhere in this library"
    if top in ONLY_IN and unit not in ONLY_IN[top]:
        return f"only {', '.join(sorted(ONLY_IN[top]))} may import {top}"
    if unit in SANS_IO and top in NO_IO:
        return f"{unit} does no I/O and knows no time: it may not import {top}"
    return None


def _threads(module: Module) -> Iterator[str]:
    if module.unit in MAY_START_THREADS:
        return
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="threading"), attr="Thread" | "Timer")
            ):
                yield module.at(node, "threads are made in _runtime/threads.py")
            case ast.ImportFrom(module="threading", names=names):
                if {"Thread", "Timer"} & {alias.name for alias in names}:
                    yield module.at(node, "threads are made in _runtime/threads.py")


def test_no_import_runs_upward_and_every_dependency_is_where_it_belongs():
    assert broken_rules(library()) == []


@pytest.mark.parametrize(
    ("name", "text", "offence"),
    [
        ("mcpsync.errors", "from .http import engine", "errors imports http, which is not"),
        ("mcpsync.errors", "from . import version", "errors imports version, which is not"),
        ("mcpsync.http.pools", "from ..session.base import X", "http imports session"),
        ("mcpsync.http.pools", "from .. import manager", "http imports manager"),
        ("mcpsync.http.pools", "from mcpsync import Client", "http imports mcpsync itself"),
        ("mcpsync.http.pools", "def f():\n    import mcpsync.manager", "2: http imports manager"),
        ("mcpsync.manager", "from .cli import main", "manager imports cli, an edge"),
        ("mcpsync.cli.demo", "from ..testing import LocalServer", "cli imports testing, an edge"),
        ("mcpsync.attic", "", "attic has no floor"),
        ("mcpsync.client.client", "import asyncio", "asyncio is imported nowhere"),
        ("mcpsync.client.client", "from anyio import run", "anyio is imported nowhere"),
        ("mcpsync.client.client", "import requests", "only http may import requests"),
        ("mcpsync.cli.main", "from urllib3.util import Url", "only http may import urllib3"),
        ("mcpsync.testing.server", "import requests.auth", "only http may import requests"),
        ("mcpsync.manager", "import prometheus_client", "only observability may import"),
        ("mcpsync.transports.http", "import sseclient", "only protocol may import sseclient"),
        ("mcpsync.protocol.sse", "import time", "protocol does no I/O"),
        ("mcpsync.protocol.sse", "from threading import Lock", "protocol does no I/O"),
        ("mcpsync.client.client", "import threading\nthreading.Thread()", "2: threads are made"),
        ("mcpsync.client.client", "from threading import Thread", "threads are made"),
    ],
)
def test_the_guilty_line_is_named(name, text, offence):
    found = broken_rules([Module.from_text(name, text)])
    assert len(found) == 1
    assert offence in found[0]


def test_what_the_rules_allow_is_not_reported():
    package = Module.from_text("mcpsync", "from .client import Client", is_package=True)
    inside = Module.from_text("mcpsync.http", "from .pools import Pool", is_package=True)
    above = Module.from_text(
        "mcpsync.manager", "from .errors import X\nfrom ._runtime import clock"
    )
    main = Module.from_text("mcpsync.__main__", "from .cli.main import main")
    assert broken_rules([package, inside, above, main]) == []
