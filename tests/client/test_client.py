"""What a client does, whatever carries its requests: each test runs in the process and over HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest

import perdure
from perdure.model.ids import BadId
from perdure.sdk.errors import CapabilityError
from tests.client import programs as p

Client = perdure.Client


async def test_a_call_takes_and_gives_what_the_handler_does(client: Client) -> None:
    assert await client.service_call(p.greet, p.Person("Ann", 7)) == "Hello Ann, 7"
    assert await client.service_call(p.older, arg=p.Person("Ann", 7)) == p.Person("Ann", 8)
    await client.service_call(p.nothing)


async def test_an_object_keeps_state_for_each_key_whatever_is_in_it(client: Client) -> None:
    for key in ("a", "a/b", "ä ?#%2F&", "."):
        assert await client.object_call(p.add, key, 1) == 1
        assert await client.object_call(p.add, key=key, arg=2) == 3


async def test_a_terminal_error_comes_back_whole(client: Client) -> None:
    with pytest.raises(perdure.TerminalError) as caught:
        await client.service_call(p.refuse, "short and stout")
    error = caught.value
    assert (error.message, error.status_code, error.metadata) == ("short and stout", 418, {"kind": "teapot"})
    assert str(error) == "short and stout"
    assert isinstance(error, perdure.HttpError)


async def test_what_does_not_fit_is_refused_and_stores_nothing(client: Client, node: perdure.Node) -> None:
    with pytest.raises(perdure.Refused, match="age") as caught:
        await client.service_call(p.greet, {"name": "Ann"})  # type: ignore[arg-type]
    assert caught.value.status_code == 400
    with pytest.raises(perdure.Refused, match="takes no input"):
        await client.service_call(p.nothing, "something")  # type: ignore[arg-type]
    assert node.engine.stats()["invocations"] == 0


async def test_a_handler_that_is_not_there_is_refused(client: Client) -> None:
    stranger = perdure.Service("Stranger")

    @stranger.handler()
    async def hello(ctx: perdure.Context) -> str:
        return "hello"

    with pytest.raises(perdure.Refused, match="Stranger") as caught:
        await client.service_call(hello)
    assert caught.value.status_code == 404
    assert isinstance(caught.value, perdure.HttpError)


async def test_a_send_is_attached_to_and_knows_its_type(client: Client) -> None:
    sent = await client.service_send(p.older, p.Person("Ann", 7))
    assert not sent.duplicate
    assert await client.attach(sent) == p.Person("Ann", 8)
    assert await client.attach(sent.invocation_id, type_hint=p.Person) == p.Person("Ann", 8)
    assert await client.attach(sent.invocation_id) == {"name": "Ann", "age": 8}
    output = await client.output(sent)
    assert output.ready and output.value == p.Person("Ann", 8)


async def test_the_output_of_what_has_not_ended_is_not_ready(client: Client) -> None:
    sent = await client.service_send(p.sleep_long)
    assert not (await client.output(sent)).ready


async def test_an_idempotency_key_joins_the_first_request(client: Client) -> None:
    assert await client.object_call(p.add, "a", 5, idempotency_key="once") == 5
    assert await client.object_call(p.add, "a", 5, idempotency_key="once") == 5
    sent = await client.object_send(p.add, "a", 5, idempotency_key="once")
    assert sent.duplicate
    assert await client.attach(sent) == 5
    assert await client.attach_idempotent(p.add, "once", key="a") == 5
    assert await client.object_call(p.add, "a", 1) == 6


async def test_headers_reach_the_handler(client: Client) -> None:
    assert await client.service_call(p.heard, "x-who", headers={"x-who": "Ann"}) == "Ann"


async def test_a_delayed_send_waits_and_can_be_cancelled(client: Client) -> None:
    sent = await client.object_send(p.add, "a", 5, send_delay=timedelta(hours=1))
    assert await client.object_call(p.add, "a", 1) == 1
    await client.cancel(sent)
    with pytest.raises(perdure.Refused) as gone:
        await client.attach(sent)
    assert gone.value.status_code == 404, "of what never started nothing stays"


async def test_cancel_ends_a_running_invocation_once(client: Client) -> None:
    sent = await client.service_send(p.sleep_long)
    await client.cancel(sent.invocation_id)
    with pytest.raises(perdure.TerminalError) as caught:
        await client.attach(sent.invocation_id)
    assert caught.value.status_code == 409
    with pytest.raises(perdure.Refused) as refused:
        await client.cancel(sent)
    assert refused.value.status_code == 409


async def awakeable_id(client: Client, who: str) -> str:
    while True:
        found = await client.object_call(p.kept_id, who)
        if found is not None:
            return found


async def test_an_awakeable_is_resolved_once(client: Client) -> None:
    sent = await client.service_send(p.ask, "a")
    asked = await awakeable_id(client, "a")
    await client.resolve_awakeable(asked, "yes")
    await client.resolve_awakeable(asked, "no")
    assert await client.attach(sent) == "heard yes"


async def test_an_awakeable_is_rejected(client: Client) -> None:
    sent = await client.service_send(p.ask, "a")
    await client.reject_awakeable(await awakeable_id(client, "a"), "not now")
    with pytest.raises(perdure.TerminalError, match="not now") as caught:
        await client.attach(sent)
    assert caught.value.status_code == 500


async def test_a_signal_is_resolved_or_rejected(client: Client) -> None:
    told, refused = [await client.service_send(p.await_signal) for _ in range(2)]
    await client.resolve_signal(told.invocation_id, "news", "good")
    await client.reject_signal(refused.invocation_id, "news", "bad")
    assert await client.attach(told) == "heard good"
    with pytest.raises(perdure.TerminalError, match="bad"):
        await client.attach(refused)


async def test_a_workflow_runs_once_for_each_key(client: Client) -> None:
    sent = await client.workflow_submit(p.run, "ann", "ann@example.org")
    assert not sent.duplicate
    assert not (await client.workflow_output(p.run, "ann")).ready
    assert (await client.workflow_submit(p.run, "ann", "eve@example.org")).duplicate
    await client.workflow_call(p.click, "ann", "the link")
    assert await client.workflow_attach(p.run, "ann") == "ann@example.org clicked the link"
    assert await client.attach(sent) == "ann@example.org clicked the link"
    assert (await client.workflow_output(p.run, "ann")).value == "ann@example.org clicked the link"
    with pytest.raises(perdure.TerminalError) as caught:
        await client.workflow_call(p.run, "ann", "again")
    assert caught.value.status_code == 409


async def test_a_handlers_own_404_is_told_apart_from_an_invocation_that_is_not_there(client: Client) -> None:
    sent = await client.service_send(p.not_there, "not found")
    with pytest.raises(perdure.CallFailed, match="not found") as failed:
        await client.attach(sent)
    assert failed.value.status_code == 404
    with pytest.raises(perdure.Refused) as unknown:
        await client.attach("inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz")
    assert unknown.value.status_code == 404
    with pytest.raises(perdure.Refused):
        await client.attach_idempotent(p.not_there, "never used")


async def test_what_is_no_run_of_a_workflow_is_refused(client: Client) -> None:
    with pytest.raises(perdure.Refused) as unknown:
        await client.workflow_attach(p.run, "nobody")
    assert unknown.value.status_code == 404
    with pytest.raises(perdure.Refused, match="not the run"):
        await client.workflow_submit(p.click, "ann", "x")


async def test_handlers_are_called_by_name_with_bytes(client: Client) -> None:
    assert await client.generic_call("Counter", "add", b"4", key="a") == b"4"
    sent = await client.generic_send("Counter", "add", b"1", key="a", send_delay=timedelta(milliseconds=1))
    assert await client.attach(sent) == b"5"
    assert await client.generic_call("Greeter", "nothing", b"") == b""


async def test_unknown_ids_are_told_apart(client: Client, node: perdure.Node) -> None:
    with pytest.raises(BadId):
        await client.attach("inv_nonsense")
    with pytest.raises(BadId):
        await client.resolve_awakeable("nonsense")
    async with perdure.Node(p.APP) as elsewhere:
        other = await elsewhere.client.service_send(p.nothing)
    for ask in (client.attach, client.output, client.cancel):
        with pytest.raises(perdure.Refused) as caught:
            await ask(other.invocation_id)
        assert caught.value.status_code == 404


async def test_scopes_are_refused(client: Client) -> None:
    with pytest.raises(CapabilityError):
        client.scope("tenant")
    with pytest.raises(CapabilityError):
        await client.generic_call("Counter", "add", b"4", key="a", scope="tenant")
