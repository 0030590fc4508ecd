"""Reaching a node's unix socket over ssh: `--tunnel`, and `fleetctl fd-forward` for fleetctl programs elsewhere."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

from core.commands.failure import Failure
from core.fleetctl_name.flags import Words

PIECE = 64 * 1024
_SOCKET = "unix:///var/run/fleet.sock"


@contextmanager
def tunnel(words: Words) -> Iterator[str | None]:
    """The endpoint to use: that given, or with `--tunnel HOST[:PORT]` a socket that ssh carries there."""
    endpoint = words.values.get("endpoint") or None
    host = words.values.get("tunnel")
    if not host:
        yield endpoint
        return
    if shutil.which("ssh") is None:
        raise Failure("--tunnel needs the ssh program, and there is none here.")
    remote = (endpoint or _SOCKET).removeprefix("unix://").removeprefix("http://")
    name, _, port = host.partition(":")
    checking = words.values.get("strict-host-key-checking", "true") == "true"
    seconds = float(words.values.get("ssh-timeout", "10"))
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "socket"
        ssh = subprocess.Popen([
            "ssh", "-nNT", "-o", "ExitOnForwardFailure=yes", "-o", f"ConnectTimeout={max(int(seconds), 1)}",
            "-o", f"StrictHostKeyChecking={'yes' if checking else 'no'}", *_known_hosts(words),
            "-p", port or "22", "-L", f"{here}:{remote}", f"{words.values.get('ssh-username', 'core')}@{name}",
        ])  # fmt: skip
        try:
            _await(ssh, here, seconds)
            yield f"unix://{here}"
        finally:
            ssh.terminate()
            ssh.wait()


def forward(arguments: Sequence[str]) -> int:
    """Carry standard input to a unix socket, and what it answers to standard output, until both have ended."""
    if len(arguments) != 1:
        raise Failure("Provide a socket to forward to")
    trio.run(_forward, arguments[0].removeprefix("unix://"))
    return 0


async def _forward(path: str) -> None:
    try:
        peer = await trio.open_unix_socket(path)
    except OSError as error:
        raise Failure(f"{path} cannot be connected to: {error.strerror}.") from None

    async def send() -> None:
        while piece := await trio.to_thread.run_sync(os.read, 0, PIECE, abandon_on_cancel=True):
            await peer.send_all(piece)
        await peer.send_eof()

    async with peer, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        async for piece in peer:
            await trio.to_thread.run_sync(_write, bytes(piece))
        nursery.cancel_scope.cancel()


def _write(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _await(ssh: "subprocess.Popen[bytes]", here: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not here.exists():
        if ssh.poll() is not None or time.monotonic() > end:
            raise Failure("ssh did not carry the socket here; what it says stands above.")
        time.sleep(0.05)


def _known_hosts(words: Words) -> list[str]:
    file = words.values.get("known-hosts-file")
    return [] if file is None else ["-o", f"UserKnownHostsFile={Path(file).expanduser()}"]
