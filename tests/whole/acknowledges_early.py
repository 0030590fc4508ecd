"""The program with one fault: an entry is saved only together with the next, after it was answered."""

import sys

import cli
from core.node.node import Node
from core.raft.machine import Ready

_held: list[Ready] = []


async def _save_with_the_next(node: Node, ready: Ready) -> bool:
    if _held:
        before = _held.pop()
        node._saver._log.append((*before.entries, *ready.entries), ready.hard_state)
    else:
        _held.append(ready)
    return True


if __name__ == "__main__":
    Node._save = _save_with_the_next  # type: ignore[method-assign,assignment]
    sys.exit(cli.main())
