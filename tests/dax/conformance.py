"""DynamoDB's public conformance suite, beside the DAX server and through it.

    python -m tests.dax.conformance FOLDER

FOLDER holds github.com/nubo-db/dynamodb-conformance with its packages and Amazon's client:
`npm install --ignore-scripts @amazon-dax-sdk/client-dax@3.1.0`. Both runs go to the embedded
backend; the cluster forgets at once, for the suite writes and reads at will. Prints what passed
and every test that came out otherwise through the server.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from sharpwave.infra.local import open_backend
from sharpwave.infra.local.backend import LOCAL_CREDENTIALS
from sharpwave.infra.local.dax import CacheSettings, DaxServer, dynamodb_client

CLIENT = Path(__file__).parent / "conformance_client.ts"

Results = dict[str, tuple[str, str]]


def main(folder: Path) -> int:
    """Run it twice and tell the difference."""
    client = folder / "src" / "client.ts"
    if not client.exists():
        print(f"{folder} is not the suite: it has no src/client.ts", file=sys.stderr)
        return 2
    theirs = client.read_text()
    try:
        with open_backend("embedded") as backend:
            direct = _run(folder, backend.endpoint_url, "direct")
        with open_backend("embedded") as backend:
            dynamodb = dynamodb_client(backend.endpoint_url)
            with DaxServer(dynamodb, settings=CacheSettings(0, 0)) as cluster:
                client.write_text(CLIENT.read_text())
                through = _run(folder, backend.endpoint_url, "dax", DAX_ENDPOINT=cluster.endpoint)
    finally:
        client.write_text(theirs)
    for title, results in (("beside", direct), ("through", through)):
        print(title, dict(Counter(status for status, _ in results.values())))
    for name, (status, why) in through.items():
        if direct.get(name, ("absent",))[0] != status:
            print(f"{status}: {name}\n    {why}")
    return 0


def _run(folder: Path, endpoint: str, title: str, **more: str) -> Results:
    output = folder / f"{title}.json"
    command = ["npx", "vitest", "run", "--reporter=json", f"--outputFile={output}"]
    env = {**os.environ, **LOCAL_CREDENTIALS, "DYNAMODB_ENDPOINT": endpoint, **more}
    subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False)
    found: Results = {}
    for file in json.loads(output.read_text())["testResults"]:
        place = Path(file["name"]).relative_to(folder.resolve() / "tests")
        for test in file["assertionResults"]:
            why = (test["failureMessages"] or [""])[0].partition("\n")[0]
            found[f"{place}: {test['fullName']}"] = test["status"], why[:200]
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
