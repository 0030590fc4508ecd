"""Clients that send anything in any pieces and leave at any time: the server goes on and forgets them."""

import random
from pathlib import Path

import pytest
import trio

from core.api.http import Outlet, Reply, Request, open_tcp
from core.tls import server_context
from tests.http.authority import Authority
from tests.http.support import GET, QUICK, Served, echo, serving
from tests.http.test_judge import LEGAL, MALFORMED
from tests.http.test_recognise import PIECES, PLAIN

SEEDS = range(4)
CLIENTS = 100


async def produce(outlet: Outlet) -> None:
    await outlet.start(200, b"")
    for _ in range(20):
        await outlet.send(b"x" * 20_000)


def handler(request: Request, reply: Reply) -> None:
    """Stream every other answer."""
    if len(request.path) % 2:
        reply.stream(produce)
    else:
        echo(request, reply)


def anything(chance: random.Random) -> bytes:
    """Requests good, bad and spoilt, one behind the other."""
    known = [*PLAIN, *(case[0] for case in LEGAL.values()), *(case[0] for case in MALFORMED.values())]
    data = b""
    for _ in range(chance.randint(1, 6)):
        piece = chance.choice(known)
        if chance.random() < 0.3:
            at = chance.randrange(len(piece))
            piece = piece[:at] + chance.choice(PIECES) + piece[at + chance.randint(0, 3) :]
        data += piece
    return data + chance.randbytes(chance.choice((0, 0, 0, 1, 40)))


async def misbehave(served: Served, seed: str) -> None:
    """One client."""
    chance = random.Random(seed)
    data = anything(chance)
    try:
        async with served.client() as client:
            while data:
                size = chance.choice((1, 10, 100, 10_000))
                await client.send(data[:size])
                data = data[size:]
                if chance.random() < 0.05:
                    break
            if chance.random() < 0.3:
                client.reset_on_close()
            elif chance.random() < 0.5:
                await client.end()
    except trio.BrokenResourceError:
        pass  # the server had enough of it


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tls", [False, True])
async def test_nothing_a_client_sends_harms_the_server(seed: int, tls: bool, tmp_path: Path) -> None:
    context = server_context(*Authority(tmp_path).issue("server")[:2]) if tls else None
    async with serving(handler, QUICK, open_tcp("127.0.0.1", 0, context)) as served:
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(misbehave, served, f"{seed}/{number}")
        await served.settle(connections=0)
        assert served.statistics.held_bytes == 0
        assert served.statistics.streams == 0
        async with served.client() as client:
            assert (await client.ask(GET)).status == (400 if tls else 200)
