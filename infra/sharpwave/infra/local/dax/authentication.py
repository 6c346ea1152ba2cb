"""Who connects: a client signs a text with its secret key (AWS's Signature Version 4)."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

_ALGORITHM, _SERVICE, _HOST = "AWS4-HMAC-SHA256", "dax", "dax.amazonaws.com"
_SKEW_S = 300


class Refused(Exception):
    """A signature is not one of a known key, or an old one."""


def verify(
    secrets: Mapping[str, str], access_key: str, signature: str, signed: str, *, now: float
) -> None:
    """Check that a text was signed by the owner of a key, for this service, just now.

    Args:
        secrets: the secret keys, by access key.
        access_key: the key whose owner this claims to be.
        signature: in hexadecimal.
        signed: the string to sign, as the client says it was.
        now: epoch seconds.

    Raises:
        Refused: it was not.
    """
    if access_key not in secrets:
        raise Refused(f"the access key {access_key!r} is not known here")
    try:
        algorithm, moment, scope, _ = signed.split("\n")
        day, region, service, end = scope.split("/")
        # Signed with the rest, so an old signature cannot be given a new date.
        at = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise Refused(f"the signed text is none of Signature Version 4: {error}") from error
    if abs(now - at) > _SKEW_S:
        raise Refused(f"the signature is of {moment}, more than {_SKEW_S} s from now")
    if (algorithm, service, end, day) != (_ALGORITHM, _SERVICE, "aws4_request", moment[:8]):
        raise Refused(f"the signature is for {scope!r}, not for {_SERVICE}")
    expected = string_to_sign(moment, region)
    wanted = sign(secrets[access_key], day, region, expected)
    # Made anew and compared: what was signed might be another request than this.
    if signed != expected or not hmac.compare_digest(wanted, signature.lower()):
        raise Refused("the signature does not match: check the secret key")


def string_to_sign(moment: str, region: str) -> str:
    """Give the text that a connection is signed by; its request has neither path nor body."""
    headers = f"host:{_HOST}\nx-amz-date:{moment}\n"
    request = f"POST\n/\n\n{headers}\nhost;x-amz-date\n{hashlib.sha256(b'').hexdigest()}"
    scope = f"{moment[:8]}/{region}/{_SERVICE}/aws4_request"
    return f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"


def sign(secret: str, day: str, region: str, text: str) -> str:
    """Sign a text, in hexadecimal."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, _SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
