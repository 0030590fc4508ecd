"""What a member is and knows in every role."""

from enum import Enum
from random import Random

import msgspec

from core.raft.log import Log, Storage
from core.raft.members import Members, Membership, Standing, decode
from core.raft.messages import Entry, HardState, Kind, Message
from core.raft.reads import Read

SCAN_BYTES = 1 << 20


class Role(Enum):
    """What a member is in its term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Settings(msgspec.Struct, frozen=True):
    """Times in ticks, sizes in bytes."""

    heartbeat_ticks: int = 1
    election_ticks: int = 10
    """Each wait for a leader is drawn anew from this to twice this. At least five heartbeats."""
    message_bytes: int = 1 << 20
    """Data of one `Append`; one larger entry goes alone."""
    window: int = 64
    """Messages with entries under way to one follower. What they hold at most: window x message_bytes, of entries
    that are mostly shared between followers."""
    apply_bytes: int = 4 << 20
    """Data of what one call of `committed` returns; one larger entry comes alone."""


class NotLeaderError(Exception):
    """Only the leader does that."""


class State:
    """The values; the rules are in `machine`, `election`, `follower` and `leader`."""

    def __init__(
        self,
        member: int,
        members: Members,
        hard_state: HardState,
        applied: int,
        storage: Storage,
        random: Random,
        settings: Settings,
    ) -> None:
        if not storage.floor.index <= applied <= storage.last.index:
            raise ValueError(f"entry {applied} is applied, the log has {storage.floor.index}..{storage.last.index}")
        if hard_state.commit > storage.last.index:
            raise ValueError(f"entry {hard_state.commit} is committed, the log ends at {storage.last.index}")
        if hard_state.term < storage.last.term:
            raise ValueError(f"the log has entries of term {storage.last.term}, the hard state is of {hard_state.term}")
        self.member = member
        self.settings = settings
        self.random = random
        self.role = Role.FOLLOWER
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.leader = 0
        """Member id of the leader of this term, 0 if unknown."""
        self.log = Log(storage)
        self.commit = max(applied, hard_state.commit)
        """Highest index known to be committed. Invariant: commit <= log.last_index; it never falls."""
        self.applied = applied
        """End of what `committed` returned."""
        self.membership = Membership(applied, members)
        self.elapsed = 0
        """Ticks since the leader was heard or a vote given; as leader since the last check of the quorum."""
        self.patience = 0
        """Ticks without a leader after which this member stands for election."""
        self.outbox: list[tuple[int, Message]] = []
        """May leave at once: a leader's, whose term and vote are durable."""
        self.held: list[tuple[int, Message]] = []
        """Must wait for the save: they promise what is saved with them."""
        self.answers: list[Read] = []
        """Reads that are decided."""
        self.barred = False
        """Whether the driver forbade this member to lead."""
        self._scan(applied)
        self.wait_anew()

    @property
    def last_index(self) -> int:
        """End of the log, saved or not."""
        return self.log.last_index

    @property
    def members(self) -> Members:
        """As the log has them, committed or not."""
        return self.membership.current

    @property
    def may_stand(self) -> bool:
        """Whether this member may be elected: it is a voter, as far as it knows, or was one before a change that is not
        committed. It may be the only one who has that change, and the others need it to commit it (section 4.2.2)."""
        if self.barred:
            return False
        if self.members.standing(self.member) is Standing.VOTER:
            return True
        return self.membership.at(self.commit).standing(self.member) is Standing.VOTER

    def wait_anew(self) -> None:
        """Begin to wait for a leader."""
        self.elapsed = 0
        ticks = self.settings.election_ticks
        self.patience = ticks + self.random.randrange(ticks)

    def append(self, entry: Entry) -> None:
        """Put an entry at the end of the log. A change of the members counts from here on."""
        if entry.kind == Kind.MEMBERSHIP:
            self.membership.append(entry.index, decode(entry.data))
        self.log.append(entry)

    def truncate(self, index: int) -> None:
        """Remove the entries from `index` on, and what they changed."""
        if index <= self.commit:
            raise ValueError(f"entry {index} is committed and cannot be replaced, commit is {self.commit}")
        self.log.truncate(index)
        self.membership.truncate(index)

    def commit_to(self, index: int) -> None:
        """The leader says that all up to `index` is committed; what is not here yet counts later."""
        self.commit = max(self.commit, min(index, self.log.last_index))

    def _scan(self, applied: int) -> None:
        """Find the changes of the members behind the applied entry."""
        while applied < self.log.last_index:
            for entry in self.log.read(applied + 1, self.log.last_index, SCAN_BYTES):
                if entry.index != applied + 1:
                    raise ValueError(f"the log has entry {entry.index} where {applied + 1} is due")
                applied = entry.index
                if entry.kind == Kind.MEMBERSHIP:
                    self.membership.append(entry.index, decode(entry.data))
