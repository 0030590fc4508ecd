"""Asking every endpoint the same, at the same time."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from core.client.endpoints import Endpoint
from core.client.errors import ClientError
from core.client.transport import Transport
from core.commands.connection import Connection

T = TypeVar("T")


def survey(connection: Connection, ask: Callable[[Transport], Awaitable[T]]) -> list[tuple[str, T | ClientError]]:
    """Each endpoint with its answer or why there is none, in the order given."""
    return ask_each(connection, [(endpoint.text, [endpoint]) for endpoint in connection.find()], ask)


def ask_each(
    connection: Connection, nodes: Sequence[tuple[str, Sequence[Endpoint]]], ask: Callable[[Transport], Awaitable[T]]
) -> list[tuple[str, T | ClientError]]:
    """Each node, given by its name and the ways to it, with its answer or why there is none."""
    transports = [connection.open(*endpoints) for _, endpoints in nodes]
    answers: dict[int, T | ClientError] = {}

    async def one(number: int) -> None:
        async with transports[number] as transport:
            try:
                answers[number] = await ask(transport)
            except ClientError as error:
                answers[number] = error

    async def everyone() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(len(transports)):
                nursery.start_soon(one, number)

    trio.run(everyone)
    return [(name, answers[number]) for number, (name, _) in enumerate(nodes)]


def reason(error: ClientError) -> str:
    """Why an endpoint gave no answer, without naming it again."""
    from core.client.errors import UnreachableError

    if isinstance(error, UnreachableError):
        return next(iter(error.reasons.values()))
    return str(error)
