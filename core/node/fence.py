"""The fence around a member whose state is not that of the others: it serves nothing from it, and does not lead.

The verdict is in the log (`core.kv.suspicion`), so it survives restarts, and every member knows it. A fenced member
goes on voting and replicating, since its log is not in question; it is to be replaced.
"""

import logging
from collections.abc import Callable
from typing import NoReturn

from core.kv.commands import Command, Publish
from core.kv.errors import DivergedError
from core.kv.keyspace import Keyspace
from core.node.damage import Damage
from core.node.errors import FencedError
from core.raft.machine import Raft
from core.watch.hub import Hub

_logger = logging.getLogger(__name__)


class Fence:
    """Follows what the keyspace says of this member, and of the others."""

    def __init__(self, raft: Raft, keyspace: Keyspace, hub: Hub, damage: Damage) -> None:
        self._raft = raft
        self._keyspace = keyspace
        self._hub = hub
        self._damage = damage
        self._seen = -1
        self.why = ""
        """Why nothing is served here; empty while all is."""
        self.on_fenced: Callable[[str], None] = lambda _: None
        """Told `why` when it changes."""
        self.follow()

    def check(self, command: Command) -> None:
        """FencedError if nothing may be proposed; a member tells its version all the same, or it would hold back the
        cluster's."""
        if self.why and type(command) is not Publish:
            raise FencedError(self.why)

    def follow(self) -> bool:
        """Look whether the suspicions changed; whether this member was fenced just now."""
        if self._keyspace.accusations == self._seen:
            return False
        self._seen = self._keyspace.accusations
        for each in self._keyspace.suspicions():
            _logger.error(
                "the state of a member differs from that of the others",
                extra={
                    "member": f"{each.member:x}",
                    "index": each.index,
                    "cause": "comparison",
                    "why": _judgement(each.judged),
                },
            )
        own = self._keyspace.suspicion_of(self._raft.member)
        self._damage.suspected = own is not None
        why = "" if own is None or not own.judged else _why(own.index)
        if why == self.why:
            return False
        self.why = why
        self._raft.bar(bool(why))
        self._hub.reset(_Sealed(self._keyspace, why) if why else self._keyspace)
        self.on_fenced(why)
        return bool(why)


class _Sealed:
    """Stands in the place of the history of a fenced member: open watches end instead of telling it."""

    def __init__(self, keyspace: Keyspace, why: str) -> None:
        self._keyspace = keyspace
        self._why = why

    @property
    def revision(self) -> int:
        return self._keyspace.revision

    @property
    def floor(self) -> int:
        """Looked at by every watch before it reads on."""
        raise DivergedError(self._why)

    def _refuse(self, *_: object) -> NoReturn:
        raise DivergedError(self._why)

    changes = first_of = trail = names = record = _refuse


def _why(index: int) -> str:
    return (
        f"the state of this member differed from that of most others at entry {index}, so it serves nothing; ask "
        "another member. Replace this one: corenode member remove, then member add, and start it with empty data"
    )


def _judgement(judged: bool) -> str:
    if judged:
        return "most hold another state; it is fenced off, replace it"
    return "no state has most members on its side, so who is wrong cannot be judged; all go on serving, replace one"
