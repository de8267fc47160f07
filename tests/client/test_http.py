"""The client over HTTP: what goes over the wire, and what happens when the server or the connection fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

import perdure
from tests.client import programs as p
from tests.client.flaky import HANG_UP, FlakyServer, answer

JSON = {"content_type": "application/json"}
FAILED = answer(409, b'{"code":409,"message":"no","source":"invocation"}', x_restate_id="inv_1")


@pytest.fixture
async def server() -> AsyncIterator[FlakyServer]:
    running = FlakyServer()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def client(server: FlakyServer) -> AsyncIterator[perdure.Client]:
    async with perdure.connect(server.url) as connected:
        yield connected


async def test_a_request_says_what_it_is(server: FlakyServer) -> None:
    server.answers += [answer(200, b"3"), answer(202, b'{"invocationId":"inv_1","status":"Accepted"}')]
    async with perdure.connect(f"{server.url}/below/", headers={"Authorization": "Bearer x"}) as client:
        await client.object_call(p.add, "a/b", 3, idempotency_key="once", headers={"X-Who": "Ann"})
        await client.object_send(p.add, "ä", 3, send_delay=timedelta(seconds=2))
    (first, headers, body), (second, _, _) = server.requests
    assert (first, body) == ("POST /below/Counter/a%2Fb/add", b"3")
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["content-type"] == "application/json"
    assert (headers["authorization"], headers["x-who"], headers["idempotency-key"]) == ("Bearer x", "Ann", "once")
    assert second == "POST /below/Counter/%C3%A4/add/send?delay=2000"


async def test_connections_are_kept_and_bounded(server: FlakyServer) -> None:
    server.answers += [answer(200, b"1")] * 20
    async with perdure.connect(server.url, connections_max=2) as client:
        await asyncio.gather(*(client.object_call(p.add, "a", 1) for _ in range(20)))
    assert len(server.requests) == 20
    assert server.connections <= 2


async def test_a_connection_that_will_not_be_kept_is_not_used_again(
    client: perdure.Client, server: FlakyServer
) -> None:
    server.answers += [answer(200, b"1", connection="close"), answer(200, b"2")]
    assert [await client.object_call(p.add, "a", 1) for _ in range(2)] == [1, 2]
    assert server.connections == 2


async def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used(server: FlakyServer) -> None:
    server.answers += [answer(200, b"1"), answer(200, b"2")]
    async with perdure.connect(server.url, recover_s=0) as client:
        assert await client.object_call(p.add, "a", 1) == 1
        for writer in server.open:
            writer.close()
        idle: Any = client._transport
        while not idle._ingress._pool._idle[0].stale:  # what was closed has to be heard of
            await asyncio.sleep(0)
        assert await client.object_call(p.add, "a", 1) == 2
    assert server.connections == 2


async def test_a_lost_call_is_made_again_under_the_same_key(client: perdure.Client, server: FlakyServer) -> None:
    server.answers += [HANG_UP, HANG_UP, answer(200, b"3")]
    assert await client.object_call(p.add, "a", 1) == 3
    keys = {headers["idempotency-key"] for _, headers, _ in server.requests}
    assert len(server.requests) == 3 and len(keys) == 1


async def test_each_call_has_a_key_of_its_own_and_keeps_one_that_is_given(
    client: perdure.Client, server: FlakyServer
) -> None:
    server.answers += [answer(200, b"1")] * 3
    for key in (None, None, "mine"):
        await client.object_call(p.add, "a", 1, idempotency_key=key)
    keys = [headers["idempotency-key"] for _, headers, _ in server.requests]
    assert keys[0] != keys[1] and keys[2] == "mine"


async def test_a_send_that_was_repeated_is_no_duplicate(client: perdure.Client, server: FlakyServer) -> None:
    previously = answer(202, b'{"invocationId":"inv_1","status":"PreviouslyAccepted"}')
    server.answers += [HANG_UP, previously, previously]
    assert not (await client.object_send(p.add, "a", 1)).duplicate
    assert (await client.object_send(p.add, "a", 1, idempotency_key="mine")).duplicate


async def test_a_server_that_is_down_for_a_while_is_waited_for(client: perdure.Client, server: FlakyServer) -> None:
    server.answers.append(None)
    call = asyncio.ensure_future(client.object_call(p.add, "a", 1))
    await server.came.wait()
    await server.stop()
    server.answers += [answer(503, b'{"message":"recovering"}', x_restate_error_source="ingress"), answer(200, b"3")]
    await server.start()
    assert await call == 3


async def test_a_lost_run_of_a_workflow_is_waited_for_and_not_run_again(
    client: perdure.Client, server: FlakyServer
) -> None:
    server.answers += [HANG_UP, answer(200, b'"done"')]
    assert await client.workflow_call(p.run, "ann", "x") == "done"
    assert [first for first, _, _ in server.requests] == [
        "POST /SignUp/ann/run",
        "GET /restate/workflow/SignUp/ann/attach",
    ]
    assert "idempotency-key" not in server.requests[0][1]


async def test_a_run_whose_server_stops_is_waited_for_too(client: perdure.Client, server: FlakyServer) -> None:
    server.answers += [answer(503, b'{"message":"stopping"}'), answer(200, b'"done"')]
    assert await client.workflow_call(p.run, "ann", "x") == "done"
    assert server.requests[1][0] == "GET /restate/workflow/SignUp/ann/attach"


async def test_a_run_that_had_not_arrived_is_asked_for_again(client: perdure.Client, server: FlakyServer) -> None:
    server.answers += [HANG_UP, answer(404, b'{"message":"not found"}'), answer(200, b'"done"')]
    assert await client.workflow_call(p.run, "ann", "x") == "done"
    assert server.requests[2][0] == "POST /SignUp/ann/run"


async def test_without_recovery_a_lost_connection_is_an_error_and_no_key_is_made(server: FlakyServer) -> None:
    server.answers += [HANG_UP]
    async with perdure.connect(server.url, recover_s=0) as client:
        with pytest.raises(perdure.ConnectionLost, match="POST /Counter/a/add"):
            await client.object_call(p.add, "a", 1)
    assert len(server.requests) == 1
    assert "idempotency-key" not in server.requests[0][1]


async def test_the_server_stays_away_too_long(server: FlakyServer) -> None:
    server.answers.append(HANG_UP)
    async with perdure.connect(server.url, recover_s=0.05) as client:
        call = asyncio.ensure_future(client.object_call(p.add, "a", 1, idempotency_key="mine"))
        await server.came.wait()
        await server.stop()
        with pytest.raises(perdure.ConnectionLost) as caught:
            await call
    assert caught.value.idempotency_key == "mine"


async def test_nothing_listens_there(server: FlakyServer) -> None:
    await server.stop()
    async with perdure.connect(server.url) as client:
        with pytest.raises(perdure.Unreachable, match=f"127.0.0.1:{server.port}"):
            await client.object_call(p.add, "a", 1)


async def test_a_timeout_names_the_key_to_attach_with(server: FlakyServer) -> None:
    server.answers.append(None)
    async with perdure.connect(server.url, timeout_s=0.05) as client:
        with pytest.raises(perdure.CallTimeout) as caught:
            await client.object_call(p.add, "a", 1)
        assert caught.value.idempotency_key == server.requests[0][1]["idempotency-key"]
        assert isinstance(caught.value, TimeoutError)
        while server.open:  # the server is told that nobody waits any more
            await asyncio.sleep(0)


async def test_what_is_no_http_is_an_error(server: FlakyServer) -> None:
    server.answers.append(b"SSH-2.0-OpenSSH\r\n")
    async with perdure.connect(server.url, recover_s=0) as client:
        with pytest.raises(perdure.ConnectionLost, match="no HTTP"):
            await client.object_call(p.add, "a", 1)


async def test_the_handler_s_failures_and_the_server_s_are_told_apart(
    client: perdure.Client, server: FlakyServer
) -> None:
    server.answers += [FAILED, answer(409, b"busy"), answer(502, b"<html>")]
    with pytest.raises(perdure.CallFailed, match="no"):
        await client.object_call(p.add, "a", 1)
    for status in (409, 502):
        with pytest.raises(perdure.Refused) as caught:
            await client.object_call(p.add, "a", 1)
        assert caught.value.status_code == status


async def test_what_needs_the_admin_api_says_so(client: perdure.Client) -> None:
    invocation = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz"
    with pytest.raises(perdure.Refused, match="admin_url"):
        await client.cancel(perdure.Sent(invocation))
    with pytest.raises(perdure.Refused, match="admin_url"):
        await client.resolve_signal(invocation, "news", 1)
    with pytest.raises(perdure.Refused, match="admin_url"):
        await client.list_invocations()


async def test_rejections_have_one_code_over_http(client: perdure.Client, node: perdure.Node) -> None:
    sent = await node.client.service_send(p.ask, "a")
    while (asked := await node.client.object_call(p.kept_id, "a")) is None:
        pass
    with pytest.raises(perdure.Refused, match="always rejected with code 500"):
        await client.reject_awakeable(asked, "no", code=404)
    await node.client.reject_awakeable(asked, "no", code=404)
    with pytest.raises(perdure.TerminalError) as caught:
        await node.client.attach(sent)
    assert caught.value.status_code == 404


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "http://x?y", "http://u:p@x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|more than"):
        perdure.connect(url)


async def test_line_breaks_do_not_get_into_headers(client: perdure.Client) -> None:
    with pytest.raises(ValueError, match="line break"):
        await client.object_call(p.add, "a", 1, headers={"x-who": "Ann\r\nx-admin: yes"})


async def test_a_client_works_on_one_event_loop_after_another(server: FlakyServer) -> None:
    client = perdure.connect(server.url)
    server.answers += [answer(200, b"1"), answer(200, b"2")]
    assert await client.object_call(p.add, "a", 1) == 1
    assert await asyncio.to_thread(asyncio.run, client.object_call(p.add, "a", 1)) == 2
    assert server.connections == 2


async def test_what_changes_something_is_sent_once_and_what_only_reads_again(server: FlakyServer) -> None:
    invocation = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz"
    async with perdure.connect(server.url, admin_url=server.url, recover_s=5.0) as client:
        for change in (client.cancel, client.kill, client.pause, client.resume, client.restart, client.purge):
            server.answers.append(HANG_UP)
            with pytest.raises(perdure.ConnectionLost):
                await change(invocation)
        server.answers.append(HANG_UP)
        with pytest.raises(perdure.ConnectionLost):
            await client.resolve_signal(invocation, "news", 1)
        assert len(server.requests) == 7
        server.answers += [HANG_UP, answer(200, b'{"invocations":[],"after":null}')]
        assert (await client.list_invocations()).invocations == []
        assert len(server.requests) == 9
