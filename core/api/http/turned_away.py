"""The log lines about connections that were not let in: so many a minute of each kind, then only their number.

The texts differ with what a client sends, so a scan could fill the log with lines that are no repetitions.
"""

import logging
from enum import StrEnum

LINES = 20
"""Of a kind, in `SECONDS`."""
SECONDS = 60.0

_logger = logging.getLogger(__name__)


class Kind(StrEnum):
    """At what it failed."""

    HANDSHAKE = "handshake"
    RECORD = "tls"
    """TLS, after the handshake."""
    CERTIFICATE = "certificate"
    """A good one whose holder is not admitted."""
    PROTOCOL = "protocol"
    """TLS where there is none, or the reverse."""


class TurnedAway:
    """Counts them by kind. `now` is loop time in seconds."""

    def __init__(self) -> None:
        self._begun: dict[Kind, float] = {}
        """When the present period of a kind began; absent: none came lately."""
        self._count: dict[Kind, int] = {}

    def say(self, kind: Kind, address: str, cause: str, now: float) -> None:
        """One was turned away."""
        if kind not in self._begun:
            self._begun[kind] = now
            self._count[kind] = 0
        self._count[kind] += 1
        if self._count[kind] <= LINES:
            _logger.warning("connection turned away", extra={"peer": address, "cause": cause})

    def summarise(self, now: float) -> None:
        """Say how many more there were, where a period is over."""
        for kind in [kind for kind, begun in self._begun.items() if now - begun >= SECONDS]:
            more = self._count[kind] - LINES
            del self._begun[kind]
            if more > 0:
                _logger.warning("… and %d more connections turned away", more, extra={"cause": kind.value})
