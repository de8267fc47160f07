"""Sign up an address: mail a link, wait for the click, give up when it does not come in time."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import timedelta
from pathlib import Path

import perdure

log = logging.getLogger("signup")

LINK_VALID_S = float(os.environ.get("SIGNUP_LINK_VALID_S", "86400"))
OUTBOX = os.environ.get("SIGNUP_OUTBOX", "outbox.txt")

signup = perdure.Workflow("Signup")


def send_mail(address: str, secret: str) -> str:
    """Stands for a mail provider: a line in a file."""
    with Path(OUTBOX).open("a", encoding="utf-8") as outbox:
        outbox.write(f"{address} {secret}\n")
    return f"mailed {address}"


@signup.main(workflow_retention=timedelta(days=1))
async def run(ctx: perdure.WorkflowContext, address: str) -> str:
    log.info("signing up %s", address)
    secret = ctx.uuid().hex
    ctx.set("status", "mailing")
    await ctx.run_typed("mail", send_mail, address=address, secret=secret)
    ctx.set("status", "waiting")
    log.info("waiting for %s", address)
    try:
        async with asyncio.timeout(LINK_VALID_S):
            clicked = await ctx.promise("clicked", type_hint=str).value()
    except TimeoutError:
        ctx.set("status", "expired")
        return "expired"
    status = "confirmed" if clicked == secret else "refused"
    ctx.set("status", status)
    log.info("%s is %s", address, status)
    return status


@signup.handler()
async def click(ctx: perdure.WorkflowSharedContext, secret: str) -> bool:
    """What the link in the mail calls. False: it had been clicked before."""
    try:
        await ctx.promise("clicked", type_hint=str).resolve(secret)
    except perdure.TerminalError:
        return False
    return True


@signup.handler()
async def status(ctx: perdure.WorkflowSharedContext) -> str | None:
    return await ctx.get("status", type_hint=str)


app = perdure.app([signup])
