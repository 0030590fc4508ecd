"""The program as it is, but where a file `crash` lies beside its socket it dies right after it gave its vote."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

import cli
from core.node.node import Node
from core.raft.messages import Message, VoteReply

MARK = Path(os.environ.get("XDG_RUNTIME_DIR", ".")) / "crash"
LEAVES_SECONDS = 0.3
"""How long the vote has to leave this host."""

_send, _receive = Node._send, Node.receive
_voted = trio.Event()


def _send_and_die(node: Node, messages: Sequence[tuple[int, Message]]) -> None:
    _send(node, messages)
    votes = any(type(each) is VoteReply and each.granted for _, each in messages)
    if votes and MARK.exists() and not _voted.is_set():
        _voted.set()
        trio.lowlevel.spawn_system_task(_die)


async def _die() -> None:
    await trio.sleep(LEAVES_SECONDS)
    os._exit(137)


def _receive_while_alive(node: Node, sender: int, kind: int, content: Any) -> None:
    if not _voted.is_set():
        _receive(node, sender, kind, content)


def main() -> None:
    Node._send = _send_and_die  # type: ignore[method-assign,assignment]
    Node.receive = _receive_while_alive  # type: ignore[method-assign,assignment]
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
