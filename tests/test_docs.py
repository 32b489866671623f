"""What the documentation says is so: its examples run, its links lead somewhere, it misses nothing.

Each page is one story. Its blocks run from top to bottom, Python in one namespace, in a directory
that is empty at first; every example URL (``https://…example.com/…``, ``http://127.0.0.1:8765/mcp``)
stands for a :class:`LocalServer` of its own. HTML comments on a line of their own direct the play:

``<!-- not run: why -->``
    The next block is not run. They are counted.
``<!-- file: NAME -->``
    The next block is written to the file NAME.
``<!-- prints -->``
    The next block is what the block before it printed; ``...`` stands for anything.
``<!-- server: key=value … -->``
    The page's servers are made with these arguments.
``<!-- servers want sign-ins: key=value … -->``
    The page's servers are each behind an :class:`Authority`, made with these arguments.
``<!-- server stops -->``, ``<!-- server starts -->``
    From here on the page's servers are gone, or are there again.
``<!-- server fails: NAME[:METHOD[:TIMES]] -->``
    From here on they misbehave.
"""

import ast
import atexit
import contextlib
import doctest
import gc
import inspect
import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

import mcpsync
from mcpsync import auth, errors, events, registry, stores, testing
from mcpsync.auth.flows import BUSY
from mcpsync.auth.obo_tokens import MESSAGES
from mcpsync.auth.options import OAuthKeywords
from mcpsync.client.options import CallOptions
from mcpsync.config import HttpServerConfig, StdioServerConfig
from mcpsync.config.oauth import OAuthConfig
from mcpsync.connections.signing_in import AuthorizationStatus
from mcpsync.testing import LocalServer
from mcpsync.testing.command import parse_fault
from support.authority import Authority
from support.source import ROOT, library

pytestmark = pytest.mark.once  # the pages are the same for every Python

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
NOT_RUN_AT_MOST = 8
SHELL_TIMEOUT = 60

EXAMPLE_URL = re.compile(
    r"https?://(?:[\w-]+\.)*example(?:\.com)?(?::\d+)?/[\w./-]*\w|http://127\.0\.0\.1:8765/mcp"
)
ENVIRONMENT = {  # what the pages take from it
    "APP_SECRET": "not-a-secret",
    "STORE_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "CRM_TOKEN": "crm-token",
    "NO_COLOR": "1",
    "COLUMNS": "100",
}
INSTALLS = re.compile(r"\bpip install\b|\bgit clone\b")
FENCE = re.compile(r"(?P<indent> *)```(?P<language>\w*)\s*")
COMMENT = re.compile(r"\s*<!-- (?P<text>.*?) -->\s*")
CLOSED = (
    mcpsync.Client,
    mcpsync.MCPManager,
    LocalServer,
    mcpsync.stores.SQLiteStore,
    mcpsync.stores.SQLiteUserServers,
)
EDGES = ("mcpsync.cli.", "mcpsync.testing.")  # named as a whole in the architecture


@dataclass(frozen=True)
class Comment:
    """A direction that stands alone on its line."""

    text: str
    line: int


@dataclass(frozen=True)
class Block:
    """A fenced block; *line* is that of its fence, and *comments* stand directly above it."""

    language: str
    text: str
    line: int
    comments: tuple[str, ...] = ()

    @property
    def not_run(self) -> str | None:
        """Why it is not run, if it is not."""
        if self.language == "sh" and INSTALLS.search(self.text):
            return "installs something"
        return self._told("not run: ")

    @property
    def file(self) -> str | None:
        """The file it is written to, if it is."""
        return self._told("file: ")

    def _told(self, prefix: str) -> str | None:
        told = (text.removeprefix(prefix) for text in self.comments if text.startswith(prefix))
        return next(told, None)


def parts(text: str) -> Iterator[Comment | Block]:
    """Yield the directions and the blocks of a page, in order."""
    lines = iter(enumerate(text.splitlines(), 1))
    above: list[str] = []
    for number, line in lines:
        fence, comment = FENCE.fullmatch(line), COMMENT.fullmatch(line)
        if fence is not None:
            indent = len(fence["indent"])
            body = []
            for _, inside in lines:
                if inside.strip() == "```":
                    break
                body.append(inside[indent:])
            yield Block(fence["language"], "\n".join(body) + "\n", number, tuple(above))
        elif comment is not None:
            yield Comment(comment["text"], number)
            above.append(comment["text"])
            continue
        elif not line.strip():
            continue
        above = []


def prose(text: str) -> str:
    """Return a page without its blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


@dataclass
class Stage:
    """Where the examples of one page are run."""

    page: Path
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    servers: dict[str, LocalServer] = field(default_factory=dict)
    make: Callable[..., LocalServer | Authority] = LocalServer
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    printed: str = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for value in self.namespace.values():
            if isinstance(value, CLOSED):
                value.close()
                atexit.unregister(value.close)
        self.namespace.clear()
        self.stop()
        gc.collect()

    def play(self, part: Comment | Block) -> None:
        """Do what the page says next."""
        if isinstance(part, Comment):
            self._obey(part.text)
        elif part.not_run is not None:
            return
        elif part.file is not None:
            (self.folder / part.file).write_text(self._localised(part.text), encoding="utf-8")
        elif part.language == "python":
            self._run_python(part)
        elif part.language == "sh":
            self._run_shell(part)
        elif "prints" in part.comments:
            self._compare(part)

    def _obey(self, text: str) -> None:
        if text == "server stops":
            self.stop()
        elif text == "server starts":
            for example, stopped in self.servers.items():
                port = urlsplit(stopped.url).port
                self.servers[example] = self._started(port=port)
        elif text.startswith("server fails: "):
            injection = parse_fault(text.removeprefix("server fails: "))
            for server in self.servers.values():
                server.inject(injection.fault, injection.method, injection.times)
        elif text.startswith(("server: ", "servers want sign-ins: ")):
            self.make = Authority if "sign-ins" in text else LocalServer
            pairs = (word.partition("=") for word in text.partition(": ")[2].split())
            self.options |= {key: int(v) if v.isdigit() else v for key, _, v in pairs}
        else:
            assert not text.startswith("server"), f"nobody knows what {text!r} means"

    def _run_python(self, block: Block) -> None:
        code = compile("\n" * block.line + self._localised(block.text), str(self.page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(code, self.namespace)  # noqa: S102 - running examples is what this is about
        self.printed = output.getvalue()

    def _run_shell(self, block: Block) -> None:
        done = subprocess.run(
            ["sh", "-eu", "-c", self._localised(block.text)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SHELL_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"line {block.line}: {done.stdout}{done.stderr}"
        self.printed = done.stdout

    def _compare(self, block: Block) -> None:
        got = self._restored(self.printed)
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        agrees = doctest.OutputChecker().check_output(block.text, got, flags)
        assert agrees, f"line {block.line}: the page says\n{block.text}\nbut it is\n{got}"

    def _localised(self, text: str) -> str:
        return EXAMPLE_URL.sub(lambda match: self._server(match[0]).url, text)

    def _restored(self, text: str) -> str:
        for example, server in self.servers.items():
            text = text.replace(server.url, example)
            text = text.replace(urlsplit(server.url).netloc, _host_and_port(example))
        return text

    def _server(self, example: str) -> LocalServer:
        if example not in self.servers:
            self.servers[example] = self._started()
        return self.servers[example]

    def _started(self, **more: Any) -> LocalServer:
        made = self.running.enter_context(self.make(**self.options, **more))
        return made.mcp if isinstance(made, Authority) else made

    def stop(self) -> None:
        """Close the page's servers; their URLs lead nowhere from now on."""
        self.running.close()


def _host_and_port(url: str) -> str:
    split = urlsplit(url)
    return f"{split.hostname}:{split.port or {'http': 80, 'https': 443}[split.scheme]}"


def slugs(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (
            anchor and anchor not in slugs(text if there == page else there.read_text("utf-8"))
        ):
            broken.append(target)
    return broken


def all_not_run() -> list[str]:
    """Return where a block is not run, and why."""
    return [
        f"{name}:{part.line}: {part.not_run}"
        for name, page in zip(NAMES, PAGES, strict=True)
        for part in parts(page.read_text("utf-8"))
        if isinstance(part, Block) and part._told("not run: ")
    ]


def unmentioned(words: set[str], *pages: str) -> list[str]:
    """Return those of *words* that stand in code font nowhere on *pages*."""
    text = "".join(prose((DOCS / page).read_text("utf-8")) for page in pages)
    code = " ".join(re.findall(r"`([^`\n]+)`", text))
    return sorted(word for word in words if not re.search(rf"(?<![\w-]){re.escape(word)}\b", code))


def reference() -> list[str]:
    """Return the pages of the reference."""
    return [f"reference/{page.name}" for page in (DOCS / "reference").glob("*.md")]


def public(owner: type | Any) -> set[str]:
    """Return the public methods and properties that a class itself or its bases of ours define."""
    return {
        name
        for cls in owner.__mro__
        if cls.__module__.startswith("mcpsync")
        for name in vars(cls)
        if not name.startswith("_")
    }


def parameters(owner: type, *names: str) -> set[str]:
    """Return the parameters of methods, apart from ``self`` and ``**options``."""
    found: set[str] = set()
    for name in names or sorted({*public(owner), "__init__"}):
        method = inspect.getattr_static(owner, name)
        method = getattr(method, "__func__", method)
        if inspect.isfunction(method):
            found |= set(inspect.signature(method).parameters)
    return found - {"self", "cls", "options"}


def subclasses(base: type) -> Iterator[type]:
    """Yield *base* and all that derive from it."""
    yield base
    for derived in base.__subclasses__():
        yield from subclasses(derived)


@pytest.fixture
def stage(request, tmp_path, monkeypatch):
    page = ROOT / request.param
    if "django" in page.name:
        pytest.importorskip("django", reason="the page is about Django")
    if "import flask" in page.read_text("utf-8") or "from flask" in page.read_text("utf-8"):
        pytest.importorskip("flask", reason="the page is about Flask")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mcpsync").symlink_to(Path(mcpsync.__file__).parent)  # for children of ours
    commands = tmp_path / ".commands"
    commands.mkdir()
    for name, target in {"mcpsync": "-m mcpsync", "python": ""}.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {target} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MCPSYNC_CONFIG", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / ".data"))
    loggers = [logging.getLogger(), logging.getLogger("mcpsync")]
    levels = [logger.level for logger in loggers]
    with Stage(page, tmp_path) as prepared:
        yield prepared
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("stage", NAMES, indirect=True)
def test_the_examples_of_the_page_run(stage):
    for part in parts(stage.page.read_text("utf-8")):
        stage.play(part)


def test_few_examples_are_not_run():
    assert len(all_not_run()) <= NOT_RUN_AT_MOST, "\n".join(all_not_run())


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_the_page_leads_somewhere(name):
    page = ROOT / name
    assert broken_links(page, page.read_text("utf-8")) == []


def test_the_index_leads_to_every_page():
    linked = {
        (DOCS / target).resolve()
        for target in re.findall(r"\]\(([^)#\s]+)", (DOCS / "index.md").read_text("utf-8"))
        if not re.match(r"[a-z]+:", target)
    }
    missing = {page for page in DOCS.rglob("*.md") if page.name != "index.md"} - linked
    assert sorted(str(page.relative_to(DOCS)) for page in missing) == []


def test_every_test_that_a_page_names_exists():
    there = {
        found
        for path in (ROOT / "tests").rglob("*.py")
        for found in re.findall(r"^\s*def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    named = {
        word
        for page in PAGES
        for word in re.findall(r"`(test_\w+)`", page.read_text("utf-8"))
        if not (ROOT / "tests" / f"{word}.py").exists()
    }
    assert sorted(named - there) == []


def test_the_reference_names_everything_public():
    assert unmentioned(set(mcpsync.__all__) | set(testing.__all__), *reference()) == []


def test_the_reference_names_every_error_and_its_attributes():
    classes = list(subclasses(errors.MCPSyncError))
    own = {name for cls in classes for name in inspect.get_annotations(cls)}
    assert unmentioned({cls.__name__ for cls in classes} | own, "reference/errors.md") == []


def test_the_reference_names_every_event_and_its_fields():
    classes = [
        cls
        for cls in vars(events).values()
        if inspect.isclass(cls) and cls.__module__ == events.__name__
    ]
    names = {cls.__name__ for cls in classes} | {
        name for cls in classes for name in inspect.get_annotations(cls)
    }
    assert unmentioned(names, "reference/events.md") == []


def test_the_reference_names_every_method_and_parameter_of_a_client():
    names = public(mcpsync.Client) | parameters(mcpsync.Client)
    for owner in (CallOptions, mcpsync.Limits):
        names |= set(inspect.get_annotations(owner))
    names |= public(mcpsync.Cancellation) - {"add_waker", "remove_waker"}
    assert unmentioned(names, "reference/client.md") == []


def test_the_reference_names_every_method_and_parameter_of_a_manager():
    with mcpsync.MCPManager({}) as manager:
        stats = set(manager.get_connection_stats())
    names = public(mcpsync.MCPManager) | parameters(mcpsync.MCPManager) | stats
    assert unmentioned(names, "reference/manager.md") == []


def test_the_reference_names_all_of_the_registry():
    classes = (registry.ServersRegistry, registry.OboGate, registry.Roles, registry.ServerInspector)
    names = set(registry.__all__).union(*map(public, classes), *map(parameters, classes))
    names |= set(inspect.get_annotations(registry.Inspection)) | public(stores.UserServers)
    names |= public(stores.SQLiteUserServers) | parameters(stores.SQLiteUserServers)
    names |= set(inspect.get_annotations(stores.UserServer))
    pages = "reference/registry.md", "reference/manager.md"
    assert unmentioned(names, *pages) == []


def test_the_reference_names_every_field_of_a_configuration():
    fields = {*HttpServerConfig.model_fields, *StdioServerConfig.model_fields}
    assert unmentioned(fields, "reference/configuration.md") == []


def test_the_reference_names_all_of_on_behalf_of():
    names = parameters(auth.OboTokenService) | public(auth.OboTokenService)
    names |= parameters(auth.GraphTokenService) | public(auth.GraphTokenService)
    names |= set(inspect.signature(auth.resolve_obo_token).parameters) | set(MESSAGES)
    for owner in (auth.OboToken, auth.OpenIDToken, auth.ClientKey, errors.OboTokenError):
        names |= set(inspect.get_annotations(owner))
    pages = "reference/obo.md", "reference/grants.md"
    assert unmentioned(names, *pages) == []


def test_the_reference_names_all_of_signing_in():
    manager = mcpsync.MCPManager
    names = parameters(manager, "complete_authorization", "authorization_status", "revoke")
    names |= parameters(auth.OAuth) | parameters(auth.CimdDocument) | set(auth.__all__)
    for grant in (auth.ClientCredentialsGrant, auth.WorkloadIdentity, auth.EnterpriseManaged):
        names |= parameters(grant, "__init__")
    for owner in (OAuthConfig, OAuthKeywords, errors.AuthorizationRequired, AuthorizationStatus):
        names |= set(inspect.get_annotations(owner))
    names |= {"oauth_start", "oauth_end", "return_on_oauth", "server_name", "user_id"}
    pages = "reference/sign-in.md", "reference/grants.md", "reference/obo.md"
    assert unmentioned(names - {"model_config", "session"}, *pages) == []


def test_the_reference_names_every_word_of_an_error_in_signing_in():
    words = {
        word
        for module in library()
        for call in ast.walk(module.tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "OAuthError"
        for keyword in call.keywords
        if keyword.arg == "error"
        for word in [getattr(keyword.value, "value", BUSY)]
        if isinstance(word, str)
    }
    assert len(words) > 10
    assert unmentioned(words, "reference/sign-in.md", "reference/grants.md") == []


def test_the_reference_names_every_member_of_the_test_server():
    names = public(LocalServer) | parameters(LocalServer) | set(testing.Fault)
    assert unmentioned(names, "reference/testing.md") == []


def test_the_reference_names_every_command_and_option():
    app = pytest.importorskip("mcpsync.cli.app", reason="the extra cli is not installed")
    names = set(app.cli.commands)
    for command in app.cli.commands.values():
        names |= {option for parameter in command.params for option in parameter.opts}
    names -= {"target", "words"}
    page = (DOCS / "reference" / "cli.md").read_text("utf-8")
    assert sorted(name for name in names if name not in page) == []


def test_the_reference_names_every_exit_code():
    exits = pytest.importorskip("mcpsync.cli.exits", reason="the extra cli is not installed")
    page = (DOCS / "reference" / "cli.md").read_text("utf-8")
    assert [code for code in exits.Exit if not re.search(rf"\b{code.value}\b", page)] == []


def test_the_architecture_has_a_line_for_every_module():
    tree = (DOCS / "architecture.md").read_text("utf-8")
    missing = [
        module.file
        for module in library()
        if not module.name.startswith(EDGES)
        and not module.is_package
        and not re.search(rf"\b{re.escape(Path(module.file).name)}\b", tree)
    ]
    assert missing == []


def test_the_architecture_says_where_each_lock_is():
    owners = {
        node.name
        for module in library()
        if not module.name.startswith(EDGES)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and "Lock: " in (ast.get_docstring(node) or "")
    }
    assert unmentioned(owners, "architecture.md") == []


WAITING = set()  # rows of protocol.md that no test holds, or not wholly


def test_every_requirement_has_its_row():
    expected = [
        f"{letter}{number}"
        for letter, last in (("N", 11), ("L", 11), ("H", 15), ("M", 16), ("A", 25), ("S", 16))
        for number in range(1, last + 1)
    ]
    text = (DOCS / "protocol.md").read_text("utf-8")
    assert [name for name in expected if f"| {name} |" not in text] == []


def rows(text):
    """The rows of a page's tables: what comes first in each, and what comes last."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) > 1 and not set(line) <= set("|-: "):
            yield cells[0], cells[-1]


def test_every_requirement_is_held_by_a_test_or_known_to_wait():
    """Whether the tests are there, `test_every_test_that_a_page_names_exists` finds out."""
    waiting = {
        first
        for first, held_by in rows((DOCS / "protocol.md").read_text("utf-8"))
        if held_by != "held by" and ("not yet" in held_by or "`test_" not in held_by)
    }
    assert waiting - WAITING == set(), "no test holds these"
    assert WAITING - waiting == set(), "tests hold these now: take them off the list"


def test_every_dependency_is_explained():
    setup = (ROOT / "setup.py").read_text("utf-8")
    declared = {match.lower() for match in re.findall(r'"([A-Za-z][\w-]*)[><=]=', setup)}
    assert unmentioned(declared, "dependencies.md") == []


# The rules above, shown failing.


def test_a_page_is_taken_apart():
    page = """
<!-- file: a.py -->

```python
x

y
```

- z

  ```sh
  true
  ```
<!-- prints -->
"""
    assert list(parts(page)) == [
        Comment("file: a.py", 2),
        Block("python", "x\n\ny\n", 4, ("file: a.py",)),
        Block("sh", "true\n", 12),
        Comment("prints", 15),
    ]


@pytest.mark.parametrize("text", ["[a](nowhere.md)", "[a](#nothing)", "[a](index.md#nothing)"])
def test_a_link_that_leads_nowhere_is_noticed(text):
    assert len(broken_links(DOCS / "index.md", f"# Title\n{text}\n")) == 1


def test_links_in_code_are_no_links():
    assert broken_links(DOCS / "index.md", "```python\nx[0](y)\n```\n[a](#b-c)\n## B, c\n") == []


@pytest.mark.parametrize("stage", ["README.md"], indirect=True)
def test_an_output_that_is_another_is_noticed(stage):
    stage.play(Block("python", "print('one two')\n", 1))
    stage.play(Block("text", "one ...\n", 1, ("prints",)))
    with pytest.raises(AssertionError, match="but it is"):
        stage.play(Block("text", "three\n", 1, ("prints",)))


@pytest.mark.parametrize("stage", ["README.md"], indirect=True)
def test_an_example_url_is_a_server_of_its_own(stage):
    for url in ("https://example.com/mcp", "https://crm.example/mcp"):
        stage.play(Block("python", f"print('{url}')\n", 1))
        assert stage.printed.strip() == stage.servers[url].url
    assert len({server.url for server in stage.servers.values()}) == 2


@pytest.mark.parametrize("stage", ["README.md"], indirect=True)
def test_a_command_that_fails_is_noticed(stage):
    with pytest.raises(AssertionError, match="line 7"):
        stage.play(Block("sh", "false\n", 7))


def test_a_row_is_what_comes_first_and_what_comes_last():
    table = (
        "| id | level | held by |\n|--|--|--|\n| N1 | MUST | `test_x`, `test_y` |\ntext | more\n"
    )
    assert list(rows(table)) == [("id", "held by"), ("N1", "`test_x`, `test_y`")]


def test_what_the_reference_does_not_name_is_noticed():
    assert unmentioned({"Client", "no_such_thing"}, "reference/client.md") == ["no_such_thing"]
