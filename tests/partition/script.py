"""A script: records of a partition, one a line, each followed by what came of it (indented).

    invoke a Counter/k/add "5"         a record: what it is, whom it is about
      -> start a epoch 1               an action
      a: invoked, epoch 1              what the tables now hold of `a`
      key Counter/k: held by a

`#` begins a comment. `partitions N` (first line) and `clock MS` are no records. The kinds of records are the methods of
`Script` below; entries and results are written as in `syntax.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.deployment import Deployment, Pin
from perdure.model.ids import partition_key
from perdure.partition.actions import Action
from perdure.store.rows import Status

from .names import Names
from .rendering import Facts, changes, facts, show_action
from .syntax import RETENTION_MS, Words, parse_entry, parse_request, parse_signal, tokens
from .world import World

START_MS = 1000
INDENT = "  "
_OF_NAME = {
    "kill": r.Kill,
    "cancel": r.Cancel,
    "resume": r.Resume,
    "pause": r.Pause,
    "purge": r.Purge,
    "purge-journal": r.PurgeJournal,
}


class Script:
    """Runs one script and writes down what really came of each record."""

    def __init__(self, path: Path) -> None:
        self.lines = path.read_text().splitlines()
        first = next(line for line in self.lines if line and not line.startswith("#"))
        self.world = World(int(first.split()[1]) if first.startswith("partitions ") else 1)
        self.names = Names(self.world.partitions)
        self.now_ms = START_MS
        self.cells: set[tuple[str, str]] = set()
        """(record, status of the invocation it was about), as the script met them."""
        self.records: list[r.Record] = []
        self.actions: list[Action] = []
        self._keys: set[tuple[str, str]] = set()
        self._promises: set[str] = set()
        self._facts: Facts = facts(self.world, self.names, self._keys, self._promises)

    def run(self) -> str:
        """The script with what really came of each record in the place of what was expected."""
        out: list[str] = []
        try:
            for line in self.lines:
                if line.startswith(INDENT):
                    continue
                out.append(line)
                if line and not line.startswith("#"):
                    out.extend(INDENT + text for text in self._line(line))
        finally:
            self.world.close()
        return "\n".join(out) + "\n"

    def _line(self, line: str) -> list[str]:
        head, *rest = tokens(line)
        if head == "partitions":
            return []
        if head == "clock":
            self.now_ms = int(rest[0])
            return []
        record = self._parse(head, rest)
        self.records.append(record)
        actions = self.world.apply(record)
        self.actions.extend(actions)
        before, self._facts = self._facts, facts(self.world, self.names, self._keys, self._promises)
        told = [f"-> {show_action(action, self.names)}" for action in actions]
        return told + changes(before, self._facts) or ["(nothing)"]

    # --- records --------------------------------------------------------------------------------------------------------

    def _parse(self, head: str, rest: list[str]) -> r.Record:
        words = Words(rest)
        if head in _OF_NAME:
            name = words.next()
            self._meet(head, name)
            words.end()
            record = _OF_NAME[head](self.names.home_of(name), self.now_ms, self.names.id_of(name))
            if isinstance(record, r.Resume):
                record.deployment = words.options.get("on")
            return record
        parse = getattr(self, "_" + head.replace("-", "_"), None)
        assert parse is not None, f"no record is called {head}"
        record: r.Record = parse(rest) if head == "progress" else parse(words)
        if head != "progress":
            words.end()
        return record

    def _lead(self, words: Words) -> r.Record:
        return r.Lead(int(words.options.get("in", 0)), self.now_ms, words.number())

    def _invoke(self, words: Words) -> r.Record:
        request = parse_request(words, self.names)
        name = self.names.name_of(request.invocation_id)
        self._touch(request.target.service, request.target.key)
        self._meet("invoke", name)
        return r.Invoke(self.names.home_of(name), self.now_ms, request)

    def _progress(self, rest: list[str]) -> r.Record:
        """`progress NAME EPOCH [on DEPLOYMENT VERSION]: entry; …`; with `end` as the last, the one before is its output."""
        name, epoch = rest[0], int(rest[1].rstrip(":"))
        pin = None
        if rest[2:3] == ["on"]:
            pin = Pin(rest[3], int(rest[4].rstrip(":")))
            rest = rest[3:]
        self._meet("progress", name)
        home, seq = self.names.home_of(name), self.names.seq_of(name)
        entries: list[j.Entry] = []
        statements = _split(rest[2:])
        ended = statements[-1:] == [["end"]]
        for statement in statements[: len(statements) - ended]:
            entry = parse_entry(Words(statement), self.names, home, seq)
            if isinstance(entry, j.Call | j.OneWayCall):
                self._touch(entry.target.service, entry.target.key)
            if isinstance(entry, j.GetPromise | j.PeekPromise | j.CompletePromise):
                self._promises.add(entry.key)
            entries.append(entry)
        return r.Progress(home, self.now_ms, seq, epoch, entries, ended, pin)

    def _attempt_failed(self, words: Words) -> r.Record:
        """`attempt-failed NAME EPOCH "why" retry MS | pause | kill`; options `uncounted=yes step=ID also=ID,… code=N`."""
        name, epoch, why = words.next(), words.number(), words.text().decode()
        self._meet("attempt-failed", name)
        options = words.options
        error = r.AttemptError(
            int(options.get("code", 500)), why, step=int(options["step"]) if "step" in options else None
        )
        what = words.next()
        retry_at_ms = words.number() if what == "retry" else None
        exhausted = "pause" if what == "retry" else what
        steps = [int(step) for step in options["also"].split(",")] if "also" in options else None
        counted = "uncounted" not in options
        return r.AttemptFailed(*self._attempt(name, epoch), error, retry_at_ms, exhausted, counted, steps)

    def _suspended(self, words: Words) -> r.Record:
        """`suspended NAME EPOCH seen N awaiting 1 2 17s`: completions as numbers, signals as `17s` or by name."""
        name, epoch = words.next(), words.number()
        self._meet("suspended", name)
        assert words.take("seen")
        seen = words.number()
        assert words.take("awaiting")
        awaited = words.rest()
        completions = [int(word) for word in awaited if word.isdigit()]
        signals = [_awaited_signal(word) for word in awaited if not word.isdigit()]
        return r.Suspended(*self._attempt(name, epoch), j.Awaiting(completions, signals), seen)

    def _interrupted(self, words: Words) -> r.Record:
        """`interrupted NAME EPOCH at-once | retry MS | pause`."""
        name, epoch, what = words.next(), words.number(), words.next()
        self._meet("interrupted", name)
        retry_at_ms = {"at-once": 0, "pause": None}[what] if what != "retry" else words.number()
        return r.Interrupted(*self._attempt(name, epoch), retry_at_ms)

    def _timers_fired(self, words: Words) -> r.Record:
        """`timers-fired 5000/a 6000/a.1 …`: a start or retry by its invocation, a sleep by its completion."""
        keys: list[tuple[int, int, int]] = []
        home = 0
        for word in words.rest():
            at, _, subject = word.partition("/")
            name, _, completion_id = subject.partition(".")
            home = self.names.home_of(name)
            self._meet("timers-fired", name)
            keys.append((int(at), self.names.seq_of(name), int(completion_id or 0)))
        return r.TimersFired(home, self.now_ms, keys)

    def _signal(self, words: Words) -> r.Record:
        name, signal_id = words.next(), parse_signal(words.next())
        self._meet("signal", name)
        return r.DeliverSignal(self.names.home_of(name), self.now_ms, self.names.id_of(name), signal_id, words.result())

    def _restart(self, words: Words) -> r.Record:
        """`restart NAME as NEW [from N] [keep=RESULT_MS/JOURNAL_MS] [seed=N] [on=DEPLOYMENT version=N]`."""
        name = words.next()
        assert words.take("as")
        old_id, new = self.names.id_of(name), words.next()
        new_id = self.names.new_in(new, partition_key(old_id))
        from_index = words.number() if words.take("from") else 0
        self._meet("restart", name)
        result_ms, _, journal_ms = words.options.get("keep", str(RETENTION_MS)).partition("/")
        keep = (int(result_ms), int(journal_ms or result_ms))
        seed = int(words.options.get("seed", 8))
        deployment, version = words.options.get("on"), words.options.get("version")
        pin = (deployment, None if version is None else int(version))
        return r.Restart(self.names.home_of(name), self.now_ms, old_id, new_id, seed, from_index, *keep, *pin)

    def _modify_state(self, words: Words) -> r.Record:
        """`modify-state Service/key [NAME "value"]… [version=VERSION]`: what is named is all there is afterwards."""
        service, key = words.next().split("/")
        self._touch(service, key)
        rest = words.rest()
        state = {rest[at]: json.loads(rest[at + 1]).encode() for at in range(0, len(rest), 2)}
        return r.ModifyState(0, self.now_ms, service, key, state, words.options.get("version"))

    def _put_deployment(self, words: Words) -> r.Record:
        """`put-deployment ID URI Service=REVISION…`"""
        deployment_id, uri = words.next(), words.next()
        revisions = {name: int(number) for name, number in words.options.items()}
        return r.PutDeployment(0, self.now_ms, Deployment(id=deployment_id, uri=uri, revisions=revisions))

    def _drop_deployment(self, words: Words) -> r.Record:
        return r.DropDeployment(0, self.now_ms, words.next())

    def _deliver(self, words: Words) -> r.Record:
        """`deliver 0->1 #2`: the message that stands, or stood, in the outbox of 0."""
        source, target = map(int, words.next().split("->"))
        outbox_seq = int(words.next().removeprefix("#"))
        message = self.world.forwarded[source, target, outbox_seq]
        self._meet_message(message, target)
        return r.Deliver(target, self.now_ms, source, outbox_seq, message)

    def _outbox_delivered(self, words: Words) -> r.Record:
        source, target = map(int, words.next().split("->"))
        return r.OutboxDelivered(source, self.now_ms, target, int(words.next().removeprefix("#")))

    def _forget(self, words: Words) -> r.Record:
        names = words.rest()
        for name in names:
            self._meet("forget", name)
        return r.Forget(self.names.home_of(names[0]), self.now_ms, [self.names.seq_of(name) for name in names])

    # --- inside ---------------------------------------------------------------------------------------------------------

    def _attempt(self, name: str, epoch: int) -> tuple[int, int, int, int]:
        return self.names.home_of(name), self.now_ms, self.names.seq_of(name), epoch

    def _touch(self, service: str, key: str | None) -> None:
        self._keys.add((service, key or ""))

    def _meet(self, record: str, name: str) -> None:
        self.cells.add((record, self.status(name)))

    def _meet_message(self, message: r.Message, target: int) -> None:
        match message:
            case r.InvokeMessage():
                self._meet("invoke message", self.names.name_of(message.request.invocation_id))
            case r.CompletionMessage():
                self._meet("completion message", self.names.at(target, message.seq))
            case r.SignalMessage():
                self._meet("signal message", self.names.name_of(message.invocation_id))
            case r.AttachMessage():
                self._meet("attach message", self.names.name_of(message.invocation_id))
            case r.KillMessage():
                self._meet("kill message", self.names.name_of(message.invocation_id))

    def status(self, name: str) -> str:
        """The status of an invocation, with `unknown` and `backing off` as statuses of their own."""
        tables = self.world.tables_of(self.names.home_of(name))
        seq = tables.find(self.names.id_of(name))
        row = None if seq is None else tables.invocation(seq)
        if row is None:
            return "unknown"
        return "backing off" if row.status is Status.INVOKED and row.retry_at_ms else row.status.name.lower()


def _awaited_signal(word: str) -> int | str:
    return int(word[:-1]) if word[:-1].isdigit() else parse_signal(word)


def _split(words: list[str]) -> list[list[str]]:
    statements: list[list[str]] = [[]]
    for word in words:
        if word == ";":
            statements.append([])
        else:
            statements[-1].append(word)
    return statements
