"""Before click: a missing extra, and another project that has the same name."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mcpsync

REAL = Path(mcpsync.__file__).parent


def run(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run *code* in a process of its own that looks for modules in *path* first."""
    script = f"import sys; sys.path[:0] = {[str(each) for each in path]!r}\n{code}"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", timeout=60
    )


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_named_in_a_line(missing):
    done = run(
        f"sys.modules[{missing!r}] = None\n"
        "from mcpsync.cli.main import main\n"
        "sys.exit(main(['tools', 'http://x']))"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"mcpsync: the command line needs {missing}: pip install 'mcpsync[cli]'\n"
    )


def test_another_missing_module_is_not_called_an_extra():
    done = run(
        "sys.modules['requests'] = None\n"
        "from mcpsync.cli.main import main\n"
        "sys.exit(main(['--version']))"
    )
    assert "ModuleNotFoundError" in done.stderr
    assert "mcpsync[cli]" not in done.stderr


@pytest.fixture
def neighbour(tmp_path: Path) -> Path:
    """A directory with our package, and the other project's distribution next to it."""
    shutil.copytree(REAL, tmp_path / "mcpsync", ignore=shutil.ignore_patterns("__pycache__"))
    info = tmp_path / "mcpsync_cli-0.1.0.dist-info"
    info.mkdir()
    text = "Metadata-Version: 2.1\nName: mcpsync-cli\nVersion: 0.1.0\n"
    (info / "METADATA").write_text(text, encoding="utf-8")
    return tmp_path


def test_the_other_project_may_be_installed_as_long_as_ours_lies_on_top(neighbour):
    done = run("from mcpsync.cli.main import main; sys.exit(main(['--version']))", neighbour)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("without", ["", "version.py"])
def test_foreign_files_over_ours_are_refused_in_a_line(neighbour, without):
    package = neighbour / "mcpsync"
    (package / "__init__.py").write_text('__all__ = ["SyncMCPClient"]\n', encoding="utf-8")
    if without:
        (package / without).unlink()
    done = run("from mcpsync.cli.main import main; sys.exit(main(['--version']))", neighbour)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mcpsync: another project, mcpsync-cli 0.1.0, has put its own")
    assert "pip uninstall mcpsync-cli" in done.stderr
    assert done.stderr.count("\n") == 1


def test_both_ways_to_start_it_are_the_same(process):
    done = subprocess.run(
        [sys.executable, "-c", "from mcpsync.cli.main import main; raise SystemExit(main())", "x"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    outcome = process("x")
    assert (outcome.code, outcome.err) == (done.returncode, done.stderr)
    assert outcome.code == 2
