"""Which slot starts: the truth table of CoreOS's boot loader, and what the steps of an update come to."""

import subprocess
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.partitions.choice import begin_install, choose, end_install, mark_good, prioritise
from core.partitions.slots import Marks, marks_of
from core.partitions.table import Table, TableError
from tests.partitions.disks import disk_with, two_slots

CHROMEOS_KERNEL = UUID("fe3a2a5d-4f32-41a7-b725-accc3285a309")
"""The type that Debian's cgpt gives priorities to."""

A, B = 3, 4


def p(text: str) -> Marks:
    """`p1 t0 s1` as marks."""
    priority, tries, successful = (int(part[1:]) for part in text.split())
    return Marks(priority, tries, bool(successful))


@pytest.mark.parametrize(
    ("a", "b", "boots", "after"),
    [
        ("p1 t0 s1", "p2 t1 s0", B, "p2 t0 s0"),
        ("p1 t0 s1", "p2 t0 s0", A, "p1 t0 s1"),
        ("p2 t0 s1", "p1 t0 s1", A, "p2 t0 s1"),
        ("p1 t0 s1", "p1 t1 s0", A, "p1 t0 s1"),
        ("p1 t3 s1", "p0 t1 s1", A, "p1 t2 s1"),
        ("p0 t1 s1", "p0 t0 s1", None, ""),
        ("p1 t0 s0", "p2 t0 s0", None, ""),
        ("p15 t15 s0", "p14 t0 s1", A, "p15 t14 s0"),
    ],
)
def test_the_slot_that_boots(a: str, b: str, boots: int | None, after: str) -> None:
    choice = choose(two_slots(p(a), p(b)))
    if boots is None:
        assert choice is None
    else:
        assert choice is not None
        assert choice.number == boots
        assert marks_of(choice.table.partition(boots)) == p(after)


def test_the_life_of_an_update() -> None:
    table = two_slots(p("p1 t0 s1"), p("p0 t0 s0"))
    table = begin_install(table, B)
    assert _boots(table) == A
    table = end_install(table, B, tries=1)
    first = choose(table)
    assert first is not None
    assert first.number == B
    assert _boots(first.table) == A, "it died in its only try"
    assert _boots(mark_good(first.table, B)) == B
    assert _boots(prioritise(mark_good(first.table, B), A)) == A, "the way back"


def test_the_only_slot_that_starts_is_not_taken_away() -> None:
    with pytest.raises(TableError, match="no slot could start"):
        begin_install(two_slots(p("p1 t0 s1"), p("p1 t0 s0")), A)


def test_what_is_no_slot_is_not_marked() -> None:
    table = two_slots(p("p1 t0 s1"), p("p1 t0 s0"))
    for number in (9, 77):
        with pytest.raises(TableError):
            mark_good(table, number)
    with pytest.raises(TableError, match="one try"):
        end_install(table, B, tries=0)


MARKS = st.builds(Marks, st.integers(0, 15), st.integers(0, 15), st.booleans())


@given(MARKS, MARKS, st.sampled_from([A, B]))
def test_whoever_is_prioritised_is_alone_at_the_top(a: Marks, b: Marks, number: int) -> None:
    table = prioritise(two_slots(a, b), number)
    chosen, other = (marks_of(table.partition(each)) for each in (number, A + B - number))
    assert chosen.priority > other.priority
    before = {A: a, B: b}[A + B - number]
    assert (other.priority > 0) == (before.priority > 0)


@given(MARKS, MARKS)
def test_tries_run_out(a: Marks, b: Marks) -> None:
    """Whatever the marks, a slot that never proves itself is not tried for ever."""
    table = two_slots(msgspec.structs.replace(a, successful=False), msgspec.structs.replace(b, successful=False))
    for _ in range(31):
        choice = choose(table)
        if choice is None:
            return
        table = choice.table
    raise AssertionError("it starts for ever")


@pytest.mark.parametrize(("a", "b"), [("p1 t0 s1", "p0 t0 s0"), ("p15 t3 s0", "p15 t0 s1"), ("p7 t0 s1", "p3 t9 s0")])
@pytest.mark.parametrize("number", [A, B])
def test_cgpt_prioritises_alike(a: str, b: str, number: int, tmp_path: Path) -> None:
    table = two_slots(p(a), p(b))
    kernels = [msgspec.structs.replace(table.partition(each), kind=CHROMEOS_KERNEL) for each in (A, B)]
    disk = disk_with(table.replaced(*kernels))
    image = str(disk.save(tmp_path / "disk"))
    subprocess.run(["cgpt", "prioritize", "-i", str(number), image], check=True, capture_output=True)
    ours = prioritise(disk.found().table, number, CHROMEOS_KERNEL)
    for each in (A, B):
        assert _cgpt(image, each) == marks_of(ours.partition(each))


def _cgpt(image: str, number: int) -> Marks:
    def ask(flag: str) -> int:
        shown = subprocess.run(["cgpt", "show", "-i", str(number), flag, image], check=True, capture_output=True)
        return int(shown.stdout)

    return Marks(ask("-P"), ask("-T"), bool(ask("-S")))


def _boots(table: Table) -> int:
    choice = choose(table)
    assert choice is not None
    return choice.number
