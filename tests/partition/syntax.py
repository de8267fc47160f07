"""Entries, results and messages as text, in both directions: what a script writes is what the renderer prints.

"ok"                          bytes            run 1 charge                       a step begins
failed 409 "canceled"         Failure          completion 1 run "ok"              a step's result
void                          None             sleep 2 until 5000                 and so on, see `parse_entry`
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from perdure.model import journal as j
from perdure.model import records as r
from perdure.model.ids import CANCEL_SIGNAL, format_awakeable_id
from perdure.model.target import HandlerKind, Target

from .names import Names

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|;|[^\s;]+')
RETENTION_MS = 100_000


def tokens(line: str) -> list[str]:
    return _TOKEN.findall(line)


def quoted(value: bytes) -> str:
    return json.dumps(value.decode())


class Words:
    """Tokens of one statement, read from the left; `name=value` options may stand anywhere."""

    def __init__(self, words: list[str]) -> None:
        self.options = dict(word.split("=", 1) for word in words if not word.startswith('"') and "=" in word)
        self._words = [word for word in words if word.startswith('"') or "=" not in word]

    def next(self) -> str:
        return self._words.pop(0)

    def number(self) -> int:
        return int(self.next())

    def take(self, word: str) -> bool:
        """Skip `word` if it comes next."""
        if self._words[:1] == [word]:
            del self._words[0]
            return True
        return False

    def rest(self) -> list[str]:
        rest, self._words = self._words, []
        return rest

    def result(self) -> j.Result:
        if self.take("void") or not self._words:
            return None
        if self.take("failed"):
            return j.Failure(self.number(), self.text().decode())
        return self.text()

    def text(self) -> bytes:
        word = self.next()
        assert word.startswith('"'), f"a quoted text is wanted, not {word}"
        return json.loads(word).encode()

    def end(self) -> None:
        assert not self._words, f"not understood: {self._words}"


def parse_target(text: str) -> Target:
    match text.split("/"):
        case [service, handler]:
            return Target(service, None, handler)
        case [service, key, handler]:
            return Target(service, key, handler)
    raise AssertionError(f"a target is service/handler or service/key/handler, not {text}")


def kind_of(target: Target, words: Words) -> HandlerKind:
    """`run` of a key is a workflow's; `shared` says so; other keyed handlers are exclusive."""
    if target.key is None:
        return HandlerKind.PLAIN
    if target.handler == "run":
        return HandlerKind.RUN
    return HandlerKind.SHARED if "shared" in words.options.get("kind", "") else HandlerKind.EXCLUSIVE


def parse_request(words: Words, names: Names, caller: j.Caller | None = None) -> j.InvokeRequest:
    """`NAME TARGET ["body"] [at=MS] [idem=KEY] [keep=RESULT_MS/JOURNAL_MS] [kind=shared] [in=PARTITION]`."""
    options = words.options
    name, target = words.next(), parse_target(words.next())
    kind = kind_of(target, words)
    idem = options.get("idem")
    invocation_id = names.new(name, target, kind, idem, int(options.get("in", 0)))
    body = words.result() or b""
    assert isinstance(body, bytes)
    result_ms, _, journal_ms = options.get("keep", str(RETENTION_MS)).partition("/")
    return j.InvokeRequest(
        invocation_id,
        target,
        kind,
        [],
        body,
        7,
        int(result_ms),
        int(journal_ms or result_ms),
        idem,
        int(options.get("at", 0)),
        caller=caller,
    )


def parse_signal(word: str) -> int | str:
    return int(word) if word.isdigit() else CANCEL_SIGNAL if word == "cancel" else word


def parse_entry(words: Words, names: Names, partition: int, seq: int) -> j.Entry:
    """One entry that an attempt proposes; `partition` and `seq` are those of its invocation."""
    kind = words.next()
    entry = _PARSERS[kind](words, names, j.Caller(partition, seq, 0, j.CompletionCode.CALL))
    words.end()
    return entry


def _call(words: Words, names: Names, caller: j.Caller) -> j.Entry:
    completion_id, id_completion = words.number(), words.number()
    caller = j.Caller(caller.partition, caller.seq, completion_id, j.CompletionCode.CALL)
    request = parse_request(words, names, caller)
    return j.Call(completion_id, id_completion, request.target, [], request.body, request.idempotency_key, "", request)


def _send(words: Words, names: Names, _: j.Caller) -> j.Entry:
    id_completion = words.number()
    request = parse_request(words, names)
    target, at_ms = request.target, request.execute_at_ms
    return j.OneWayCall(id_completion, target, [], request.body, at_ms, request.idempotency_key, "", request)


def _sleep(words: Words, *_: object) -> j.Entry:
    completion_id = words.number()
    words.take("until")
    return j.Sleep(completion_id, words.number())


def _awakeable(words: Words, names: Names, _: j.Caller) -> j.Entry:
    name, signal = words.next().split(".")
    text = "rubbish" if name == "rubbish" else format_awakeable_id(names.id_of(name), int(signal))
    return j.CompleteAwakeable(text, words.result())


def _completion(words: Words, *_: object) -> j.Entry:
    completion_id = words.number()
    assert words.take("run"), "an attempt proposes the completions of its steps only"
    return j.Completion(completion_id, j.CompletionCode.RUN, words.result())


def _get_eager(words: Words, *_: object) -> j.Entry:
    key, value = words.next(), words.result()
    assert not isinstance(value, j.Failure)
    return j.GetEagerState(key, value)


_PARSERS: Mapping[str, Callable[[Words, Names, j.Caller], j.Entry]] = {
    "output": lambda w, *_: j.Output(w.result()),
    "get-lazy": lambda w, *_: j.GetLazyState(w.number(), w.next()),
    "get-lazy-keys": lambda w, *_: j.GetLazyStateKeys(w.number()),
    "get-eager": _get_eager,
    "get-eager-keys": lambda w, *_: j.GetEagerStateKeys(w.rest()),
    "set": lambda w, *_: j.SetState(w.next(), w.text()),
    "clear": lambda w, *_: j.ClearState(w.next()),
    "clear-all": lambda *_: j.ClearAllState(),
    "get-promise": lambda w, *_: j.GetPromise(w.number(), w.next()),
    "peek-promise": lambda w, *_: j.PeekPromise(w.number(), w.next()),
    "complete-promise": lambda w, *_: j.CompletePromise(w.number(), w.next(), w.result()),
    "sleep": _sleep,
    "call": _call,
    "send": _send,
    "signal": lambda w, n, _: j.SendSignal(n.id_of(w.next()), parse_signal(w.next()), w.result()),
    "run": lambda w, *_: j.Run(w.number(), w.next()),
    "attach": lambda w, n, _: j.AttachInvocation(w.number(), n.id_of(w.next())),
    "get-output": lambda w, n, _: j.GetInvocationOutput(w.number(), n.id_of(w.next())),
    "complete-awakeable": _awakeable,
    "completion": _completion,
}


# --- text -------------------------------------------------------------------------------------------------------------


def show_result(result: bytes | j.Failure | list[str] | None) -> str:
    if result is None:
        return "void"
    if isinstance(result, j.Failure):
        return f"failed {result.code} {json.dumps(result.message)}"
    return f"[{' '.join(result)}]" if isinstance(result, list) else quoted(result)


def show_signal(signal_id: int | str) -> str:
    return "cancel" if signal_id == CANCEL_SIGNAL else str(signal_id)


def show_request(request: j.InvokeRequest, names: Names) -> str:
    parts = [names.name_of(request.invocation_id), str(request.target)]
    if request.body:
        parts.append(quoted(request.body))
    if request.execute_at_ms:
        parts.append(f"at={request.execute_at_ms}")
    if request.idempotency_key is not None:
        parts.append(f"idem={request.idempotency_key}")
    return " ".join(parts)


def show_completion(completion: j.Completion, names: Names) -> str:
    code = j.CompletionCode(completion.code)
    result = completion.result
    if code is j.CompletionCode.CALL_INVOCATION_ID:
        assert isinstance(result, bytes)
        text = names.name_of(result)
    else:
        text = show_result(result)
    return f"completion {completion.completion_id} {code.name.lower().replace('_', '-')} {text}"


def show_entry(entry: j.Entry, names: Names) -> str:
    show = _SHOWN.get(type(entry))
    return show(entry, names) if show is not None else _plain(entry)


def _plain(entry: Any) -> str:
    parts = [_NAMES[type(entry)]]
    for field in entry.__struct_fields__:
        value = getattr(entry, field)
        if field in ("completion_id", "key"):
            parts.append(str(value))
        elif field in ("value", "result"):
            parts.append(show_result(value))
    return " ".join(parts)


_NAMES: Mapping[type, str] = {
    j.Output: "output",
    j.GetLazyState: "get-lazy",
    j.GetLazyStateKeys: "get-lazy-keys",
    j.GetEagerState: "get-eager",
    j.SetState: "set",
    j.ClearState: "clear",
    j.ClearAllState: "clear-all",
    j.GetPromise: "get-promise",
    j.PeekPromise: "peek-promise",
    j.CompletePromise: "complete-promise",
}
_SHOWN: Mapping[type, Callable[[Any, Names], str]] = {
    j.Input: lambda e, n: f"input {quoted(e.body)}",
    j.GetEagerStateKeys: lambda e, n: " ".join(["get-eager-keys", *e.keys]),
    j.Sleep: lambda e, n: f"sleep {e.completion_id} until {e.wake_at_ms}",
    j.Call: lambda e, n: f"call {e.completion_id} {e.invocation_id_completion_id} {show_request(e.request, n)}",
    j.OneWayCall: lambda e, n: f"send {e.invocation_id_completion_id} {show_request(e.request, n)}",
    j.SendSignal: lambda e, n: (
        f"signal {n.name_of(e.invocation_id)} {show_signal(e.signal_id)} {show_result(e.result)}"
    ),
    j.Run: lambda e, n: f"run {e.completion_id} {e.name}",
    j.AttachInvocation: lambda e, n: f"attach {e.completion_id} {n.name_of(e.invocation_id)}",
    j.GetInvocationOutput: lambda e, n: f"get-output {e.completion_id} {n.name_of(e.invocation_id)}",
    j.CompleteAwakeable: lambda e, n: f"complete-awakeable {e.awakeable_id[:9]}… {show_result(e.result)}",
    j.Completion: show_completion,
    j.Signal: lambda e, n: f"signal {show_signal(e.signal_id)} {show_result(e.result)}",
}


def show_message(message: r.Message, names: Names, target: int) -> str:
    match message:
        case r.InvokeMessage():
            return f"invoke {show_request(message.request, names)}"
        case r.CompletionMessage():
            return f"to {names.at(target, message.seq)}: {show_completion(message.completion, names)}"
        case r.SignalMessage():
            told = f"{show_signal(message.signal_id)} {show_result(message.result)}"
            return f"signal {names.name_of(message.invocation_id)} {told}"
        case r.AttachMessage():
            caller = f"{names.at(message.caller.partition, message.caller.seq)}.{message.caller.completion_id}"
            return f"{'attach' if message.wait else 'get-output'} {names.name_of(message.invocation_id)} for {caller}"
        case r.KillMessage():
            return f"kill {names.name_of(message.invocation_id)}"
