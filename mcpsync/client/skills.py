"""``client.skills``: skills that a server serves, listed, and loaded once they are verified.

Nothing is fetched before it is asked for, and nothing that differs from its entry is handed out.
A digest says that content and entry agree. It does not say that the server means well. (SEP-2640)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from ..errors import FeatureUnsupported, MCPSyncError, MessageInvalid, NotFound, SkillInvalid
from ..session.base import Call
from ..session.tasks import Request
from .extensions import SKILLS
from .frontmatter import frontmatter_of, is_same
from .options import CallOptions, check_options
from .tasks import Anything

if TYPE_CHECKING:
    from mcp_types import Resource

    from .asking import Means

logger = logging.getLogger(__name__)

MOST_FILES = 512  # of one skill; what every host has to take, and what we take
MOST_BYTES = 16 * 1024 * 1024  # of one skill's files together
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class SkillFile:
    """One file of a skill, as its entry has it.

    Attributes:
        uri: What it is read by.
        digest: ``sha256:`` and 64 hexadecimal digits, of its bytes.
        size: Its length in bytes.
    """

    uri: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Skill:
    """The entry of one skill: all that is known of it before anything of it is fetched.

    It belongs to the server it came from; another server may have another skill of the same URI.
    What it says is the server's word, and is to be treated as such.

    Attributes:
        uri: That of its ``SKILL.md``.
        frontmatter: What stands at the top of ``SKILL.md``.
        files: Its files, ``SKILL.md`` among them; None if the server publishes no digests
            (``"dynamic"``), so that nothing can be verified but the frontmatter.
    """

    uri: str
    frontmatter: Mapping[str, Any]
    files: tuple[SkillFile, ...] | None

    @property
    def name(self) -> str:
        """What it is called; two skills may be called the same."""
        return str(self.frontmatter["name"])

    @property
    def description(self) -> str:
        """What it is for."""
        return str(self.frontmatter["description"])

    @property
    def root(self) -> str:
        """The URI of its directory."""
        return self.uri.rpartition("/")[0]

    def resolve(self, reference: str) -> str:
        """Return the URI of a file, given that, or its path in the skill's directory.

        Raises:
            SkillInvalid: It is not a file of this skill.
        """
        uri = reference
        if "://" not in reference:
            uri = f"{self.root}/{posixpath.normpath(reference)}"
        inside = uri.startswith(f"{self.root}/") and not {".", ".."} & set(uri.split("/"))
        if not inside or (self.files is not None and all(uri != each.uri for each in self.files)):
            raise SkillInvalid(f"{reference!r} is not a file of the skill.", uri=uri)
        return uri


class LoadedSkill:
    """A skill whose ``SKILL.md`` was read and verified. Thread-safe.

    Its other files are read, and verified, when they are asked for.

    Attributes:
        skill: Its entry, which its files are held to.
        text: The whole ``SKILL.md``.
    """

    def __init__(self, skill: Skill, text: str, reader: _Reader) -> None:
        self.skill = skill
        self.text = text
        self._reader = reader

    def read(self, reference: str, **options: Unpack[CallOptions]) -> bytes:
        """Return the content of one of its files.

        Args:
            reference: Its path in the skill's directory, ``references/FORMS.md``, or its URI.
            options: See :class:`CallOptions`.

        Raises:
            SkillInvalid: The entry does not have it, or it is not what the entry says. Get the
                skill again: it may have changed.
            MCPSyncError: It could not be read.
        """
        return self._reader.read(self.skill, self.skill.resolve(reference), options)


class Skills:
    """The skills of one server, as ``client.skills`` shows them. Thread-safe.

    *options* are those of every call, see :class:`CallOptions`.
    """

    def __init__(self, means: Means) -> None:
        self._means = means

    def list(self, **options: Unpack[CallOptions]) -> Iterator[Skill]:
        """Yield every skill the server lists, page by page; *timeout* is for each page.

        It may have others, which :meth:`get` finds by their URI. An entry that breaks the rules is
        left out, and the log says so. Nothing of a skill is fetched.

        Raises:
            FeatureUnsupported: The server has no skills.
            MCPSyncError: See :mod:`mcpsync.errors`.
        """
        check_options(options)

        def fetch(cursor: str | None) -> dict[str, Any]:
            return self._ask("skills/list", {} if cursor is None else {"cursor": cursor}, options)

        return self._means.pages_of(fetch, _entries, lambda page: page.get("nextCursor"))

    def get(self, name_or_uri: str, **options: Unpack[CallOptions]) -> Skill:
        """Return the entry of one skill.

        Args:
            name_or_uri: The URI of its ``SKILL.md``, listed or not; or the name of a listed one.
            options: See :class:`CallOptions`.

        Raises:
            FeatureUnsupported: The server has no skills.
            NotFound: No listed skill has that name, or several have; the error names their URIs.
            SkillInvalid: The entry breaks the rules.
            MCPSyncError: The server does not know it (``MCPError``), or something else went wrong.
        """
        if "://" not in name_or_uri:
            return self._named(name_or_uri, options)
        answer = self._ask("skills/get", {"uri": name_or_uri}, options)
        try:
            skill = _skill(answer.get("skill"))
            if skill.uri != name_or_uri:
                raise SkillInvalid("the server gave another skill.", uri=name_or_uri)
        except MCPSyncError as error:
            raise self._told(error) from error.__cause__
        return skill

    def load(self, skill: Skill | str, **options: Unpack[CallOptions]) -> LoadedSkill:
        """Read the ``SKILL.md`` of a skill, and return it if it is what its entry says.

        Args:
            skill: The entry; or what :meth:`get` takes, to get it first.
            options: See :class:`CallOptions`.

        Raises:
            SkillInvalid: Size, digest or frontmatter differ from the entry; nothing of it is to be
                used. If the skill has changed, its new entry is to be had with :meth:`get`.
            ConfigurationError: PyYAML is not there (extra ``yaml``). Nothing was read.
            MCPSyncError: See :mod:`mcpsync.errors`.
        """
        frontmatter_of(b"---\n---\n", "")  # is there anything to read it with?
        entry = self.get(skill, **options) if isinstance(skill, str) else skill
        reader = _Reader(self)
        content = reader.read(entry, entry.uri, options)
        try:
            return LoadedSkill(entry, _checked(content, entry), reader)
        except SkillInvalid as error:
            raise self._told(error) from error.__cause__

    def directory(self, uri: str, **options: Unpack[CallOptions]) -> Iterator[Resource]:
        """Yield what is directly in a directory, page by page; *timeout* is for each page.

        Directories in it have the MIME type ``inode/directory``. What is there now may differ from
        a skill's entry, and it is the entry that counts.

        Args:
            uri: The directory, such as :attr:`Skill.root`.
            options: See :class:`CallOptions`.

        Raises:
            FeatureUnsupported: The server does not do this.
            MCPSyncError: See :mod:`mcpsync.errors`.
        """
        from mcp_types import ListResourcesResult

        check_options(options)

        def fetch(cursor: str | None) -> Any:
            params = {"uri": uri} if cursor is None else {"uri": uri, "cursor": cursor}
            call = self._means.call(options)
            method = "resources/directory/read"
            return self._means.ask_in(
                call, method, params, ListResourcesResult, None, self._if_offered
            )

        return self._means.pages_of(
            fetch, lambda page: page.resources, lambda page: page.next_cursor
        )

    def _named(self, name: str, options: CallOptions) -> Skill:
        found = [skill for skill in self.list(**options) if skill.name == name]
        if len(found) == 1:
            return found[0]
        several = ", ".join(skill.uri for skill in found)
        text = f"several skills are called {name!r}: {several}."
        raise self._told(NotFound(text if found else f"no listed skill is called {name!r}."))

    def _read(self, uri: str, options: CallOptions) -> bytes:
        """Return the content of the resource *uri*, whatever it is."""
        return _content(self._ask("resources/read", {"uri": uri}, options), uri)

    def _ask(self, method: str, params: Mapping[str, Any], options: CallOptions) -> dict[str, Any]:
        call = self._means.call(options)
        answer = self._means.ask_in(call, method, params, Anything, None, self._if_offered)
        found: dict[str, Any] = answer.root
        return found

    def _if_offered(
        self, request: Request, method: str, params: Mapping[str, Any] | None, call: Call
    ) -> Mapping[str, Any]:
        """Make a request of the extension, if the server says that it knows it."""
        capabilities = self._means.keeper.session(call).facts(call).capabilities
        declared = (capabilities.extensions or {}).get(SKILLS)
        if declared is None or (method.endswith("directory/read") and not _reads(declared)):
            feature = SKILLS if declared is None else f"{SKILLS} directoryRead"
            raise FeatureUnsupported(f"the server does not offer {feature}.", feature=feature)
        return request(method, params, call)

    def _told(self, error: MCPSyncError) -> MCPSyncError:
        return self._means.telling(error)


class _Reader:
    """Reads files of one skill, and hands out what is as its entry says."""

    def __init__(self, skills: Skills) -> None:
        self._skills = skills
        self._bytes: list[int] = []  # read of a skill whose entry does not say how large it is

    def read(self, skill: Skill, uri: str, options: CallOptions) -> bytes:
        try:
            content = self._skills._read(uri, options)  # noqa: SLF001 - two halves of one thing
            entry = next((each for each in skill.files or () if each.uri == uri), None)
            if entry is not None:
                _verify(content, entry)
            else:
                self._bytes.append(len(content))
                if sum(self._bytes) > MOST_BYTES:
                    raise SkillInvalid("the skill has more than 16 MiB.", uri=uri)
        except MCPSyncError as error:
            raise self._skills._told(error) from error.__cause__  # noqa: SLF001
        return content


def _checked(content: bytes, entry: Skill) -> str:
    """Return the text of a ``SKILL.md`` whose frontmatter is what the skill's entry says."""
    try:
        if is_same(frontmatter_of(content, entry.uri), entry.frontmatter):
            return content.decode("utf-8-sig")
        problem = "the frontmatter of SKILL.md is not what the skill's entry says."
    except UnicodeDecodeError:
        problem = "SKILL.md is no UTF-8."
    except RecursionError:
        problem = "the frontmatter of SKILL.md is nested too deeply."
    raise SkillInvalid(problem, uri=entry.uri)


def _verify(content: bytes, entry: SkillFile) -> None:
    if len(content) != entry.size:
        raise SkillInvalid(
            f"the file has {len(content)} bytes, and the skill's entry says {entry.size}.",
            uri=entry.uri,
        )
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != entry.digest:
        raise SkillInvalid("the file's digest is not that of the skill's entry.", uri=entry.uri)


def _content(answer: Mapping[str, Any], uri: str) -> bytes:
    """Return the bytes of a resource, of which there must be one, and that."""
    contents = answer.get("contents")
    found = contents[0] if isinstance(contents, list) and len(contents) == 1 else None
    if isinstance(found, dict) and found.get("uri") == uri:
        text, blob = found.get("text"), found.get("blob")
        try:
            if isinstance(text, str):
                return text.encode()
            if isinstance(blob, str):
                return base64.b64decode(blob, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise SkillInvalid("the server's answer does not hold the file that was asked for.", uri=uri)


def _entries(page: Mapping[str, Any]) -> list[Skill]:
    listed = page.get("skills")
    if not isinstance(listed, list):
        raise MessageInvalid("the server's answer to skills/list has no skills in it.")
    found = []
    for entry in listed:
        try:
            found.append(_skill(entry))
        except SkillInvalid as error:
            logger.warning("a skill is left out (%r): %s", error.uri, error.message)
    return found


def _skill(entry: Any) -> Skill:
    """Return the entry of a skill.

    Raises:
        SkillInvalid: It breaks the rules.
    """
    entry = entry if isinstance(entry, dict) else {}
    uri, frontmatter = entry.get("uri"), entry.get("frontmatter")
    if not isinstance(uri, str):
        raise SkillInvalid("the entry of a skill has no uri.")
    if not isinstance(frontmatter, dict) or not all(
        isinstance(frontmatter.get(key), str) for key in ("name", "description")
    ):
        raise SkillInvalid("its frontmatter has no name or no description.", uri=uri)
    root, _, file = uri.rpartition("/")
    if file != "SKILL.md" or root.rpartition("/")[2] != frontmatter["name"]:
        raise SkillInvalid("its uri does not end with its name and SKILL.md.", uri=uri)
    return Skill(uri, frontmatter, _files(entry.get("resources"), uri, root))


def _files(resources: Any, uri: str, root: str) -> tuple[SkillFile, ...] | None:
    if resources == "dynamic":
        return None
    if not isinstance(resources, list) or not all(isinstance(each, dict) for each in resources):
        raise SkillInvalid("its resources are neither a list nor 'dynamic'.", uri=uri)
    if len(resources) > MOST_FILES:
        raise SkillInvalid(f"it has more than {MOST_FILES} files.", uri=uri)
    found = {each.uri: each for each in (_file(resource, uri, root) for resource in resources)}
    if len(found) != len(resources) or uri not in found:
        raise SkillInvalid("its resources name a file twice, or not its SKILL.md.", uri=uri)
    if sum(each.size for each in found.values()) > MOST_BYTES:
        raise SkillInvalid("its files have more than 16 MiB together.", uri=uri)
    return tuple(found.values())


def _file(resource: dict[str, Any], uri: str, root: str) -> SkillFile:
    name, digest, size = resource.get("uri"), resource.get("digest"), resource.get("size")
    if not isinstance(name, str) or not name.startswith(f"{root}/"):
        raise SkillInvalid("it has a file that is not in its directory.", uri=uri)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise SkillInvalid(f"the size of {name} is no size.", uri=uri)
    scheme, _, hexadecimal = digest.partition(":") if isinstance(digest, str) else ("", "", "")
    if scheme != "sha256" or len(hexadecimal) != 64 or not _HEX.issuperset(hexadecimal):
        raise SkillInvalid(f"the digest of {name} is no SHA-256.", uri=uri)
    return SkillFile(name, f"sha256:{hexadecimal}", size)


def _reads(declared: Any) -> bool:
    return isinstance(declared, Mapping) and declared.get("directoryRead") is True
