"""Where the command begins: is the package ours, is the extra installed, then click."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib import metadata

USAGE = 2
FOREIGN = "mcpsync-cli"  # on PyPI; it installs the import name and the command mcpsync, too


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Without the program's name; the process's own by default.
    """
    trouble = shadowed()
    if trouble is None:
        try:
            from .app import run
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("click", "rich"):
                raise
            trouble = f"the command line needs {error.name}: pip install 'mcpsync[cli]'"
    if trouble is not None:
        sys.stderr.write(f"mcpsync: {trouble}\n")
        return USAGE
    return run(sys.argv[1:] if arguments is None else list(arguments))


def shadowed() -> str | None:
    """Say what is wrong if files of another distribution lie over ours; None if all is well.

    The two overwrite each other file by file; as long as ours lie on top there is no harm.
    """
    try:
        theirs = metadata.version(FOREIGN)
    except metadata.PackageNotFoundError:
        return None
    package = sys.modules[__name__.partition(".")[0]]
    has_version = importlib.util.find_spec(f"{package.__name__}.version") is not None
    if has_version and "MCPManager" in getattr(package, "__all__", ()):
        return None
    return (
        f"another project, {FOREIGN} {theirs}, has put its own package mcpsync over this one: "
        f"pip uninstall {FOREIGN}, then pip install --force-reinstall 'mcpsync[cli]'"
    )
