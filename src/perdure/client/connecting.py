"""`connect` and its relatives: a client for the server at an address.

`connect` has two meanings, told apart by what it is given: a URL makes a client; an app would be served to Restate Cloud, as
in Restate's SDK, which this version cannot do and says so. `create_client` is the official name and shape of the first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn, overload

from perdure.client.address import Address
from perdure.client.blocking import OwnLoop
from perdure.client.client import Client
from perdure.client.errors import ConnectError
from perdure.client.exchange import Exchange
from perdure.client.http import HttpTransport
from perdure.client.http_operator import HttpOperator
from perdure.client.pool import Pool
from perdure.client.sync import SyncClient
from perdure.sdk.app import App
from perdure.sdk.codec import CodecAdapter, JournalValueCodec

RECOVER_S = 30.0
CONNECT_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 256


@overload
def connect(
    url: str,
    /,
    *,
    headers: dict[str, str] | None = ...,
    admin_url: str | None = ...,
    journal_value_codec: JournalValueCodec | None = ...,
    timeout_s: float | None = ...,
    connect_timeout_s: float = ...,
    recover_s: float = ...,
    connections_max: int = ...,
) -> Client: ...


@overload
def connect(app: App, *, name: str | None = ..., key: str | None = ...) -> Coroutine[Any, Any, NoReturn]: ...


def connect(
    app: App | str,
    *,
    name: str | None = None,
    key: str | None = None,
    headers: dict[str, str] | None = None,
    admin_url: str | None = None,
    journal_value_codec: JournalValueCodec | None = None,
    timeout_s: float | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    recover_s: float = RECOVER_S,
    connections_max: int = CONNECTIONS_MAX,
) -> Client | Coroutine[Any, Any, NoReturn]:
    """A client for the ingress at a URL; nothing is sent before its first request. Close it, or use it in `async with`.

    `admin_url`: where the admin API is, for what needs it (signals, and what an operator does). Units: `timeout_s` bounds
    every request as a whole, None waits as long as it takes; `recover_s` is how long a request that lost its server goes
    on trying to reach it again. While that is more than 0, the client makes an idempotency key for every call and send that
    has none, so that trying again cannot make a second invocation. At most `connections_max` requests are under way at once.
    """
    if not isinstance(app, str):
        return _no_cloud()

    def to(url: str) -> Exchange:
        pool = Pool(Address.parse(url), connections_max=connections_max, connect_timeout_s=connect_timeout_s)
        return Exchange(pool, headers=headers, timeout_s=timeout_s, recover_s=recover_s)

    codec = None if journal_value_codec is None else CodecAdapter(journal_value_codec)
    return Client(HttpTransport(to(app)), HttpOperator(None if admin_url is None else to(admin_url)), codec)


def connect_sync(
    url: str,
    *,
    headers: dict[str, str] | None = None,
    admin_url: str | None = None,
    journal_value_codec: JournalValueCodec | None = None,
    timeout_s: float | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    recover_s: float = RECOVER_S,
    connections_max: int = CONNECTIONS_MAX,
) -> SyncClient:
    """`connect` for scripts and threads: the same client with plain methods. Close it, or use it in `with`."""
    client = connect(
        url,
        headers=headers,
        admin_url=admin_url,
        journal_value_codec=journal_value_codec,
        timeout_s=timeout_s,
        connect_timeout_s=connect_timeout_s,
        recover_s=recover_s,
        connections_max=connections_max,
    )
    loop = OwnLoop()
    return SyncClient(client, loop, on_close=loop.close)


@asynccontextmanager
async def create_client(
    ingress: str | None = None,
    headers: dict[str, str] | None = None,
    journal_value_codec: JournalValueCodec | None = None,
) -> AsyncGenerator[Client, None]:
    """A client as Restate's SDK makes it: no idempotency keys of its own, and no second try after a lost connection."""
    if not ingress:
        raise ConnectError(
            "create_client() needs the URL of an ingress.", "Pass `ingress`; keys of Cloud are not read."
        )
    async with connect(ingress, headers=headers, journal_value_codec=journal_value_codec, recover_s=0.0) as client:
        yield client


@asynccontextmanager
async def with_connection(app: App, *, name: str | None = None, key: str | None = None) -> AsyncGenerator[None, None]:
    """Serve `app` through Restate Cloud while inside the block. Errors: ConnectError, always, in this version."""
    await _no_cloud()
    yield


async def _no_cloud() -> NoReturn:
    raise ConnectError(
        "an app cannot be served through Restate Cloud yet: that needs Restate's service protocol.",
        "Run it with `perdure serve` or `perdure.Node`; to call a server, pass its URL to connect().",
    )
