"""Texts that nothing refers to any more are deleted, after a while."""

import trio

from core.client import Compare, Delete
from core.engine.figures import Figures
from core.engine.mirror import Mirror
from core.engine.writer import Writer
from core.sched import keys

LOOK_SECONDS = 60.0
KEEP_SECONDS = 600.0
"""How long a text stays after the last reference to it: `unit submit --replace` back and forth costs nothing."""
AT_ONCE = 50


async def collect(mirror: Mirror, writer: Writer, figures: Figures) -> None:
    """Look now and then; never returns. NotLeadingError, ClientError."""
    since: dict[bytes, float] = {}
    while True:
        await trio.sleep(LOOK_SECONDS)
        now = trio.current_time()
        idle = unreferenced(mirror)
        since = {key: since.get(key, now) for key in idle}
        old = [key for key, when in since.items() if when + KEEP_SECONDS <= now]
        for start in range(0, len(old), AT_ONCE):
            part = old[start : start + AT_ONCE]
            # A unit that is submitted with this text writes the text too, and so spoils the condition.
            compare = [Compare(key, "mod", "=", mirror.mods.get(key, 0)) for key in part]
            if await writer.write(compare, [Delete(key) for key in part]):
                figures.texts_collected += len(part)


def unreferenced(mirror: Mirror) -> list[bytes]:
    """The keys of texts that no unit, placement or rollout names."""
    view = mirror.view
    named = {record.text for record in view.units.values()}
    for rollout in view.rollouts.values():
        named |= {rollout.old, rollout.new}
    for places in view.board.places.values():
        named |= {placement.text for placement in places.values()}
    return sorted(
        key for key in mirror.mods if key.startswith(keys.TEXTS) and key[len(keys.TEXTS) :].decode() not in named
    )
