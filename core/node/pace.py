"""Whether commits are made in line or in a thread, by how long the disk takes."""

from collections import deque

IN_LINE_SECONDS = 0.002
"""Up to this, the shortest of the last commits in line, a commit is not worth a thread."""
_MEASURED = 9
_PROBE_EVERY = 16


class Pace:
    """A slow disk makes all commits long; a processor that others use makes some of them seem so, and is no better
    waited for twice, so the shortest counts. It is measured by commits in line alone: in a thread a commit waits for
    the interpreter too, and a disk that was slow once would seem slow for ever. So beside threads, one commit in a few
    is made in line."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque([0.0] * _MEASURED, maxlen=_MEASURED)
        self._since = 0

    @property
    def is_slow(self) -> bool:
        """Whether the disk takes longer than is bearable in line."""
        return min(self._recent) > IN_LINE_SECONDS

    def next_in_line(self) -> bool:
        """Whether to make the next commit in line."""
        if not self.is_slow:
            return True
        self._since = (self._since + 1) % _PROBE_EVERY
        return self._since == 0

    def measured(self, seconds: float) -> None:
        """A commit in line took so long."""
        self._recent.append(seconds)
