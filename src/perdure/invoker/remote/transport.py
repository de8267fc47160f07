"""`Transport`: exchanges with remote deployments, over HTTP/2 or HTTP/1.1, with and without TLS.

What always holds: `open` returns at once and never raises for what the network does; connections are made, kept, shared and
made anew behind it. It knows nothing of invocations: neither of messages nor of retries.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol

from perdure.invoker.remote.connection import Bounds
from perdure.invoker.remote.errors import ResponseTooLarge, TransportClosed, TransportFailed, Unreachable
from perdure.invoker.remote.exchange import Exchange, Listener, Response
from perdure.invoker.remote.head import Origin, RequestHead, request_head
from perdure.invoker.remote.open_exchange import OpenExchange
from perdure.invoker.remote.pool import Pool, Protocols
from perdure.model.deployment import Deployment, HttpVersion
from perdure.model.limits import BODY_BYTES_MAX


class Identity(Protocol):
    """Proves to a deployment who asks (`identity.py`)."""

    def headers(self, path: str) -> Mapping[str, str]: ...


class Transport:
    """Made on the loop it works on. `tls` makes the context for the versions given; None: the system's authorities."""

    def __init__(
        self,
        *,
        bounds: Bounds = Bounds(),  # noqa: B008 - frozen
        identity: Identity | None = None,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._bounds = bounds
        self._identity = identity
        self._make_tls = tls
        self._loop = asyncio.get_running_loop()
        self._contexts: dict[Protocols, ssl.SSLContext] = {}
        self._pools: dict[tuple[Origin, Protocols], Pool] = {}
        self._closed = False

    def open(self, deployment: Deployment, path: str, headers: Mapping[str, str], listener: Listener) -> Exchange:
        """Begin `POST {deployment.uri}{path}`, its body streamed.

        Shapes:  path is like `invoke/Svc/handler`, percent-encoded. The deployment's additional headers and the node's
                 identity are added; `headers` win over them.
        Errors:  none is raised; they come by `on_broken`.
        """
        try:
            head = self._head("POST", deployment.uri, path, {**deployment.additional_headers, **headers}, None)
        except TransportFailed as error:
            exchange = OpenExchange(RequestHead("POST", Origin(False, "", 0), "", (), None), listener)
            self._loop.call_soon(exchange.fail, error)
            return exchange
        exchange = OpenExchange(head, listener)
        self._start(exchange, deployment.http_version)
        return exchange

    async def request(
        self,
        uri: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        http_version: HttpVersion | None = None,
        timeout_s: float = 10.0,
    ) -> Response:
        """One request and its whole response. `http_version` None: by ALPN, and HTTP/2 where there is no TLS.

        Errors:  TransportFailed, of which ResponseTooLarge beyond the bound of a body, Unreachable after `timeout_s`.
        """
        whole = _Whole(self._loop)
        whole.exchange = exchange = OpenExchange(self._head(method, uri, path, headers, len(body)), whole)
        exchange.send(body)
        exchange.end()
        self._start(exchange, http_version)
        try:
            async with asyncio.timeout(timeout_s):
                await whole.done
        except TimeoutError:
            raise Unreachable(
                f"{uri} did not answer within {timeout_s:g} s.", "See that the deployment runs and listens there."
            ) from None
        finally:
            exchange.abort()
        return Response(whole.status, whole.headers, b"".join(whole.body), exchange.http_version)

    async def close(self) -> None:
        """Break what is under way, and let go of every connection. It cannot be used again."""
        self._closed = True
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _head(
        self, method: str, uri: str, path: str, headers: Mapping[str, str], content_length: int | None
    ) -> RequestHead:
        named = {name.lower(): value for name, value in headers.items()}
        if self._identity is not None:
            named |= self._identity.headers("/" + path.lstrip("/"))
        return request_head(method, uri, path, named, content_length)

    def _start(self, exchange: OpenExchange, http_version: HttpVersion | None) -> None:
        protocols: Protocols = ("h2", "http/1.1") if exchange.head.origin.secure else ("h2",)
        if http_version == "HTTP/1.1":
            protocols = ("http/1.1",)
        # Never within this call: the listener is not told anything before `open` has returned.
        self._loop.call_soon(self._start_now, exchange, (exchange.head.origin, protocols))

    def _start_now(self, exchange: OpenExchange, key: tuple[Origin, Protocols]) -> None:
        if self._closed:
            exchange.fail(TransportClosed())
            return
        pool = self._pools.get(key)
        if pool is None:
            pool = Pool(*key, self._bounds, self._context, lambda: self._forget(key))
            self._pools[key] = pool
        pool.start(exchange)

    def _forget(self, key: tuple[Origin, Protocols]) -> None:
        if not self._closed:
            self._pools.pop(key, None)

    def _context(self, protocols: Protocols) -> ssl.SSLContext:
        context = self._contexts.get(protocols)
        if context is None:
            context = self._contexts[protocols] = self._make_tls()
            context.set_alpn_protocols(list(protocols))
        return context


class _Whole:
    """Collects a response."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self.exchange: OpenExchange | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.body: list[bytes] = []
        self._bytes = 0

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers

    def on_data(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > BODY_BYTES_MAX and self.exchange is not None:
            self.exchange.abort()
            self.on_broken(ResponseTooLarge(f"the response is larger than {BODY_BYTES_MAX} bytes."))
        else:
            self.body.append(data)

    def on_end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def on_broken(self, error: TransportFailed) -> None:
        if not self.done.done():
            self.done.set_exception(error)
