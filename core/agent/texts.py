"""The texts of units placed here, from the store, and what the agent itself reads in them."""

import msgspec

from core.client import Store
from core.sched import fleet_section, keys, names, unit_text
from core.sched.health import Health


class TextError(Exception):
    """A text cannot be had, or is none; the text says why."""


class Care(msgspec.Struct, frozen=True):
    """What a unit asks of the agent beyond being started."""

    checks: tuple[Health, ...] = ()
    revive: bool = False
    """It has a Restart=: when its executor has given up, it is started again, with growing pauses."""


NO_CARE = Care()


async def fetch(store: Store, digest: str) -> bytes:
    """A unit's text, byte-exact. TextError; ClientError."""
    data = await store.get(keys.text(digest))
    if data is None:
        raise TextError(f"its text {digest[:12]} is not in the store")
    if unit_text.digest(data) != digest:
        raise TextError(f"its text {digest[:12]} is damaged in the store; submit the unit again")
    return data


def care(name: str, data: bytes) -> Care:
    """What a text asks of the agent. One that cannot be read, or is of a later version, asks nothing."""
    try:
        text = unit_text.parse(data)
        rules, _ = fleet_section.read(text, names.parse(name))
    except (unit_text.UnitTextError, fleet_section.RulesError, names.UnitNameError):
        return NO_CARE
    return Care(rules.checks, (text.last("Service", "Restart") or "no") != "no")
