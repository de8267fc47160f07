"""Real servers: hypercorn with and without TLS, Node's http2."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypercorn.asyncio import serve
from hypercorn.config import Config


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that sends back what comes, while it comes; `x-version` says over which HTTP."""
    if scope["type"] != "http":
        return
    headers = [(b"x-version", scope["http_version"].encode()), (b"x-path", scope["path"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        if message.get("body"):
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Certificate:
    """Of an authority of its own, for 127.0.0.1, ::1 and localhost."""

    def __init__(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "perdure test")])
        now = datetime.datetime.now(datetime.UTC)
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.certificate = directory / "certificate.pem"
        self.key = directory / "key.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def context(self) -> ssl.SSLContext:
        """That of a client who trusts it."""
        return ssl.create_default_context(cafile=str(self.certificate))


@asynccontextmanager
async def hypercorn(
    app: Any,
    *,
    host: str = "127.0.0.1",
    certificate: Certificate | None = None,
    alpn: tuple[str, ...] = ("h2", "http/1.1"),
) -> AsyncIterator[str]:
    """Gives its address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.accesslog = config.errorlog = None
    config.alpn_protocols = list(alpn)
    config.graceful_timeout = 0.1
    if certificate is not None:
        config.certfile, config.keyfile = str(certificate.certificate), str(certificate.key)
    stop = asyncio.Event()
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    place = f"[{host}]" if ":" in host else host
    try:
        yield f"{'https' if certificate else 'http'}://{place}:{listener.getsockname()[1]}/"
    finally:
        stop.set()
        await server
        listener.detach()


NODE_ECHO = """
const server = require('node:http2').createServer();
server.on('stream', (stream) => {
  stream.on('error', () => {});
  stream.respond({ ':status': 200, 'x-version': '2' });
  stream.pipe(stream);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit()).resume();
"""


@asynccontextmanager
async def node_http2() -> AsyncIterator[str]:
    """Node's own server, which echoes. Skips the test where there is no Node."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed")
    process = await asyncio.create_subprocess_exec(
        program, "-e", NODE_ECHO, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/"
    finally:
        process.stdin.close()
        await process.wait()
