"""What servers take is measured as the kernel counts it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.usage import Meter, anonymous_bytes, tree, written_bytes

MIB = 1 << 20
# A child that has a child: that one burns processor and takes memory, says so, and waits.
WORK = """
import sys, time
held = b"x" * (64 << 20)
end = time.process_time() + 0.3
while time.process_time() < end: pass
print("done", flush=True)
sys.stdin.read()
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORK!r}])"


def test_processor_and_memory_of_a_whole_tree(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        with Meter([process.pid], tmp_path) as meter:
            assert process.stdout is not None
            assert process.stdout.readline() == b"done\n"
            assert len(list(tree(process.pid))) == 2
        process.communicate()
    assert 0.3 <= meter.usage.cpu_seconds < 1.5
    assert 64 * MIB <= meter.usage.anonymous_bytes < 160 * MIB
    assert anonymous_bytes(process.pid) == 0


def test_what_reaches_the_disk(tmp_path: Path) -> None:
    before = written_bytes(tmp_path)
    if not before:
        pytest.skip("the temporary directory is on no block device")
    with (tmp_path / "file").open("wb") as file:
        file.write(bytes(8 * MIB))
        file.flush()
        subprocess.run(["sync", str(tmp_path / "file")], check=True)
    assert written_bytes(tmp_path) - before >= 8 * MIB
