"""MODULE:APP: what can be served, and what a person reads when it cannot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.cli.loading import AppNotLoaded, load_app

APP = """
import perdure
greeter = perdure.Service("{name}")

@greeter.handler()
async def greet(ctx: perdure.Context, name: str) -> str:
    return name

app = perdure.app([greeter])
number = 7
"""


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def write(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def served(*names: str) -> list[str]:
    app = load_app(names)
    assert app is not None
    return [service.name for service in app.services()]


def test_no_name_is_no_app() -> None:
    assert load_app([]) is None


def test_an_app_from_the_current_directory() -> None:
    write("shop_of_loading_test.py", APP.format(name="Shop"))
    assert served("shop_of_loading_test:app") == ["Shop"]


def test_a_service_alone_and_several_names_make_one_app() -> None:
    write("loading_one/web.py", APP.format(name="One"))
    write("loading_two.py", APP.format(name="Two"))
    assert served("loading_one.web:greeter") == ["One"]
    assert served("loading_one.web:app", "loading_two:greeter") == ["One", "Two"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("loading_three", "is not MODULE:APP"),
        ("loading_three:", "is not MODULE:APP"),
        ("loading_gone:app", "there is no module loading_gone"),
        ("loading_gone.web:app", "there is no module loading_gone"),
        ("loading_three.py:app", "That is a file; write loading_three:app."),
        ("loading_shop/web.py:app", "That is a file; write loading_shop.web:app."),
        ("loading_three:application", "has no 'application'. It has: greeter, app."),
        ("loading_three:number", "it is a int"),
    ],
)
def test_a_wrong_name_is_told_in_one_line(name: str, said: str) -> None:
    write("loading_three.py", APP.format(name="Three"))
    with pytest.raises(AppNotLoaded) as caught:
        load_app([name])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "last_line"),
    [
        ("def broken():\n    return 1 / 0\nbroken()\n", "ZeroDivisionError: division by zero"),
        ("import module_that_is_not_there\n", "ModuleNotFoundError: No module named 'module_that_is_not_there'"),
        ("x = = 1\n", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_fails_shows_its_own_traceback_and_no_other(text: str, last_line: str) -> None:
    name = f"loading_failing_{abs(hash(text))}"
    write(f"{name}.py", text)
    with pytest.raises(AppNotLoaded) as caught:
        load_app([f"{name}:app"])
    shown = str(caught.value).splitlines()
    assert shown[0].startswith(f"PD0504: {name}:app cannot be loaded: the module failed with")
    assert shown[-1] == last_line
    assert "importlib" not in str(caught.value)
    assert "perdure/cli" not in str(caught.value)
    assert f"{name}.py" in str(caught.value)
