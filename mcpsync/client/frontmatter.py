"""The YAML at the top of a ``SKILL.md``, read as the JSON it is held against. (SEP-2640)"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, SkillInvalid

if TYPE_CHECKING:
    import yaml

MOST_BYTES = 64 * 1024

_FENCED = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.S | re.M)
# YAML 1.2, core schema: PyYAML's own rules make a truth of "on" and a date of "2026-01-01".
_PLAIN = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
)


def frontmatter_of(content: bytes, uri: str) -> dict[str, Any]:
    """Return the frontmatter of a ``SKILL.md``.

    Raises:
        SkillInvalid: It has none, or one that cannot be read one way only.
        ConfigurationError: PyYAML is not there.
    """
    try:
        import yaml
    except ImportError:
        raise ConfigurationError(
            "reading the frontmatter of a skill needs PyYAML: pip install 'mcpsync[yaml]'."
        ) from None
    fenced = _FENCED.match(content[: MOST_BYTES + 16])
    if fenced is None:
        raise SkillInvalid("SKILL.md does not begin with frontmatter.", uri=uri)
    try:
        found = yaml.load(fenced[1].decode(), Loader=_loader(yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SkillInvalid("the frontmatter of SKILL.md cannot be read.", uri=uri) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SkillInvalid("the frontmatter of SKILL.md is no mapping.", uri=uri)
    return found


def is_same(found: Any, expected: Any) -> bool:
    """Whether two values are the same JSON, numbers by value and truths as truths."""
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, dict) and isinstance(expected, Mapping):
        return found.keys() == expected.keys() and all(
            is_same(value, expected[key]) for key, value in found.items()
        )
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(is_same, found, expected))
    return bool(found == expected)


def _loader(base: type[yaml.SafeLoader]) -> type[yaml.SafeLoader]:
    class Loader(base):  # type: ignore[misc, valid-type]
        """Takes what JSON can say, and no key twice."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - that is how PyYAML has it

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
            pairs = [(self.construct_object(k), v) for k, v in node.value]
            if not all(isinstance(key, str) for key, _ in pairs):
                raise ValueError("a key that is no text")
            if len(dict(pairs)) != len(pairs):
                raise ValueError("a key that is there twice")
            return {key: self.construct_object(value, deep=True) for key, value in pairs}

    for kind, pattern, first in _PLAIN:
        tag = f"tag:yaml.org,2002:{kind}"
        firsts = ["" if char == "\0" else char for char in first]
        Loader.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), firsts)
    Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
    Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value))
    Loader.add_constructor(
        "tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node)
    )
    return Loader
