"""When a host may reboot."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.update.windows import Window, WindowError, parse

MOMENTS = st.floats(1.6e9, 1.9e9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
THURSDAY = datetime(2026, 11, 19, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "length", "now", "holds", "wait"),
    [
        ("14:00", "1h", "13:59", False, "1m"),
        ("14:00", "1h", "14:00", True, "0"),
        ("14:00", "1h", "15:00", True, "0"),
        ("14:00", "1h", "15:01", False, "22h59m"),
        ("23:30", "1h30m", "00:45", True, "0"),
        ("23:30", "1h30m", "01:01", False, "22h29m"),
        ("Thu 23:00", "2h", "22:00", False, "60m"),
        ("thu 23:00", "2h", "23:10", True, "0"),
        ("Wed 23:00", "2h", "00:59", True, "0"),
        ("Wed 23:00", "2h", "01:01", False, "165h59m"),
        ("Sun 12:00", "100h", "15:00", True, "0"),
        ("Fri 00:00", "0.5h", "23:59", False, "1m"),
    ],
)
def test_a_host_may_reboot(start: str, length: str, now: str, holds: bool, wait: str) -> None:
    hour, minute = map(int, now.split(":"))
    moment = THURSDAY.replace(hour=hour, minute=minute)
    window = parse(start, length)
    assert window.holds(moment) is holds
    hours, _, minutes = wait.rpartition("h")
    assert window.wait(moment) == timedelta(hours=int(hours or 0), minutes=int(minutes.rstrip("m")))


@given(
    st.none() | st.integers(0, 6),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(1, 23 * 60),
    MOMENTS,
)
def test_after_the_wait_it_holds(weekday: int | None, hour: int, minute: int, length: int, now: datetime) -> None:
    window = Window(weekday, hour, minute, timedelta(minutes=length))
    began = window.began(now)
    assert began <= now < began + window.period
    assert window.holds(now + window.wait(now))
    assert window.wait(now) == timedelta() or not window.holds(now + window.wait(now) - timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("start", "length"),
    [
        ("25:00", "1h"),
        ("12:60", "1h"),
        ("noon", "1h"),
        ("Xyz 12:00", "1h"),
        ("12:00", ""),
        ("12:00", "1"),
        ("12:00", "h"),
        ("12:00", "1h x"),
        ("12:00", "24h"),
        ("12:00", "0s"),
        ("Mon 12:00", "168h"),
        ("", ""),
    ],
)
def test_what_is_no_window_is_refused(start: str, length: str) -> None:
    with pytest.raises(WindowError):
        parse(start, length)
