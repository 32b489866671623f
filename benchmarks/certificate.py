"""A certificate authority for one benchmark run, made with the ``openssl`` program."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import certifi

AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
LEAF = """\
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectAltName=IP:127.0.0.1
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Where the server's key pair is, and a bundle that trusts it beside the public authorities."""

    certificate: Path
    key: Path
    bundle: Path


def make_certificate(folder: Path) -> Certificate:
    """Make an authority and a certificate for 127.0.0.1 in *folder*.

    The bundle is the public one with the authority added: loading 150 certificates is what
    a TLS context costs its user, and a bundle of one would hide that.

    Raises:
        RuntimeError: there is no ``openssl``, or it refused.
    """
    paths = {name: folder / name for name in ("ca.key", "ca.pem", "key.pem", "request", "cert.pem")}
    (folder / "leaf.cnf").write_text(LEAF, encoding="utf-8")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl(
        *("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=benchmark authority"),
        *(part for line in AUTHORITY for part in ("-addext", line)),
        *("-keyout", str(paths["ca.key"]), "-out", str(paths["ca.pem"])),
    )
    _openssl(
        *("req", *new_key, "-subj", "/CN=127.0.0.1"),
        *("-keyout", str(paths["key.pem"]), "-out", str(paths["request"])),
    )
    _openssl(
        *("x509", "-req", "-in", str(paths["request"]), "-days", "2", "-CAcreateserial"),
        *("-CA", str(paths["ca.pem"]), "-CAkey", str(paths["ca.key"])),
        *("-extfile", str(folder / "leaf.cnf"), "-out", str(paths["cert.pem"])),
    )
    bundle = folder / "bundle.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + paths["ca.pem"].read_bytes())
    return Certificate(paths["cert.pem"], paths["key.pem"], bundle)


def _openssl(*arguments: str) -> None:
    command = ["openssl", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"openssl could not be run: {error}") from error
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()[-300:]}")
