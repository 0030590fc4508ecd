"""What is wrong with the state of this member: damage that its reads met, or that the others hold another state.

A read that meets damage fails, and the node goes on with all else: whoever runs it decides when it is replaced.
Applying what the cluster has decided is no such read: a member that cannot do that must end.
"""

import logging

from core.kv.errors import DamagedError, DivergedError

_TOLD = 100
"""Different ones that get a line in the log."""

_logger = logging.getLogger(__name__)


class Damage:
    """What reads met is remembered until the process ends, what the cluster found as long as it says so."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self.suspected = False
        """Whether the cluster found that this member's state, or another's, is wrong (`core.kv.suspicion`)."""

    @property
    def found(self) -> bool:
        """Whether the alarm CORRUPT is raised."""
        return self.suspected or bool(self._told)

    def met(self, error: DamagedError) -> None:
        """A read met this. Each one is said in the log once."""
        why = str(error)
        if isinstance(error, DivergedError):
            return  # said when it was found
        if why not in self._told and len(self._told) < _TOLD:
            self._told.add(why)
            _logger.error("damaged data was not served", extra={"cause": "damage", "why": why})
