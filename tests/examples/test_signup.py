"""The sign-up of examples/signup: driven over HTTP, with a SIGKILL while the run waits for its promise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.signup import app
from perdure.testing import InMemoryNode, crash_everywhere
from perdure.testing.process import Caller, ServerProcess

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@contextmanager
def serving(tmp_path: Path, link_valid_s: float = 3600) -> Iterator[tuple[ServerProcess, Caller]]:
    environment = {"SIGNUP_OUTBOX": str(tmp_path / "outbox.txt"), "SIGNUP_LINK_VALID_S": str(link_valid_s)}
    server = ServerProcess(["examples.signup.app:app"], tmp_path / "data", directory=ROOT, environment=environment)
    server.start()
    try:
        server.wait_ready()
        yield server, server.ingress(30)
    finally:
        if server.running:
            server.kill()


def until_status(caller: Caller, wanted: str) -> None:
    deadline = time.monotonic() + 30
    while caller.until_answered("POST", "/Signup/ann/status").body != f'"{wanted}"'.encode():  # none yet: no bytes
        assert time.monotonic() < deadline, f"never {wanted}"


def mailed(tmp_path: Path) -> list[str]:
    return (tmp_path / "outbox.txt").read_text().splitlines()


def test_a_sign_up_confirmed_after_a_kill(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, caller):
        sent = caller.until_answered("POST", "/Signup/ann/run/send", "ann@example.com")
        assert (sent.status, sent.json()["status"]) == (202, "Accepted")  # type: ignore[index]
        until_status(caller, "waiting")
        [line] = mailed(tmp_path)
        secret = line.split()[1]
        assert caller.try_once("GET", "/restate/workflow/Signup/ann/output").status == 470

        server.kill()
        server.start()
        server.wait_ready()
        caller = server.ingress(30)

        assert caller.until_answered("POST", "/Signup/ann/status").json() == "waiting"
        again = caller.until_answered("POST", "/Signup/ann/run/send", "ann@example.com")
        assert again.json()["status"] == "PreviouslyAccepted"  # type: ignore[index]
        assert again.invocation_id == sent.invocation_id
        assert caller.until_answered("POST", "/Signup/ann/click", secret).json() is True
        assert caller.until_answered("POST", "/Signup/ann/click", "another").json() is False
        attached = caller.until_answered("GET", "/restate/workflow/Signup/ann/attach")
        assert (attached.status, attached.json()) == (200, "confirmed")
        assert caller.until_answered("GET", "/restate/workflow/Signup/ann/output").json() == "confirmed"
        refused = caller.until_answered("POST", "/Signup/ann/run", "ann@example.com")
        assert refused.status == 409
        assert refused.json()["message"] == "the workflow method was already invoked"  # type: ignore[index]
        assert mailed(tmp_path) == [line], "the mail went out once"
        assert server.stop() == 0

    output = server.output.read_text()
    for said in ("signing up ann@example.com", "waiting for ann@example.com", "ann@example.com is confirmed"):
        assert output.count(said) == 1, f"{said!r} appears once, also over a kill"


def test_a_link_that_nobody_clicks_expires_also_while_the_server_is_down(tmp_path: Path) -> None:
    with serving(tmp_path, link_valid_s=0.5) as (server, caller):
        caller.until_answered("POST", "/Signup/ann/run/send", "ann@example.com")
        until_status(caller, "waiting")
        server.kill()
        server.start()
        server.wait_ready()
        caller = server.ingress(30)
        assert caller.until_answered("GET", "/restate/workflow/Signup/ann/attach").json() == "expired"
        assert caller.until_answered("POST", "/Signup/ann/click", "too late").json() is True
        assert caller.until_answered("POST", "/Signup/ann/status").json() == "expired"


@pytest.mark.parametrize("clicks", [True, False])
async def test_a_sign_up_bears_a_crash_everywhere(clicks: bool) -> None:
    """In memory and in virtual time: a day goes by in each of the runs in which nobody clicks."""

    async def sign_up(node: InMemoryNode) -> list[str | None]:
        mail = node.mock_step("mail", returning="mailed")
        await node.client.workflow_submit(app.run, "ann", "ann@example.com")
        await node.settle()
        secret = mail.calls[-1].kwargs["secret"]
        assert {call.kwargs["secret"] for call in mail.calls} == {secret}, "every try mails the same link"
        if clicks:
            await node.client.workflow_call(app.click, "ann", secret)
        result = await node.client.workflow_attach(app.run, "ann")
        return [result, await node.client.workflow_call(app.status, "ann")]

    report = await crash_everywhere(app.app, sign_up)
    assert report.crashes > 15
