"""From the words of an operator to units: names, files, and the steps towards what is wanted of them."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.commands import output, unit_wait
from core.commands.connection import Connection
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client.transport import Transport
    from core.client.units import Units
    from core.sched.records import Desired

T = TypeVar("T")


def ask(connection: Connection, work: "Callable[[Units], Awaitable[T]]") -> T:
    """Do something with the units of the cluster."""

    async def asked(transport: "Transport") -> T:
        from core.client.units import Units

        return await work(Units(transport, connection.timeout))

    return connection.run(asked)


def name_of(word: str) -> str:
    """The name of the unit that a word means: the end of a path, a service if it says nothing else. Failure."""
    from core.sched import names

    text = word.rpartition("/")[2]
    if not text:
        raise Failure(f"{word!r} names no unit: it is empty behind the last slash.")
    if "." not in text:
        text += ".service"
    try:
        return names.parse(text).text
    except names.UnitNameError as error:
        raise Failure(f"{word!r} names no unit: {error}.") from None


def read(file: Path) -> bytes:
    """A unit file. Failure."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from None


def local_text(word: str) -> bytes | None:
    """The text of the file that a word means, or of its template beside it; None if there is none."""
    from core.sched import names

    name = names.parse(name_of(word))
    folder = Path(word).parent
    for candidate in (name.text, name.template):
        if candidate is not None and (folder / candidate).is_file():
            return read(folder / candidate)
    return None


def reach(
    connection: Connection, words: tuple[str, ...], desired: "Desired", *, replace: bool, wait: float = 0.0
) -> None:
    """Submit what the cluster does not know, say what is wanted of all, and wait for it; 0: do not wait."""

    async def work(units: "Units") -> None:
        wanted = []
        for word in words:
            await _bring(units, word, desired, replace=replace)
            wanted.append(name_of(word))
        if wait and desired != "inactive":
            await unit_wait.until(units, wanted, desired, wait)

    ask(connection, work)


def change(connection: Connection, words: tuple[str, ...], desired: "Desired", *, wait: float) -> None:
    """Say what is wanted of units that are there, and wait for it; 0: do not wait."""

    async def work(units: "Units") -> None:
        wanted = [name_of(word) for word in words]
        for name in wanted:
            await units.set_state(name, desired)
            output.note(f"{name}: {desired} is wanted now")
        if wait:
            await unit_wait.until(units, wanted, desired, wait)

    ask(connection, work)


async def _bring(units: "Units", word: str, desired: "Desired", *, replace: bool) -> None:
    """See that a unit is there as its file says, and say what is wanted of it."""
    from core.client.errors import RefusedError

    name = name_of(word)
    known = await units.get(name)
    kept = known is not None and known.of != ""
    text = local_text(word) if known is None or "/" in word or replace else None
    if known is None and text is None:
        text = await _template_text(units, name)
    if text is None or kept:
        await units.set_state(name, desired)
        return
    if known is not None and not replace and text != await units.text(name):
        raise Failure(f"{name} is there with another text than {word}; add --replace to put the file in its place.")
    try:
        done = await units.submit(name, text, desired, replace=replace)
    except RefusedError as error:
        raise Failure(f"{word} is refused: {error}.") from None
    for warning in done.warnings:
        output.note(f"{name}: {warning}")
    if done.created or done.changed:
        output.note(f"{name} is {'submitted' if done.created else 'replaced'}")


async def _template_text(units: "Units", name: str) -> bytes:
    """The text of the template that the cluster has for an instance. Failure if it has none."""
    from core.sched import names

    template = names.parse(name).template
    if template is not None and await units.get(template) is not None:
        return await units.text(template)
    raise Failure(f"There is no unit {name} in the cluster, and no file of that name here.")
