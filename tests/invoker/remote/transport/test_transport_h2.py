"""Exchanges over HTTP/2, against a peer that sends exactly what a test says: windows, limits, resets, ends, silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, PingReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes

from perdure.invoker.remote.errors import ConnectionBroken, NotTheProtocol, TransportClosed, Unreachable
from perdure.invoker.remote.exchange import Exchange, Listener
from perdure.invoker.remote.h2_state import ClientState
from perdure.invoker.remote.transport import Transport
from perdure.model.deployment import Deployment

from .peer import Peer, PeerConnection, Recorder, listening, saying

MakeTransport = Callable[..., Transport]


def begin(transport: Transport, uri: str, listener: Listener, *sent: bytes, end: bool = False) -> Exchange:
    exchange = transport.open(Deployment(id="dp_1", uri=uri), "invoke/Greeter/greet", {"x-a": "1"}, listener)
    for data in sent:
        exchange.send(data)
    if end:
        exchange.end()
    return exchange


async def begun(transport: Transport, peer: Peer, *sent: bytes, end: bool = False) -> tuple[Recorder, Exchange]:
    listener = Recorder()
    return listener, begin(transport, peer.uri, listener, *sent, end=end)


# --- one exchange -----------------------------------------------------------------------------------------------------------


async def test_request_and_response_are_open_at_the_same_time(transport: Transport) -> None:
    async with listening() as peer:
        listener, exchange = await begun(transport, peer, b"start")
        connection = await peer.connection()
        stream = await connection.request()
        connection.respond(stream, ("x-b", "2"), end=False)
        await listener.until(lambda it: it.status == 200)
        for turn in range(3):
            exchange.send(b"<%d>" % turn)
            await connection.until(lambda it, turn=turn: it.body(stream).endswith(b"<%d>" % turn))  # type: ignore[misc]
            connection.h2.send_data(stream, b"[%d]" % turn)
            connection.flush()
            await listener.until(lambda it, turn=turn: it.data.endswith(b"[%d]" % turn))  # type: ignore[misc]
        exchange.end()
        await connection.ended(stream)
        connection.h2.end_stream(stream)
        connection.flush()
        await listener.end()
    assert connection.body(stream) == b"start<0><1><2>"
    assert (listener.headers["x-b"], listener.data) == ("2", b"[0][1][2]")


async def test_what_stands_at_the_head(transport: Transport) -> None:
    async with listening() as peer:
        deployment = Deployment(
            id="dp_1",
            uri=f"{peer.uri}base/",
            additional_headers={"Authorization": "secret", "X-A": "theirs", "Connection": "close", "Host": "other"},
        )
        transport.open(deployment, "invoke/Greeter/greet", {"x-a": "ours"}, Recorder())
        request = await (await peer.connection()).event(RequestReceived)
    assert dict(request.headers or []) == {  # type: ignore[comparison-overlap]
        ":method": "POST",
        ":scheme": "http",
        ":authority": f"127.0.0.1:{peer.port}",
        ":path": "/base/invoke/Greeter/greet",
        "authorization": "secret",
        "x-a": "ours",
    }


async def test_opening_tells_nothing_before_it_returns(transport: Transport) -> None:
    listener = Recorder()
    transport.open(Deployment(id="dp_1", uri="ftp://nowhere/"), "x", {}, listener)
    transport.open(Deployment(id="dp_1", uri="http://h:1/", additional_headers={"a": "b\r\nc: d"}), "x", {}, listener)
    transport.open(Deployment(id="dp_1", uri="http://127.0.0.1:1/"), "x\ny", {}, listener)
    assert listener.told == []
    await listener.until(lambda it: len(it.told) == 3)
    assert listener.told == ["broken"] * 3 and listener.error is not None and listener.error.code == "PD0606"


async def test_informational_responses_and_trailers_are_passed_over(transport: Transport) -> None:
    async with listening() as peer:
        listener, _ = await begun(transport, peer, end=True)
        connection = await peer.connection()
        stream = await connection.request()
        connection.h2.send_headers(stream, [(":status", "103"), ("link", "</x>")])
        connection.h2.send_headers(stream, [(":status", "201")])
        connection.h2.send_data(stream, b"body")
        connection.h2.send_headers(stream, [("x-trailer", "1")], end_stream=True)
        connection.flush()
        await listener.end()
    assert (listener.status, listener.data) == (201, b"body")
    assert listener.told == ["response", "data", "end"]


async def test_a_response_that_ends_first_ends_the_request(transport: Transport) -> None:
    async with listening() as peer:
        listener, exchange = await begun(transport, peer, b"start")
        connection = await peer.connection()
        stream = await connection.request()
        connection.respond(stream)
        await listener.end()
        exchange.send(b"too late")
        exchange.end()
        await connection.ended(stream)
        assert connection.body(stream) == b"start"


async def test_abort_resets_the_stream_and_is_told_to_nobody(transport: Transport) -> None:
    async with listening() as peer:
        listener, exchange = await begun(transport, peer, b"start")
        connection = await peer.connection()
        stream = await connection.request()
        connection.respond(stream, end=False)
        await listener.until(lambda it: it.status == 200)
        exchange.abort()
        await connection.reset(stream)
        # The connection goes on with others.
        other, _ = await begun(transport, peer, end=True)
        connection.respond(await connection.request(1))
        await other.end()
    assert listener.told == ["response"] and len(peer.connections) == 1


async def test_aborted_before_the_connection_is_there(transport: Transport) -> None:
    async with listening() as peer:
        listener, exchange = await begun(transport, peer, b"start")
        exchange.abort()
        other, _ = await begun(transport, peer, b"other", end=True)
        connection = await peer.connection()
        connection.respond(await connection.request())
        await other.end()
        assert connection.body(1) == b"other" and listener.told == []


# --- windows ----------------------------------------------------------------------------------------------------------------


async def test_a_request_waits_for_the_window_of_its_stream_and_others_pass_it(transport: Transport) -> None:
    body = bytes(range(256)) * 1024
    async with listening({SettingCodes.INITIAL_WINDOW_SIZE: 1000}, takes_data=False) as peer:
        listener, exchange = await begun(transport, peer, body, end=True)
        connection = await peer.connection()
        await connection.until(lambda it: len(it.body(1)) == 1000)
        assert exchange.buffered == len(body) - 1000
        other, _ = await begun(transport, peer, b"small", end=True)
        await connection.ended(3)
        connection.respond(3)
        await other.end()

        connection.h2.increment_flow_control_window(20_000)
        connection.h2.increment_flow_control_window(20_000, 1)
        connection.flush()
        await connection.until(lambda it: len(it.body(1)) == 21_000)
        assert exchange.buffered == len(body) - 21_000
        connection.h2.increment_flow_control_window(len(body))
        connection.h2.increment_flow_control_window(len(body), 1)
        connection.flush()
        await connection.ended(1)
        connection.respond(1)
        await listener.end()
    assert connection.body(1) == body and exchange.buffered == 0


async def test_streams_share_the_window_of_the_connection(transport: Transport) -> None:
    async with listening({SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000}, takes_data=False) as peer:
        begin(transport, peer.uri, Recorder(), b"a" * 200_000, end=True)
        begin(transport, peer.uri, Recorder(), b"b" * 200_000, end=True)
        connection = await peer.connection()
        await connection.until(lambda it: len(it.body(1)) + len(it.body(3)) == 65_535)
        connection.h2.increment_flow_control_window(100_000)
        connection.flush()
        await connection.until(lambda it: len(it.body(1)) + len(it.body(3)) == 165_535)
        assert abs(len(connection.body(1)) - len(connection.body(3))) <= 65_535 + 2 * 16_384
        connection.h2.increment_flow_control_window(1_000_000)
        connection.flush()
        await connection.ended(1)
        await connection.ended(3)


async def test_a_larger_window_in_the_settings_lets_waiting_data_go(transport: Transport) -> None:
    async with listening({SettingCodes.INITIAL_WINDOW_SIZE: 0}, takes_data=False) as peer:
        begin(transport, peer.uri, Recorder(), b"waits", end=True)
        connection = await peer.connection()
        assert connection.body(await connection.request()) == b""
        connection.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
        connection.flush()
        await connection.ended(1)
        assert connection.body(1) == b"waits"


async def test_a_listener_that_pauses_holds_its_peer_back_and_nobody_else(make_transport: MakeTransport) -> None:
    transport = make_transport(stream_window_bytes=100_000)
    async with listening() as peer:
        slow, exchange = await begun(transport, peer, end=True)
        connection = await peer.connection()
        stream = await connection.request()
        connection.respond(stream, end=False)
        await slow.until(lambda it: it.status == 200)
        exchange.pause_reading()
        sent = fill(connection, stream)
        assert sent == 100_000
        quick, _ = await begun(transport, peer, end=True)
        connection.respond(await connection.request(1), data=b"quick")
        await quick.end()
        assert slow.data == b"" and connection.h2.local_flow_control_window(stream) == 0

        exchange.resume_reading()
        await slow.until(lambda it: len(it.data) == 100_000)
        await connection.until(lambda it: it.h2.local_flow_control_window(stream) > 0)
        connection.h2.send_data(stream, b"last", end_stream=True)
        connection.flush()
        await slow.end()
    assert slow.data == b"x" * 100_000 + b"last"


async def test_what_a_paused_listener_has_not_read_comes_before_the_end(transport: Transport) -> None:
    async with listening() as peer:
        listener, exchange = await begun(transport, peer, end=True)
        exchange.pause_reading()
        connection = await peer.connection()
        connection.respond(await connection.request(), data=b"all of it")
        await listener.until(lambda it: it.status == 200)
        other, _ = await begun(transport, peer, end=True)
        connection.respond(await connection.request(1))
        await other.end()
        assert listener.told == ["response"]
        exchange.resume_reading()
    assert listener.told == ["response", "data", "end"] and listener.data == b"all of it"


async def test_a_long_response_flows_through_its_windows(make_transport: MakeTransport) -> None:
    transport = make_transport(stream_window_bytes=70_000, connection_window_bytes=200_000)
    async with listening() as peer:
        listener, _ = await begun(transport, peer, end=True)
        connection = await peer.connection()
        stream = await connection.request()
        connection.respond(stream, end=False)
        sent = 0
        while sent < 1_000_000:
            sent += fill(connection, stream)
            await connection.until(lambda it: it.h2.local_flow_control_window(stream) > 0)
        connection.h2.end_stream(stream)
        connection.flush()
        await listener.end()
    assert len(listener.data) == sent


def fill(connection: PeerConnection, stream: int) -> int:
    """Send as much as the window of the stream takes."""
    sent = 0
    while room := min(connection.h2.local_flow_control_window(stream), connection.h2.max_outbound_frame_size):
        connection.h2.send_data(stream, b"x" * room)
        sent += room
    connection.flush()
    return sent


# --- many exchanges ---------------------------------------------------------------------------------------------------------


async def test_one_hundred_and_twenty_eight_share_a_connection_and_the_next_makes_another(transport: Transport) -> None:
    async with listening({SettingCodes.MAX_CONCURRENT_STREAMS: 1000}) as peer:
        listeners = [Recorder() for _ in range(130)]
        for listener in listeners:
            begin(transport, peer.uri, listener, end=True)
        second = await peer.connection(1)
        await second.event(RequestReceived, 1)
        assert len(peer.connections[0].all(RequestReceived)) == 128
        assert len(second.all(RequestReceived)) == 2
        for connection in peer.connections:
            for request in connection.all(RequestReceived):
                connection.respond(request.stream_id or 0)
        for listener in listeners:
            await listener.end()


async def test_the_limit_of_the_peer_counts_and_a_free_place_is_taken(make_transport: MakeTransport) -> None:
    transport = make_transport(connections_max=1)
    async with listening({SettingCodes.MAX_CONCURRENT_STREAMS: 2}) as peer:
        listeners = [Recorder() for _ in range(5)]
        for listener in listeners:
            begin(transport, peer.uri, listener, end=True)
        connection = await peer.connection()
        for number in range(5):
            stream = await connection.request(number)
            assert connection.h2.open_inbound_streams <= 2
            connection.respond(stream)
        for listener in listeners:
            await listener.end()
    assert len(peer.connections) == 1


async def test_a_connection_serves_so_many_requests_and_no_more(make_transport: MakeTransport) -> None:
    transport = make_transport(requests_max=3)
    async with listening() as peer:
        listeners = [Recorder() for _ in range(4)]
        for listener in listeners:
            begin(transport, peer.uri, listener, end=True)
        first, second = await peer.connection(), await peer.connection(1)
        assert await second.request() == 1
        assert len(first.all(RequestReceived)) == 3
        for stream in (1, 3, 5):
            first.respond(stream)
        second.respond(1)
        for listener in listeners:
            await listener.end()
        await first.until(lambda it: it.lost)
        assert not second.lost


async def test_a_peer_that_allows_no_stream_is_not_asked_for_ever(transport: Transport) -> None:
    async with listening({SettingCodes.MAX_CONCURRENT_STREAMS: 0}) as peer:
        listener, _ = await begun(transport, peer, end=True)
        assert isinstance(await listener.broken(), ConnectionBroken)
        assert len(peer.connections) == 1


async def test_a_listener_that_fails_breaks_its_own_exchange_only(transport: Transport) -> None:
    class Failing(Recorder):
        def on_data(self, data: bytes) -> None:
            raise RuntimeError("a bug")

    async with listening() as peer:
        failing, fine = Failing(), Recorder()
        begin(transport, peer.uri, failing)
        begin(transport, peer.uri, fine, end=True)
        connection = await peer.connection()
        await connection.request(1)
        connection.h2.send_headers(1, [(":status", "200")])
        connection.h2.send_data(1, b"boom")
        connection.respond(3, data=b"fine")
        await fine.end()
        await connection.reset(1)
    assert fine.data == b"fine" and failing.told == ["response"]


# --- refused, reset, going away ---------------------------------------------------------------------------------------------


async def test_a_refused_stream_is_begun_again_with_all_that_was_sent(transport: Transport) -> None:
    async with listening() as peer:
        listener, exchange = await begun(transport, peer, b"one")
        connection = await peer.connection()
        await connection.until(lambda it: it.body(1) == b"one")
        connection.h2.reset_stream(1, ErrorCodes.REFUSED_STREAM)
        connection.flush()
        assert await connection.request(1) == 3
        exchange.send(b"two")
        exchange.end()
        await connection.ended(3)
        connection.respond(3)
        await listener.end()
    assert connection.body(3) == b"onetwo"


async def test_it_is_not_begun_for_ever(transport: Transport) -> None:
    async with listening() as peer:
        listener, _ = await begun(transport, peer, b"one")
        connection = await peer.connection()
        for number in range(4):
            connection.h2.reset_stream(await connection.request(number), ErrorCodes.REFUSED_STREAM)
            connection.flush()
        error = await listener.broken()
    assert isinstance(error, ConnectionBroken) and error.doc_code == "RT0010"
    assert len(connection.all(RequestReceived)) == 4


@pytest.mark.parametrize("answered", [False, True])
async def test_a_reset_stream_is_broken_and_the_connection_goes_on(transport: Transport, answered: bool) -> None:
    async with listening() as peer:
        listener, _ = await begun(transport, peer, b"one")
        connection = await peer.connection()
        stream = await connection.request()
        if answered:
            connection.respond(stream, end=False)
        connection.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        connection.flush()
        assert "INTERNAL_ERROR" in str(await listener.broken())
        other, _ = await begun(transport, peer, end=True)
        connection.respond(await connection.request(1))
        await other.end()
    assert len(peer.connections) == 1 and listener.told[-1] == "broken"


async def test_going_away_finishes_what_it_works_on_and_the_rest_moves(transport: Transport) -> None:
    async with listening() as peer:
        worked_on, moved = Recorder(), Recorder()
        first = begin(transport, peer.uri, worked_on, b"first")
        begin(transport, peer.uri, moved, b"second", end=True)
        old = await peer.connection()
        await old.until(lambda it: (it.body(1), it.body(3)) == (b"first", b"second"))
        going_away(old, last_stream=1)
        # What was above the last stream begins anew on another connection, and so does what is opened from now on.
        new = await peer.connection(1)
        await new.ended(1)
        assert new.body(1) == b"second"
        later, _ = await begun(transport, peer, end=True)
        await new.request(1)
        first.send(b" goes on")
        first.end()
        await old.ended(1)
        new.respond(1)
        new.respond(3)
        old.respond(1, data=b"done")
        for listener in (worked_on, moved, later):
            await listener.end()
        await old.until(lambda it: it.lost)
    assert worked_on.data == b"done" and old.body(1) == b"first goes on" and len(peer.connections) == 2


async def test_what_was_answered_is_not_begun_again(transport: Transport) -> None:
    async with listening() as peer:
        listener, _ = await begun(transport, peer, b"one")
        connection = await peer.connection()
        connection.respond(await connection.request(), end=False)
        await listener.until(lambda it: it.status == 200)
        going_away(connection, last_stream=0)
        assert isinstance(await listener.broken(), ConnectionBroken)
        assert len(peer.connections) == 1


async def test_a_lost_connection_breaks_what_is_on_it_and_the_next_makes_a_new_one(transport: Transport) -> None:
    async with listening() as peer:
        listener, _ = await begun(transport, peer, b"one")
        connection = await peer.connection()
        await connection.request()
        connection.transport.abort()
        assert isinstance(await listener.broken(), ConnectionBroken)
        other, _ = await begun(transport, peer, end=True)
        again = await peer.connection(1)
        again.respond(await again.request())
        await other.end()


async def test_a_request_that_crosses_the_end_of_an_idle_connection_moves(transport: Transport) -> None:
    async with listening() as peer:
        first, _ = await begun(transport, peer, end=True)
        connection = await peer.connection()
        connection.respond(await connection.request())
        await first.end()
        connection.deaf = True
        listener, _ = await begun(transport, peer, b"crossed", end=True)
        await asyncio.sleep(0)
        connection.transport.close()
        again = await peer.connection(1)
        await again.ended(1)
        again.respond(1)
        await listener.end()
        assert again.body(1) == b"crossed"


async def test_a_deployment_that_comes_back_is_reached_again(transport: Transport) -> None:
    async with listening() as peer:
        listener, _ = await begun(transport, peer, end=True)
        connection = await peer.connection()
        connection.respond(await connection.request())
        await listener.end()
        port = peer.port
    down = Recorder()
    begin(transport, f"http://127.0.0.1:{port}/", down, end=True)
    assert isinstance(await down.broken(), Unreachable | ConnectionBroken)
    async with listening(port=port) as peer:
        back, _ = await begun(transport, peer, end=True)
        connection = await peer.connection()
        connection.respond(await connection.request())
        await back.end()


def going_away(connection: PeerConnection, last_stream: int) -> None:
    """Past h2, which takes a GOAWAY for the end of everything."""
    connection.transport.write(frame(7, 0, 0, last_stream.to_bytes(4, "big") + bytes(4)))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


# --- silence and the ends of connections ------------------------------------------------------------------------------------


async def test_a_peer_that_does_not_answer_pings_is_given_up(make_transport: MakeTransport) -> None:
    transport = make_transport(ping_interval_s=0.05, ping_timeout_s=0.05)
    async with listening() as peer:
        listener, _ = await begun(transport, peer, b"one")
        connection = await peer.connection()
        await connection.request()
        connection.deaf = True
        assert "ping" in str(await listener.broken())


async def test_a_peer_that_answers_pings_may_take_its_time(make_transport: MakeTransport) -> None:
    transport = make_transport(ping_interval_s=0.02, ping_timeout_s=10.0)
    async with listening() as peer:
        listener, _ = await begun(transport, peer, b"one")
        connection = await peer.connection()
        await connection.event(PingReceived, 3)
        connection.respond(1)
        await listener.end()


async def test_a_connection_that_is_not_used_is_closed(make_transport: MakeTransport) -> None:
    transport = make_transport(idle_s=0.05)
    async with listening() as peer:
        listener, _ = await begun(transport, peer, end=True)
        connection = await peer.connection()
        connection.respond(await connection.request())
        await listener.end()
        await connection.event(ConnectionTerminated)
        await connection.until(lambda it: it.lost)
        again, _ = await begun(transport, peer, end=True)
        connection = await peer.connection(1)
        connection.respond(await connection.request())
        await again.end()


async def test_nobody_listens(transport: Transport) -> None:
    async with listening() as peer:
        uri = peer.uri
    listener = Recorder()
    begin(transport, uri, listener, b"one")
    error = await listener.broken()
    assert isinstance(error, Unreachable) and error.doc_code == "RT0010" and uri.rstrip("/") in str(error)


async def test_a_peer_that_says_nothing_is_given_up(make_transport: MakeTransport) -> None:
    transport = make_transport(connect_s=0.1)
    async with listening(greets=False) as peer:
        listener, _ = await begun(transport, peer, b"one")
        assert isinstance(await listener.broken(), Unreachable)
        await (await peer.connection()).until(lambda it: it.lost)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid"])
async def test_a_name_that_does_not_resolve(transport: Transport, host: str) -> None:
    listener = Recorder()
    begin(transport, f"http://{host}:9080/", listener)
    assert (await listener.broken()).code in ("PD0601", "PD0606")


async def test_closing_breaks_what_is_under_way(transport: Transport, unhandled: list[str]) -> None:
    async with listening() as peer, saying(b"") as silent:
        under_way, _ = await begun(transport, peer, b"one")
        connection = await peer.connection()
        await connection.request()
        waiting, late = Recorder(), Recorder()
        begin(transport, silent, waiting)
        await asyncio.sleep(0)
        await transport.close()
        for listener in (under_way, waiting):
            assert isinstance(await listener.broken(), TransportClosed)
        begin(transport, peer.uri, late)
        assert isinstance(await late.broken(), TransportClosed)
        await connection.until(lambda it: it.lost)


# --- what is not HTTP/2 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"SSH-2.0-OpenSSH_9.2p1\r\n" * 20,
        frame(0, 0, 1, b"data first"),
        frame(4, 0, 0, b"odd"),
        frame(4, 0, 0, b"") + frame(1, 4, 1, b"\xff\xff\xff\xff"),
        frame(4, 0, 0, b"") + frame(5, 4, 1, b"\0\0\0\2\x82"),
    ],
)
async def test_garbage_breaks_the_exchange_and_nothing_else(transport: Transport, answer: bytes) -> None:
    async with saying(answer) as uri:
        listener = Recorder()
        begin(transport, uri, listener, b"one")
        error = await listener.broken()
    assert isinstance(error, NotTheProtocol)


@pytest.mark.parametrize("status", [b"2000", b"abc", b"20"])
async def test_a_status_that_is_none(transport: Transport, status: bytes) -> None:
    async with saying(frame(4, 0, 0, b"") + frame(1, 4, 1, b"\x08" + bytes((len(status),)) + status)) as uri:
        listener = Recorder()
        begin(transport, uri, listener, b"one")
        assert isinstance(await listener.broken(), NotTheProtocol)


async def test_headers_beyond_the_bound(transport: Transport) -> None:
    async with listening() as peer:
        listener, _ = await begun(transport, peer, end=True)
        connection = await peer.connection()
        stream = await connection.request()
        connection.h2.send_headers(stream, [(":status", "200"), *((f"x-{n}", "v" * 1000) for n in range(80))])
        connection.flush()
        assert isinstance(await listener.broken(), NotTheProtocol)


async def test_a_head_that_the_peer_would_not_take_harms_no_other(transport: Transport) -> None:
    async with listening({SettingCodes.MAX_HEADER_LIST_SIZE: 1000}) as peer:
        fine, _ = await begun(transport, peer)
        listener = Recorder()
        transport.open(Deployment(id="dp_1", uri=peer.uri), "x", {"x-long": "v" * 900}, listener)
        error = await listener.broken()
        assert error.code == "PD0606" and "1000 bytes" in str(error)
        connection = await peer.connection()
        connection.respond(await connection.request())
        await fine.end()


def test_headers_go_as_they_are() -> None:
    """The key of an object may be 64 KiB; to put it into HTTP/2's Huffman code takes seconds."""
    key = b"k%20" * 15_000
    assert key in ClientState(65_535).encoder.encode([(b"x-restate-service-key", key)])


@pytest.mark.slow
async def test_a_peer_that_floods_and_reads_nothing_is_cut_off(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.invoker.remote.h2_connection.UNREAD_BYTES_MAX", 100_000)
    async with listening(receive_buffer_bytes=4096) as peer:
        listener, _ = await begun(transport, peer, b"one")
        connection = await peer.connection()
        await connection.request()
        connection.transport.pause_reading()
        flood = frame(6, 0, 0, b"12345678") * 10_000
        while not listener.over:
            connection.transport.write(flood)
            await asyncio.sleep(0)
        assert "does not read" in str(listener.error)


async def test_a_request_counts_its_data_once(transport: Transport) -> None:
    """Frames are no larger than the peer takes, and their order is that of `send`."""
    async with listening() as peer:
        listener, exchange = await begun(transport, peer)
        parts = [bytes((n % 256,)) * (n * 37 % 5000) for n in range(400)]
        for part in parts:
            exchange.send(part)
        exchange.end()
        connection = await peer.connection()
        await connection.ended(1)
        assert all(len(event.data or b"") <= 16_384 for event in connection.all(DataReceived))
        connection.respond(1)
        await listener.end()
        assert connection.body(1) == b"".join(parts) and not connection.all(StreamReset)
