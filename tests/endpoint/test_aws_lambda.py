"""Events in and answers out; the real server calls such a function in `test_operations`."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import pytest

from perdure.endpoint.aws_lambda import COMPRESS_FROM_BYTES, LambdaFunction, zstd
from perdure.model import journal as j
from perdure.model.ids import format_invocation_id
from perdure.wire import messages as m
from perdure.wire.commands import encode_command
from perdure.wire.framing import Frame, FrameDecoder, encode_frame
from perdure.wire.notifications import encode_notification
from perdure.wire.protobuf import decode, encode
from tests.endpoint.journal_server import INVOCATION_ID
from tests.endpoint.services import app

VERSION = 6
MEDIA_TYPE = f"application/vnd.restate.invocation.v{VERSION}"


def event(path: str, *journal: j.Entry, headers: dict[str, str] | None = None) -> dict[str, Any]:
    start = m.Start(id=INVOCATION_ID, debug_id=format_invocation_id(INVOCATION_ID), partial_state=True)
    start.known_entries = len(journal)
    body = encode_frame(m.Type.START, encode(start))
    for entry in journal:
        if isinstance(entry, j.Completion | j.Signal):
            body += encode_notification(entry, VERSION)
        else:
            body += encode_command(entry, VERSION)
    return {
        "path": path,
        "httpMethod": "POST",
        "headers": {"Content-Type": MEDIA_TYPE, **(headers or {})},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def frames(answer: dict[str, Any]) -> list[Frame]:
    assert answer["isBase64Encoded"] is True and answer["headers"]["content-type"] == MEDIA_TYPE
    return list(FrameDecoder().feed(base64.b64decode(answer["body"])))


@pytest.mark.usefixtures("touch_directory")
def test_an_attempt_is_suspended_at_its_await_and_nothing_of_it_stays() -> None:
    function = LambdaFunction(app)
    asked = j.Input([], b'"x"')
    first = function(event("/invoke/Target/wait_for_ever", asked), None)
    assert [frame.type for frame in frames(first)] == [0x040C, m.Type.SUSPENSION]
    assert decode(m.Suspension, frames(first)[1].payload).waiting_completions == [1]
    assert function.loop is not None and asyncio.all_tasks(function.loop) == set()
    # The next event brings the journal with the answer, and takes the attempt to its next wait.
    nap = j.Sleep(1, 99)
    cancelled = j.Signal(1, None)
    second = function(event("/invoke/Target/wait_for_ever", asked, nap, cancelled), None)
    assert [frame.type for frame in frames(second)] == [0x040C, m.Type.SUSPENSION]
    assert asyncio.all_tasks(function.loop) == set()


def test_discovery_offers_compression_only_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    accept = {"accept": "application/vnd.restate.endpointmanifest.v4+json"}
    asked = {"path": "/discover", "httpMethod": "GET", "headers": accept, "body": "", "isBase64Encoded": True}
    function = LambdaFunction(app)

    def offered() -> object:
        return json.loads(base64.b64decode(function(asked, None)["body"])).get("lambdaCompression")

    assert offered() is None
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    assert offered() == "zstd"
    for module in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    assert offered() is None


def test_large_bodies_are_compressed_for_who_takes_it() -> None:
    size = COMPRESS_FROM_BYTES + 1
    done = j.Completion(1, j.CompletionCode.RUN, b'"' + b"y" * size + b'"')
    journal = (j.Input([], str(size).encode()), j.Run(1, "big"), done)
    function = LambdaFunction(app)
    plain = function(event("/invoke/Work/big", *journal), None)
    assert "content-encoding" not in plain["headers"]
    body = base64.b64decode(plain["body"])
    packed = function(event("/invoke/Work/big", *journal, headers={"Accept-Encoding": "gzip, zstd"}), None)
    assert packed["headers"]["content-encoding"] == "zstd" and len(packed["body"]) < 10_000
    packer = zstd()
    assert packer.decompress(base64.b64decode(packed["body"])) == body
    asked = event("/invoke/Work/big", *journal, headers={"Content-Encoding": "zstd"})
    asked["body"] = base64.b64encode(packer.compress(base64.b64decode(asked["body"]))).decode()
    assert base64.b64decode(function(asked, None)["body"]) == body
