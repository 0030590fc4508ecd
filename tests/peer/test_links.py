"""Links between members, plain and over TLS."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.peer import Plain
from tests.peer.support import Member, Trust, Workshop, running, until


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "w")


def member(number: int, workshop: Workshop | None) -> Member:
    trust = None if workshop is None else Trust(workshop.issue(f"n{number}"), workshop.root)
    return Member(number, trust)


@pytest.mark.parametrize("secure", [False, True])
async def test_values_arrive_whole_and_in_order(workshop: Workshop, secure: bool) -> None:
    one, two, three = (member(number, workshop if secure else None) for number in (1, 2, 3))
    values: list[Plain] = [None, True, -5, 2**64 - 1, "ä", b"\0\xff", [], [1, [b"x" * 3_000_000, [False]]], 0]
    async with running(one, two, three):
        for value in values:
            assert one.links.send(2, 7, value)
            assert two.links.send(1, 8, value)
            assert three.links.send(1, 9, value)
        await until(lambda: len(two.got) == len(values) and len(one.got) == 2 * len(values))
    assert two.got == [(1, 7, value) for value in values]
    assert [got for got in one.got if got[0] == 2] == [(2, 8, value) for value in values]
    assert [got for got in one.got if got[0] == 3] == [(3, 9, value) for value in values]


@pytest.mark.parametrize("secure", [False, True])
async def test_a_snapshot_arrives(workshop: Workshop, secure: bool) -> None:
    one, two = (member(number, workshop if secure else None) for number in (1, 2))

    async def pieces() -> AsyncIterator[bytes]:
        for n in range(20):
            yield bytes([n]) * 300_000

    async with running(one, two):
        await one.links.send_snapshot(2, [5, b"m"], pieces())
        assert two.installed == [(1, [5, b"m"], b"".join([bytes([n]) * 300_000 for n in range(20)]))]
