"""The two that are compared: how each is started."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.version import VERSION
from tests.whole.servers import ROOT

Side = Literal["ours", "theirs"]
SIDES: tuple[Side, ...] = ("ours", "theirs")

# v3 keeps every value until it is compacted. A limit of 2 GB, etcd's default, would end a long run; it costs no time.
_ETCD_QUOTA = str(8 << 30)


@dataclass(frozen=True)
class Program:
    """A server that takes etcd's options."""

    name: str
    version: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_etcd(self) -> bool:
        return self.name == "etcd"


def corenode(tree: Path = ROOT, name: str = "corenode") -> Program:
    """This node, run from a source tree by the Python that runs this. Its version has a + if the commit is not all."""
    commit = _git(tree, "rev-parse", "--short", "HEAD").stdout.strip()
    changed = "+" if _git(tree, "diff", "--quiet", "HEAD", "--", "core", "cli.py").returncode == 1 else ""
    version = f"{VERSION} {commit}{changed}".strip()
    return Program(name, version, [sys.executable, str(tree / "cli.py"), "up"], {"PYTHONPATH": str(tree)})


def _git(tree: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *command], cwd=tree, capture_output=True, text=True)


def etcd() -> Program:
    """Debian's etcd with the v2 dialect. FileNotFoundError if there is none."""
    shown = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout
    version = shown.partition("etcd Version: ")[2].split()[0]
    # Debian starts no etcd on other processors than amd64 without this.
    environment = {"ETCD_UNSUPPORTED_ARCH": os.uname().machine} if os.uname().machine != "x86_64" else {}
    return Program("etcd", version, ["etcd", "--enable-v2", "--quota-backend-bytes", _ETCD_QUOTA], environment)


def against(what: str) -> Program:
    """The peer: `etcd`, or the tree of another version of this node."""
    return etcd() if what == "etcd" else corenode(Path(what).resolve(), "other")
