"""A program that is killed: `python victim.py DATA TRACE` sends its invocations, then waits for all, in any number of lives.

Every step appends a line to TRACE; what is acknowledged is printed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import perdure

INVOCATIONS = 20
STEPS = 10

victim = perdure.Service("Victim")


@victim.handler()
async def work(ctx: perdure.Context, key: int) -> int:
    def note(number: int) -> int:
        trace = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(trace, f"{key} {number}\n".encode())
        os.close(trace)
        return number

    total = 0
    for number in range(STEPS):
        total += await ctx.run_typed(f"step-{number}", note, perdure.RunOptions(), number)
    return total


async def main() -> None:
    async with perdure.Node([victim], data=Path(sys.argv[1]), partitions=2) as node:
        print("ready", flush=True)
        for key in range(INVOCATIONS):
            await node.client.service_send(work, key, idempotency_key=str(key))
            print("accepted", key, flush=True)
        for key in range(INVOCATIONS):
            print("result", key, await node.client.service_call(work, key, idempotency_key=str(key)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
