"""A program that starts its node while it is imported, and has a step run in a worker process, is told what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio
import perdure

work = perdure.Service("Work")

def square(number: int) -> int:
    return number * number

@work.handler()
async def run(ctx: perdure.Context, number: int) -> int:
    return await ctx.run_typed("square", square, perdure.RunOptions(pool="process"), number)

async def main() -> None:
    async with perdure.Node([work]) as node:
        print(await node.client.service_call(run, 7))

asyncio.run(main())
"""


@pytest.mark.slow
def test_the_worker_names_the_missing_guard_and_ends(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen([sys.executable, str(program)], stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stderr is not None
    try:
        assert any("PD0411" in line for line in process.stderr)
    finally:
        process.kill()
        # End of file comes when the last process that holds the pipe has ended: no worker is left behind.
        process.stderr.read()
        process.wait()
