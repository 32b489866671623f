"""The library's source as syntax trees, for the tests that hold its rules."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mcpsync"


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, where it is, and its tree."""

    name: str
    file: str
    text: str
    tree: ast.Module
    is_package: bool = False

    @classmethod
    def from_text(cls, name: str, text: str, *, is_package: bool = False) -> "Module":
        """A module that exists only in a test."""
        file = name.replace(".", "/") + ("/__init__.py" if is_package else ".py")
        return cls(name, file, text, ast.parse(text), is_package)

    @property
    def unit(self) -> str:
        """The floor it belongs to: `http` for mcpsync.http.pools, `` for mcpsync itself."""
        return [*self.name.split("."), ""][1]

    def at(self, node: ast.AST, what: str) -> str:
        """Name the guilty line."""
        return f"{self.file}:{getattr(node, 'lineno', 1)}: {what}"

    def imports(self) -> Iterator[tuple[ast.AST, str]]:
        """Every import, wherever it stands, as (node, absolute dotted name)."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node, alias.name
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for alias in node.names:
                    yield node, f"{base}.{alias.name}"

    def _absolute(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        parts = self.name.split(".")
        parents = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*parents, *(node.module.split(".") if node.module else [])])


def library() -> list[Module]:
    """Every module of mcpsync."""
    return list(_read(sorted(PACKAGE.rglob("*.py"))))


def _read(paths: Iterable[Path]) -> Iterator[Module]:
    for path in paths:
        relative = path.relative_to(ROOT)
        parts = relative.with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        text = path.read_text(encoding="utf-8")
        yield Module(name, str(relative), text, ast.parse(text, str(path)), is_package)
