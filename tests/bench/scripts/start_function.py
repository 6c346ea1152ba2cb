"""Starts the router's function as Lambda's runtime does: imports its handler, then calls it.

Standard library only, for it runs without any packages but those of the function's zip.
"""

import json
import resource
import sys
import time
from importlib import import_module
from itertools import pairwise
from pathlib import Path


def main() -> None:
    """Import from the folder that is given first and handle the events of the file after it."""
    began, cpu_began = time.perf_counter(), time.process_time()
    sys.path.insert(0, sys.argv[1])
    module, _, name = sys.argv[2].partition(".")
    handler = getattr(import_module(module), name)
    # Processor time says what it takes where others do not keep this machine busy.
    cpu_ms = 1000 * (time.process_time() - cpu_began)
    moments = [began, time.perf_counter()]
    for event in json.loads(Path(sys.argv[3]).read_text()):
        answer = handler(event, None)
        if answer["batchItemFailures"]:
            raise SystemExit(f"it did not take {answer['batchItemFailures']}")
        moments.append(time.perf_counter())
    took = [1000 * (later - sooner) for sooner, later in pairwise(moments)]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"import_ms": took[0], "import_cpu_ms": cpu_ms}
    events = {"first_event_ms": took[1], "next_event_ms": took[2]}
    print(json.dumps({**found, **events, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()
