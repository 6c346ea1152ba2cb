"""What can go wrong in an operation.

OperationFailed
├── Unreachable    nothing answers at the endpoint
├── Missing        a table, queue, agent or record does not exist
├── Conflict       somebody else changed it meanwhile, or it is in the way
├── Denied         the credentials do not allow it, or there are none
├── Rejected       the backend refuses the request for another reason
├── NotConfirmed   the operator said no
└── Misused        the request makes no sense; the CLI exits with 2
"""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as aws

from sharpwave.producers.connect import NOWHERE
from sharpwave.workers.aws.errors import code_of

# SQS answers in two protocols, which name the same fault differently; emulators know either.
_MISSING = frozenset(
    [
        "ResourceNotFoundException",
        "TableNotFoundException",
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
    ]
)
_DENIED = frozenset(
    [
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    ]
)
_RECENTLY_DELETED = ("AWS.SimpleQueueService.QueueDeletedRecently", "QueueDeletedRecently")
_NO_CREDENTIALS = (
    aws.CredentialRetrievalError,
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.ProfileNotFound,
)


class OperationFailed(Exception):
    """The root of the operations' errors; the text names the thing, the fault and the remedy."""

    exit_code = 1


class Unreachable(OperationFailed):
    """Nothing answers at the endpoint."""


class Missing(OperationFailed):
    """A table, queue, agent or record does not exist."""


class Conflict(OperationFailed):
    """Somebody else changed it meanwhile, or it is in the way."""


class Denied(OperationFailed):
    """The credentials do not allow it, or there are none."""


class Rejected(OperationFailed):
    """The backend refuses the request."""


class NotConfirmed(OperationFailed):
    """The operator said no."""


class Misused(OperationFailed):
    """The request makes no sense."""

    exit_code = 2


@contextmanager
def translated(thing: str) -> Iterator[None]:
    """Raise what AWS says about `thing`, such as "table x", as an error of this module."""
    try:
        yield
    except aws.ClientError as error:
        code, said = code_of(error), error.response.get("Error", {}).get("Message", "")
        if code in _MISSING:
            text = f"{thing} does not exist; run `sharpwave provision`, or check the prefix"
            raise Missing(text) from error
        if code in _DENIED:
            text = f"{thing}: {code}: {said}; check the credentials and their policy"
            raise Denied(text) from error
        if code in _RECENTLY_DELETED:
            text = f"{thing} was deleted less than 60 s ago; try again in a minute"
            raise Conflict(text) from error
        raise Rejected(f"{thing}: {code}: {said}") from error
    except (aws.ConnectionError, aws.HTTPClientError) as error:
        raise Unreachable(
            f"{thing}: {error}; start it with `sharpwave up`, or fix the endpoint"
        ) from error
    except aws.NoRegionError as error:
        raise Denied(f"{thing}: {NOWHERE}") from error
    except _NO_CREDENTIALS as error:
        raise Denied(
            f"{thing}: {error}; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except aws.BotoCoreError as error:
        raise Rejected(f"{thing}: {error}") from error
