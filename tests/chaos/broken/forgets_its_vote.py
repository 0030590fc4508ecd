"""The program with one fault: a vote is not saved, and neither is a term in which nothing was appended."""

from collections.abc import Sequence

import msgspec

from core.raft.messages import Entry, HardState
from core.store_lmdb.log import LogStore
from tests.chaos.broken import crashes_after_voting

_append = LogStore.append


def _append_without_vote(log: LogStore, entries: Sequence[Entry], hard_state: HardState | None = None) -> None:
    if hard_state is not None:
        term = max(log.hard_state.term, log.last.term, entries[-1].term if entries else 0)
        hard_state = msgspec.structs.replace(hard_state, term=term, vote=0)
    _append(log, entries, hard_state)


if __name__ == "__main__":
    LogStore.append = _append_without_vote  # type: ignore[method-assign,assignment]
    crashes_after_voting.main()
