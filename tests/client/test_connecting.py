"""`connect`, `with_connection` and `create_client`: the official meanings beside ours."""

from __future__ import annotations

import asyncio

import pytest

import perdure
from tests.client import programs as p


def test_an_app_would_be_served_to_restate_cloud_and_is_told_that_it_cannot() -> None:
    with pytest.raises(perdure.ConnectError, match="service protocol"):
        asyncio.run(perdure.connect(p.APP, name="greeter"))
    with pytest.raises(perdure.ConnectError, match="service protocol"):
        asyncio.run(perdure.connect(app=p.APP))


async def test_the_same_as_a_context_manager() -> None:
    with pytest.raises(perdure.ConnectError, match="service protocol"):
        async with perdure.with_connection(p.APP):
            raise AssertionError


async def test_the_official_client(urls: tuple[str, str]) -> None:
    async with perdure.create_client(urls[0], headers={"x-who": "Ann"}) as client:
        assert isinstance(client, perdure.RestateClient)
        assert await client.service_call(p.heard, arg="x-who") == "Ann"
        assert await client.service_call(p.key_of_the_request) is None
        handle = await client.object_send(p.add, key="a", arg=1)
        assert isinstance(handle, perdure.RestateClientSendHandle)
        assert handle.invocation_id.startswith("inv_") and handle.status_code == 200
        with pytest.raises(perdure.HttpError) as caught:
            await client.service_call(p.refuse, "no")
        assert caught.value.status_code == 418
        assert caught.value.body is not None and '"no"' in caught.value.body


async def test_the_official_client_needs_an_address() -> None:
    with pytest.raises(perdure.ConnectError, match="URL"):
        async with perdure.create_client():
            raise AssertionError


async def test_a_client_of_ours_makes_a_key_and_the_handler_sees_it(urls: tuple[str, str]) -> None:
    async with perdure.connect(urls[0]) as client:
        key = await client.service_call(p.key_of_the_request)
        assert key is not None and key.startswith("client-")


async def test_a_codec_is_applied_on_both_sides() -> None:
    class Reversed(perdure.JournalValueCodec):
        def encode(self, buf: bytes) -> bytes:
            return buf[::-1]

        async def decode(self, buf: bytes) -> bytes:
            return buf[::-1]

    app = perdure.app([p.greeter], journal_value_codec=Reversed())
    async with perdure.create_test_harness(app, journal_value_codec=Reversed()) as env:
        assert await env.client.service_call(p.greet, p.Person("Ann", 7)) == "Hello Ann, 7"
        async with perdure.create_client(env.ingress_url) as plain:
            assert (
                await plain.generic_call("Greeter", "greet", b'{"name":"Ann","age":7}'[::-1]) == b'"Hello Ann, 7"'[::-1]
            )
