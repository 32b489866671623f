"""What is installed, and what an import costs."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mcpsync

PROBE = """
import json, sys, threading
before = set(sys.modules)
import mcpsync
print(json.dumps({
    "modules": sorted(set(sys.modules) - before),
    "threads": [thread.name for thread in threading.enumerate()],
}))
"""


@pytest.fixture(scope="module")
def distribution():
    try:
        found = metadata.distribution("mcpsync")
    except metadata.PackageNotFoundError:
        found = None
    if found is None or found.read_text("WHEEL") is None:
        pytest.skip("mcpsync runs from its source here; tox installs the wheel")
    return found


@pytest.fixture(scope="module")
def after_import():
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def test_the_version_has_one_place(distribution):
    assert distribution.version == mcpsync.__version__


def test_the_wheel_says_that_it_is_typed_and_leaves_the_tests_at_home(distribution):
    files = {str(file) for file in distribution.files or []}
    assert "mcpsync/py.typed" in files
    assert not [file for file in files if file.startswith(("tests/", "benchmarks/", "docs/"))]


def test_the_command_is_called_mcpsync(distribution):
    (script,) = [e for e in distribution.entry_points if e.group == "console_scripts"]
    assert (script.name, script.value) == ("mcpsync", "mcpsync.cli.main:main")


def test_the_official_sdk_is_not_a_dependency_only_its_wire_models_are(distribution):
    required = {re.match(r"[\w.-]+", line)[0] for line in distribution.requires or []}
    assert "mcp-types" in required
    assert "mcp" not in required


def test_tox_tests_what_it_has_built(distribution):
    if "TOX_ENV_NAME" not in os.environ:
        pytest.skip("this is not a run by tox")
    assert Path(mcpsync.__file__).is_relative_to(sys.prefix)


def test_an_import_starts_no_thread(after_import):
    assert after_import["threads"] == ["MainThread"]


@pytest.mark.parametrize("name", ["mcp_types", "jsonschema", "click", "rich", "yaml", "asyncio"])
def test_an_import_leaves_for_later_what_only_some_need(after_import, name):
    assert name not in after_import["modules"]
