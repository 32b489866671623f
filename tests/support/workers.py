"""Other processes of a test, which do what they are told."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mcpsync

from .provision import child_environment


class Worker:
    """Another Python process: it does what it is told, a line each, and says what came of it.

    Args:
        module: Whose ``serve`` it runs; see :mod:`stores.worker`.
        told: What that is called with.
    """

    def __init__(self, module: str, *told: str) -> None:
        code = f"from {module} import serve; serve(*{told!r})"
        found = [str(Path(mcpsync.__file__).parents[1]), str(Path(__file__).parents[1])]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=child_environment(PYTHONPATH=os.pathsep.join(found)),
        )

    def tell(self, expression: str) -> None:
        """Have it begin to evaluate an expression."""
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def said(self) -> Any:
        """Wait for what came of it."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, expression: str) -> Any:
        """Have it evaluate an expression, and wait for what comes of it."""
        self.tell(expression)
        return self.said()

    def kill(self) -> None:
        """End it with SIGKILL, in the midst of whatever it does."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Let it end, and wait for that. Works twice."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait(10)
