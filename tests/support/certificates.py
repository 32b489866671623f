"""A certificate for the servers of tests on this machine."""

import ssl
import subprocess
from typing import NamedTuple

import pytest


class Certificate(NamedTuple):
    """A self-signed certificate for 127.0.0.1, and its key."""

    path: str
    key: str

    def context(self, *, ask_client: bool = False) -> ssl.SSLContext:
        """A server's TLS context with it; one that also asks the client for a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        if ask_client:
            context.load_verify_locations(self.path)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make one for this run."""
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(str(folder / "cert.pem"), str(folder / "key.pem"))
    extensions = (
        "subjectAltName=IP:127.0.0.1",
        "basicConstraints=critical,CA:TRUE",
        "keyUsage=critical,digitalSignature,keyCertSign,cRLSign",
    )
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    command = ["openssl", "req", "-x509", *curve, "-days", "2", "-subj", "/CN=127.0.0.1"]
    for extension in extensions:
        command += ["-addext", extension]
    command += ["-keyout", made.key, "-out", made.path]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("there is no openssl program to make a certificate with")
    return made
