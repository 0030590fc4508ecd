"""Asking every endpoint the same, at the same time."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from core.client.endpoints import Endpoint
from core.client.errors import ClientError
from core.client.transport import Transport
from core.commands.connection import Connection

T = TypeVar("T")


def survey(connection: Connection, ask: Callable[[Transport], Awaitable[T]]) -> list[tuple[str, T | ClientError]]:
    """Each endpoint with its answer or why there is none, in the order given."""
    endpoints = connection.find()
    transports = {endpoint: connection.open(endpoint) for endpoint in endpoints}
    answers: dict[Endpoint, T | ClientError] = {}

    async def one(endpoint: Endpoint) -> None:
        async with transports[endpoint] as transport:
            try:
                answers[endpoint] = await ask(transport)
            except ClientError as error:
                answers[endpoint] = error

    async def everyone() -> None:
        async with trio.open_nursery() as nursery:
            for endpoint in transports:
                nursery.start_soon(one, endpoint)

    trio.run(everyone)
    return [(endpoint.text, answers[endpoint]) for endpoint in endpoints]


def reason(error: ClientError) -> str:
    """Why an endpoint gave no answer, without naming it again."""
    from core.client.errors import UnreachableError

    if isinstance(error, UnreachableError):
        return next(iter(error.reasons.values()))
    return str(error)
