"""The version of the cluster: the least that all members understand, which decides what may enter the log.

It is derived from the rows of the members, in which each tells its own version (`Publish`): once all have told it, the
least of them, major and minor number only. It rises at the entry that makes it true, on every member at the same place
of the log, and never falls: what was allowed once is in the log and in the state for ever. So members are upgraded one
by one in any order, and a command that the new version brings is refused until the last of them runs it. Until then
each can go back to the old version; after it none can, and an older member neither starts nor joins. Who wants back
must restore a snapshot from before. A member that was added and has not told its version holds back the next rise.
"""

from core.kv import commands
from core.kv.ledger import Ledger
from core.kv.transaction import Table

Version = tuple[int, int]
"""Major and minor; patches change no commands."""

FIRST: Version = (0, 1)
"""What every cluster understands."""
SINCE: dict[type, Version] = {}
"""The version that brought a command, for those that came after FIRST. What holds another is as new as that."""
_ROW = b"cluster version"


def parse(text: str) -> Version | None:
    """The version in a text such as `0.1.0`; None if it is none."""
    parts = text.split(".")
    if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        return None
    return int(parts[0]), int(parts[1])


def since(command: object) -> Version:
    """The version that a cluster must have for a command to be proposed."""
    if not SINCE:
        return FIRST
    own = SINCE.get(type(command), FIRST)
    match command:
        case commands.Admitted():
            return max(own, since(command.command))
        case commands.Txn():
            return max(own, *map(since, command.success), *map(since, command.failure), FIRST)
    return own


def cluster(ledger: Ledger) -> Version:
    """The version of the cluster."""
    row = ledger.rows.get(Table.META, _ROW)
    found = None if row is None else parse(row.decode())
    return FIRST if found is None else found


def settle(ledger: Ledger, told: list[str]) -> None:
    """Let the version rise to the least of what all members have told."""
    found = [parse(text) for text in told]
    known = [version for version in found if version is not None]
    if known and len(known) == len(found) and min(known) > cluster(ledger):
        ledger.rows.put(Table.META, _ROW, b"%d.%d" % min(known))
