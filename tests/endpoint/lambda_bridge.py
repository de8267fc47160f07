"""AWS Lambda for a Restate server on this machine: each HTTP/1.1 request becomes one event of a function in a process.

As on Lambda, a process has one event at a time, and there are as many processes as there are events at once, up to a bound.

python -m tests.endpoint.lambda_bridge PORT
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import wait

from perdure.aws_lambda import wrap_asgi_as_lambda_handler
from tests.endpoint.services import app

PROCESSES = 6
function = wrap_asgi_as_lambda_handler(app)


def invoke(event: str) -> str:
    return json.dumps(function(json.loads(event), None))


def end_with_the_bridge() -> None:
    """However that ends."""
    bridge = multiprocessing.parent_process()
    assert bridge is not None
    gone = bridge.sentinel

    def watch() -> None:
        wait([gone])
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class Bridge(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._reply(200, {}, b"")
        else:
            self._invoke(b"")

    def do_POST(self) -> None:
        self._invoke(self._body())

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _invoke(self, body: bytes) -> None:
        event = {
            "path": self.path,
            "httpMethod": self.command,
            "headers": dict(self.headers.items()),
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        answer = json.loads(pool.submit(invoke, json.dumps(event)).result())
        self._reply(answer["statusCode"], answer["headers"], base64.b64decode(answer["body"]))

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    pool = ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), end_with_the_bridge)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Bridge).serve_forever()
