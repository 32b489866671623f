"""The application of examples/flask_signin; each answer says which worker it is from."""

import logging
import os
import sys

from flask import Response, session

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)  # nothing is held back

from app import app, manager  # noqa: E402 - it is loaded with all the logging on


@app.get("/whoami")
def whoami() -> dict[str, str]:
    """Return the credentials that the server has seen."""
    result = manager.call_tool("crm", "whoami", user=session["user_id"])
    assert result.structured_content is not None
    return {"authorization": result.structured_content["authorization"]}


@app.after_request
def named(answer: Response) -> Response:
    """Say which process has answered."""
    answer.headers["X-Worker"] = str(os.getpid())
    return answer
