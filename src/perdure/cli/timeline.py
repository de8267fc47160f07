"""What `perdure invocations describe` prints: what an invocation is, what it waits for, and its journal as a timeline."""

from __future__ import annotations

from typing import Any

import click

from perdure.cli.tables import at, duration, one_line, relative, table

Shown = dict[str, Any]


def print_described(shown: Shown, now_ms: int) -> None:
    click.echo(f"{shown['id']}  {shown['target']}")
    facts = _facts(shown, now_ms)
    width = max(len(name) for name, _ in facts)
    for name, text in facts:
        click.echo(f"  {name.ljust(width)}  {text}")
    click.echo()
    if not shown["timeline"]:
        click.echo("Its journal is gone: purged, or past its retention.")
        return
    began_ms = shown["timeline"][0]["at_ms"]
    rows = [_moment(moment, began_ms, now_ms) for moment in shown["timeline"]]
    table(("#", "at", "took", "what", "state", "note"), rows, numbers=(0, 1, 2))


def _facts(shown: Shown, now_ms: int) -> list[tuple[str, str]]:
    facts = [("status", _status(shown)), ("created", f"{at(shown['created_at_ms'])}, {_ago(shown, 'created', now_ms)}")]
    if origin := shown.get("origin"):
        who = " ".join(str(origin[name]) for name in ("target", "invocation_id") if name in origin)
        facts.append(("origin", f"{origin['kind']} {who}".rstrip()))
    if key := shown.get("idempotency_key"):
        facts.append(("idempotency key", key))
    if shown.get("started_at_ms"):
        tries = shown["attempts"]
        facts.append(("attempts", f"{tries}, the latest {relative(shown['attempt_at_ms'], now_ms)}"))
    if shown.get("attempts_failed"):
        facts.append(("failed attempts", str(shown["attempts_failed"])))
    if shown.get("completed_at_ms"):
        took = duration(shown["completed_at_ms"] - shown["created_at_ms"])
        facts.append(("completed", f"{at(shown['completed_at_ms'])}, after {took}"))
        facts.append(("result", _result(shown.get("result"))))
    elif error := shown.get("last_error"):
        facts.append(("last error", _error(error)))
    for number, wait in enumerate(shown["waits_for"]):
        facts.append(("waits for" if number == 0 else "or", _wait(wait, now_ms)))
    return facts


def _status(shown: Shown) -> str:
    result = shown.get("result")
    return f"{shown['status']}, failed" if isinstance(result, dict) and "code" in result else str(shown["status"])


def _ago(shown: Shown, name: str, now_ms: int) -> str:
    return relative(shown[f"{name}_at_ms"], now_ms)


def _result(result: object) -> str:
    match result:
        case None:
            return "nothing"
        case {"code": code, "message": message}:
            return f"failure {code}: {message}"
        case {"base64": text}:
            return f"bytes in base64: {one_line(str(text))}"
    return one_line(str(result), 100)


def _error(error: Shown) -> str:
    step = f" (step {error['command_name']})" if error.get("command_name") else ""
    return f"{error['code']}: {one_line(error['message'], 200)}{step} [{error.get('doc_code', '')}]".removesuffix(" []")


def _wait(wait: Shown, now_ms: int) -> str:
    text, semicolon, why = str(wait["text"]).partition("; " if wait["kind"] in ("person", "retry") else "\0")
    if "until_ms" in wait:
        text += f", {relative(wait['until_ms'], now_ms)} ({at(wait['until_ms'])})"
    if "invocation_id" in wait:
        text += f", {'held by' if wait['kind'] == 'key' else 'invocation'} {wait['invocation_id']}"
    if "since_ms" in wait:
        text += f", for {duration(max(0, now_ms - wait['since_ms']))}"
    return f"{text}{semicolon}{why}"


def _moment(moment: Shown, began_ms: int, now_ms: int) -> tuple[str, ...]:
    took = duration(moment["took_ms"]) if "took_ms" in moment else ""
    what = f"{moment['what']} {moment.get('subject', '')}".rstrip()
    offset = f"+{duration(moment['at_ms'] - began_ms)}"
    index = "" if moment["index"] is None else str(moment["index"])
    return (index, offset, took, what, moment["state"], _note(moment, now_ms))


def _note(moment: Shown, now_ms: int) -> str:
    notes = []
    if moment.get("failed_tries"):
        notes.append(f"failed {moment['failed_tries']} times")
    if error := moment.get("error"):
        notes.append(f"{error['code']}: {one_line(error['message'])}")
    if "until_ms" in moment and moment["state"] == "open":
        notes.append(relative(moment["until_ms"], now_ms))
    if "invocation_id" in moment:
        notes.append(moment["invocation_id"])
    return ", ".join(notes)
