"""What reads have found damaged on the disk of this member.

A read that meets damage fails, and the node goes on with all else: whoever runs it decides when it is replaced.
Applying what the cluster has decided is no such read: a member that cannot do that must end.
"""

import logging

from core.kv.errors import DamagedError

_TOLD = 100
"""Different ones that get a line in the log."""

_logger = logging.getLogger(__name__)


class Damage:
    """Remembered until the process ends."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    @property
    def found(self) -> bool:
        """Whether the alarm CORRUPT is raised."""
        return bool(self._told)

    def met(self, error: DamagedError) -> None:
        """A read met this. Each one is said in the log once."""
        why = str(error)
        if why not in self._told and len(self._told) < _TOLD:
            self._told.add(why)
            _logger.error("damaged data was not served", extra={"cause": "damage", "why": why})
