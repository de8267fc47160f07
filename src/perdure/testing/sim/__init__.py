"""The simulator: the production engine on one seeded scheduler with a simulated disk, killed at any point, and judged.

`simulate(seed)` runs one seed and reports; `python -m perdure.testing.sim` runs many. See docs/simulator.md.
"""

from __future__ import annotations

from perdure.testing.sim.simulation import Report, simulate
from perdure.testing.sim.world import Violation

__all__ = ["Report", "Violation", "simulate"]
