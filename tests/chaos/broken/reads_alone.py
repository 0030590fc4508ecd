"""The program with one fault: a linearizable read asks nobody."""

import sys

import cli
from core.node.confirming import Confirmed
from core.node.node import Node


def _confirm(_: Node, done: Confirmed) -> None:
    done(None)


if __name__ == "__main__":
    Node.confirm = _confirm  # type: ignore[method-assign,assignment]
    sys.exit(cli.main())
