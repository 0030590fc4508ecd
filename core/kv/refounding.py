"""Giving a state to another cluster: after a restore, or when most members are lost for good.

The keys stay as they are, the members become others. Revisions may jump ahead: whoever remembers one that was reached
after the copy was made then finds it compacted, and not, silently, another history under the same number.
"""

from collections.abc import Sequence

from core.kv import membership, suspicion
from core.kv.ledger import Ledger
from core.kv.membership import Member
from core.kv.transaction import Table, Transaction


def refound(transaction: Transaction, counted: bytes, described: Sequence[Member], *, skip: int = 0) -> None:
    """Let `counted` (raft's encoding) be the members, and nobody else have been one. With `skip` that many revisions
    are passed over, and nothing before can be read or watched."""
    ledger = Ledger(transaction)
    for member in membership.members(ledger):
        transaction.delete(*membership.row(member)[:2])
    for gone in membership.removed(ledger):
        transaction.delete(*membership.tombstone(gone)[:2])
    suspicion.absolve_all(ledger)
    transaction.put(Table.META, membership.COUNTED, counted)
    for member in described:
        transaction.put(*membership.row(member))
    if skip:
        ledger.revision += skip
        ledger.floor = ledger.revision
    ledger.save_numbers()
