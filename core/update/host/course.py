"""Where an update goes on after a start of this program, as a pure function of its journal and of what runs."""

from msgspec.structs import replace

from core.partitions.boot import SlotName
from core.update.host.journal import Journal

_ON_THE_WAY = ("installing", "waiting", "locking", "draining", "rebooting", "proving", "good")
"""The new slot may have been started, by us or by a power cut. If it was, it is whole."""


def resumed(journal: Journal, boot: str, used: SlotName, *, good: bool) -> Journal:
    """The journal to go on with. `used` is the slot that runs, and `good` whether it need not prove itself any more."""
    again = boot != journal.boot
    found = _resumed(journal, used, again=again, good=good)
    if found.step != journal.step or again:
        found = replace(found, boot=boot, began=0.0)
    return found


def _resumed(journal: Journal, used: SlotName, *, again: bool, good: bool) -> Journal:
    if journal.step in _ON_THE_WAY and used == journal.slot:
        # Even before the lock was had: somebody else has restarted the host.
        return _proving(journal, used)
    if journal.step in _ON_THE_WAY and journal.step != "installing" and (again or journal.step in ("proving", "good")):
        return stopped(journal, journal.error or f"slot {journal.slot} was to start, and slot {used} did")
    if journal.step == "returning" and used != journal.slot:
        return stopped(journal, journal.error)
    if journal.step == "idle" and not good:
        # Installed by other hands, or the journal was lost.
        return replace(journal, step="proving", slot=used, used=None, wanted=None, error="")
    return journal


def _proving(journal: Journal, used: SlotName) -> Journal:
    if journal.step in ("proving", "good"):
        return journal
    slots = {**journal.slots, used: journal.wanted} if journal.wanted else journal.slots
    return replace(journal, step="proving", slots=slots)


def stopped(journal: Journal, why: str) -> Journal:
    """It has failed."""
    failed = (journal.wanted.sha256, journal.attempt) if journal.wanted else journal.failed
    return replace(journal, step="settling", error=why, failed=failed, hurry=False)
