"""Something held until a command ends, or until Ctrl-C or SIGTERM; given back in each case."""

import math
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client import Store


def check_program(command: tuple[str, ...]) -> None:
    """Failure if there is nothing to run by that name."""
    if command and shutil.which(command[0]) is None:
        raise Failure(f"There is no program {command[0]!r} to run.")


def patience(wait: float | None) -> float:
    """What `--wait` says, in the client's terms."""
    return math.inf if wait is None else wait


def run_held(connection: Connection, work: "Callable[[Store], Awaitable[int]]") -> None:
    """Run `work` and end with the exit code it gives. On a signal it is cancelled, and we end by that signal."""

    async def held(store: "Store") -> int:
        import trio

        code = 0
        failure: Exception | None = None
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def listen() -> None:
                    nonlocal code
                    async for number in signals:
                        code = -number
                        nursery.cancel_scope.cancel()

                nursery.start_soon(listen)
                try:
                    code = await work(store)
                except Exception as error:
                    failure = error  # the nursery would wrap it
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return code

    code = connection.run_store(held)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code:
        raise click.exceptions.Exit(code)


async def run(command: tuple[str, ...], environment: Mapping[str, str]) -> int:
    """Run a command; its exit code. Without one, wait for ever. Cancelled, it is told to end, and killed if it does not
    within seconds."""
    import trio

    if not command:
        await trio.sleep_forever()
    try:
        done = await trio.run_process(command, env={**os.environ, **environment}, check=False)
    except OSError as error:
        output.note(f"{command[0]} could not be run: {error.strerror or error}.")
        return 126
    return done.returncode if done.returncode >= 0 else 128 - done.returncode
