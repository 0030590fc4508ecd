"""One host: Debian with systemd as its first process, a disk of its own, and one interface on the switch."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.hosts.image import image
from tests.hosts.lab import NET, Lab, children

BOOT_SECONDS = 60.0
STOP_SECONDS = 60.0
_POWER_OFF = signal.SIGRTMIN + 4  # what systemd takes for "systemctl poweroff"
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
_NETWORK = (
    "[Match]\nName=host0\n[Network]\nAddress={address}/24\nGateway={gateway}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
)


class Host:
    """A host of a lab. In a `with` it is booted, and off afterwards; its disk lasts as long as the lab."""

    def __init__(self, lab: Lab, number: int, name: str = "", *, shows: Sequence[Path] = ()) -> None:
        """`number`, 1 to 250, is the last part of its address; `shows` are directories of ours it can read in there."""
        self.lab = lab
        self.name = name or f"host{number}"
        self.address = f"{NET}.{number}"
        self.machine_id = hashlib.md5(f"{lab.name}/{self.name}".encode(), usedforsecurity=False).hexdigest()
        self.leader = 0
        """Its first process, by the number it has here; 0 while it is off."""
        self._shows = shows
        self._machine: subprocess.Popen[bytes] | None = None
        self._disk = lab.files / self.name
        for part in ("changes", "work", "root"):
            (self._disk / part).mkdir(parents=True)
        inside = f"/run/lab/{self.name}"
        layers = f"lowerdir={image()},upperdir={inside}/changes,workdir={inside}/work"
        lab.do("mount", "-t", "overlay", "-o", layers, "overlay", f"{inside}/root")
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/machine-id", f"{self.machine_id}\n")
        self.write("/etc/systemd/network/10-host0.network", _NETWORK.format(address=self.address, gateway=f"{NET}.254"))

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.leader:
            if error is not None:
                print(f"--- journal of {self.name}\n{self.journal()}", file=sys.stderr)
            self.kill()

    def boot(self) -> None:
        """Switch it on; returns when systemd says that it is up."""
        enter = [f"echo 0 >{group}/cgroup.procs" for group in self.lab.groups(self.name)]
        inside = f"/run/lab/{self.name}"
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--notify-ready=yes", "--boot"]
        command += [f"--directory={inside}/root", f"--machine={self.name}", "--network-bridge=switch", "--console=pipe"]
        command += ["--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        command += [f"--bind-ro={path}" for path in self._shows]
        (self._disk / "notify").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard, (self._disk / "console").open("ab") as console:
            heard.bind(str(self._disk / "notify"))
            heard.settimeout(0.2)
            self._machine = subprocess.Popen(
                [*self.lab.enter(), "sh", "-c", "; ".join((*enter, 'exec "$@"')), "sh", *command],
                env={**_ENVIRONMENT, "NOTIFY_SOCKET": f"{inside}/notify"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
            try:
                self._await_boot(heard)
            except BaseException:
                self._machine.kill()
                self._machine.wait()
                raise
        (nspawn,) = children(self._machine.pid)
        (self.leader,) = children(nspawn)

    def _await_boot(self, heard: socket.socket) -> None:
        end = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < end and self._machine is not None and self._machine.poll() is None:
            try:
                if b"READY=1" in heard.recv(4096).split(b"\n"):
                    return
            except TimeoutError:
                continue
        raise RuntimeError(f"{self.name} did not boot:\n{self.console()}\n{self.journal()}")

    def kill(self) -> None:
        """Pull the plug: every process of it dies at once. Its disk stays for the next `boot`."""
        with contextlib.suppress(ProcessLookupError):  # it went down by itself
            os.kill(self.leader, signal.SIGKILL)
        self._gone()

    def shutdown(self) -> None:
        """Power it off in order, units stopped."""
        os.kill(self.leader, _POWER_OFF)
        self._gone()

    def rebooted(self, code: int) -> bool:
        """Whether it has restarted by itself, which nspawn says by this exit code; then it is off."""
        if self._machine is None or self._machine.poll() != code:
            return False
        self._gone()
        return True

    def _gone(self) -> None:
        self.leader = 0
        if self._machine is not None:
            self._machine.wait(STOP_SECONDS)
            self._machine = None

    def run(
        self, *command: str, text: str = "", seconds: float = 60, check: bool = False, directory: Path = Path("/")
    ) -> subprocess.CompletedProcess[str]:
        """A command in there, as root."""
        done = subprocess.run(
            [*self.enter(directory), *command],
            input=text,
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
            timeout=seconds,
        )
        if check and done.returncode != 0:
            said = f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            raise AssertionError(f"{self.name}: {said}")
        return done

    def do(self, *command: str, text: str = "", seconds: float = 60) -> str:
        """A command in there that must succeed; what it printed."""
        return self.run(*command, text=text, seconds=seconds, check=True).stdout

    def enter(self, directory: Path = Path("/")) -> Sequence[str]:
        """What to put before a command to run it in there."""
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        return ("nsenter", "--target", str(self.leader), *spaces, f"--wdns={directory}", "--")

    def path(self, path: str) -> Path:
        """Where a file of it is, as seen from here, while it is on or off."""
        root = Path(f"/proc/{self.leader}/root") if self.leader else self._disk / "root"
        return root / path.lstrip("/")

    def write(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        """Put a file there, while it is on or off."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        file.chmod(mode)

    def isolate(self, others: Sequence["Host"]) -> None:
        """Cut it off from the others, in both directions."""
        for other in others:
            self.lab.sever([(self.address, other.address), (other.address, self.address)])

    def journal(self, *options: str) -> str:
        """What its journal holds, also when it is off."""
        directory = f"/run/lab/{self.name}/root/var/log/journal"
        command = ["journalctl", f"--directory={directory}", "--no-pager", "--quiet", "--output=short-precise"]
        done = subprocess.run(
            [*self.lab.enter(), *command, *(options or ("--lines=200",))], capture_output=True, text=True, timeout=30
        )
        return done.stdout + done.stderr

    def console(self) -> str:
        return (self._disk / "console").read_text(errors="replace")
