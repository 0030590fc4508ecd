"""How many requests of v3 a second, as JSON over HTTP, beside the gateway of Debian's etcd.

`wrk` drives both in alternation, a pair a round, as `throughput.py` does; the method is described in README.md.

    python bench/gateway.py [--quick] [--rounds 3] [--seconds 2] [--dir build/bench] [--record]
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from bench.throughput import WARM_UP_SECONDS, WIDTH, Result, Run, Workload, record, table
from tests.whole.servers import KINDS, ROOT, Kind, Server

LEASES = 100
# The script for wrk. Keys are paths, in base64 beforehand; a text of 88 digits is the base64 of 66 bytes.
SCRIPT = """
local keys, first, template, path = %(keys)d, %(first)d, [==[%(template)s]==], "%(path)s"
local count = first - 1
local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
math.randomseed(%(seed)d)
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

local function base64(text)
  local found = {}
  for at = 1, #text, 3 do
    local a, b, c = text:byte(at, at + 2)
    local n = a * 65536 + b * 256 + c
    for shift = 3, 0, -1 do
      local digit = math.floor(n / 64 ^ shift) %% 64
      found[#found + 1] = alphabet:sub(digit + 1, digit + 1)
    end
  end
  return table.concat(found)
end

local names, tens, ends = {}, {}, {}
for key = 0, keys - 1 do
  local ten = string.format("/bench/%%07d", math.floor(key / 10))
  names[key], tens[key], ends[key] = base64(string.format("/bench/%%08d", key)), base64(ten .. "0"), base64(ten .. ":")
end

function request()
  local key = math.random(0, keys - 1)
  if first > 0 then
    count = count + 1
    key = (count - 1) %% keys
  end
  local r = math.random
  local value = string.format("%%022d%%022d%%022d%%022d", r(0, 1e9), r(0, 1e9), r(0, 1e9), r(0, 1e9))
  local body = template:gsub("KEY", names[key]):gsub("VALUE", value):gsub("LEASE", 1 + key %% %(leases)d)
  body = body:gsub("TEN", tens[key]):gsub("END", ends[key])
  return wrk.format("POST", path, nil, body)
end

function done(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%%d,"microseconds":%%d,"failed":%%d,"p50_us":%%d,"p99_us":%%d}',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""

PUT = '{"key":"KEY","value":"VALUE"}'
TXN = (
    '{"compare":[{"key":"KEY","target":"VERSION","result":"GREATER","version":"0"}],'
    '"success":[{"request_put":{"key":"KEY","value":"VALUE"}},{"request_range":{"key":"KEY"}}],'
    '"failure":[{"request_range":{"key":"KEY"}}]}'
)
BODIES = {
    "put": ("/v3/kv/put", PUT),
    "range": ("/v3/kv/range", '{"key":"KEY"}'),
    "range, local": ("/v3/kv/range", '{"key":"KEY","serializable":true}'),
    "range of 10": ("/v3/kv/range", '{"key":"TEN","range_end":"END"}'),
    "txn": ("/v3/kv/txn", TXN),
    "keep-alive": ("/v3/lease/keepalive", '{"ID":"LEASE"}'),
}


def drive(server: Server, workload: Workload, seconds: float, keys: int, first: int = 0) -> Run:
    """One run of wrk. With `first` it writes one key after the other, beginning at that number, 1 being the first."""
    path, body = BODIES[workload.name]
    values = {"keys": keys, "first": first, "template": body, "path": path, "leases": LEASES}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % {**values, "seed": time.time_ns() % 2**31})
        script.flush()
        connections = str(workload.connections)
        command = ["wrk", "-t1", "-c", connections, "-d", f"{max(1, round(seconds))}s", "-s", script.name, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0 or not done.stderr.startswith("{"):
        raise SystemExit(f"gateway: wrk failed against {server.kind}: {done.stdout}{done.stderr}")
    found = json.loads(done.stderr)
    p50, p99 = found["p50_us"] / 1e3, found["p99_us"] / 1e3
    return Run(found["requests"], found["microseconds"] / 1e6, found["failed"], p50, p99)


def fill(server: Server, keys: int) -> None:
    """Write every key once, and grant the leases."""
    written = 0
    while written < keys:
        run = drive(server, Workload("put", "POST", "", 64), 2, keys, written + 1)
        if run.failed or not run.requests:
            raise SystemExit(f"gateway: {server.kind} refused to be filled: {run}. {server.output()}")
        written += max(1, run.requests - 64)
    for lease in range(1, LEASES + 1):
        granted = json.dumps({"ID": lease, "TTL": 3600})
        subprocess.run(["curl", "-sf", f"{server.url}/v3/lease/grant", "-d", granted], check=True, capture_output=True)


def measure(servers: dict[Kind, Server], workload: Workload, rounds: int, seconds: float, keys: int) -> Result:
    """Run one workload in pairs, after a warm-up of each that does not count."""
    result = Result(workload)
    for server in servers.values():
        drive(server, workload, WARM_UP_SECONDS, keys)
    for _ in range(rounds):
        for kind, server in servers.items():
            result.runs[kind].append(drive(server, workload, seconds, keys))
    return result


def workloads(connections: Sequence[int], only: Sequence[str]) -> Iterator[Workload]:
    for name in only or BODIES:
        for count in connections:
            yield Workload(name, "POST", "", count)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Requests of v3 a second, beside the gateway of Debian's etcd.")
    parser.add_argument("--quick", action="store_true", help="about 40 seconds: fewer rounds, keys and connections")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs a workload (default 3)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a run (default 2)")
    parser.add_argument("--keys", type=int, default=20_000, help="keys written and read at random (default 20000)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64], help="default: 1 64")
    parser.add_argument("--only", nargs="+", choices=list(BODIES), default=[], help="these workloads (default: all)")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="the disk to measure on")
    parser.add_argument("--record", action="store_true", help="append every run to bench/history.jsonl")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds, given.keys, given.connections = 2, 1, 5_000, [64]
    return given


def main() -> int:
    given = arguments()
    for program in ("wrk", "etcd", "curl"):
        if shutil.which(program) is None:
            print(f"gateway: needs {program}", file=sys.stderr)
            return 1
    given.dir.mkdir(parents=True, exist_ok=True)
    results = []
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.dir)))
        servers: dict[Kind, Server] = {kind: stack.enter_context(Server(kind, home / kind)) for kind in KINDS}
        with Console(stderr=True).status("filling") as status:
            for server in servers.values():
                fill(server, given.keys)
            for workload in workloads(given.connections, given.only):
                status.update(f"{workload.name}, {workload.connections} connections")
                results.append(measure(servers, workload, given.rounds, given.seconds, given.keys))
    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(table(results))
    if given.record:
        record(results, given.keys)
    failed = sum(result.failed for result in results)
    requests = sum(run.requests for result in results for runs in result.runs.values() for run in runs)
    print(f"gateway: {requests:,} requests in {len(results)} workloads, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
