"""A DAX cluster as a process: `python -m sharpwave.infra.local.dax --endpoint URL --port N`.

Prints its address once it listens, and runs until SIGINT or SIGTERM.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sharpwave.infra.errors import OperationFailed
from sharpwave.infra.local.dax.cache import CacheSettings, dynamodb_client
from sharpwave.infra.local.dax.server import DaxServer
from sharpwave.infra.local.dax.tls import Certificate, make_certificate, server_context


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0 when told to end, 1 if it cannot listen."""
    parser = argparse.ArgumentParser(
        prog="python -m sharpwave.infra.local.dax", description=__doc__
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="the DynamoDB behind it; default: AWS's own"
    )
    parser.add_argument("--port", type=int, default=8111, help="of the first node; 0: a free one")
    parser.add_argument("--nodes", type=int, default=1, help="at this port and the next ones")
    parser.add_argument("--item-ttl", type=float, default=300.0, help="seconds an item is given")
    parser.add_argument("--query-ttl", type=float, default=300.0, help="seconds a query is given")
    parser.add_argument(
        "--secret",
        metavar="KEY=SECRET",
        action="append",
        default=[],
        help="let in only who signs with this; repeatable",
    )
    parser.add_argument("--tls", metavar="FOLDER", help="speak daxs with the certificate kept here")
    parser.add_argument(
        "--certificate", nargs=2, metavar=("PEM", "KEY"), help="speak daxs with this"
    )
    args = parser.parse_args(argv)
    if args.nodes < 1 or not all("=" in each for each in args.secret):
        parser.error("--nodes is 1 or more, and --secret is KEY=SECRET")
    ports = tuple(args.port + number if args.port else 0 for number in range(args.nodes))
    try:
        certificate = make_certificate(Path(args.tls)) if args.tls else None
        if args.certificate:
            certificate = Certificate(*map(Path, args.certificate))
        cluster = DaxServer(
            dynamodb_client(args.endpoint),
            ports=ports,
            settings=CacheSettings(args.item_ttl, args.query_ttl),
            secrets=dict(each.split("=", 1) for each in args.secret) or None,
            tls=server_context(certificate) if certificate else None,
        )
        with cluster:
            stop = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            print(cluster.endpoint, flush=True)
            stop.wait()
    except (OperationFailed, OSError) as error:
        print(f"no cluster at {', '.join(map(str, ports))}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
