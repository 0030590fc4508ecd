"""Hosts that update themselves, on loopback: a disk-image file with two slots each, and what restarts them.

A host's node is a process; its restart is that the process ends, the boot loader's choice is made on its disk, and the
process begins again in the slot that was chosen, with another boot id. Images are real, and so are their signatures.
"""

import hashlib
import http.client
import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Self

from core.images.manifest import Manifest, decode
from core.partitions import choice
from core.partitions.disk import Disk
from core.partitions.slots import Marks, slots_of
from core.tls.identity import Role
from tests.cli.programs import PROGRAM
from tests.ops.clusters import TlsCluster
from tests.partitions.disks import disk_with, two_slots
from tests.v3.compare import UnixConnection
from tests.whole.servers import DIES_WITH_PARENT, HOST, ROOT, free_port

SECTORS = 48 << 10
"""Of a disk: 24 MiB, of which each slot has a quarter."""
_OWN_BOOT_ID = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'


def missing() -> str:
    """Why there can be no such host here; empty if there can."""
    return "" if os.geteuid() == 0 else "needs root: each host has a boot id of its own"


class Hosts(TlsCluster):
    """Members and workers that update themselves, with units. In a `with`, a thread restarts those that ask for it."""

    def __init__(
        self, home: Path, *members: str, workers: tuple[str, ...] = (), program: tuple[str, ...] = PROGRAM
    ) -> None:
        super().__init__(home, *members)
        self.names = names = (*members, *workers)
        self._workers = workers
        self.workshop.host.environment["PYTHONPATH"] = str(ROOT)  # for programs that are not the one in cli.py
        self.pairs = {name: self.workshop.issue(Role.HOST, self.machine(name)) for name in workers}
        self.ports = {name: free_port() for name in workers}
        self.slots: dict[str, str] = dict.fromkeys(names, "A")
        self.manifests: dict[str, Manifest] = {}
        self.starts: list[tuple[str, str]] = []
        """Each restart: the host, and the version that ran then."""
        self.down: set[str] = set()
        self.trouble = ""
        self._program = program
        self._ended = threading.Event()
        self._power = threading.Thread(target=self._restart_who_asks)
        for number, name in enumerate(names, 1):
            table = two_slots(Marks(1, 0, True), Marks(0, 0, False), SECTORS)
            disk_with(table).save(home / f"{name}.img")
            (home / f"running-{name}").write_text("0")
            (home / f"boot-{name}").write_text(f"00000000-0000-4000-8000-{number:012x}\n")
        self.good("image", "trust", "init", "repo", "--keys", "keys", "--online", "online", "--no-passphrase")

    def flags(self, name: str) -> list[str]:
        own = ["--machine-id", self.machine(name), "--executor", "embedded", "--disable-engine=false"]
        disk = ["--update-disk", f"{name}.img", "--update-slot", self.slots[name]]
        words = ["--update-root", "repo/metadata/1.root.json", "--update-check", f"sh -c '! grep bad running-{name}'"]
        times = ["--update-healthy", "1s", "--update-patience", "12s", "--agent-ttl", "6s"]
        role = self._worker_flags(name) if name in self._workers else super().flags(name)
        return [*role, *own, *disk, *words, *times, "--reboot-command", f"touch reboot-{name}"]

    def machine(self, name: str) -> str:
        """The id of a host."""
        return f"{self.names.index(name) + 1:032x}"

    def _worker_flags(self, name: str) -> list[str]:
        pair = self.pairs[name]
        files = ["--peer-cert-file", str(pair.certificate), "--peer-key-file", str(pair.key)]
        trust = ["--peer-trusted-ca-file", str(self.home / "trust.crt"), "--data-dir", f"data-{name}"]
        way = ["--role", "worker", "--name", name, "--members", ",".join(self.clients.values())]
        return [*way, *files, *trust, "--listen-client-urls", f"http://{HOST}:{self.ports[name]}"]

    def start(self, name: str, *command: str) -> None:
        boot_id = str(self.home / f"boot-{name}")
        apart = ["unshare", "--mount", "--", "sh", "-c", _OWN_BOOT_ID, boot_id]
        super().start(name, *DIES_WITH_PARENT, *apart, *(command or [*self._program, "up", *self.flags(name)]))

    def __enter__(self) -> Self:
        super().__enter__()
        for name in self._workers:
            self.start(name)
        self._power.start()
        self.good("image", "trust", "upload", "repo", "--online", "online")
        return self

    def __exit__(self, *told: Any) -> None:
        self._ended.set()
        self._power.join()
        super().__exit__(*told)

    def good(self, *words: str) -> str:
        """A verb that must succeed; what it said."""
        done = self.run(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def status(self, name: str) -> dict[str, Any]:
        """What a host's node says of its updates; empty if it does not answer."""
        connection = UnixConnection(self.home / f"data-{name}" / "corenode.sock")
        try:
            connection.request("GET", "/corenode/host/update")
            with connection.getresponse() as answer:
                found: dict[str, Any] = json.loads(answer.read()) if answer.status == 200 else {}
                return found
        except (OSError, http.client.HTTPException):
            return {}
        finally:
            connection.close()

    def said(self, *words: str) -> Any:
        """What a verb says in JSON."""
        return json.loads(self.good(*words, "-o", "json").partition("\n")[0])

    def release(self, version: str) -> None:
        """Build, sign and publish an image."""
        root = self.home / "root"
        root.mkdir(exist_ok=True)
        (root / version).write_bytes(os.urandom(600_000))
        self.good("image", "build", "root", "--out", version, "--version", version)
        self.good("image", "sign", version, "--repo", "repo", "--keys", "keys")
        self.good("image", "publish", version)
        self.good("image", "publish", version, "repo", "--online", "online")  # what is signed next begins there
        self.manifests[version] = decode((self.home / version / "manifest.json").read_bytes())

    def versions(self) -> dict[str, str]:
        """What each host runs."""
        return {name: (self.home / f"running-{name}").read_text() for name in self.names}

    def settled(self, version: str) -> bool:
        """Whether every host runs this version, well, and nobody holds the lock."""
        if set(self.versions().values()) != {version}:
            return False
        found = [self.status(name) for name in self.names]
        if not all((each.get("version"), each.get("step")) == (version, "idle") for each in found):
            return False
        locks = [self.run("lock", "status", "--group", group, "-o", "json") for group in ("", "voters")]
        return all(lock.returncode == 0 and json.loads(lock.stdout)["holders"] == [] for lock in locks)

    def await_(self, holds: Any, what: str, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert not self.trouble, self.trouble
            if time.monotonic() > end:
                said = [self.status(name) for name in self.names]
                raise AssertionError(f"not within {seconds:g} s: {what}; {self.starts}; {said}")
            time.sleep(0.1)

    # The power switch

    def _restart_who_asks(self) -> None:
        while not self._ended.wait(0.05):
            for name in self.names:
                asked = self.home / f"reboot-{name}"
                try:
                    if asked.exists():
                        self.restart_host(name)
                    elif self.processes[name].poll() is not None:
                        self.start(name)  # it died, and its service manager starts it again
                except (AssertionError, OSError) as error:
                    self.trouble = f"{name}: {error}"
                    return

    def restart_host(self, name: str) -> None:
        """The host goes down, its boot loader chooses, and it comes up in what was chosen."""
        self.down.add(name)
        assert len(self.down) == 1, f"{self.down} are down at the same time"
        self.kill(name, hard=False)
        (self.home / f"reboot-{name}").unlink(missing_ok=True)
        boot = self.home / f"boot-{name}"
        count = int(boot.read_text().split("-")[3], 16) + 1
        boot.write_text(f"00000000-0000-4000-{count:04x}-{'0' * 11}{self.names.index(name) + 1}\n")
        self.slots[name], version = self._choose(self.home / f"{name}.img")
        (self.home / f"running-{name}").write_text(version)
        self.starts.append((name, version))
        self.start(name)
        self.down.remove(name)

    def _choose(self, path: Path) -> tuple[str, str]:
        """As the boot loader: the slot, and which version is in it, whole."""
        with Disk.open(path, writable=True) as disk:
            chosen = choice.choose(disk.table)
            assert chosen is not None, "nothing may start"
            if chosen.table != disk.table:
                disk.change(chosen.table)
            letter = "AB"[[slot.number for slot in slots_of(disk.table)].index(chosen.number)]
            with disk.read_only(chosen.number) as area:
                held = [
                    version
                    for version, manifest in self.manifests.items()
                    if hashlib.sha256(area.read(0, manifest.usr.size)).hexdigest() == manifest.usr.sha256
                ]
                assert held or not area.read(0, 4096).strip(b"\0"), f"slot {letter} is not whole"
        return letter, held[-1] if held else "0"
