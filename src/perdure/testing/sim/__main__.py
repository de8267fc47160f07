"""`python -m perdure.testing.sim`: run seeds, many or one.

--seeds N [--first K]   run N seeds from K on, in parallel; a failing one is named with its check and how to run it again
--seed K                run one, print its trace, and at the end its digest
"""

from __future__ import annotations

import argparse
import sys

from perdure.sdk.errors import ServiceProtocolNeeded
from perdure.testing.sim.runner import run_one, run_seeds
from perdure.testing.sim.scenario import ASKED_FOR, THEMES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m perdure.testing.sim", description="Simulate the engine by seeds.")
    parser.add_argument("--seed", type=int, help="run this seed alone and print its trace")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument(
        "--theme", choices=sorted(THEMES | ASKED_FOR), help="what all seeds are about, instead of what each draws"
    )
    parser.add_argument("--jobs", type=int, help="processes at once; one per core if left out")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the tenth seed that fails")
    asked = parser.parse_args()
    failures_max = None if asked.keep_going else 10
    try:
        if asked.seed is not None:
            return run_one(asked.seed, asked.theme)
        return run_seeds(asked.first, asked.seeds, theme=asked.theme, jobs=asked.jobs, failures_max=failures_max)
    except ServiceProtocolNeeded as missing:
        print(missing, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
