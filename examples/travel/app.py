"""A trip as a saga: flight, hotel and car are booked in turn; what was booked is given back, once each, when a later one
cannot be had or when somebody cancels the trip."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import perdure
from perdure import InvocationRetryPolicy, RunOptions, TerminalError

LEDGER = Path(os.environ.get("TRAVEL_LEDGER", "ledger"))
"""A directory that plays the booking systems: what they did stands in `done`, other files say how they behave."""

trips = perdure.Workflow(
    "Trip",
    # Three tries with little between them; then the trip is paused, with the reason, until a person resumes it.
    invocation_retry_policy=InvocationRetryPolicy(
        initial_interval=timedelta(milliseconds=50), max_attempts=3, on_max_attempts="pause"
    ),
)
invoices = perdure.Service("Invoices", ingress_private=True, journal_retention=timedelta(0))


@trips.main(workflow_retention=timedelta(days=7), inactivity_timeout=timedelta(seconds=10))
async def plan(ctx: perdure.WorkflowContext, traveller: str) -> str:
    tried: list[str] = []
    try:
        for kind in ("flight", "hotel", "car"):
            tried.append(kind)  # before the booking: whether it was made is not known when it fails
            await ctx.run_typed(f"book {kind}", book, RunOptions(), "book", kind, ctx.key())
            ctx.set("booked", kind)
        await ctx.promise("confirmed", type_hint=bool).value()
    except TerminalError as error:
        # Cancelled from outside, or a booking that cannot be had. What follows is durable too: a crash in the middle of
        # it goes on where it was.
        for kind in reversed(tried):
            await ctx.run_typed(f"cancel {kind}", book, RunOptions(), "cancel", kind, ctx.key())
        ctx.set("booked", "nothing")
        raise error
    return await ctx.service_call(write_invoice, traveller)


@trips.handler()
async def confirm(ctx: perdure.WorkflowSharedContext) -> None:
    await ctx.promise("confirmed", type_hint=bool).resolve(True)


@trips.handler()
async def booked(ctx: perdure.WorkflowSharedContext) -> str | None:
    return await ctx.get("booked", type_hint=str)


@invoices.handler()
async def write_invoice(ctx: perdure.Context, traveller: str) -> str:
    """Private: other handlers may call it, the ingress refuses it. Nothing of it is kept once it has ended."""
    return f"invoice for {traveller}"


def book(what: str, kind: str, trip: str) -> str:
    """Stands for a booking system; asked twice for the same, it has done it once."""
    if (LEDGER / f"{kind} down").exists():
        raise ConnectionError(f"the {kind} system is down")
    if what == "book" and (LEDGER / f"{kind} sold out").exists():
        raise TerminalError(f"no {kind} left", status_code=409)
    while (LEDGER / f"{kind} slow").exists():
        (LEDGER / "waiting").touch()
        time.sleep(0.01)
    done = LEDGER / "done"
    lines = done.read_text().splitlines() if done.exists() else []
    line = f"{what} {kind} {trip}"
    if line not in lines and (what == "book" or f"book {kind} {trip}" in lines):
        with done.open("a") as ledger:
            ledger.write(f"{line}\n")
    return line


app = perdure.app([trips, invoices])
