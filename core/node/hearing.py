"""Who of the other members was heard of lately."""

import trio

ALIVE_SECONDS = 2.0
"""Who was heard of within this time counts as alive."""


class Hearing:
    """When each other member was last heard of."""

    def __init__(self) -> None:
        self._heard: dict[int, float] = {}

    def note(self, member: int) -> None:
        """It was heard of just now."""
        self._heard[member] = trio.current_time()

    def is_alive(self, member: int) -> bool:
        """Whether it was heard of lately."""
        return trio.current_time() - self._heard.get(member, -ALIVE_SECONDS) < ALIVE_SECONDS
