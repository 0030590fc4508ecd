"""That this member's machine id is its own, and what the cluster's records say of who members are, and where hosts.

A member that runs units claims the id of its machine as soon as there is a leader, and again if an operator let go of
it: otherwise a token for workers would take it while the member is away, and with it what is placed there. A member
without units writes nothing.
"""

import logging
from collections.abc import Collection

import trio

from core.kv.commands import HostBind
from core.kv.errors import DamagedError
from core.kv.hosts import Holder
from core.member import Member
from core.node.errors import ProposalError
from core.runtime_dir import read_all

LOOK_SECONDS = 1.0
"""Between two looks at whether the id is this member's: one row is read."""

_logger = logging.getLogger(__name__)


class Claiming:
    """Fulfils `Vouchers` of the fleet's doors. `run` is a task of the daemon."""

    def __init__(self, member: Member, machine: str) -> None:
        self._member = member
        self._machine = machine
        self._told = False

    def urls(self, machine: str) -> Collection[str]:
        """See `Vouchers`."""
        held = self._holder(machine)
        known = self._member.keyspace.members() if held is not None and held.member else ()
        return [url for each in known if held is not None and each.id == held.member for url in each.client_urls]

    def names(self, machine: str) -> Collection[str]:
        """See `Vouchers`."""
        held = self._holder(machine)
        return () if held is None or held.member else held.addresses

    def sockets(self) -> Collection[str]:
        """See `Vouchers`."""
        return [node.socket for node in read_all()]

    def knows(self, name: str) -> bool:
        """Whether there is a member of that name."""
        return any(each.name == name for each in self._member.keyspace.members())

    async def run(self) -> None:
        """Claim the id, until cancelled."""
        while True:
            self._look()
            await trio.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        own = self._member.identity.member
        held = self._holder(self._machine)
        if held is not None and held.member == own:
            return
        if held is not None and not self._told:
            self._told = True
            who = (
                f"member {held.member:x}" if held.member else f"a worker at {', '.join(held.addresses) or 'no address'}"
            )
            _logger.error(
                "this host's machine id belongs to another; give one of them an id of its own",
                extra={"machine": self._machine, "whose": who},
            )
        if held is not None and held.member:  # two members of one id: the first has it while it is a member
            return
        try:
            self._member.node.propose(HostBind(self._machine, b"", (), own), lambda _: None)
        except ProposalError as error:
            _logger.debug("machine id not claimed yet", extra={"why": str(error)})

    def _holder(self, machine: str) -> Holder | None:
        try:
            return self._member.keyspace.access.holder(machine)
        except DamagedError as error:
            self._member.node.damage.met(error)
            return None
