"""wrk, the load generator: one thread in C, a closed loop over connections that stay open."""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")


class LoadError(Exception):
    """The load generator could not do its work."""


@dataclass(frozen=True)
class Target:
    """A server, over so many connections."""

    url: str
    connections: int


@dataclass(frozen=True)
class Certificate:
    """What is presented over https://, two files in PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Load:
    """What is sent: an operation of load.lua on keys below a number, with values of a size."""

    operation: str
    keys: int
    value_bytes: int
    first: int = 0
    """0: keys at random. Otherwise one after the other from that number on, the first being 1."""


@dataclass(frozen=True)
class Answers:
    """What wrk saw; of several at once the sum, and the worst of their percentiles."""

    requests: int
    seconds: float
    failed: int
    """Answers of 400 and above, and connections that were refused, broke or were late."""
    p50_ms: float
    p99_ms: float
    p999_ms: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def drive(targets: Sequence[Target], load: Load, seconds: int, certificate: Certificate | None = None) -> Answers:
    """One run, a wrk for each target, all at once. LoadError."""
    running = [_start(target, load, seconds, certificate) for target in targets]
    found = []
    for process in running:
        try:
            printed, errors = process.communicate(timeout=seconds + 60)
        finally:
            process.kill()
        # Before a line of figures wrk may have warned about a connection.
        line = errors.strip().rpartition("\n")[2]
        if process.returncode != 0 or not line.startswith("{"):
            raise LoadError(f"wrk failed: {printed}{errors}".strip())
        found.append(json.loads(line))
    taken = max(each["microseconds"] for each in found) / 1e6
    percentiles = [max(each[name] for each in found) / 1e3 for name in ("p50_us", "p99_us", "p999_us")]
    failed = sum(each["broken"] + each["refused"] for each in found)
    return Answers(sum(each["requests"] for each in found), taken, failed, *percentiles)


def _start(target: Target, load: Load, seconds: int, certificate: Certificate | None) -> "subprocess.Popen[str]":
    command = ["wrk", "-t1", f"-c{target.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    command += [target.url, "--", load.operation, str(load.keys), str(load.value_bytes)]
    command += [str(time.time_ns() % 2**31), str(load.first)]
    if certificate is not None:
        command += [str(certificate.certificate), str(certificate.key)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
