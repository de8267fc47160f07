"""What a body may not do is refused with file and line, and fails the attempt whatever the code does with the error."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

import perdure
from perdure import Context, ObjectContext
from perdure.model.driver import Turn
from perdure.model.journal import Completion, Input, Run
from perdure.sdk.errors import DirectIOError, OutsideWakeError, UnorderedError, UsedOutsideError

from .driver import drive

Body = Callable[[], Awaitable[Any]]


def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def read_socket() -> None:
    with socket.socket() as plain:
        await loop().sock_recv(plain, 1)


BODIES: dict[str, Body] = {
    "create_connection": lambda: asyncio.open_connection("localhost", 1),
    "create_server": lambda: asyncio.start_server(lambda r, w: None, "localhost", 0),
    "subprocess_exec": lambda: asyncio.create_subprocess_exec("true"),
    "subprocess_shell": lambda: asyncio.create_subprocess_shell("true"),
    "getaddrinfo": lambda: loop().getaddrinfo("localhost", 1),
    "sock_recv": read_socket,
    "create_datagram_endpoint": lambda: loop().create_datagram_endpoint(asyncio.DatagramProtocol),
    "add_reader": lambda: loop().add_reader(0, print),  # type: ignore[dict-item,return-value]
}


@pytest.mark.parametrize("name", BODIES)
async def test_io_in_a_body_names_the_line_and_the_fix(name: str) -> None:
    seen: list[DirectIOError] = []

    async def handler(ctx: Context) -> str:
        try:
            await BODIES[name]()
        except DirectIOError as error:
            seen.append(error)
        await ctx.sleep(1)
        return "went on"

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert driver.attempt is not None and driver.attempt.park
    assert driver.error is not None
    assert len(driver.journal) == 1, "nothing after it reaches the journal"
    text = str(seen[0])
    assert text.startswith("PD0401: ")
    assert f"loop.{name}" in text
    assert f"{__file__}:" in text
    assert "ctx.run_typed" in text
    assert text in driver.error.message


async def test_the_line_is_the_users_and_not_a_librarys() -> None:
    async def handler(ctx: Context) -> None:
        await asyncio.open_connection("localhost", 1)

    line = handler.__code__.co_firstlineno + 1
    driver = drive(handler)
    assert driver.error is not None and f"{__file__}:{line}" in driver.error.message


async def test_the_same_io_in_a_step_works() -> None:
    async def serve() -> int:
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()
        return 1

    async def handler(ctx: Context) -> int:
        return await ctx.run_typed("serve", serve)

    assert drive(handler).output == b"1"


async def test_every_io_method_of_the_loop_interface_is_refused() -> None:
    from perdure.sdk.guards import NoDirectIO
    from perdure.sdk.loop import DeterministicLoop

    abstract = {
        name
        for name, member in vars(asyncio.AbstractEventLoop).items()
        if callable(member) and not name.startswith("_")
    }
    own = {name for name in abstract if name in vars(DeterministicLoop) or name in vars(NoDirectIO)}
    assert abstract - own == set()


async def test_loop_control_is_refused() -> None:
    async def handler(ctx: Context) -> str:
        with pytest.raises(RuntimeError, match="does not exist"):
            loop().run_until_complete(None)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="does not exist"):
            loop().stop()
        return "ok"

    assert drive(handler).output == b'"ok"'


async def test_functions_for_executors_run_inline() -> None:
    here = threading.get_ident()

    async def handler(ctx: Context) -> list[bool]:
        threads = [
            await asyncio.to_thread(threading.get_ident),
            await loop().run_in_executor(None, threading.get_ident),
        ]
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        return [thread == here for thread in threads]

    driver = drive(handler)
    assert driver.output == b"[true,true]"
    assert len(driver.journal) == 2


async def test_anyio_worker_threads_run_inline() -> None:
    import anyio.to_thread

    here = threading.get_ident()

    async def handler(ctx: Context) -> bool:
        return await anyio.to_thread.run_sync(threading.get_ident) == here

    assert drive(handler).output == b"true"
    assert await anyio.to_thread.run_sync(threading.get_ident) != here


@pytest.mark.parametrize("how", ["event", "future", "threadsafe"])
async def test_waking_a_handler_from_a_step_is_an_error(how: str) -> None:
    async def handler(ctx: Context) -> None:
        event, future, own = asyncio.Event(), loop().create_future(), loop()
        waiting = asyncio.create_task(event.wait()), asyncio.ensure_future(future)
        await asyncio.sleep(0)

        def wake() -> None:
            if how == "event":
                event.set()
            elif how == "future":
                future.add_done_callback(print)
                future.set_result(1)
            else:
                own.call_soon_threadsafe(print)

        await ctx.run("wakes", wake, max_attempts=1)
        await waiting[0]

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None
    assert isinstance(driver.step_errors[0][1], OutsideWakeError)
    assert "PD0402" in driver.error.message
    assert "awakeable" in driver.error.message


async def test_waking_from_a_thread_during_a_turn_is_an_error() -> None:
    caught: list[BaseException] = []

    async def handler(ctx: Context) -> None:
        own = loop()

        def elsewhere() -> None:
            with contextlib.suppress(OutsideWakeError):
                own.call_soon(print)
                return
            caught.append(OutsideWakeError("x"))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        await ctx.sleep(1)

    driver = drive(handler)
    assert caught and driver.outcome is Turn.FAILED


OPERATIONS: dict[str, Callable[[ObjectContext], object]] = {
    "set": lambda ctx: ctx.set("x", 1),
    "get": lambda ctx: ctx.get("x"),
    "run": lambda ctx: ctx.run_typed("inner", lambda: 1),
    "sleep": lambda ctx: ctx.sleep(1),
    "send": lambda ctx: ctx.generic_send("S", "h", b""),
    "call": lambda ctx: ctx.generic_call("S", "h", b""),
    "awakeable": lambda ctx: ctx.awakeable(),
}


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize("mode", ["async", "thread"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_an_operation_of_the_context_inside_a_step_is_an_error(
    operation: Callable[[ObjectContext], object], mode: str, swallowed: bool
) -> None:
    """A replay does not run the step again, and would not ask for the operation."""

    async def handler(ctx: ObjectContext) -> None:
        def plain() -> None:
            with contextlib.suppress(UsedOutsideError if swallowed else KeyError):
                operation(ctx)

        async def body() -> None:
            plain()

        await ctx.run_typed("outer", plain if mode == "thread" else body)
        await ctx.sleep(1)

    driver = drive(handler, key="k")
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None
    assert driver.error.message.startswith("UsedOutsideError: PD0412: ") and f"{__file__}:" in driver.error.message
    assert [type(entry) for entry in driver.journal if not isinstance(entry, Completion)] == [Input, Run]


async def test_as_completed_over_coroutines_is_refused_by_name() -> None:
    async def number(value: int) -> int:
        return value

    async def handler(ctx: Context) -> list[int]:
        with pytest.raises(UnorderedError, match=r"perdure\.as_completed"):
            for future in asyncio.as_completed([number(1)]):
                await future
        tasks = [asyncio.create_task(number(value)) for value in range(3)]
        return [await future for future in asyncio.as_completed(tasks)]

    driver = drive(handler)
    assert driver.output == b"[0,1,2]", driver.error


async def test_code_in_site_packages_is_passed_over_for_the_line() -> None:
    from perdure.sdk import guards

    assert guards.is_internal(asyncio.__file__)
    assert guards.is_internal(perdure.__file__)
    assert not guards.is_internal(__file__)
    assert not guards.is_internal(pytest.__file__)
    assert guards.user_line(sys._getframe()).startswith(__file__)


async def test_waiting_for_nothing_fails_by_name() -> None:
    async def handler(ctx: Context) -> None:
        await ctx.run("step", lambda: 1)
        await asyncio.Event().wait()

    driver = drive(handler)
    assert driver.outcome is Turn.FAILED
    assert driver.error is not None and "PD0404" in driver.error.message
    assert driver.attempt is not None and driver.attempt.park


async def test_an_abandoned_wait_does_not_count_as_waiting() -> None:
    async def handler(ctx: Context) -> None:
        future = ctx.sleep(timedelta(days=1))
        future.cancel()
        await asyncio.Event().wait()

    assert drive(handler).outcome is Turn.FAILED
