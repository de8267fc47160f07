"""Every bound of the engine in one place. A full bound answers with a clear error; none is silent.

Units end the names. Those that a person may want to change are settings with these as defaults (docs/settings.md).
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# One message
BODY_BYTES_MAX = 32 * MIB
"""Request body at the ingress (413), value of a step, state value."""
HEADERS_MAX = 256
KEY_BYTES_MAX = 64 * KIB

# One invocation
JOURNAL_ENTRIES_MAX = 100_000
TURN_CALLBACKS_BUDGET = 2_000
"""Callbacks after which a turn gives way to the node."""
TURN_CALLBACKS_MAX = 2_000_000
"""Callbacks without reaching quiescence after which the attempt fails by name."""

EVENTS_MAX = 64
"""Events of its attempts that an invocation keeps; the oldest goes for one more."""
EVENTS_BYTES_MAX = 256 * KIB
"""And what they take together: the oldest go until the newest fits."""
EVENT_TEXT_MAX = 32 * KIB
"""Characters that are kept of a long message, stack trace or name."""

TIMER_AT_MS_MAX = 253_402_300_799_000
"""End of the year 9999: no timer is set for later."""

# One node
CONCURRENT_ATTEMPTS_MAX = 10_000
"""Attempts in memory at once; further ones wait their turn."""
IDLE_ATTEMPTS_BYTES_MAX = 512 * MIB
"""Memory of all attempts that only wait."""
IDLE_ATTEMPT_BYTES = 8 * KIB
"""What one takes beside its journal and state: measured with a handler of a few locals (docs/heavy-work.md)."""
INBOX_LENGTH_MAX = 1_000_000
"""Waiting invocations of one key; one more is refused."""
STATE_CHANGES_WAITING_MAX = 100
"""Changes of the state of one key, from outside, that wait for their turn."""
TIMERS_IN_MEMORY_MAX = 20_000
PARTITIONS_MAX = 1_024

# Log
SEGMENT_FIRST_BYTES = 1 * MIB
SEGMENT_BYTES = 64 * MIB
BATCH_BYTES_MAX = 64 * MIB
BATCH_LINGER_MS = 5
"""How long a record that nobody waits for may ride before it causes a sync of its own."""

# Store
LAYER_BYTES_MAX = 64 * MIB
"""Changes collected in memory before a checkpoint is due; at twice this, proposals wait."""
CLEAN_LAYER_BYTES_MAX = 16 * MIB
"""A layer that has been written is kept as a cache up to this size; a larger one is let go at once."""
CHECKPOINT_INTERVAL_MS = 1_000
SQLITE_CACHE_BYTES = 32 * MIB

assert BODY_BYTES_MAX * 2 <= BATCH_BYTES_MAX <= SEGMENT_BYTES
assert TURN_CALLBACKS_BUDGET < TURN_CALLBACKS_MAX
