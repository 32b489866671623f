"""A WSGI application that is loaded, and has called tools, before its server forks."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import common

common.use_in_parent()


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Call tools, and answer with whose connections that took."""
    body = json.dumps(common.report()).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
