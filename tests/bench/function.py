"""The router as a Lambda function: how long it takes to start, and its pace beside the pump's.

A start is measured as Lambda's runtime makes it: the zip unpacked, a fresh interpreter without
other packages and without bytecode, the handler imported and called with one signal. What Lambda
does before that, fetching the zip and making a sandbox, only AWS knows.
"""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sharpwave.infra.aws.function import HANDLER, architecture_here, package
from sharpwave.infra.local import Backend, open_backend
from sharpwave.infra.local.mappings import deploy_router
from sharpwave.schemas import tables
from sharpwave.workers.work.envelope import image_of
from tests.bench.figures import Watch, ratio
from tests.bench.peers import SCRIPTS, ContestantFailed
from tests.bench.results import OURS, Row, summed
from tests.bench.router_speed import record
from tests.bench.system import System, signal

PART = "function"
START, BACKLOG = "from nothing to the second event", "signals from a backlog to deliver"
FUNCTION, PUMP = f"{OURS}, as a function", f"{OURS}, the pump"
#: What no function that speaks to AWS does without, from the same zip.
ALONE = "boto3 and two clients alone"
_ALONE = """import boto3

clients = [boto3.client(service) for service in ("dynamodb", "sqs")]


def handler(event, context):
    return {"batchItemFailures": []}
"""
#: The one whose event source mappings call functions.
_BACKEND = "embedded"
_AGENTS, _TARGETS = ("one",), ("one", "two")
_WITHIN_S = 60.0
_QUIET_S = 5.0


def measure(signals: int, starts: int, turns: int, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure so many starts, and so many turns of pump and function with `signals` each."""
    tell(f"{PART}: {START}")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    code = package(architecture=architecture_here(), python=version)
    with open_backend(_BACKEND) as backend:
        with TemporaryDirectory(prefix="sharpwave-bench-") as unpacked:
            zipfile.ZipFile(io.BytesIO(code)).extractall(unpacked)
            Path(unpacked, "alone.py").write_text(_ALONE)
            begun: dict[str, list[dict[str, Any]]] = {OURS: [], ALONE: []}
            with System(backend, _AGENTS) as system:
                for _ in range(starts):
                    begun[OURS].append(_start(system, Path(unpacked), HANDLER))
                    begun[ALONE].append(_start(system, Path(unpacked), "alone.handler"))
                    ours, alone = (begun[who][-1]["import_cpu_ms"] for who in (OURS, ALONE))
                    begun[OURS][-1] |= {"of_boto3_alone": ours / alone, "zip_mb": len(code) / 1e6}
        yield from (summed(PART, START, who, each) for who, each in begun.items())
        hosts: dict[str, Callable[[System], object]] = {PUMP: System.pump, FUNCTION: _deploy}
        runs: dict[str, list[dict[str, Any]]] = {who: [] for who in hosts}
        for _ in range(turns):
            for who, host in hosts.items():
                tell(f"{PART}: {who}")
                runs[who].append(_carry(backend, host, signals))
            rates = (runs[who][-1].get("records_per_s") for who in (FUNCTION, PUMP))
            of_the_pump = ratio(*rates)
            runs[FUNCTION][-1]["of_the_pump"] = of_the_pump
        yield from (summed(PART, BACKLOG, who, each) for who, each in runs.items())


def _start(system: System, unpacked: Path, handler: str) -> dict[str, float]:
    events = system.folder / "events.json"
    table = system.deployment.name(tables.SIGNALS)
    made = [record(serial, None, signal(_TARGETS, serial)) for serial in range(2)]
    arn = f"arn:aws:dynamodb:us-east-1:0:table/{table}/stream/1"
    events.write_text(json.dumps([{"Records": [{**each, "eventSourceARN": arn}]} for each in made]))
    script = str(SCRIPTS / "start_function.py")
    # No packages of ours, and bytecode is not kept: in Lambda there is none either.
    command = [sys.executable, "-I", "-S", "-B", script, str(unpacked), handler, str(events)]
    done = subprocess.run(
        command,
        env=system.environment,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    if done.returncode:
        raise ContestantFailed(f"the function did not start; it said:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _deploy(system: System) -> None:
    deploy_router(system.deployment, system.environment)


def _carry(backend: Backend, host: Callable[[System], object], signals: int) -> dict[str, Any]:
    """Let a host carry a backlog to the queue, which nobody serves, and count what lies there."""
    with System(backend, _AGENTS) as system:
        system.write(tables.SIGNALS, [signal(_TARGETS, serial) for serial in range(signals)])
        watch = Watch(lambda: system.depth("deliver"), every_s=0.05)
        host(system)
        # How many signals share a message is the router's affair, so it ends when nothing comes.
        if watch.until(1, quiet_s=_WITHIN_S) < 1:
            return {"lost": signals}
        messages = watch.until(signals, quiet_s=_QUIET_S)
        carried = _signals_of(system)
        # A function takes a thousand at once, so there is no middle: from the last look at nothing
        # to the first at all of it.
        looks = [(at, number) for at, number, _ in watch.seen]
        began, had = max((look for look in looks if not look[1]), default=looks[0])
        ended = min(at for at, number in looks if number == messages)
        met = len(set(carried)) * (messages - had) / messages
        return {
            "records_per_s": ratio(met, ended - began),
            "records_per_message": ratio(len(carried), messages),
            "lost": signals - len(set(carried)),
            "doubled": len(carried) - len(set(carried)),
        }


def _signals_of(system: System) -> list[str]:
    """Receive all work messages and give the sort keys of the signals that they carry."""
    client, url, found = system.deployment.sqs, system.url("deliver"), list[str]()
    while True:
        few = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ())
        if not few:
            return found
        for message in few:
            for entry in json.loads(message["Body"])["kwargs"]["entries"]:
                found.append(str(image_of(entry)["SK"]["S"]))
