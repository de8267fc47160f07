"""Errands: what somebody outside is after, over several processes, with handlers of its own and what must hold of them."""

from __future__ import annotations

from random import Random

from perdure.testing.sim.errands.addresses import Addresses
from perdure.testing.sim.errands.deaths import Deaths
from perdure.testing.sim.errands.errand import Errand
from perdure.testing.sim.errands.giving_up import GivingUp
from perdure.testing.sim.errands.interventions import Interventions
from perdure.testing.sim.errands.mishaps import Mishaps
from perdure.testing.sim.errands.misuse import Misuse
from perdure.testing.sim.errands.refusals import Refusals
from perdure.testing.sim.errands.restarts import Restarts
from perdure.testing.sim.errands.reused_keys import ReusedKeys
from perdure.testing.sim.errands.signals import Signals
from perdure.testing.sim.errands.sizes import Sizes
from perdure.testing.sim.errands.snapshots import Snapshots
from perdure.testing.sim.errands.state_changes import StateChanges
from perdure.testing.sim.errands.workflows import Workflows
from perdure.testing.sim.world import World

ERRANDS: dict[str, type[Errand]] = {
    "restarts": Restarts,
    "state-changes": StateChanges,
    "reused-keys": ReusedKeys,
    "giving-up": GivingUp,
    "workflows": Workflows,
    "signals": Signals,
    "interventions": Interventions,
    "deaths": Deaths,
    "refusals": Refusals,
    "misuse": Misuse,
    "mishaps": Mishaps,
    "sizes": Sizes,
    "snapshots": Snapshots,
    "addresses": Addresses,
}
"""What a seed draws from."""


def make_errands(names: list[str], world: World, random: Random, *, forgets: bool) -> list[Errand]:
    return [ERRANDS[name](world, Random(random.random()), forgets=forgets) for name in names]
