"""`python -m perdure.testing.sim`: run seeds, many or one.

--seeds N [--first K]   run N seeds from K on, in parallel; a failing one is named with its check and how to run it again
--seed K                run one, print its trace, and at the end its digest
"""

from __future__ import annotations

import argparse
import sys

from perdure.testing.sim.runner import run_one, run_seeds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m perdure.testing.sim", description="Simulate the engine by seeds.")
    parser.add_argument("--seed", type=int, help="run this seed alone and print its trace")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, help="processes at once; one per core if left out")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the tenth seed that fails")
    asked = parser.parse_args()
    if asked.seed is not None:
        return run_one(asked.seed)
    return run_seeds(asked.first, asked.seeds, jobs=asked.jobs, failures_max=None if asked.keep_going else 10)


if __name__ == "__main__":
    sys.exit(main())
