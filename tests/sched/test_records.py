"""Keys and records: each is read back as it was written, and what is no record is refused."""

import pytest

from core.sched import keys
from core.sched.keys import Kind, Place
from core.sched.records import (
    Drain,
    Generation,
    HostRecord,
    Machine,
    Placement,
    Record,
    RecordError,
    Rollout,
    UnitRecord,
    UnitState,
    decode,
    encode,
)

RECORDS: list[Record] = [
    UnitRecord("ab", "launched", 3, 2),
    Machine("1" * 32, "one", "10.0.0.1", ("https://10.0.0.1:1",), "b", {"zone": "a"}, 4.0, 1 << 33, "1", "s"),
    HostRecord({"zone": "b", "rack": None}, "disk", Drain(1_800_000_000, 2)),
    Placement("ab", "loaded", "least loaded", 1, 2, {"2" * 32: 1_800_000_000}),
    Generation("c", 7),
    UnitState("ab", "loaded", "active", "running", 5, "healthy", "well", 1, 77),
    Rollout("ab", "cd", 2, "paused", ("web@1.service",), "by hand", 9),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_read_back(record: Record) -> None:
    assert decode(type(record), encode(record)) == record  # type: ignore[type-var]


def test_unknown_fields_are_ignored_and_missing_ones_have_defaults() -> None:
    assert decode(UnitRecord, b'{"text":"ab","later":[1]}') == UnitRecord("ab")
    assert decode(HostRecord, b"{}") == HostRecord()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"text":1}', b'{"text":"a","desired":"running"}', b"\xff", b'"\xff"']
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(RecordError, match="no UnitRecord record"):
        decode(UnitRecord, data)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (keys.unit("a.service"), Place(Kind.UNIT, name="a.service")),
        (keys.text("ab"), Place(Kind.TEXT, name="ab")),
        (keys.host("m"), Place(Kind.HOST, "m")),
        (keys.machine("m"), Place(Kind.MACHINE, "m")),
        (keys.header("m"), Place(Kind.HEADER, "m")),
        (keys.placement("m", "a.service"), Place(Kind.PLACEMENT, "m", "a.service")),
        (keys.state("m", "a.service"), Place(Kind.STATE, "m", "a.service")),
        (keys.rollout("a@.service"), Place(Kind.ROLLOUT, name="a@.service")),
        (keys.GENERATION, Place(Kind.GENERATION)),
        (keys.LEADER, None),
        (keys.LEADER + b"/77", None),
        (keys.UNITS, None),
        (keys.placements("m"), None),
        (keys.PREFIX + b"later/thing", None),
        (b"", None),
    ],
)
def test_a_key_tells_what_it_is_for(key: bytes, place: Place | None) -> None:
    assert keys.parse(key) == place
