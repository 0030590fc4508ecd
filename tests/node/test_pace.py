"""In line or in a thread: one hiccup or a busy processor changes nothing, a slow disk does, its recovery is noticed."""

from core.node.pace import IN_LINE_SECONDS, Pace


def test_one_hiccup_is_none() -> None:
    pace = Pace()
    pace.measured(5.0)
    assert all(pace.next_in_line() for _ in range(100))


def test_a_busy_processor_is_no_slow_disk() -> None:
    """Most commits wait for it, but not all."""
    pace = Pace()
    for number in range(90):
        pace.measured(IN_LINE_SECONDS / 10 if number % 9 == 0 else 4 * IN_LINE_SECONDS)
    assert not pace.is_slow


def test_a_slow_disk_gets_a_thread_but_for_probes() -> None:
    pace = Pace()
    for _ in range(9):
        pace.measured(2 * IN_LINE_SECONDS)
    assert sum(pace.next_in_line() for _ in range(160)) == 10


def test_a_disk_that_recovers_is_noticed() -> None:
    """However long commits in threads seem to take: those are not measured."""
    pace = Pace()
    for _ in range(9):
        pace.measured(1.0)
    commits = 0
    while pace.is_slow:
        commits += 1
        if pace.next_in_line():
            pace.measured(IN_LINE_SECONDS / 10)
    assert commits <= 100
