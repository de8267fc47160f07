"""The canonical text of actions and tables: one line for each fact, so that a change of behaviour is a diff of lines."""

from __future__ import annotations

import json
from collections import Counter
from typing import assert_never

from perdure.model.journal import Awaiting
from perdure.partition import actions as a
from perdure.store.rows import Event, Invocation, Timer, TimerKind
from perdure.store.tables import Tables

from .names import Names
from .syntax import quoted, show_entry, show_message, show_result, show_signal
from .world import World

Facts = dict[str, str]
"""Shapes: `subject -> what holds of it`; a subject that is absent has gone, or never was."""


def show_action(action: a.Action, names: Names) -> str:
    match action:
        case a.StartAttempt():
            return f"start {names.at(action.partition, action.seq)} epoch {action.epoch}"
        case a.Notify():
            told = show_entry(action.notification, names)
            return f"notify {names.at(action.partition, action.seq)} epoch {action.epoch}: {told}"
        case a.AbortAttempt():
            return f"abort {names.at(action.partition, action.seq)}"
        case a.ArmTimer():
            return f"arm {_timer(action.timer, action.partition, names)}"
        case a.Forward():
            route = f"{action.partition}->{action.target} #{action.outbox_seq}"
            return f"forward {route}: {show_message(action.message, names, action.target)}"
        case a.Delivered():
            return f"delivered {action.source}->{action.target} #{action.outbox_seq}"
        case a.Accepted():
            again = ", which was there already" if action.duplicate else ""
            later = f", for {action.execute_at_ms}" if action.execute_at_ms else ""
            return f"accepted {names.name_of(action.invocation_id)}{again}{later}"
        case a.Completed():
            stored = f", stored until {action.expires_at_ms}" if action.expires_at_ms else ""
            return f"completed {names.name_of(action.invocation_id)} {show_result(action.result)}{stored}"
        case a.Controlled():
            return f"outcome {action.outcome.value}"
        case a.DeploymentChanged():
            return f"deployment {action.id} " + ("gone" if action.deployment is None else action.deployment.uri)
        case _:
            assert_never(action)


def facts(world: World, names: Names, keys: set[tuple[str, str]], promises: set[str]) -> Facts:
    """Everything the tables hold, in order. `keys` and `promises` are those that the script has touched."""
    for partition in range(world.partitions):
        for row in world.invocations(partition):
            names.place(partition, row.seq, row.id)
    found: Facts = {}
    for partition in range(world.partitions):
        tables = world.tables_of(partition)
        for row in world.invocations(partition):
            _invocation(found, tables, row, names)
        for service, key in sorted(keys):
            _key(found, tables, service, key, promises, names)
        for deployment in tables.deployments().values():
            at = " ".join(f"{name} revision {revision}" for name, revision in deployment.revisions.items())
            found[f"deployment {deployment.id}"] = f"{deployment.uri} {at}"
        for timer in tables.timers_after((0, 0, 0), 1000):
            found[f"timer {_timer(timer, partition, names)}"] = ""
        _partition(found, world, partition, names)
    return found


def changes(before: Facts, after: Facts) -> list[str]:
    """What is new, what is different and what has gone."""
    lines = [_line(subject, text) for subject, text in after.items() if before.get(subject) != text]
    gone = [subject for subject in before if subject not in after]
    journals = Counter(subject.partition("[")[0] for subject in gone if subject.endswith("]"))
    lines += [f"{subject}: gone" for subject in gone if not subject.endswith("]")]
    return lines + [f"{name}[…]: gone, {count} entries" for name, count in journals.items()]


def _line(subject: str, text: str) -> str:
    return f"{subject}: {text}" if text else subject


def _invocation(found: Facts, tables: Tables, row: Invocation, names: Names) -> None:
    name = names.at(tables.partition, row.seq)
    found[name] = ", ".join(_row(row, names))
    for index, entry in enumerate(tables.journal(row.seq).entries):
        found[f"{name}[{index}]"] = show_entry(entry, names)
    if row.events is not None:
        numbers = range(row.events.first, row.events.next)
        for number, event in zip(numbers, tables.events(row), strict=True):
            found[f"{name} event {number}"] = _event(event)


def _row(row: Invocation, names: Names) -> list[str]:
    parts = [row.status.name.lower()]
    if row.epoch:
        parts.append(f"epoch {row.epoch}")
    if row.protocol_version is not None:
        parts.append(f"pinned to {row.deployment} with protocol {row.protocol_version}")
    if row.retry_at_ms:
        parts.append(f"next attempt at {row.retry_at_ms}")
    if row.awaiting is not None:
        parts.append(f"awaiting {show_awaiting(row.awaiting)}")
    if row.attempts_failed or row.failures:
        parts.append(f"{row.attempts_failed} attempts failed ({row.failures} since it gained a command)")
    for step, failures in sorted((row.step_failures or {}).items()):
        parts.append(f"step {step} failed {failures.count} times since {failures.first_at_ms}")
    if row.interruptions:
        parts.append(f"interrupted {row.interruptions} times")
    if row.last_error is not None:
        parts.append(f"last error {row.last_error.code} {json.dumps(row.last_error.message)}")
    if row.callers:
        parts.append("callers " + " ".join(f"{names.at(c.partition, c.seq)}.{c.completion_id}" for c in row.callers))
    if row.origin is not None:
        parts.append(f"origin {row.origin.kind} {names.name_of(row.origin.invocation_id or row.id)} seed {row.seed}")
    if row.completed_at_ms:
        parts.append(f"result {show_result(row.result)} until {row.expires_at_ms}")
    return parts


def _event(event: Event) -> str:
    text = f"{event.kind.name.lower().replace('_', ' ')} at {event.at_ms} after [{event.after}]"
    if event.awaiting is not None:
        text += f", awaiting {show_awaiting(event.awaiting)}"
    return text if event.error is None else f"{text}, {event.error.code} {json.dumps(event.error.message)}"


def show_awaiting(awaiting: Awaiting) -> str:
    parts = [str(completion) for completion in awaiting.completions]
    parts += [f"signal {show_signal(signal)}" for signal in awaiting.signals]
    return " or ".join(parts) or "nothing"


def _key(found: Facts, tables: Tables, service: str, key: str, promises: set[str], names: Names) -> None:
    queue = tables.key_queue(service, key)
    if queue is not None:
        text = f"held by {names.at(tables.partition, queue.holder or 0)}"
        waiting = [tables.inbox(service, key, position) for position in range(queue.head, queue.tail)]
        line = [names.at(tables.partition, seq) if seq is not None else "(left)" for seq in waiting]
        for position in queue.changes or ():
            line[position - queue.head] = "(change of state)"
        found[f"key {service}/{key}"] = f"{text}, then {' '.join(line)}" if line else text
    for name, value in sorted(tables.state(service, key).items()):
        found[f"state {service}/{key} {name}"] = quoted(value)
    for name in sorted(promises):
        promise = tables.promise(service, key, name)
        if promise is not None and promise.completed:
            found[f"promise {service}/{key} {name}"] = show_result(promise.result)
        elif promise is not None:
            waits = " ".join(f"{names.at(c.partition, c.seq)}.{c.completion_id}" for c in promise.waiting or ())
            found[f"promise {service}/{key} {name}"] = f"awaited by {waits}"


def _timer(timer: Timer, partition: int, names: Names) -> str:
    name = names.at(partition, timer.seq)
    subject = f"{name}.{timer.completion_id}" if timer.kind is TimerKind.SLEEP else name
    return f"{timer.wake_at_ms} {timer.kind.name.lower()} {subject}"


def _partition(found: Facts, world: World, partition: int, names: Names) -> None:
    tables = world.tables_of(partition)
    for target in range(world.partitions):
        for outbox_seq, message in tables.outbox(target, 0, 1000):
            found[f"outbox {partition}->{target} #{outbox_seq}"] = show_message(message, names, target)
    meta = tables.meta
    where = f" in {partition}" if world.partitions > 1 else ""
    for source, last in sorted(meta.delivered.items()):
        found[f"applied {source}->{partition}"] = f"up to #{last}"
    if meta.leader_epoch:
        found[f"leader epoch{where}"] = str(meta.leader_epoch)
    found[f"kept{where}"] = f"{meta.finished} finished, {meta.finished_bytes} bytes"
