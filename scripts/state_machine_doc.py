"""Write docs/state-machine.md from the source: the tables of transitions and effects, and the docstrings beside them.

python scripts/state_machine_doc.py            write it
python scripts/state_machine_doc.py --check    exit 1 if it is not up to date
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from perdure.model import journal, records
from perdure.partition import actions, apply, invariants
from perdure.partition.transitions.progress import EFFECTS
from perdure.store import rows

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "state-machine.md"

INTRODUCTION = """\
# The state machine of a partition

<!-- Made by scripts/state_machine_doc.py from the source; change the docstrings there and run it again. -->

A partition is a function: a *record* and the tables go in, changed tables and a list of *actions* come out. It draws no
time, no randomness and no ids: they stand in the record. A record that no longer fits (of an older epoch, about a
finished or forgotten invocation) changes nothing, so that applying the log again always leads to the same tables.
`perdure.partition.apply` finds the transition of a record in one table; this page is made from it. How each record fares
in each status is shown line by line by the scripts in `tests/partition/scripts/`. Words are explained in the
[glossary](glossary.md), what users may rely on in [semantics](semantics.md), the bytes in [log format](log-format.md).
"""

LIFE = """\
## The life of an invocation

```
                    due                      key is free
   SCHEDULED ----------------> INBOXED ---------------------> INVOKED <----------------------------+
       ^          (no key: straight to INVOKED)               |  |  |                              |
       |                         ^                            |  |  +-- attempt failed: waits for its next attempt
   start in the future           | key is held                |  |                                 |
       |                         |                            |  +---- suspended -> SUSPENDED -----+ what it awaits,
     Invoke ---------------------+                            |                                    | cancel, resume
                                                              +------- paused ----> PAUSED --------+ resume, cancel
                                                              |
                                 output, kill, cancel of one that has not started
                                                              v
                                                          COMPLETED ---- retention over, purge ---> forgotten
```

Exclusive handlers of an object hold their key while INVOKED (also between attempts), SUSPENDED and PAUSED. When the holder
is completed, the first of those that wait in the inbox of the key starts, in the same record.
"""


def page() -> str:
    parts = [INTRODUCTION, LIFE, _statuses(), _records(), _effects(), _messages(), _actions(), _timers(), _invariants()]
    return "\n".join(parts)


def _statuses() -> str:
    lines = ["## Statuses", "", "| status | meaning |", "| --- | --- |"]
    lines += [f"| {name} | {text} |" for name, text in _members(rows.Status)]
    return "\n".join(lines) + "\n"


def _records() -> str:
    lines = ["## Records", "", "Every record names its `partition` and carries `at_ms`, the time it was proposed.", ""]
    for record, transition in apply.TRANSITIONS.items():
        lines += [f"### {record.__name__}", "", _fields(record), ""]
        lines += [_doc(record), ""]
        lines += [f"**Effect** ({_place(transition)}). {_doc(transition)}", ""]
    return "\n".join(lines)


def _effects() -> str:
    lines = [
        "## Commands",
        "",
        "`Progress` appends each command to the journal; these do more than stand there. Where a command is answered at once,",
        "the answer stands in the journal after it, in the same record.",
        "",
        "| command | fields | effect |",
        "| --- | --- | --- |",
    ]
    for command, effect in EFFECTS.items():
        lines.append(f"| {command.__name__} | {_fields(command)} | {_one_line(_doc(effect))} |")
    rest = [entry.__name__ for entry in get_args(journal.Command) if entry not in EFFECTS]
    lines += ["", f"Nothing more than stand in the journal: {', '.join(rest)}.", ""]
    return "\n".join(lines)


def _messages() -> str:
    lines = [
        "## Messages between invocations",
        "",
        "One for an invocation of the same partition is handled in the record that sent it, after everything else; one for",
        "another partition stands in the outbox, numbered, until that partition has applied it: exactly once, in order.",
        "",
        "| message | fields | meaning |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {m.__name__} | {_fields(m)} | {_one_line(_doc(m))} |" for m in get_args(records.Message)]
    return "\n".join(lines) + "\n"


def _actions() -> str:
    lines = ["## Actions", "", "What the node is asked to do once the record is applied.", ""]
    lines += ["| action | fields | meaning |", "| --- | --- | --- |"]
    for action in get_args(actions.Action):
        lines.append(f"| {action.__name__} | {_fields(action)} | {_one_line(_doc(action))} |")
    outcomes = ", ".join(f"`{outcome.value}`" for outcome in actions.Control)
    return "\n".join([*lines, "", f"Outcomes of a control record: {outcomes}.", ""])


def _timers() -> str:
    lines = ["## Timers", "", "| kind | meaning |", "| --- | --- |"]
    lines += [f"| {name} | {text} |" for name, text in _members(rows.TimerKind)]
    return "\n".join(lines) + "\n"


def _invariants() -> str:
    lines = [
        "## Invariants",
        "",
        "`perdure.partition.invariants` checks them after every record in tests, and for the whole partition at the end. One",
        "that is broken is a bug, error [PD0312](errors/PD0312.md). Nothing may have:",
        "",
    ]
    lines += [f"* {text}" for text in _complaints()]
    return "\n".join(lines) + "\n"


# --- reading the source -----------------------------------------------------------------------------------------------


def _doc(thing: Any) -> str:
    """Its own docstring: a class without one would otherwise answer with that of its base."""
    text = inspect.cleandoc(thing.__dict__.get("__doc__") or "") if isinstance(thing, type) else inspect.getdoc(thing)
    assert text, f"{thing.__name__} needs a docstring: the page is made from it"
    return text.strip()


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _fields(struct: Any) -> str:
    own = [name for name in struct.__struct_fields__ if name not in ("partition", "at_ms", "name")]
    return ", ".join(f"`{name}`" for name in own) or "no fields of its own"


def _place(function: Callable[..., object]) -> str:
    return f"`{function.__module__.removeprefix('perdure.')}.{function.__name__}`"


def _members(kind: Any) -> Iterator[tuple[str, str]]:
    """The members of an enum and the docstrings that follow them in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(statement, ast.Assign):
            continue
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = str(following.value.value)
        assert text, f"{kind.__name__} needs a docstring behind each member: the page is made from it"
        name = statement.targets[0]
        assert isinstance(name, ast.Name)
        yield name.id, _one_line(text)


def _complaints() -> list[str]:
    tree = ast.parse(inspect.getsource(invariants))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    texts = {_text(call.args[2]) for call in calls if isinstance(call.func, ast.Name) and call.func.id == "_hold"}
    return sorted(texts)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr)
    return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)  # type: ignore[misc]


def main() -> int:
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text() == page():
            return 0
        print(f"{PAGE.relative_to(ROOT)} is out of date: run python scripts/state_machine_doc.py", file=sys.stderr)
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
