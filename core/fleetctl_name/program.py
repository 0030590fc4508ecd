"""The commands of fleetctl that change units."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from core.commands import unit_access
from core.commands.connection import Connection
from core.commands.failure import Failure
from core.commands.unit_access import local_text, name_of
from core.commands.unit_wait import is_reached

if TYPE_CHECKING:
    from core.client.units import Unit, Units
    from core.fleetctl_name.flags import Words
    from core.sched.records import Desired

T = TypeVar("T")
ATTEMPT_SECONDS = 2.0
"""What one of `--block-attempts` takes."""
POLL_SECONDS = 0.25
_ORDER = ("inactive", "loaded", "launched")
_MACHINE = 8


class Changes:
    """Commands that change what is wanted of units. Each returns the exit code."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, words: "Words") -> int:
        """Store units."""
        return self._bring(words, "inactive")

    def load(self, words: "Words") -> int:
        """Store units if need be, and place them."""
        return self._bring(words, "loaded")

    def start(self, words: "Words") -> int:
        """Store units if need be, place and start them."""
        return self._bring(words, "launched")

    def stop(self, words: "Words") -> int:
        """Stop units that are placed."""

        async def work(units: "Units") -> None:
            names = await _known(units, words.arguments)
            for name in names:
                unit = await units.get(name)
                if unit is None or unit.desired == "inactive":
                    raise Failure(f"Unable to stop unit {name} in state inactive")
            await self._set(units, names, "loaded", words, "stop")
            if not words.is_on("no-block"):
                print(f"Successfully stopped units [{' '.join(names)}].", file=sys.stderr)

        return self._run(work)

    def unload(self, words: "Words") -> int:
        """Stop units and take them from their machines."""

        async def work(units: "Units") -> None:
            await self._set(units, await _known(units, words.arguments), "inactive", words, "unload")

        return self._run(work)

    def restart(self, words: "Words") -> int:
        """Stop and start units where they are, one after another."""

        async def work(units: "Units") -> None:
            for name in await _known(units, words.arguments):
                await units.restart(name)
                await _wait(units, name, "launched", _attempts(words))
                print(f"Unit {name} restarted")

        return self._run(work)

    def destroy(self, words: "Words") -> int:
        """Stop units and forget them."""

        async def work(units: "Units") -> None:
            for name in map(name_of, words.arguments):
                if await units.get(name) is not None:
                    await units.destroy(name)
                    if not words.is_on("no-block"):
                        await _gone(units, name, _attempts(words))
                print(f"Destroyed {name}")

        return self._run(work)

    def _bring(self, words: "Words", desired: "Desired") -> int:
        async def work(units: "Units") -> None:
            names = []
            for word in words.arguments:
                await _submit(units, word, desired, replace=words.is_on("replace"))
                names.append(name_of(word))
            if desired != "inactive":
                await self._set(units, names, desired, words, "start" if desired == "launched" else "load")

        return self._run(work)

    async def _set(self, units: "Units", names: Sequence[str], desired: "Desired", words: "Words", verb: str) -> None:
        for name in names:
            await units.set_state(name, desired)
        for name in names:
            if words.is_on("no-block"):
                print(f"Triggered unit {name} {verb}")
            else:
                print(f"Unit {name} {await _wait(units, name, desired, _attempts(words))}")

    def _run(self, work: "Callable[[Units], Awaitable[None]]") -> int:
        unit_access.ask(self._connection, work)
        return 0


async def _submit(units: "Units", word: str, desired: "Desired", *, replace: bool) -> None:
    """See that a unit is stored, as fleetctl looks for it: in the cluster, as a file, as a template in both."""
    from core.sched import names

    name = name_of(word)
    known = await units.get(name)
    text = local_text(word)
    if known is not None and not known.of:
        if text is None or text == await units.text(name):
            return
        if not replace:
            print(f"WARNING: Unit {name} in registry differs from local unit file {word}. Add --replace to override.",
                  file=sys.stderr)  # fmt: skip
            return
        if _ORDER.index(known.desired) > _ORDER.index(desired):
            raise Failure(f"Unit {name} is {known.desired}, which is more than {desired}; it is not replaced.")
    if text is None:
        template = names.parse(name).template
        if template is None or await units.get(template) is None:
            raise Failure(f"Unable to find Unit({name}) in the cluster or as a file")
        text = await units.text(template)
    for warning in (await units.submit(name, text, replace=replace)).warnings:
        print(f"{name}: {warning}", file=sys.stderr)
    print(f"Unit {name} inactive")


async def _known(units: "Units", words: Sequence[str]) -> list[str]:
    names = [name_of(word) for word in words]
    for name in names:
        if await units.get(name) is None:
            raise Failure(f"Unit {name} does not exist")
    return names


async def _wait(units: "Units", name: str, desired: "Desired", attempts: int) -> str:
    """Wait until it is so; what to say of it. Failure after so many attempts; 0: never."""
    import trio

    async def reached() -> str | None:
        unit = await units.get(name)
        return None if unit is None else await _said(units, unit, desired)

    end = trio.current_time() + (attempts * ATTEMPT_SECONDS if attempts else float("inf"))
    while (said := await reached()) is None:
        if trio.current_time() >= end:
            raise Failure(f"Unit {name} is not {desired}. Why: corenode unit explain {name}")
        await trio.sleep(POLL_SECONDS)
    return said


async def _said(units: "Units", unit: "Unit", desired: "Desired") -> str | None:
    if desired == "inactive":
        return None if unit.places else "inactive"
    if not unit.places or not all(is_reached(place, desired) for place in unit.places):
        return None
    first = unit.places[0]
    addresses = {host.id: host.machine.address for host in await units.hosts() if host.machine is not None}
    return f"{desired} on {first.machine[:_MACHINE]}.../{addresses.get(first.machine, '')}".rstrip("/")


async def _gone(units: "Units", name: str, attempts: int) -> None:
    import trio

    end = trio.current_time() + (attempts * ATTEMPT_SECONDS if attempts else float("inf"))
    while (await units.get(name)) is not None:
        if trio.current_time() >= end:
            raise Failure(f"Unit {name} is still there.")
        await trio.sleep(POLL_SECONDS)


def _attempts(words: "Words") -> int:
    text = words.flags.get("block-attempts", "0")
    if not text.isdecimal():
        raise Failure(f"invalid value {text!r} for --block-attempts")
    return int(text)
