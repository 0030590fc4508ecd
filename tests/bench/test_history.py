"""What a run recorded is read again as it was, also when it was cut off."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import history
from bench.__main__ import unfinished
from bench.history import Recorded
from bench.programs import Program
from bench.rounds import Result
from tests.bench import sample


def write(recorded: Recorded, path: Path) -> None:
    history.append(recorded.head(), path)
    for result in recorded.results:
        history.append(history.result_line(recorded.run, result), path)
    for name, taken in recorded.starts.items():
        history.append(history.start_line(recorded.run, name, taken), path)
    if recorded.took is not None:
        history.append({"run": recorded.run, "end": recorded.took}, path)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text('{"time": "2026-01-01T00:00:00Z", "workload": "PUT", "rate": 1.0}\n')
    first, second = sample.whole(), sample.whole("2026-01-03T00:00:00Z", ours=1000)
    write(first, path)
    write(second, path)
    assert history.read(path) == [first, second]
    assert history.read(tmp_path / "absent") == []


def test_of_a_run_that_was_killed_there_is_what_it_measured(tmp_path: Path) -> None:
    path = tmp_path / "history"
    recorded = replace(sample.whole(), took=None)
    write(recorded, path)
    text = path.read_bytes()
    lines = text.splitlines(keepends=True)
    for length in range(len(lines[0]), len(text), 1009):
        path.write_bytes(text[:length])
        [found] = history.read(path)
        assert found.took is None
        assert found.results == recorded.results[: len(found.results)]
        whole = sum(len(b"".join(lines[: 2 + number])) <= length for number in range(len(recorded.results)))
        assert len(found.results) >= whole


def test_a_row_that_was_measured_again_replaces_its_failure(tmp_path: Path) -> None:
    path = tmp_path / "history"
    recorded = sample.whole()
    write(replace(recorded, results=[Result(recorded.results[0].workload, error="it ended")], took=None), path)
    assert [each.problem for each in history.read(path)[0].results] == ["it ended"]
    history.append(history.result_line(recorded.run, recorded.results[0]), path)
    assert history.read(path)[0].results == recorded.results[:1]


def test_only_a_stopped_run_of_the_same_programs_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history"
    monkeypatch.setattr(history, "HISTORY", path)
    monkeypatch.setattr(history.read, "__defaults__", (path,))
    ours, theirs = Program("corenode", "0.1.0 abc", []), Program("etcd", "3.4.23", [])
    with pytest.raises(SystemExit, match="no recorded run was stopped"):
        unfinished({"ours": ours, "theirs": theirs})
    write(replace(sample.whole(), took=None), path)
    assert unfinished({"ours": ours, "theirs": theirs}).run == sample.whole().run
    with pytest.raises(SystemExit, match=r"0\.2\.0"):
        unfinished({"ours": replace(ours, version="0.2.0"), "theirs": theirs})
    history.append({"run": sample.whole().run, "end": 1.0}, path)
    with pytest.raises(SystemExit, match="no recorded run was stopped"):
        unfinished({"ours": ours, "theirs": theirs})


def test_the_machine_is_named() -> None:
    machine = history.machine(Path(__file__).parent)
    assert machine["cores"] >= 1
    assert all(machine[name] for name in ("cpu", "memory_gib", "kernel", "disk", "python"))
