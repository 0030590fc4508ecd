"""A process with a supervisor in it, to be killed: loads and starts units, says so, and waits.

python -m tests.supervisor.daemon DIRECTORY COUNT TEXT
"""

import sys
from pathlib import Path

import trio

from core.agent.supervisor.executor import Supervisor
from tests.supervisor.world import MACHINE


async def main(directory: str, count: str, text: str) -> None:
    async with Supervisor(Path(directory), MACHINE) as supervisor:
        for number in range(int(count)):
            await supervisor.load(f"u{number}.service", text.encode())
        async with trio.open_nursery() as nursery:
            for number in range(int(count)):
                nursery.start_soon(supervisor.start, f"u{number}.service")
        while True:
            if all(actual.sub == "running" for actual in (await supervisor.adopt()).values()):
                break
            await trio.sleep(0.02)
        print("up", flush=True)
        await trio.sleep_forever()


trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
