"""The whole daemon under a power cut at any moment of a real write load, through HTTP as its clients see it.

The daemon runs under the recorder of `tests.store.power_cut`; its answers are marks in the same trace as its writes and
syncs. Every cut is opened with the real code and replayed. Each writer works alone in its own directory, one request
at a time, so after a cut its directory is as after all its answered operations, or one more.
"""

import http.client
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from core import config
from core.kv.errors import TreeError
from core.member import Member
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import StoreError
from tests.store.power_cut import Cut, Trace, cuts, recording
from tests.whole.servers import HOST, free_port

WRITERS = 8
ROUNDS = 20
FILES = b"abcde"
CUTS = int(os.environ.get("POWER_CUTS", "400"))
SEED = int(os.environ.get("SEED", "1"))
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ANSWER = re.compile(rb'\{"action":"\w+","node":\{"key":"/w/(\d+)[/"].*?"modifiedIndex":(\d+)')

Operation = tuple[str, str, str]
"""Method, name below the writer's directory (empty: all of it), value."""


def operations() -> list[Operation]:
    """What each writer does: fill its directory again and again, and now and then remove it whole."""
    found: list[Operation] = []
    for round_ in range(ROUNDS):
        found += [("PUT", chr(name), f"{round_}.{chr(name)}." + "v" * 200) for name in FILES]
        if round_ % 3 == 2:
            found.append(("DELETE", "", ""))
    return found


def after(done: Sequence[Operation]) -> dict[str, str]:
    """A writer's directory after these operations."""
    files: dict[str, str] = {}
    for method, name, value in done:
        if method == "PUT":
            files[name] = value
        else:
            files.clear()
    return files


def write(port: int, writer: int) -> None:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    for method, name, value in operations():
        path = f"/v2/keys/w/{writer}/{name}" if name else f"/v2/keys/w/{writer}?recursive=true"
        connection.request(method, path, f"value={value}" if value else None, FORM)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 201)
    connection.close()


async def load(port: int) -> None:
    with trio.fail_after(120):
        while True:
            try:
                await (await trio.open_tcp_stream(HOST, port)).aclose()
                break
            except OSError:
                await trio.sleep(0.05)
        async with trio.open_nursery() as nursery:
            for writer in range(WRITERS):
                nursery.start_soon(trio.to_thread.run_sync, write, port, writer)


async def run_under_recorder(program: Sequence[str], data: Path) -> Trace:
    port = free_port()
    arguments = ["up", "--data-dir", str(data), "--listen-client-urls", f"http://{HOST}:{port}"]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(data.parent)}
    with recording([sys.executable, *program, *arguments], data, env=environment) as run:
        await load(port)
        os.kill(run.pid, signal.SIGTERM)
        await trio.to_thread.run_sync(run.process.wait, 60)
    return run.trace()


async def problem_of(cut: Cut) -> str:
    """Open what the cut left as a start would, and compare with what had been answered; empty if all is well."""
    answered = [0] * WRITERS
    last_index = 0
    for writer, index in ANSWER.findall(b"".join(cut.marks)):
        answered[int(writer)] += 1
        last_index = max(last_index, int(index))
    if not (cut.root / "format").exists():
        return f"{cut.place}: the directory is gone" if last_index else ""
    try:
        directory = DataDirectory.open(cut.root, reserve=4096, low_water=4096)
    except StoreError as error:
        return f"{cut.place}: {error}"
    try:
        member = Member(config.load({"data-dir": str(cut.root)}, environ={}), directory)
        await member.node.start()
        if member.keyspace.revision < last_index:
            return f"{cut.place}: index {member.keyspace.revision}, but {last_index} was answered"
        for writer in range(WRITERS):
            found = files_of(member, writer)
            done = operations()
            if found not in (after(done[: answered[writer]]), after(done[: answered[writer] + 1])):
                return f"{cut.place}: writer {writer} had {answered[writer]} answers and finds {found}"
    except StoreError as error:
        return f"{cut.place}: {error}"
    finally:
        directory.close()
    return ""


def files_of(member: Member, writer: int) -> dict[str, str]:
    try:
        page = member.keyspace.children(b"/w/%d" % writer)
    except TreeError:
        return {}
    return {record.key.rsplit(b"/", 1)[1].decode(): record.value.decode() for record in page.records}


@pytest.mark.slow
async def test_no_cut_loses_an_answered_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = await run_under_recorder([str(Path(__file__).parents[2] / "cli.py")], tmp_path / "data")
    assert trace.returncode == 0
    answers = len(ANSWER.findall(b"".join(getattr(each, "data", b"") for each in trace.operations)))
    assert answers == WRITERS * len(operations())
    checked = 0
    for cut in cuts(trace, SEED, limit=CUTS):
        checked += 1
        assert not (problem := await problem_of(cut)), problem
    assert checked >= min(CUTS, 400)
    with capsys.disabled():
        print(
            f"\npower cut: {answers} answered writes, {trace.writes} file writes, {checked} cuts checked, seed {SEED}"
        )


@pytest.mark.slow
async def test_an_answer_before_the_save_is_caught(tmp_path: Path) -> None:
    trace = await run_under_recorder(["-m", "tests.whole.acknowledges_early"], tmp_path / "data")
    problems = [problem for cut in cuts(trace, SEED, limit=CUTS) if (problem := await problem_of(cut))]
    assert problems
