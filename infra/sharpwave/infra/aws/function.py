"""The router's Lambda function: its zip, made without Docker, and what its mappings pass over."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

import sharpwave.schemas
import sharpwave.workers
from sharpwave.infra.errors import OperationFailed
from sharpwave.schemas import keys
from sharpwave.schemas.tables import SIGNALS

HANDLER = "stream_lambda.handler"
#: What is installed into it; `make lock` remakes it.
LOCK = Path(__file__).with_name("lambda.lock")
PYTHON = "3.13"
_CHANGED = ["MODIFY", "REMOVE"]
_OF_SIGNALS = {"PK": {"S": [{"prefix": keys.signal_pk("")}]}}
_OF_AGENTS = {"PK": {"S": [{"prefix": keys.state_pk("")}]}}
_NO_VERSION = {"status_v": {"N": [{"exists": False}]}}
#: What the router is to see, by table, as any of these; of `agent_signals` not what is the workers'
#: own: new inbox rows, and what they write to mirrors. A signal or a row is seen with whatever
#: its agent put into it. No more than five are taken.
FILTERS: dict[str, list[dict[str, Any]]] = {
    SIGNALS: [
        {"eventName": _CHANGED, "dynamodb": {"NewImage": _NO_VERSION}},
        {"eventName": _CHANGED, "dynamodb": {"Keys": _OF_AGENTS}},
        {"dynamodb": {"Keys": _OF_SIGNALS, "NewImage": _NO_VERSION}},
        {
            "dynamodb": {
                "Keys": _OF_SIGNALS,
                "NewImage": {"signal_id": {"S": [{"exists": True}]}},
            }
        },
        {"dynamodb": {"NewImage": {"signal_pk": {"S": [{"exists": False}]}, **_NO_VERSION}}},
    ]
}
#: The wheels that run on Lambda's system, by its name of the architecture.
PLATFORMS: Final = {
    "arm64": ("manylinux2014_aarch64", "manylinux_2_28_aarch64"),
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_28_x86_64"),
}
#: Put together while Lambda starts the function, when it has more than its share of CPU.
_SOURCE = '''"""The router behind an event source mapping for each streamed table."""

from sharpwave.workers.aws.clients import clients
from sharpwave.workers.main import build_handler
from sharpwave.workers.settings import Settings

handler = build_handler(Settings.read(), clients())
'''
#: Of botocore's models of every service of AWS, those that the router or its credentials need.
_SERVICES = ("dynamodb", "dynamodbstreams", "s3", "sqs", "sts")
_UNUSED = ("bin", "__pycache__")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def package(
    *, architecture: str, python: str = PYTHON, more: dict[str, str] | None = None
) -> bytes:
    """Make the zip, from hashed wheels for Lambda and this package's own modules.

    The same release gives the same bytes, so that a deployment without a change changes nothing.

    Args:
        architecture: arm64 or x86_64.
        python: the version of the function's runtime, such as 3.13.
        more: further modules, their text by file name.

    Raises:
        OperationFailed: pip could not fetch a wheel; the message holds its output.
    """
    platforms = [part for each in PLATFORMS[architecture] for part in ("--platform", each)]
    with tempfile.TemporaryDirectory(prefix="sharpwave-zip-") as scratch:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        chosen = ["--target", scratch, *platforms, "--python-version", python, "--no-compile"]
        locked = ["--only-binary=:all:", "--no-deps", "--require-hashes", "-r"]
        done = subprocess.run(
            [*command, *chosen, *locked, str(LOCK)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OperationFailed(
                f"pip could not fetch what the function needs on {architecture}, Python {python}:"
                f" {done.stderr.strip()[-600:]}"
            )
        root = Path(scratch)
        models = root / "botocore" / "data"
        files: dict[str, bytes] = {}
        for path in root.rglob("*"):
            inner = path.relative_to(root).parts
            if not path.is_file() or inner[0] in _UNUSED:
                continue
            if path.is_relative_to(models) and len(inner) > 3 and inner[2] not in _SERVICES:
                continue
            files[str(path.relative_to(root))] = path.read_bytes()
    for portion in (sharpwave.schemas, sharpwave.workers):
        home = Path(portion.__path__[0])
        name = portion.__name__.replace(".", "/")
        for path in home.rglob("*.py"):
            files[f"{name}/{path.relative_to(home)}"] = path.read_bytes()
    files |= {name: text.encode() for name, text in (more or {}).items()}
    files["stream_lambda.py"] = _SOURCE.encode()
    return _zipped(files)


def architecture_here() -> str:
    """Give Lambda's name of this machine's architecture."""
    return "arm64" if os.uname().machine in ("aarch64", "arm64") else "x86_64"


def _zipped(files: dict[str, bytes]) -> bytes:
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name in sorted(files):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                zipped.writestr(entry, files[name])
        file.seek(0)
        return file.read()
