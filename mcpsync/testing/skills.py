"""Skills of the test server. (SEP-2640)"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from .call import Call
from .jsonrpc import INVALID_PARAMS, JSONObject, RPCError

SKILLS_EXTENSION = "io.modelcontextprotocol/skills"

Handler = Callable[[Call], JSONObject]
Page = Callable[[Call, str, tuple[JSONObject, ...]], JSONObject]


def _text(name: str, description: str, body: str) -> bytes:
    return f"---\nname: {name}\ndescription: {description}\n---\n\n{body}\n".encode()


class SkillShelf:
    """The skills of the test server. Change them before clients come, or between their requests.

    Attributes:
        files: The content of each file, by its URI.
        entries: The entry of each skill, by the URI of its ``SKILL.md``. They are made from the
            files when the shelf is; changing a file afterwards makes it a forgery.
        listed: Which skills ``skills/list`` shows.
        directory_read: Whether it says that directories may be read.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.entries: dict[str, JSONObject] = {}
        self.listed: list[str] = []
        self.directory_read = True
        self.add(
            "acme/refunds",
            "Refund a customer",
            {"references/policy.md": b"Refund within 30 days.\n", "templates/seal.png": b"\x89PNG"},
        )
        self.add("git-workflow", "How this team uses Git", {})
        self.add("daily", "Today's numbers", {}, dynamic=True)

    def add(
        self,
        path: str,
        description: str,
        files: Mapping[str, bytes],
        *,
        dynamic: bool = False,
        body: str = "Do it like this.",
    ) -> str:
        """Add a skill, and return the URI of its ``SKILL.md``.

        Args:
            path: Where it is; the last part is its name.
            description: What it is for.
            files: Its other files, by their paths in it.
            dynamic: Whether to publish no digests.
            body: What its ``SKILL.md`` says.
        """
        root, name = f"skill://{path}", path.rpartition("/")[2]
        uri = f"{root}/SKILL.md"
        own = {uri: _text(name, description, body)}
        own |= {f"{root}/{file}": content for file, content in files.items()}
        self.files |= own
        self.entries[uri] = {
            "uri": uri,
            "frontmatter": {"name": name, "description": description},
            "resources": "dynamic" if dynamic else [_resource(*each) for each in own.items()],
        }
        self.listed.append(uri)
        return uri

    def handlers(self, page: Page, read: Handler) -> Mapping[str, Handler]:
        """The methods, and ``resources/read`` with the skills' files in it."""
        return {
            "skills/list": lambda call: page(
                call, "skills", tuple(self.entries[uri] for uri in self.listed)
            ),
            "skills/get": self._get,
            "resources/read": lambda call: self._read(call) or read(call),
            "resources/directory/read": lambda call: page(
                call, "resources", self._children(str(call.params.get("uri")))
            ),
        }

    def _get(self, call: Call) -> JSONObject:
        entry = self.entries.get(str(call.params.get("uri")))
        if entry is None:
            raise RPCError(INVALID_PARAMS, f"No skill is served at {call.params.get('uri')}")
        return {"skill": entry}

    def _read(self, call: Call) -> JSONObject | None:
        uri = str(call.params.get("uri"))
        content = self.files.get(uri)
        if content is None:
            return None
        found: dict[str, Any] = {"uri": uri, "mimeType": "text/markdown"}
        try:
            found["text"] = content.decode()
        except UnicodeDecodeError:
            found |= {
                "blob": base64.b64encode(content).decode(),
                "mimeType": "application/octet-stream",
            }
        return {"contents": [found]}

    def _children(self, directory: str) -> tuple[JSONObject, ...]:
        inside = [uri for uri in self.files if uri.startswith(f"{directory}/")]
        if not inside:
            raise RPCError(INVALID_PARAMS, f"{directory} is not a directory resource")
        found: dict[str, JSONObject] = {}
        for uri in inside:
            name, _, deeper = uri.removeprefix(f"{directory}/").partition("/")
            kind = "inode/directory" if deeper else "text/plain"
            found[name] = {"uri": f"{directory}/{name}", "name": name, "mimeType": kind}
        return tuple(found.values())


def _resource(uri: str, content: bytes) -> JSONObject:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"uri": uri, "digest": digest, "size": len(content)}
