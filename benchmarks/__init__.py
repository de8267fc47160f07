"""Benchmarks: `make bench`. Ratios against the raw disk of the same run, with real fsync; see docs/benchmarks.md."""
