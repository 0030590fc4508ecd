"""How fast is the HTTP front end, beside the obvious alternative: a Trio task a connection with h11?

Both serve the same trivial handler, answers from memory, in a process of their own. `wrk` drives them in alternation;
the medians of the rounds and their ratio are printed as a table.

    python -m bench.frontend [--seconds 4] [--rounds 3]
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import h11
import trio

from core.api.http import Frontend, Reply, Request, Response, open_tcp

CONNECTIONS = (1, 64, 256)
VALUE = b"x" * 64
BODY = b'{"action":"get","node":{"key":"/foo","value":"%b","modifiedIndex":4,"createdIndex":4}}\n' % VALUE
JSON = b"Content-Type: application/json\r\n"
RESPONSE = Response(200, JSON, BODY)

PUT_SCRIPT = f"""
wrk.method = "PUT"
wrk.body = "value={VALUE.decode()}"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
"""


def answer(request: Request, reply: Reply) -> None:
    """The trivial handler."""
    reply.send(RESPONSE)


async def serve_frontend() -> None:
    """The front end; prints its port."""
    frontend = Frontend(answer)
    listeners = open_tcp("127.0.0.1", 0)
    print(listeners[0].port, flush=True)
    await frontend.serve(listeners)


async def serve_connection(stream: trio.SocketStream) -> None:
    """The alternative: one task, h11 in both directions."""
    with contextlib.suppress(trio.BrokenResourceError):
        await converse(stream)


async def converse(stream: trio.SocketStream) -> None:
    """Answer one client until it goes."""
    connection = h11.Connection(h11.SERVER)
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(BODY))]
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(16384))
        elif isinstance(event, h11.EndOfMessage):
            response = connection.send(h11.Response(status_code=200, headers=headers, reason=b"OK"))
            data = connection.send(h11.Data(data=BODY))
            await stream.send_all(response + data + connection.send(h11.EndOfMessage()))
            connection.start_next_cycle()
        elif isinstance(event, h11.ConnectionClosed):
            return


async def serve_tasks() -> None:
    """The alternative server; prints its port."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(serve_connection, listeners)


SERVERS = {"frontend": serve_frontend, "tasks": serve_tasks}


def measure(port: int, connections: int, seconds: int, script: Path | None) -> float:
    """Requests a second by wrk with one thread."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}"]
    if script is not None:
        command += ["-s", str(script)]
    command.append(f"http://127.0.0.1:{port}/v2/keys/foo")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"the load was not served in full:\n{done.stdout}")
    line = next(line for line in done.stdout.splitlines() if line.startswith("Requests/sec:"))
    return float(line.split()[1])


def compare(seconds: int, rounds: int, script: Path) -> None:
    """Run both servers at once, load one at a time, print the table."""
    processes = {
        name: subprocess.Popen([sys.executable, __file__, "--serve", name], stdout=subprocess.PIPE, text=True)
        for name in SERVERS
    }
    try:
        ports = {name: int(process.stdout.readline()) for name, process in processes.items() if process.stdout}
        print(f"{'':14}{'front end':>12}{'task each':>12}{'ratio':>8}   rounds (front end / task each)")
        for method, lua in (("GET", None), ("PUT", script)):
            for connections in CONNECTIONS:
                rates: dict[str, list[float]] = {name: [] for name in SERVERS}
                for _ in range(rounds):
                    for name, port in ports.items():
                        rates[name].append(measure(port, connections, seconds, lua))
                ours, theirs = (statistics.median(rates[name]) for name in SERVERS)
                raw = " / ".join(" ".join(f"{rate:.0f}" for rate in rates[name]) for name in SERVERS)
                print(f"{method} {connections:>4} conn.{ours:>12,.0f}{theirs:>12,.0f}{ours / theirs:>8.2f}   {raw}")
    finally:
        for process in processes.values():
            process.terminate()
            process.wait()
            if process.stdout:
                process.stdout.close()


def main() -> None:
    """Serve or compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(SERVERS[options.serve])
        return
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(PUT_SCRIPT)
        script.flush()
        compare(options.seconds, options.rounds, Path(script.name))


if __name__ == "__main__":
    main()
