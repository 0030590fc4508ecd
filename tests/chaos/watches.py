"""What watchers saw, held against each other and against what was acknowledged. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Seen:
    """One event, as a watcher received it."""

    index: int
    key: str
    value: str | None
    action: str


def check(watchers: Sequence[Sequence[Seen]], written: Iterable[Seen], possible: frozenset[str]) -> list[str]:
    """Every violation, as a sentence.

    `watchers`: what each received, over all its connections, in order of arrival; all began at the first index and
    went on to the last. `written`: acknowledged writes, each with the index it was given. `possible`: every value that
    anybody ever sent.
    """
    found: list[str] = []
    events: dict[int, Seen] = {}
    for number, received in enumerate(watchers):
        found += _in_order(number, received)
        for event in received:
            if events.setdefault(event.index, event) != event:
                found.append(f"watcher {number} saw {event}, another one {events[event.index]}")
            if event.value is not None and event.value not in possible:
                found.append(f"watcher {number} saw {event}, which nobody wrote")
    for number, received in enumerate(watchers):
        indexes = {event.index for event in received}
        missed = [event for index, event in sorted(events.items()) if index not in indexes]
        found += [f"watcher {number} never saw {event}" for event in missed]
    acknowledged: dict[int, Seen] = {}
    for write in written:
        if acknowledged.setdefault(write.index, write) != write:
            found.append(f"two writes were acknowledged with one index: {write}, {acknowledged[write.index]}")
        if events.get(write.index) != write:
            found.append(f"acknowledged: {write}; the watchers saw {events.get(write.index, 'nothing')} at that index")
    values: dict[str, int] = {}
    for index, event in sorted(events.items()):
        if event.value is not None and values.setdefault(event.value, index) != index:
            found.append(f"one write took effect twice: {event}, and at {values[event.value]}")
    return found


def _in_order(number: int, received: Sequence[Seen]) -> list[str]:
    found, last = [], 0
    for event in received:
        if event.index == last:
            found.append(f"watcher {number} saw {event} twice")
        elif event.index < last:
            found.append(f"watcher {number} saw {event} after index {last}")
        last = max(last, event.index)
    return found
