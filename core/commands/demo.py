"""`corenode demo`: a small cluster on this machine, each node a host of its own, to try things on."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from core.commands import output
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup

CONTROL = "control"
ADDRESS = "127.0.0.1"
TTL_SECONDS = 5
"""After so long a host that was killed is taken for dead; a real cluster has more patience."""

directory_option = click.option("--dir", "directory", type=click.Path(path_type=Path), default=Path("demo"),
                                show_default=True, metavar="PATH", help="Where the hosts keep their data.")  # fmt: skip
host_argument = click.argument("host", metavar="HOST")


@click.group(cls=VerbGroup, invoke_without_command=True)
@click.option("--hosts", type=click.IntRange(1, 9), default=3, show_default=True, help="How many.")
@directory_option
@click.pass_context
def command(context: click.Context, hosts: int, directory: Path) -> None:
    """Run a cluster of several hosts on this machine, until Ctrl-C. Its data stays, for the next time.

    The hosts are host1, host2, ...; each is a process that keeps keys and runs units, and trusts whoever is on this
    machine. This is for trying things, and no way to run a cluster.

    \b
    Examples:
      corenode demo
      corenode demo kill host2
      corenode demo start host2
    """
    if context.invoked_subcommand is None:
        Demo(directory.absolute(), hosts).run()


@command.command()
@host_argument
@directory_option
def kill(host: str, directory: Path) -> None:
    """Pull a host's plug: its node and all its units end at once.

    \b
    Example:
      corenode demo kill host2
    """
    _tell(directory.absolute(), host, "kill")


@command.command()
@host_argument
@directory_option
def start(host: str, directory: Path) -> None:
    """Plug a host in again.

    \b
    Example:
      corenode demo start host2
    """
    _tell(directory.absolute(), host, "start")


class Demo:
    """The hosts, and the one process that starts and kills them."""

    def __init__(self, directory: Path, hosts: int) -> None:
        self._directory = directory
        self._hosts = [f"host{number}" for number in range(1, hosts + 1)]
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Until a signal ends it. Failure."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._urls = self._addresses()
        with self._control() as control:
            try:
                for host in self._hosts:
                    self._start(host)
                self._explain()
                self._obey(control)
            except KeyboardInterrupt:
                pass
            finally:
                self._end()

    def _addresses(self) -> dict[str, tuple[str, str]]:
        """For clients and for peers; the same as the last time, for the members know each other by them."""
        file = self._directory / "addresses"
        if file.exists():
            rows = [line.split() for line in file.read_text().splitlines()]
            known = {host: (client, peer) for host, client, peer in rows}
            if list(known) != self._hosts:
                raise Failure(f"{self._directory} has {len(known)} hosts; use --hosts {len(known)}, or remove it.")
            return known
        ports = iter(_free_ports(2 * len(self._hosts)))
        known = {host: (f"http://{ADDRESS}:{next(ports)}", f"http://{ADDRESS}:{next(ports)}") for host in self._hosts}
        file.write_text("".join(f"{host} {client} {peer}\n" for host, (client, peer) in known.items()))
        return known

    @contextmanager
    def _control(self) -> Iterator[int]:
        """A FIFO that the other verbs write to."""
        path = self._directory / CONTROL
        with suppress(FileNotFoundError):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                path.unlink()
            else:
                raise Failure(f"A demo runs in {self._directory} already.")
        os.mkfifo(path, 0o600)
        descriptor = os.open(path, os.O_RDWR)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
            path.unlink()

    def _start(self, host: str) -> None:
        client, peer = self._urls[host]
        home = self._directory / host
        home.mkdir(exist_ok=True)
        members = ",".join(f"{name}={urls[1]}" for name, urls in self._urls.items())
        with (home / "log").open("ab") as log:
            self._nodes[host] = subprocess.Popen(
                [*program(), "up", "--name", host, "--data-dir", str(home / "data"),
                 "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", members,
                 "--initial-cluster-token", "demo", "--executor", "embedded", "--agent-ttl", str(TTL_SECONDS),
                 "--metadata", f"host={host}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
            )  # fmt: skip

    def _explain(self) -> None:
        rows = [(host, self._nodes[host].pid, self._urls[host][0], self._directory / host) for host in self._hosts]
        output.table(("HOST", "PROCESS", "URL", "DIRECTORY"), rows)
        output.note(
            "\nThe hosts are starting. In another terminal:\n"
            "  corenode machine list\n"
            "  corenode demo kill host2\n"
            "Ctrl-C here ends them all."
        )

    def _obey(self, control: int) -> None:
        """Do what the other verbs say."""
        rest = b""
        while True:
            *lines, rest = (rest + os.read(control, 4096)).split(b"\n")
            for line in lines:
                verb, _, host = line.decode(errors="replace").partition(" ")
                if verb == "kill" and host in self._nodes:
                    self._kill(host)
                    output.note(f"{host} is dead")
                elif verb == "start" and host in self._nodes and self._nodes[host].poll() is not None:
                    self._start(host)
                    output.note(f"{host} starts again, as process {self._nodes[host].pid}")

    def _kill(self, host: str) -> None:
        self._nodes[host].kill()
        self._nodes[host].wait()
        _kill_all_of(self._directory / host)

    def _end(self) -> None:
        """End all in good order, and what still runs then."""
        for node in self._nodes.values():
            node.terminate()
        for host, node in self._nodes.items():
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                node.wait(15)
            self._kill(host)
        output.note("all hosts have ended")


def program() -> list[str]:
    """How this very program is called."""
    first = sys.argv[0]
    return [sys.executable, first] if first.endswith(".py") else [shutil.which(first) or first]


def _tell(directory: Path, host: str, verb: str) -> None:
    if re.fullmatch(r"host[1-9]", host) is None or not (directory / host).is_dir():
        raise Failure(f"There is no host {host!r} in {directory}.")
    try:
        control = os.open(directory / CONTROL, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        raise Failure(f"No demo runs in {directory}; start one with `corenode demo`.") from None
    with os.fdopen(control, "wb") as file:
        file.write(f"{verb} {host}\n".encode())
    output.note(f"{host}: {verb}")


def _kill_all_of(home: Path) -> None:
    """Kill what a dead node left running: the shims of its units, which are told their directory below `home`."""
    mark = os.fsencode(f"{home}/")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if b".supervisor.shim" in words and any(word.startswith(mark) for word in words.split(b"\0")):
                    os.kill(int(entry.name), signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    with_ports = [socket.socket() for _ in range(count)]
    try:
        for each in with_ports:
            each.bind((ADDRESS, 0))
        return [each.getsockname()[1] for each in with_ports]
    finally:
        for each in with_ports:
            each.close()
