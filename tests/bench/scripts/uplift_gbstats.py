"""What gbstats, the engine behind GrowthBook's experiments, makes of four counts.

Its sequential interval and its chance to win take means for normal; ours take outcomes for what
they are. So they meet where outcomes are many, and only there.
"""

import json
import sys
from importlib import import_module
from typing import Any

bayesian: Any = import_module("gbstats.bayesian.tests")
frequentist: Any = import_module("gbstats.frequentist.tests")
Proportion: Any = import_module("gbstats.models.statistics").ProportionStatistic


def main() -> None:
    """Answer each case: outcomes and successes of one arm, then of the other."""
    print(json.dumps({"found": [compared(*case) for case in json.loads(sys.argv[1])["cases"]]}))


def compared(n: int, s: int, m: int, t: int) -> list[float]:
    """Give the difference, the chance that the first is greater, and the interval at alpha 0.1."""
    other, one = Proportion(n=m, sum=t), Proportion(n=n, sum=s)
    at_all_times = frequentist.SequentialConfig(
        alpha=0.1, difference_type="absolute", sequential_tuning_parameter=n + m
    )
    said = frequentist.SequentialTwoSidedTTest(other, one, at_all_times).compute_result()
    config = bayesian.EffectBayesianConfig(difference_type="absolute")
    chance = bayesian.EffectBayesianABTest(other, one, config).compute_result().chance_to_win
    return [float(said.expected), float(chance), *map(float, said.ci)]


if __name__ == "__main__":
    main()
