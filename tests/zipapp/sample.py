"""Small programs as one file, made as the real one is made, and whole processes that run them."""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from tools.onefile.build import Target, assemble, compiled, write
from tools.onefile.cache import NAME_LENGTH

PROGRAM = """
def main():
    import sys, deep.late
    print(TEXT, deep.late.where())
    if "wait" in sys.argv:
        sys.stdout.flush()
        sys.stdin.readline()
        import deep.later
        print("later")
"""
LATE = "def where():\n    return 'from the cache'\n"


def files(text: str = "hello") -> list[tuple[str, bytes]]:
    """The modules of a program that prints `text`."""
    return [
        ("cli.py", PROGRAM.replace("TEXT", repr(text)).encode()),
        ("deep/__init__.py", b""),
        ("deep/late.py", LATE.encode()),
        ("deep/later.py", b""),
    ]


@dataclass
class OneFile:
    """One file on the disk, and the directory it may make its caches in."""

    path: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        return self.home / ".cache" / "corenode"

    def versions(self) -> list[str]:
        """The names in the cache but for its lock."""
        return sorted(path.name for path in self.cache.iterdir() if path.name != "lock")

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, *arguments], {"HOME": str(self.home), **self.environment}

    def run(self, *arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run it to its end with nothing in the environment but HOME and what was set."""
        command, environment = self.command(*python, str(self.path), *arguments)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd="/")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command, environment = self.command(str(self.path), *arguments)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd="/")


def make(directory: Path, text: str = "hello", target: Target | None = None, name: str = "program") -> OneFile:
    """Write a program that prints `text` as one file into a directory, with a home beside it."""
    home = directory / "home"
    home.mkdir(exist_ok=True)
    path = directory / name
    write(path, assemble(compiled(files(text)), target or Target()))
    return OneFile(path, home)


def version_of(one: OneFile) -> str:
    """The name of its version in a cache."""
    with zipfile.ZipFile(one.path) as archive:
        return hashlib.sha256(archive.read("payload.zip")).hexdigest()[:NAME_LENGTH]


def is_root() -> bool:
    return os.geteuid() == 0
