"""What a program keeps in memory outside perdure, as far as its handlers can reach it: seen, compared and put back.

Reached from functions: the globals they name and the variables they close over, and from there into functions, lists, dicts,
sets and objects of the program's own classes. What always holds: nothing of the standard library, of installed packages or of
perdure is looked into (a few plain holders of state aside); looking changes nothing.
"""

from __future__ import annotations

import collections
import copy
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import pathlib
import random
import sys
import sysconfig
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from perdure.sdk.guards import is_internal

_PLAIN = (
    type(None), bool, int, float, complex, str, bytes, enum.Enum, datetime.date, datetime.time, datetime.timedelta,
    decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath, range,
)  # fmt: skip
_SITE = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
_NODES_MAX = 20_000
_DEPTH_MAX = 12


@dataclass(frozen=True)
class Place:
    """A variable: a global of a module, or one that a function closes over. `holder` is the dict or the cell."""

    name: str
    holder: dict[str, Any] | types.CellType
    key: str = ""

    def get(self) -> Any:
        if isinstance(self.holder, dict):
            return self.holder.get(self.key)
        try:
            return self.holder.cell_contents
        except ValueError:  # not assigned yet
            return None

    def put(self, value: Any) -> None:
        if isinstance(self.holder, dict):
            self.holder[self.key] = value
        else:
            self.holder.cell_contents = value


class UserState:
    """`effects` by name: what outlives the process, as an object, or as a function that returns it."""

    def __init__(self, functions: Iterable[Callable[..., Any]], effects: Mapping[str, Any]) -> None:
        self._places: dict[tuple[int, str], Place] = {}
        self._effects = dict(effects)
        self._known: set[int] = set()
        for effect in self._effects.values():
            if callable(effect):
                self._explore(effect)
        self._outside = list(self._places.values())
        """What functions among the effects look at: it outlives the process as well."""
        for function in functions:
            self._explore(function)

    def picture(self, *, asking: bool = True, memory: bool = True) -> dict[str, Any]:
        """What everything is now, by name; two of them can be compared.

        `asking`: effects that are functions are called. `memory`: with what is no effect, if there are effects.
        """
        shown = {
            f"effects {name}".strip(): picture_of(_value_of(effect))
            for name, effect in self._effects.items()
            if asking or not callable(effect)
        }
        if memory or not self._effects:
            effects = {id(effect) for effect in self._effects.values()}
            for place in self._places.values():
                value = place.get()
                if id(value) not in effects:
                    shown[place.name] = picture_of(value)
        return shown

    def saved(self, *, memory_only: bool = False) -> Callable[[], None]:
        """A function that puts everything back to what it is now. `memory_only`: all but the effects that were named."""
        keeper = _Keeper()
        if memory_only:
            for effect in self._effects.values():
                keeper.leave_out(effect)
            for place in self._outside:
                keeper.leave_out(place.get())
        else:
            for effect in self._effects.values():
                if not callable(effect):
                    keeper.keep(effect)
        memory = [place for place in self._places.values() if not (memory_only and place in self._outside)]
        places = [(place, place.get()) for place in memory]
        for _, value in places:
            keeper.keep(value)
        values = [(place, _own_copy(value)) for place, value in places]

        def put_back() -> None:
            keeper.put_back()
            for place, value in values:
                place.put(_own_copy(value))

        return put_back

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _explore(self, found: Any) -> None:
        if id(found) in self._known:
            return
        if isinstance(found, functools.partial):
            self._explore(found.func)
        elif isinstance(found, types.MethodType):
            self._explore(found.__func__)
        elif isinstance(found, types.FunctionType):
            self._explore_function(found)
        elif isinstance(found, type) and _is_own(found.__module__):
            self._known.add(id(found))
            for name, value in list(vars(found).items()):
                if isinstance(value, types.FunctionType):
                    self._explore(value)
                elif isinstance(value, list | dict | set | collections.deque):
                    self._add(Place(f"{found.__qualname__}.{name}", _Box(value), name))

    def _explore_function(self, function: types.FunctionType) -> None:
        code = function.__code__
        if not is_own_file(code.co_filename):
            return
        self._known.add(id(function))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._see(Place(name, cell))
        module = function.__globals__.get("__name__", "")
        for name in _names_in(code):
            if name in function.__globals__:
                self._see(Place(f"{module}.{name}", function.__globals__, name))
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self._explore(wrapped)

    def _see(self, place: Place) -> None:
        value = place.get()
        if isinstance(value, types.FunctionType | types.MethodType | functools.partial | type):
            self._explore(value)
        elif isinstance(value, types.ModuleType):
            if is_own_file(getattr(value, "__file__", None)):
                self._explore_module(value)
        elif type(value).__module__.partition(".")[0] != "perdure":
            self._add(place)
            if _is_own(type(value).__module__):
                self._explore(type(value))

    def _explore_module(self, module: types.ModuleType) -> None:
        """A module that functions reach by its name, as in `outside.charge`: all of it may be used."""
        if id(module) in self._known:
            return
        self._known.add(id(module))
        for name, value in list(vars(module).items()):
            if not name.startswith("__") and not isinstance(value, types.ModuleType):
                self._see(Place(f"{module.__name__}.{name}", vars(module), name))

    def _add(self, place: Place) -> None:
        self._places.setdefault((id(place.holder), place.key), place)


class _Box(dict[str, Any]):
    """Holds an attribute of a class, which is changed in place only."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def get(self, key: str, default: Any = None) -> Any:
        return self.value

    def __setitem__(self, key: str, value: Any) -> None:
        pass


def picture_of(value: Any) -> Any:
    """Plain data that shows what is inside; equal for values that look the same."""
    return _Picture().of(value)


class _Picture:
    def __init__(self) -> None:
        self._nodes = 0
        self._open: set[int] = set()

    def of(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, _PLAIN):
            return value
        self._nodes += 1
        if self._nodes > _NODES_MAX or depth > _DEPTH_MAX or id(value) in self._open:
            return f"<{type(value).__name__}>"
        self._open.add(id(value))
        try:
            return self._inside(value, depth + 1)
        finally:
            self._open.discard(id(value))

    def _inside(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            items = [(self.of(key, depth), self.of(each, depth)) for key, each in list(value.items())]
            return {"dict": sorted(items, key=repr)}
        if isinstance(value, list | tuple | collections.deque):
            return [self.of(each, depth) for each in list(value)]
        if isinstance(value, set | frozenset):
            return {"set": sorted((self.of(each, depth) for each in list(value)), key=repr)}
        state = _state_of(value)
        return f"<{type(value).__name__}>" if state is None else {type(value).__name__: self.of(state, depth)}


def _state_of(value: Any) -> Any:
    """What is inside a holder of state, None for what is not looked into."""
    if isinstance(value, random.Random):
        return hash(value.getstate())
    if isinstance(value, itertools.count):
        return repr(value)
    if isinstance(value, io.StringIO | io.BytesIO):
        return None if value.closed else value.getvalue()
    if isinstance(value, bytearray):
        return bytes(value)
    if "mock_calls" in dir(type(value)) and type(value).__module__.startswith("unittest."):
        return [repr(call) for call in value.mock_calls]
    if isinstance(value, type | types.FunctionType | types.MethodType | types.ModuleType):
        return None
    if _is_own(type(value).__module__):
        return dict(_attributes(value))
    return None


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(value, "__dict__", {}).items()
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


class _Keeper:
    """Shallow copies of everything that is reached, so that all is put back in place and who refers to it sees it."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, Callable[[], None]]] = {}

    def leave_out(self, value: Any) -> None:
        if not isinstance(value, _PLAIN) and id(value) not in self._kept:
            self._kept[id(value)] = (value, _nothing)
            for each in _parts(value):
                self.leave_out(each)

    def keep(self, value: Any, depth: int = 0) -> None:
        if isinstance(value, _PLAIN) or id(value) in self._kept or depth > _DEPTH_MAX or len(self._kept) > _NODES_MAX:
            return
        self._kept[id(value)] = (value, _put_back(value))
        for each in _parts(value):
            self.keep(each, depth + 1)

    def put_back(self) -> None:
        for _, put in self._kept.values():
            put()


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return list(value)
    if _is_own(type(value).__module__) and not isinstance(value, type | types.FunctionType | types.ModuleType):
        return [each for _, each in _attributes(value)]
    return []


def _put_back(value: Any) -> Callable[[], None]:
    if isinstance(value, list | collections.deque | bytearray):
        return functools.partial(_refill, value, list(value), value.extend)
    if isinstance(value, dict):
        return functools.partial(_refill, value, dict(value), value.update)
    if isinstance(value, set):
        return functools.partial(_refill, value, set(value), value.update)
    if isinstance(value, random.Random):
        return functools.partial(value.setstate, value.getstate())
    if "reset_mock" in dir(type(value)) and type(value).__module__.startswith("unittest."):
        return value.reset_mock  # type: ignore[no-any-return]
    if isinstance(value, io.StringIO | io.BytesIO) and not value.closed:
        return functools.partial(_rewrite, value, value.getvalue())
    if _is_own(type(value).__module__) and not isinstance(value, type | types.FunctionType | types.ModuleType):
        return functools.partial(_reassign, value, dict(_attributes(value)))
    return _nothing


def _refill(value: Any, contents: Any, add: Callable[[Any], Any]) -> None:
    value.clear()
    add(contents)


def _rewrite(stream: Any, contents: Any) -> None:
    stream.seek(0)
    stream.truncate()
    stream.write(contents)


def _reassign(value: Any, attributes: dict[str, Any]) -> None:
    for name in [name for name in getattr(value, "__dict__", {}) if name not in attributes]:
        del value.__dict__[name]
    for name, each in attributes.items():
        object.__setattr__(value, name, _own_copy(each))


def _nothing() -> None:
    pass


def _own_copy(value: Any) -> Any:
    """Iterators that count cannot be put back, so a copy takes their place."""
    return copy.copy(value) if isinstance(value, itertools.count) else value


def _value_of(effect: Any) -> Any:
    return effect() if callable(effect) else effect


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _is_own(module: str) -> bool:
    found = sys.modules.get(module)
    return module == "__main__" or (found is not None and is_own_file(getattr(found, "__file__", None)))


def is_own_file(path: str | None) -> bool:
    """False for the standard library, installed packages and perdure."""
    return path is not None and not is_internal(path) and not path.startswith((*_SITE, "<"))
