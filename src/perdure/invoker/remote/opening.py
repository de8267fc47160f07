"""How an attempt elsewhere begins: the version, the request's head, and the Start message with the known journal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from perdure.model import journal as j
from perdure.model.deployment import CLUSTER_NAME, CLUSTER_NAME_HEADER
from perdure.model.ids import format_invocation_id
from perdure.model.limits import MIB
from perdure.wire import messages as m
from perdure.wire.commands import encode_command
from perdure.wire.framing import encode_frame
from perdure.wire.notifications import encode_notification
from perdure.wire.protobuf import encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perdure.model.deployment import Deployment
    from perdure.store.rows import Invocation

EAGER_STATE_BYTES_MAX = 32 * MIB
_SEED_SINCE = 6
_SCOPE_SINCE = 7


def choose_version(deployment: Deployment, row: Invocation, version_max: int) -> int | None:
    """The version in which this invocation is spoken of: the one it began with, else the highest that both sides have."""
    if row.protocol_version is not None:
        return row.protocol_version
    version = min(deployment.max_protocol_version, version_max)
    return version if version >= max(deployment.min_protocol_version, m.VERSION_MIN) else None


def content_type(version: int) -> str:
    return f"application/vnd.restate.invocation.v{version}"


def request_path(row: Invocation) -> str:
    return f"invoke/{quote(row.target.service, safe='')}/{quote(row.target.handler, safe='')}"


def request_headers(row: Invocation, version: int) -> dict[str, str]:
    headers = {
        "content-type": content_type(version),
        "accept": content_type(version),
        "x-restate-invocation-id": format_invocation_id(row.id),
        CLUSTER_NAME_HEADER: CLUSTER_NAME,
    }
    if row.target.key is not None:
        headers["x-restate-service-key"] = quote(row.target.key, safe="")
    if row.traceparent is not None:
        headers["traceparent"] = row.traceparent
        if row.tracestate is not None:
            headers["tracestate"] = row.tracestate
    return headers


def opening(
    row: Invocation,
    journal: Sequence[j.Entry],
    state: Mapping[str, bytes] | None,
    version: int,
    now_ms: int,
) -> Iterator[bytes]:
    """The frames of Start and of the entries that are known.

    Units: `now_ms` is Unix time. `state` is all of the key's, of which goes along what fits; None: none goes along.
    """
    state_map, complete = _eager_state(state)
    start = m.Start(
        id=row.id,
        debug_id=format_invocation_id(row.id),
        known_entries=len(journal),
        state_map=state_map,
        partial_state=not complete,
        key=row.target.key or "",
        retry_count_since_last_stored_entry=row.failures,
        duration_since_last_stored_entry=max(0, now_ms - row.last_gain_at_ms),
    )
    if version >= _SEED_SINCE:
        start.random_seed = row.seed
    if version >= _SCOPE_SINCE:
        start.scope, start.limit_key, start.idempotency_key = row.scope, row.limit_key, row.idempotency_key
    yield encode_frame(m.Type.START, encode(start))
    for entry in journal:
        if isinstance(entry, j.Completion | j.Signal):
            yield encode_notification(entry, version)
        else:
            yield encode_command(entry, version)


def _eager_state(state: Mapping[str, bytes] | None) -> tuple[list[m.StateEntry], bool]:
    """What fits of the state, and whether that is all of it."""
    if state is None:
        return [], False
    entries: list[m.StateEntry] = []
    room = EAGER_STATE_BYTES_MAX
    for name, value in state.items():
        key = name.encode()
        room -= len(key) + len(value)
        if room < 0:
            return entries, False
        entries.append(m.StateEntry(key, value))
    return entries, True
