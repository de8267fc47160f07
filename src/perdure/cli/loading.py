"""`MODULE:APP` to an app that can be served."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import ClassVar

from perdure.model.errors import PerdureError
from perdure.sdk.app import App
from perdure.sdk.service import Registry


class AppNotLoaded(PerdureError):
    """MODULE:APP names nothing that can be served; `user_traceback` is set when the module itself failed."""

    code: ClassVar[str] = "PD0504"

    def __init__(self, name: str, what: str, next_step: str, user_traceback: str = "") -> None:
        super().__init__(f"{name} cannot be loaded: {what}.", next_step)
        self.user_traceback = user_traceback

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n\n{self.user_traceback}" if self.user_traceback else text


def load_app(names: Sequence[str]) -> App | None:
    """One app of all the names; None for no names. Errors: AppNotLoaded, RegistrationError.

    The current directory comes first on the module path, as with `python -m`.
    """
    if not names:
        return None
    here = os.getcwd()  # noqa: PTH109  sys.path holds text
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)
    found = [_attribute(name) for name in names]
    if len(found) == 1 and isinstance(found[0], App):
        return found[0]
    together = App()
    for each in found:
        together.include(each if isinstance(each, App) else App([each]))
    return together


def _attribute(name: str) -> App | Registry:
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise AppNotLoaded(
            name, "it is not MODULE:APP", "Write the module, a colon and the name, such as shop.app:app."
        )
    found: object = _module(name, module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise AppNotLoaded(
                name,
                f"the module {module_name} has no '{path}'",
                f"It has: {_served_names(found) or 'nothing to serve'}.",
            )
        found = getattr(found, part)
    if not isinstance(found, App | Registry):
        raise AppNotLoaded(
            name,
            f"it is a {type(found).__name__}",
            "Name what `perdure.app([...])` returned, or a Service, VirtualObject or Workflow.",
        )
    return found


def _module(name: str, module_name: str) -> object:
    try:
        if importlib.util.find_spec(module_name) is None:
            raise ModuleNotFoundError(name=module_name)
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Only the module asked for, or a package around it: a module that it misses is its own failure.
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise AppNotLoaded(name, f"there is no module {error.name}", _other_name(name, module_name)) from None
        failure: Exception = error
    except Exception as error:
        failure = error
    raise AppNotLoaded(
        name, f"the module failed with {type(failure).__name__}", "Its own traceback:", _own_traceback(failure)
    ) from None


def _other_name(name: str, module_name: str) -> str:
    """What to write instead: a file's name is a usual mistake for its module's."""
    if module_name.endswith(".py"):
        module = module_name.removesuffix(".py").replace("/", ".").strip(".")
        return f"That is a file; write {module}:{name.partition(':')[2]}."
    return "Run the command where it can be imported from."


def _own_traceback(error: Exception) -> str:
    """Without the frames of the import machinery and of this file."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(own)] if own else []
    return "".join([*lines, *traceback.format_exception_only(error)]).rstrip()


def _served_names(module: object) -> str:
    return ", ".join(name for name, value in vars(module).items() if isinstance(value, App | Registry))
