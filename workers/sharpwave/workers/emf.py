"""CloudWatch's embedded metric format: a line of JSON of which CloudWatch makes metrics.

The log driver of ECS, or Lambda's, hands the line over, so no call is made and nothing is imported.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

NAMESPACE = "Sharpwave"
#: How much `sharpwave verify` found, by deployment.
MISCOUNTS = "Miscounts"

Unit = Literal["Count", "Milliseconds"]


def line(
    moment: float,
    dimensions: Mapping[str, str],
    units: Mapping[str, Unit],
    values: Mapping[str, Any],
) -> str:
    """Write figures of one moment (epoch seconds), each a number or `Values` with `Counts`."""
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    told = {"Namespace": NAMESPACE, "Dimensions": [list(dimensions)], "Metrics": metrics}
    about = {"Timestamp": int(moment * 1000), "CloudWatchMetrics": [told]}
    return json.dumps({"_aws": about, **dimensions, **values})
