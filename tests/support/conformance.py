"""The official conformance suite: getting it, running one scenario, judging what it found.

Standard library only. One scenario at a time: the suite would start all clients at once, which on
a small machine produces failures of its own.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import provision

CLIENT = Path(__file__).resolve().parents[1] / "conformance" / "client.py"
PACKAGE = ("@modelcontextprotocol/conformance", "0.2.0-alpha.12")
CLIENT_TIMEOUT = 30.0
TIMEOUT = 90.0

# Rows that cannot be exercised: the modern wire has no such messages.
IMPOSSIBLE = {"ClientMcpMethodHeader_initialize", "ClientMcpMethodHeader_notifications_initialized"}
# Scenarios in which a row that was not exercised counts as a failure.
NOTHING_SKIPPED = {"http-standard-headers"}

Check = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A scenario and the protocol version to play it at; None leaves that to the suite."""

    scenario: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Run":
        """Read `scenario` or `scenario@version`."""
        scenario, _, version = text.partition("@")
        return cls(scenario, version or None)

    def __str__(self) -> str:
        return f"{self.scenario}@{self.version}" if self.version else self.scenario


REQUIRED = [
    Run("initialize", "2025-11-25"),
    Run("tools_call", "2025-11-25"),
    Run("sse-retry", "2025-11-25"),
    Run("tools_call", "2026-07-28"),
    Run("elicitation-sep1034-client-defaults", "2025-11-25"),
    Run("request-metadata", "2026-07-28"),
    Run("sep-2322-client-request-state", "2026-07-28"),
    Run("http-standard-headers", "2026-07-28"),
    Run("http-custom-headers", "2026-07-28"),
    Run("http-invalid-tool-headers", "2026-07-28"),
    Run("json-schema-ref-no-deref", "2026-07-28"),
    Run("json-schema-2020-12-preservation", "2025-11-25"),
    Run("json-schema-2020-12-preservation", "2026-07-28"),
    Run("sep-2640-client-no-prefetch"),  # an extension's: they are of no version
    Run("sep-2640-client-verify-digest"),
    Run("sep-2640-client-verify-size"),
    Run("sep-2640-client-verify-frontmatter"),
]


# Of authorization: at both wires what is of both, the extensions once.
_BOTH_WIRES = """
    metadata-default metadata-var1 metadata-var2 metadata-var3 basic-cimd
    scope-from-www-authenticate scope-from-scopes-supported scope-omitted-when-undefined
    scope-step-up scope-retry-limit pre-registration
    token-endpoint-auth-basic token-endpoint-auth-post token-endpoint-auth-none
"""
_MODERN = """
    resource-mismatch offline-access-scope offline-access-not-supported
    authorization-server-migration metadata-issuer-mismatch
    iss-supported iss-not-advertised iss-supported-missing iss-wrong-issuer iss-unexpected
    iss-normalized
"""
_FIRST = "2025-03-26-oauth-metadata-backcompat 2025-03-26-oauth-endpoint-fallback"
_EXTENSIONS = """
    client-credentials-jwt client-credentials-basic enterprise-managed-authorization
    dpop dpop-nonce wif-jwt-bearer
"""
REQUIRED += [
    Run(f"auth/{name}", version)
    for names, versions in (
        (_BOTH_WIRES, ("2025-11-25", "2026-07-28")),
        (_MODERN, ("2026-07-28",)),
        (_FIRST, ("2025-03-26",)),
        (_EXTENSIONS, (None,)),
    )
    for name in names.split()
    for version in versions
]


@dataclass(frozen=True)
class Verdict:
    """What came of one run."""

    run: Run
    exit_code: int
    checks: list[Check] = field(default_factory=list)
    output: str = ""

    @property
    def bad(self) -> list[Check]:
        """The checks that failed, warned, or were not exercised though they must be."""
        strict = self.run.scenario in NOTHING_SKIPPED
        return [
            check
            for check in self.checks
            if check["status"] in {"FAILURE", "WARNING"}
            or (strict and check["status"] == "SKIPPED" and check["name"] not in IMPOSSIBLE)
        ]

    @property
    def passed(self) -> bool:
        """Whether the suite and this judge are both content."""
        succeeded = any(check["status"] == "SUCCESS" for check in self.checks)
        return self.exit_code == 0 and succeeded and not self.bad

    def __str__(self) -> str:
        counts = Counter(check["status"] for check in self.checks)
        line = (
            f"{'passed' if self.passed else 'FAILED'}  {self.run!s:<46}"
            f"{counts['SUCCESS']:>3} ok, {counts['FAILURE']} failed,"
            f" {counts['WARNING']} warnings, {counts['SKIPPED']} skipped"
        )
        if self.passed:
            return line
        details = [f"    {c['status']} {c['name']}: {c.get('errorMessage', '')}" for c in self.bad]
        if self.exit_code != 0 or not self.checks:
            details.append(f"    the suite ended with exit code {self.exit_code}; it wrote:")
            details += [f"    | {text}" for text in self.output.splitlines()[-30:]]
        return "\n".join([line, *details])


@dataclass(frozen=True)
class Suite:
    """An installed conformance suite."""

    command: list[str]

    def judge(self, run: Run, client: Path = CLIENT) -> Verdict:
        """Play one scenario in child processes and read what the suite has found."""
        # The suite splits the client's command at spaces and hands it to a shell.
        played = f"{shlex.quote(sys.executable)} {shlex.quote(str(client))}"
        with tempfile.TemporaryDirectory(prefix="mcpsync-conformance-") as folder:
            command = [*self.command, "client", "--command", played, "--scenario", run.scenario]
            command += ["--timeout", f"{CLIENT_TIMEOUT * 1000:.0f}", "-o", folder]
            if run.version:
                command += ["--spec-version", run.version]
            code, output = _execute(command, folder)
            checks: list[Check] = []
            for path in Path(folder).rglob("checks.json"):
                checks += json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(Path(folder).rglob("std*.txt")):
                output += f"\n{path.name}:\n{path.read_text(encoding='utf-8', errors='replace')}"
        return Verdict(run, code, checks, output)


def obtain() -> Suite:
    """Install the suite and its Node, or find them installed.

    Raises:
        Unavailable: npm is missing, or something cannot be installed.
    """
    package = provision.npm_package(*PACKAGE)
    return Suite([provision.node(at_least=22), str(package / "dist" / "index.js")])


def _execute(command: list[str], folder: str) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=dict(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return 124, f"{error.output or ''}\nthe suite took over {TIMEOUT:.0f} s"
    return done.returncode, done.stdout
