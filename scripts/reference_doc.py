"""Write docs/reference.md from the source: every public name, its signature and its docstring.

python scripts/reference_doc.py            write it
python scripts/reference_doc.py --check    exit 1 if it is not up to date
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

import perdure
from perdure import serde
from perdure.client import operator
from perdure.model.errors import PerdureError

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference.md"

INTRODUCTION = """\
# Reference

<!-- Made by scripts/reference_doc.py from the docstrings; change them there and run it again. -->

Every public name of `perdure`. Guides say how they are used together: [handlers](handlers.md), [workflows](workflows.md),
[clients](clients.md), [operations](operations.md); words are explained in the [glossary](glossary.md). The modules with the
names of Restate's SDK pass these on ([drop-in](drop-in.md)).
"""

SECTIONS: dict[str, list[str]] = {
    "Services and apps": ["Service", "VirtualObject", "Workflow", "app", "App", "InvocationRetryPolicy"],
    "Contexts": [
        "Context",
        "ObjectSharedContext",
        "ObjectContext",
        "WorkflowSharedContext",
        "WorkflowContext",
        "ScopedContext",
        "Request",
        "RunOptions",
        "DurablePromise",
        "RestateDurableFuture",
        "RestateDurableSleepFuture",
        "RestateDurableCallFuture",
        "SendHandle",
        "current_context",
    ],
    "Waiting for several": ["gather", "select", "as_completed", "wait_completed"],
    "What handlers raise": [
        "TerminalError",
        "RetryableError",
        "DeterminismWarning",
        "SdkInternalBaseException",
        "is_internal_exception",
    ],
    "Values": ["JournalValueCodec", "JournalValueCodecProvider"],
    "Clients": [
        "connect",
        "connect_sync",
        "create_client",
        "with_connection",
        "Client",
        "SyncClient",
        "RestateClient",
        "Sent",
        "RestateClientSendHandle",
        "Output",
    ],
    "What clients raise": [
        "HttpError",
        "CallFailed",
        "Refused",
        "Unreachable",
        "ConnectionLost",
        "CallTimeout",
        "ConnectError",
    ],
    "Running an engine": ["Node", "EngineSettings"],
    "Logging": ["logging", "getLogger", "RestateLoggingFilter"],
    "Tests": ["create_test_harness", "test_harness", "HarnessEnvironment"],
}
BESIDE: dict[str, list[tuple[str, Any]]] = {
    "Values": [(f"serde.{name}", getattr(serde, name)) for name in ("Serde", "BytesSerde", "JsonSerde")],
    "Clients": [
        (f"client.operator.{kind.__name__}", kind)
        for kind in (
            operator.InvocationInfo,
            operator.InvocationPage,
            operator.Description,
            operator.Wait,
            operator.Moment,
            operator.MomentError,
        )
    ],
}
"""Names that are not in `perdure` itself, but in the types of what is."""
INSIDE = {
    "App": {"begin", "services", "validate_input", "identity", "codec", "registered"},
    "DurableFuture": {"resolve", "wanted", "fail", "errors"},
    "Registry": {"spec", "kind", "context_managers"},
}
"""Methods by which the rooms of perdure meet, and which nobody else calls."""
GIVEN = {
    "Client",
    "SyncClient",
    "SendHandle",
    "Sent",
    "RestateClientSendHandle",
    "CallFailed",
    "Refused",
    "CallTimeout",
}
"""Classes of which perdure makes the objects."""
LINE_MAX = 120


Shown = dict[type, str]
"""Classes whose members stand on the page already, by the name under which they do."""


def page() -> str:
    parts = [INTRODUCTION]
    shown: Shown = {}
    for title, names in SECTIONS.items():
        parts.append(f"\n## {title}\n")
        for name, thing in [*((name, getattr(perdure, name)) for name in names), *BESIDE.get(title, [])]:
            parts.extend(_entry(name, thing, shown))
    return "\n".join(parts).rstrip("\n") + "\n"


def _entry(name: str, thing: Any, shown: Shown) -> Iterator[str]:
    yield f"### {name}\n"
    if inspect.isclass(thing):
        yield from _class(name, thing, shown)
    elif inspect.ismodule(thing):
        yield _text(thing.__doc__) + "\n"
    elif inspect.isfunction(thing):
        yield f"```python fragment\n{_wrapped(_signature(name, thing))}\n```\n"
        yield _text(inspect.getdoc(thing)) + "\n"
    else:
        yield f"`{_tidy(str(thing))}`\n"


def _class(name: str, kind: type, shown: Shown) -> Iterator[str]:
    own = vars(kind).get("__init__")
    abstract = inspect.isabstract(kind) or getattr(kind, "_is_protocol", False)
    if isinstance(own, types.FunctionType) and not (_is_data(kind) or abstract or name in GIVEN):
        yield f"```python fragment\n{_wrapped(_signature(name, own, skip_self=True))}\n```\n"
    yield _text(inspect.getdoc(kind)) + "\n"
    if issubclass(kind, PerdureError) and "code" in vars(kind):
        yield f"Its page: [{kind.code}](errors/{kind.code}.md).\n"
    bases = list(dict.fromkeys(shown[base] for base in kind.__bases__ if base in shown))
    lines = [*_fields(kind), *_members(kind, shown)]
    if bases:
        named = " and ".join(f"`{base}`" for base in bases)
        yield f"What {named} {'has' if len(bases) == 1 else 'have'}{', and:' if lines else '.'}\n"
    elif kind in shown:
        yield f"Its methods are among those of `{shown[kind]}`.\n"
    if lines:
        yield "\n".join(lines) + "\n"
    for each in kind.__mro__:
        if each.__module__.startswith("perdure") and each is not PerdureError:
            shown.setdefault(each, name)


def _is_data(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct)


def _fields(kind: type) -> Iterator[str]:
    """Fields of plain data, with the text below each."""
    if not _is_data(kind):
        return
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    for at, statement in enumerate(node.body):
        if not isinstance(statement, ast.AnnAssign) or ast.unparse(statement.annotation).startswith("ClassVar"):
            continue
        following = node.body[at + 1] if at + 1 < len(node.body) else None
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = f": {_joined(str(following.value.value))}"
        yield f"- `{_tidy(ast.unparse(statement))}`{text}"


def _members(kind: type, shown: Shown) -> Iterator[str]:
    """Methods and properties that no class shown before had, in the order of the source, bases first."""
    seen: dict[str, Any] = {}
    for owner in reversed(kind.__mro__):
        if not owner.__module__.startswith("perdure") or owner in shown:
            continue
        for name, member in vars(owner).items():
            hidden = any(name in INSIDE.get(each.__name__, ()) for each in kind.__mro__)
            if not name.startswith("_") and not hidden and isinstance(member, types.FunctionType | property):
                seen[name] = member
    for name, member in seen.items():
        doc = _joined(_doc(kind, name))
        if isinstance(member, property):
            assert member.fget is not None
            given = _annotation(member.fget.__annotations__.get("return", ""))
            yield f"- `{name}: {given}`: {doc}"
        else:
            yield f"- `{_signature(name, member, skip_self=True)}`: {doc}"


def _doc(kind: type, name: str) -> str:
    """Of the nearest class of perdure that says something."""
    for owner in kind.__mro__:
        member = vars(owner).get(name) if owner.__module__.startswith("perdure") else None
        if member is not None and member.__doc__:
            return str(member.__doc__)
    raise AssertionError(f"{kind.__name__}.{name} has no docstring")


def _signature(name: str, function: Callable[..., Any], *, skip_self: bool = False) -> str:
    """As a call is written: of an overloaded function the first form, with the defaults of the function itself."""
    written = inspect.signature(function)
    overloads = typing.get_overloads(function)
    typed = inspect.signature(overloads[0]) if overloads else written
    parameters = list(typed.parameters.values())[1 if skip_self else 0 :]
    shown: list[str] = []
    keyword_only = False
    for at, parameter in enumerate(parameters):
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            if not any(each.kind is each.VAR_POSITIONAL for each in parameters):
                shown.append("*")
        stars = "*" * (
            1 if parameter.kind is parameter.VAR_POSITIONAL else 2 * (parameter.kind is parameter.VAR_KEYWORD)
        )
        text = f"{stars}{parameter.name}"
        if parameter.annotation is not parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        default = (
            written.parameters[parameter.name].default if parameter.name in written.parameters else parameter.empty
        )
        if parameter.default is not parameter.empty and default is not parameter.empty:
            text += f" = {_default(default)}"
        shown.append(text)
        if parameter.kind is parameter.POSITIONAL_ONLY and (
            at + 1 == len(parameters) or parameters[at + 1].kind is not parameter.POSITIONAL_ONLY
        ):
            shown.append("/")
    given = typed.return_annotation
    arrow = "" if given is inspect.Signature.empty or name[:1].isupper() else f" -> {_annotation(given)}"
    awaited = "await " if inspect.iscoroutinefunction(function) else ""
    return f"{awaited}{name}({', '.join(shown)}){arrow}"


def _wrapped(signature: str) -> str:
    """A long one with a parameter on each line."""
    if len(signature) <= LINE_MAX:
        return signature
    name, _, rest = signature.partition("(")
    inner, _, after = rest.rpartition(")")
    depth, parts = 0, [""]
    for character in inner:
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return "\n".join([f"{name}(", *(f"    {part.strip()}," for part in parts), f"){after}"])


def _annotation(annotation: object) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return _tidy(text)


def _default(value: object) -> str:
    kind = type(value)
    if value is None or kind in (bool, int, float, str, bytes, tuple):
        return repr(value)
    return "…"


def _tidy(text: str) -> str:
    text = re.sub(r"\b(?:perdure|collections|typing|datetime)\.[\w.]*?(\w+)\b(?!\.)", r"\1", text)
    text = re.sub(r"field\(default_factory=(\w+)\)", r"\1()", text)
    return re.sub(r"field\(default=.*\)", "…", text).replace("~", "")


def _text(doc: str | None) -> str:
    assert doc, "a public name has no docstring"
    return doc.strip()


def _joined(doc: str) -> str:
    """A docstring in one list item: paragraphs stay apart, lines do not."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(doc))
    return "\n\n  ".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def main() -> int:
    missing = set(perdure.__all__) - {name for names in SECTIONS.values() for name in names} - {"__version__"}
    assert not missing, f"no section of the reference has {sorted(missing)}"
    text = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != text:
            print(f"{PAGE.relative_to(ROOT)} is out of date: run python scripts/reference_doc.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
