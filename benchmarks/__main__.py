"""Run all benchmarks, each in a process of its own: `python -m benchmarks [--quick]`."""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> None:
    quick = "--quick" in sys.argv
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, data in {os.getcwd()}", flush=True)  # noqa: PTH109
    for arguments in (
        ("steps", "sequential"),
        ("steps", "concurrent", "5" if quick else "60"),
        ("http", "echo"),
        ("http", "start"),
        ("sleepers", "10000" if quick else "100000"),
    ):
        module, *rest = arguments
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *rest], check=True)


if __name__ == "__main__":
    main()
