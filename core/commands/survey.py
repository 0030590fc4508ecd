"""Asking every endpoint the same, at the same time."""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from core.client.endpoints import Endpoint, parse
from core.client.errors import ClientError
from core.client.operations import Operations
from core.client.transport import Transport
from core.commands.connection import Connection
from core.runtime_dir import read_all

T = TypeVar("T")


def survey(connection: Connection, ask: Callable[[Transport], Awaitable[T]]) -> list[tuple[str, T | ClientError]]:
    """Each endpoint with its answer or why there is none, in the order given."""
    return ask_each(connection, [(endpoint.text, [endpoint]) for endpoint in connection.find()], ask)


def survey_members(
    connection: Connection, ask: Callable[[Transport], Awaitable[T]]
) -> list[tuple[str, T | ClientError]]:
    """Every member of the cluster, by name, under the first of its client URLs.

    One that runs on this host is asked over its unix socket, if we may open it.
    """
    members = connection.run(lambda transport: Operations(transport, connection.timeout).members())
    sockets = {url: node.socket for node in read_all() for url in node.endpoints}
    nodes: list[tuple[str, list[Endpoint]]] = []
    absent: list[tuple[str, T | ClientError]] = []
    for member in sorted(members, key=lambda member: member.name):
        try:
            ways = [parse(url) for url in member.client_urls]
        except ValueError as error:
            absent.append((member.name or member.id, ClientError(str(error))))
            continue
        socket = next((sockets[way.origin] for way in ways if way.origin in sockets), None)
        if socket is not None and os.access(socket, os.R_OK | os.W_OK):
            nodes.append((ways[0].text, [parse(f"unix://{socket}")]))
        elif ways:
            nodes.append((ways[0].text, ways))
        else:
            absent.append((member.name or member.id, ClientError("it has not started yet")))
    return [*ask_each(connection, nodes, ask), *absent]


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
