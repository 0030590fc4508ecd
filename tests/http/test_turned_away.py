"""Whoever is not let in is named in the log, but cannot fill it."""

import logging
from pathlib import Path

import pytest

from core.api.http import open_tcp, turned_away
from core.api.http.turned_away import LINES, SECONDS, Kind, TurnedAway
from core.tls import server_context
from tests.http.authority import Authority
from tests.http.support import QUICK, echo, serving, until


def test_so_many_lines_a_minute_of_a_kind_then_their_number(caplog: pytest.LogCaptureFixture) -> None:
    door = TurnedAway()
    for number in range(LINES + 37):
        door.say(Kind.HANDSHAKE, "192.0.2.1:1", f"it is odd in way {number}", 100 + number * 0.1)
    door.say(Kind.PROTOCOL, "192.0.2.1:1", "it does not speak TLS", 101)
    assert [record.cause for record in caplog.records] == [  # type: ignore[attr-defined]
        *(f"it is odd in way {number}" for number in range(LINES)),
        "it does not speak TLS",
    ]
    caplog.clear()
    door.summarise(100 + SECONDS - 1)
    assert caplog.records == []
    door.summarise(100 + SECONDS)
    door.summarise(100 + 2 * SECONDS)
    (record,) = caplog.records
    assert record.getMessage() == "… and 37 more connections turned away"
    assert record.levelno == logging.WARNING


def test_a_new_minute_begins_with_whoever_comes_next(caplog: pytest.LogCaptureFixture) -> None:
    door = TurnedAway()
    for begin in (0.0, 500.0):
        for _ in range(LINES):
            door.say(Kind.RECORD, "192.0.2.1:1", "it sent nonsense", begin)
        door.summarise(begin + SECONDS)
    assert len(caplog.records) == 2 * LINES


async def test_a_scan_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that each begin a handshake with something else."""
    certificate, key, _ = Authority(tmp_path).issue("server")
    listeners = open_tcp("127.0.0.1", 0, server_context(certificate, key))
    async with serving(echo, QUICK, listeners) as served:
        for number in range(LINES + 30):
            async with served.client() as client:
                await client.send(b"\x16\x03\x01\x00" + bytes([number + 1]) + bytes([number + 1]) * 100)
                await client.end()
        assert len(caplog.records) == LINES
        monkeypatch.setattr(turned_away, "SECONDS", 0.0)
        await until(lambda: len(caplog.records) > LINES)
    assert [record.getMessage() for record in caplog.records[LINES:]] == ["… and 30 more connections turned away"]
