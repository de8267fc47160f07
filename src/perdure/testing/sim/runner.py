"""Running seeds: one with its trace, or many in processes, with a summary that a person can act on."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from perdure.testing.sim.simulation import Report, simulate

_CHUNK = 20
_COLLECT_EVERY = 10
"""Seeds after which garbage is collected: what a killed process leaves behind hangs together in cycles."""


def run_one(seed: int, theme: str | None = None) -> int:
    """Print the trace of one seed and its digest; 1 when something did not hold."""
    report = simulate(seed, theme=theme, trace=True)
    for line in report.lines:
        print(line)
    if report.violation is not None:
        print(f"FAILED {report.violation}")
    print(f"digest {report.digest}")
    return 0 if report.violation is None else 1


def run_seeds(
    first: int, count: int, *, theme: str | None = None, jobs: int | None = None, failures_max: int | None = 10
) -> int:
    """Print a line for each seed that fails, and a summary; 1 when any did."""
    began = time.monotonic()
    failed: list[Report] = []
    done = records = crashes = repeated = 0
    for report in reports(first, count, theme=theme, jobs=jobs):
        done += 1
        records += report.records
        crashes += report.crashes
        repeated += report.repeated
        if report.violation is not None:
            failed.append(report)
            print(f"seed {report.seed} FAILED {report.violation}")
            again = f"python -m perdure.testing.sim --seed {report.seed}"
            print(f"    run it again: {again}{f' --theme {theme}' if theme else ''}", flush=True)
            if failures_max is not None and len(failed) >= failures_max:
                break
    seconds = time.monotonic() - began
    print(
        f"{done} seeds from {first} in {seconds:.0f} s ({seconds / max(done, 1) * 1000:.0f} ms each): {records} records, "
        f"{crashes} crashes, {repeated} steps repeated, {len(failed)} seeds failed"
    )
    return 1 if failed else 0


def reports(first: int, count: int, *, theme: str | None = None, jobs: int | None = None) -> Iterator[Report]:
    """The reports of these seeds, in order."""
    jobs = jobs or os.cpu_count() or 1
    chunks = [range(at, min(at + _CHUNK, first + count)) for at in range(first, first + count, _CHUNK)]
    if jobs == 1 or len(chunks) == 1:
        _settle()
        for chunk in chunks:
            yield from _run(chunk, theme)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_settle) as pool:
        for finished in pool.map(_run, chunks, [theme] * len(chunks)):
            yield from finished


def _settle() -> None:
    """What is there by now stays: the collector need not look at it again."""
    logging.disable(logging.CRITICAL)  # what a dead process has to say when it is swept up
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.unraisablehook = lambda _: None


def _run(seeds: range, theme: str | None) -> list[Report]:
    found: list[Report] = []
    for seed in seeds:
        found.append(simulate(seed, theme=theme))
        if seed % _COLLECT_EVERY == 0:
            gc.collect()
    return found
