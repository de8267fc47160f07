"""Code that no longer fits the journal: the invocation pauses with both sides shown, whatever the code catches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import perdure
from perdure.invoker.replay import explain, same
from perdure.invoker.source_places import lines_that_ask_for
from perdure.model import journal as j
from perdure.model.target import Target
from perdure.store.rows import Status

from ..node.rig import result_of, row_of, running, send, until_status
from ..node.virtual import in_virtual_time

SOURCE = Path(__file__).read_text().splitlines()
Body = Callable[[perdure.Context], Awaitable[str]]


def app_of(body: Body) -> list[perdure.Service]:
    service = perdure.Service("Shop")

    async def buy(ctx: perdure.Context) -> str:
        return await body(ctx)

    service.handler("buy")(buy)
    return [service]


def step(ctx: perdure.Context, name: str) -> Awaitable[str]:
    async def body() -> str:
        return name

    return ctx.run_typed(name, body)


async def original(ctx: perdure.Context) -> str:
    await step(ctx, "charge")
    return await ctx.awakeable(type_hint=str)[1]


async def renamed(ctx: perdure.Context) -> str:
    await step(ctx, "bill")
    return "unreachable"


async def hides_by_exception(ctx: perdure.Context) -> str:
    try:
        await step(ctx, "bill")
    except Exception:
        return "hidden"
    return "unreachable"


async def hides_by_bare_except(ctx: perdure.Context) -> str:
    for _ in range(3):
        try:
            await step(ctx, "bill")
        except:  # noqa: E722
            pass
    return "hidden"


async def never_gives_up(ctx: perdure.Context) -> str:
    while True:
        try:
            return await step(ctx, "bill")
        except:  # noqa: E722
            pass


async def does_nothing(ctx: perdure.Context) -> str:
    return "nothing"


async def waits_for_another(ctx: perdure.Context) -> str:
    return await ctx.awakeable(type_hint=str)[1]


async def suspended_in(data: Path) -> bytes:
    """An invocation of `original` that waits for its awakeable, in a directory that was stopped in order."""
    async with running(app_of(original), data) as engine:
        invocation_id = await send(engine, "Shop/buy")
        await until_status(engine, invocation_id, Status.SUSPENDED)
    return invocation_id


async def mismatch_of(body: Body, tmp_path: Path) -> str:
    invocation_id = await suspended_in(tmp_path / "data")
    async with running(app_of(body), tmp_path / "data") as engine:
        await engine.resume(invocation_id)
        row = await until_status(engine, invocation_id, Status.PAUSED)
        assert row.last_error is not None
        assert (row.last_error.code, row.last_error.doc_code) == (570, "RT0016")
        assert row.failures == 1, "it is not retried"
        return row.last_error.message


@in_virtual_time
async def test_both_sides_are_shown_with_the_line_of_the_code(tmp_path: Path) -> None:
    message = await mismatch_of(renamed, tmp_path)
    assert 'the journal says run "charge"' in message
    assert 'the code now issues run "bill"' in message
    assert f"{__file__}:" in message
    assert "in renamed" in message or "in step" in message
    here = next(number for number, line in enumerate(SOURCE, 1) if 'step(ctx, "charge")' in line)
    assert f'run "charge" (in this code at {__file__}:{here})' in message, "where the recorded operation stands"


@pytest.mark.parametrize(
    ("issued", "cause"),
    [
        (j.Run(1, "bill"), "added, removed, renamed or reordered"),
        (j.Sleep(1, 0, "pay"), "added, removed, renamed or reordered"),
        (None, "added, removed, renamed or reordered"),
        (j.SetState("a", b"2"), "the arguments of this operation changed"),
        (j.SetState("b", b"1"), "added, removed, renamed or reordered"),
    ],
)
def test_the_likely_cause_is_told(issued: j.Command | None, cause: str) -> None:
    recorded = j.SetState("a", b"1") if isinstance(issued, j.SetState) else j.Run(1, "pay")
    told = explain(3, recorded, issued, "", "", None, "")
    assert cause in told.partition("Likely cause: ")[2]


TO = Target("Shop", None, "buy")


@pytest.mark.parametrize(
    ("recorded", "issued", "fits"),
    [
        (j.Call(2, 1, TO, [], b"1"), j.Call(2, 1, TO, [], b"1"), True),
        (j.Call(2, 1, TO, [], b"1"), j.Call(2, 1, TO, [], b"2"), False),
        (j.Call(2, 1, TO, [], b"1"), j.Call(2, 1, Target("Shop", None, "sell"), [], b"1"), False),
        (j.Call(2, 1, TO, [], b"1"), j.Call(2, 1, TO, [], b"1", "key"), False),
        (j.OneWayCall(1, TO, [], b"1"), j.OneWayCall(1, TO, [], b"2"), False),
        (j.OneWayCall(1, TO, [], b"1", invoke_at_ms=5), j.OneWayCall(1, TO, [], b"1", invoke_at_ms=9), True),
        (j.Sleep(1, 5, "nap"), j.Sleep(1, 9, "nap"), True),
        (j.Sleep(1, 5, "nap"), j.Sleep(1, 5, "rest"), False),
        (j.SetState("a", b"1"), j.SetState("a", b"2"), False),
        (j.Output(b"1"), j.Output(b"2"), True),
    ],
)
def test_what_has_to_be_the_same(recorded: j.Command, issued: j.Command, fits: bool) -> None:
    """What an operation asks for is compared; when a timer is due, and what the handler comes to in the end, is not."""
    assert same(recorded, issued) is fits


@in_virtual_time
async def test_a_recorded_operation_that_the_code_has_no_more_is_said_to_be_gone(tmp_path: Path) -> None:
    (tmp_path / "new_code.py").write_text(
        "async def body(ctx):\n    await ctx.run_typed('invoice', lambda: 'a')\n    return 'b'\n"
    )
    namespace: dict[str, Body] = {"__name__": "new_code"}  # type: ignore[dict-item]
    exec(compile((tmp_path / "new_code.py").read_text(), str(tmp_path / "new_code.py"), "exec"), namespace)
    message = await mismatch_of(namespace["body"], tmp_path)
    assert f'run "charge" (no line of {tmp_path}/new_code.py asks for it any more)' in message
    assert f"{tmp_path}/new_code.py:2, in body" in message


def test_operations_are_found_by_what_they_are_given() -> None:
    source = (
        "ctx.run('a', f)\nctx.service_call(shop.buy, 'a')\nctx.set(name='b', value=1)\n\nf(g('a'))\ndef buy(): ...\n"
    )
    found = {name: lines_that_ask_for(name, source) for name in ("a", "b", "buy", "f", "c")}
    assert found == {"a": [1, 2, 5], "b": [3], "buy": [], "f": [], "c": []}
    assert lines_that_ask_for("buy", source, called=True) == [2]
    assert lines_that_ask_for("a", "not python at all (") is None
    assert lines_that_ask_for("a", "") is None


@in_virtual_time
async def test_except_exception_hides_nothing(tmp_path: Path) -> None:
    assert 'issues run "bill"' in await mismatch_of(hides_by_exception, tmp_path)


@in_virtual_time
async def test_a_bare_except_hides_nothing_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert 'issues run "bill"' in await mismatch_of(hides_by_bare_except, tmp_path)
    assert (
        f"{__file__}:" in caplog.text and "a bare `except:`" in caplog.text and "in hides_by_bare_except" in caplog.text
    )


@pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")
@in_virtual_time
async def test_a_bare_except_in_an_endless_loop_hides_nothing(tmp_path: Path) -> None:
    assert 'issues run "bill"' in await mismatch_of(never_gives_up, tmp_path)


@in_virtual_time
async def test_whose_code_accepted_the_invocation_is_shown(tmp_path: Path) -> None:
    """All bodies here hide behind one `buy`: to the app's identity it is the same code, so the difference is in its closure."""
    assert "was accepted by this very code (" in await mismatch_of(renamed, tmp_path)


@in_virtual_time
async def test_code_that_ends_too_early(tmp_path: Path) -> None:
    assert 'the journal says run "charge", the code now issues Output' in await mismatch_of(does_nothing, tmp_path)


@in_virtual_time
async def test_code_that_waits_without_asking(tmp_path: Path) -> None:
    message = await mismatch_of(waits_for_another, tmp_path)
    assert 'the journal says run "charge", the code now waits or ends without issuing anything' in message


@in_virtual_time
async def test_resumed_with_the_right_code_it_goes_on(tmp_path: Path) -> None:
    invocation_id = await suspended_in(tmp_path / "data")
    async with running(app_of(renamed), tmp_path / "data") as engine:
        await engine.resume(invocation_id)
        await until_status(engine, invocation_id, Status.PAUSED)
    async with running(app_of(original), tmp_path / "data") as engine:
        assert row_of(engine, invocation_id).status is Status.PAUSED, "a restart does not resume it"
        await engine.resume(invocation_id)
        await engine.signal(invocation_id, 17, b'"paid"')
        assert await result_of(engine, invocation_id) == "paid"


@in_virtual_time
async def test_a_handler_that_is_gone_is_retried_visibly_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    invocation_id = await suspended_in(tmp_path / "data")
    gone = perdure.Service("Shop")

    @gone.handler()
    async def other(ctx: perdure.Context) -> None: ...

    for services in ([gone], []):
        async with running(services, tmp_path / "data") as engine:
            await engine.resume(invocation_id)
            row = await until_status(engine, invocation_id, Status.INVOKED)
            await engine.signal(invocation_id, 99, b'"unrelated"')
            row = row_of(engine, invocation_id)
            assert row.last_error is not None
            assert row.last_error.doc_code == "RT0011"
            assert row.retry_at_ms > 0, "it is tried again"
    async with running(app_of(original), tmp_path / "data") as engine:
        await engine.signal(invocation_id, 17, b'"paid"')
        assert await result_of(engine, invocation_id) == "paid"
