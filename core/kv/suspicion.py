"""Members whose state differs from that of the others, as the cluster has found by comparing: rows beside the keyspace.

Only most members together can say who is wrong (`judged`). Where no state has most members on its side, as with two,
all of them are under suspicion, until one of them is removed.
"""

import msgspec

from core.kv.commands import Accuse, CompareStates
from core.kv.ledger import Ledger
from core.kv.outcomes import Accused, Marked
from core.kv.transaction import Table

_PREFIX = b"suspect/"
_END = b"suspect0"


class Suspicion(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """That a member's state is wrong, or (not `judged`) that either its own is or another's."""

    member: int
    index: int
    """The entry at which the states differed."""
    judged: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Suspicion).decode


def mark(ledger: Ledger, _: CompareStates) -> Marked:
    """Remember this place of the log as the one at which states are compared."""
    ledger.marked = Marked(ledger.applied_index + 1, ledger.floor, ledger.revision)
    return ledger.marked


def accuse(ledger: Ledger, command: Accuse) -> Accused:
    """Suspect members; once one is judged it stays so."""
    for member in command.members:
        known = find(ledger, member)
        if known is None or not known.judged:
            ledger.rows.put(Table.META, _name(member), _encode(Suspicion(member, command.index, command.judged)))
    ledger.accusations += 1
    return Accused(command.members)


def absolve(ledger: Ledger, gone: tuple[int, ...]) -> None:
    """Members were removed: nobody asks any more what they hold, and if nobody was judged, who stays may be right."""
    for each in suspicions(ledger):
        if each.member in gone or (gone and not each.judged):
            ledger.rows.delete(Table.META, _name(each.member))
            ledger.accusations += 1


def absolve_all(ledger: Ledger) -> None:
    """This state was chosen as the one that the cluster goes on with."""
    absolve(ledger, tuple(each.member for each in suspicions(ledger)))


def find(ledger: Ledger, member: int) -> Suspicion | None:
    """What a member is suspected of."""
    row = ledger.rows.get(Table.META, _name(member))
    return None if row is None else _decode(row)


def suspicions(ledger: Ledger) -> list[Suspicion]:
    """All there are, by member id."""
    return [_decode(row) for _, row in ledger.rows.scan(Table.META, _PREFIX, _END)]


def _name(member: int) -> bytes:
    return _PREFIX + member.to_bytes(8, "big")
