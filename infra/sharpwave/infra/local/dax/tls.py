"""TLS with a certificate of one's own; clients trust it by their SSL_CERT_FILE or the like."""

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from sharpwave.infra.errors import OperationFailed

_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"
_DAYS = "30"


class Certificate(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class NoCertificate(OperationFailed):
    """No certificate could be made."""


def make_certificate(folder: Path, names: str = _NAMES) -> Certificate:
    """Make a certificate that signs itself, for `localhost` and 127.0.0.1 unless told otherwise.

    Args:
        folder: where it is put, as `dax.pem` and `dax-key.pem`; one that is there is used.
        names: the extension that names the hosts, as openssl writes it.

    Raises:
        NoCertificate: there is no openssl, or it failed.
    """
    found = Certificate(folder / "dax.pem", folder / "dax-key.pem")
    # Clients that trust it already go on doing so.
    if found.certificate.exists() and found.key.exists():
        return found
    folder.mkdir(parents=True, exist_ok=True)
    files = ["-keyout", str(found.key), "-out", str(found.certificate)]
    kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", _DAYS]
    subject = ["-subj", "/CN=localhost", "-addext", names]
    try:
        done = subprocess.run(
            ["openssl", "req", *kind, *files, *subject], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise NoCertificate(
            f"a certificate cannot be made without openssl ({error}); install it, or give the"
            " files of one"
        ) from error
    if done.returncode != 0:
        raise NoCertificate(f"openssl made no certificate in {folder}: {done.stderr.strip()}")
    return found


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """Give the context of a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context
