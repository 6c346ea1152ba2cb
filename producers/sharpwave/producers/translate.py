"""The one place where errors of AWS clients become errors of this package."""

from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from sharpwave.producers import errors
from sharpwave.producers.call import Call
from sharpwave.schemas.queues import THROTTLES

#: What the clients may raise for a call that reached them.
CLIENT_ERRORS = (ClientError, BotoCoreError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)

_THROTTLED = THROTTLES | {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "KMS.ThrottlingException",
    "KmsThrottled",
}
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "KMS.AccessDeniedException",
)
#: Called a fault of the request, and accepted as it is a moment later.
_PASSING = (
    "AWS.SimpleQueueService.QueueDeletedRecently",
    "QueueDeletedRecently",
    "RequestTimeout",
    "TransactionInProgressException",
)
_QUEUE_MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


def translate(error: Exception, call: Call) -> errors.AgentError:
    """Give the error of this package that stands for a client's."""
    if isinstance(error, ClientError):
        translated = _service_error(error, call)
    elif isinstance(error, ConnectionError | HTTPClientError):
        text = f"{call.target}: {error}; check AWS_ENDPOINT_URL and the network"
        translated = errors.Unreachable(text)
    elif isinstance(error, _NO_CREDENTIALS):
        translated = errors.AccessDenied(f"{call.target}: {error}; configure AWS credentials")
    else:
        translated = errors.InvalidRequest(f"{call.target}: {error}")
    translated.__cause__ = error
    return translated


def _service_error(error: ClientError, call: Call) -> errors.AgentError:
    response: dict[str, Any] = dict(error.response)
    fault = response.get("Error", {})
    code, text = fault.get("Code", ""), f"{call.target}: {fault.get('Message', error)}"
    if code == "ConditionalCheckFailedException":
        return errors.ConditionFailed(text, item=response.get("Item"))
    if code == "TransactionCanceledException":
        reasons = [part.get("Code", "None") for part in response.get("CancellationReasons", [])]
        return errors.ConditionFailed(text, reasons=reasons)
    if code in _QUEUE_MISSING:
        return errors.QueueMissing(
            f"{call.place} does not exist; call Agent.register() or run `sharpwave agents add`"
        )
    if code == "ResourceNotFoundException":
        return errors.TableMissing(f"{text}; run `sharpwave provision` or check the prefix")
    if code in _DENIED:
        return errors.AccessDenied(f"{text}; check the agent's credentials and policy")
    if code in _THROTTLED:
        return errors.Throttled(f"{text}; write or read less at a time, or try again later")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if status < 500 and code not in _PASSING:
        return errors.InvalidRequest(f"{code}: {text}")
    return errors.ServiceFailed(f"{code}: {text}; try again later")
