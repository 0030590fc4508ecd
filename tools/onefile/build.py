"""Writes the whole program as one executable file: `python tools/onefile/build.py dist/corenode`.

The file is a zip archive with a start line in front, as `python3 FILE` and the kernel both run it. It holds `start.py`
as `__main__.py`, `cache.py` as `onefile_cache`, and one payload: our modules and the libraries that requirements.lock
names, taken from this environment, each file held to the hash its wheel came with. Same inputs, same bytes.
"""

import base64
import csv
import hashlib
import io
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LOCK = ROOT / "requirements.lock"
START_LINE = b"#!/usr/bin/env -S python3 -I\n"
"""-I: neither PYTHON* variables nor packages of the user's own reach into the program."""

BLANKS = 'PYTHON, MACHINE, GLIBC, DIGEST = "", "", (0, 0), ""\n'
LEFT_OUT = re.compile(r"(^|/)(tests?|_tests|__pycache__)/|\.(pyi|pyc|pyx|pxd|c|h)$|(^|/)py\.typed$|^\.\./")
"""Of the libraries: their tests, what only compilers and type checkers read, and scripts outside the package tree."""

RECEIPTS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
"""What pip notes about one installation; it differs from machine to machine."""


class BuildError(Exception):
    """The file cannot be built. The text says why and what to do."""


def locked(text: str) -> list[Requirement]:
    """The requirements in a lock file that hold on this platform."""
    lines = [line.rstrip(" \\") for line in text.splitlines() if line[:1].isalnum()]
    found = [Requirement(line) for line in lines]
    return [one for one in found if one.marker is None or one.marker.evaluate()]


def library_files(one: Requirement) -> list[tuple[str, bytes]]:
    """Path and content of what a library needs to run, as its wheel brought it. Raises BuildError."""
    found: Distribution = distribution(one.name)
    if not one.specifier.contains(found.version, prereleases=True):
        raise BuildError(f"{one.name} {found.version} is installed, {one} is locked: run make clean, then make build")
    files = []
    for path, digest, _ in csv.reader(io.StringIO(found.read_text("RECORD") or "")):
        if LEFT_OUT.search(path) or (".dist-info/" in path and path.rpartition("/")[2] in RECEIPTS):
            continue
        content = Path(str(found.locate_file(path))).read_bytes()
        method, _, expected = digest.partition("=")
        actual = base64.urlsafe_b64encode(hashlib.new(method, content).digest()).rstrip(b"=").decode()
        if actual != expected:
            raise BuildError(f"{path} of {one.name} is not as its wheel brought it: run make clean, then make build")
        files.append((path, content))
    return files


def own_files(root: Path) -> list[tuple[str, bytes]]:
    """Path and content of the program's own modules and its licence."""
    paths = [root / "cli.py", root / "LICENSE", *(root / "core").rglob("*.py")]
    return [(str(path.relative_to(root)), path.read_bytes()) for path in paths]


def oldest_glibc(files: list[tuple[str, bytes]]) -> tuple[int, int]:
    """The oldest GNU C library that has every symbol version which the compiled libraries ask for."""
    versions = {(0, 0)}
    for path, content in files:
        if ".so" in Path(path).name:
            versions |= {(int(major), int(minor)) for major, minor in re.findall(rb"\bGLIBC_(\d+)\.(\d+)", content)}
    return max(versions)


def compiled(files: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The same files with byte code that Python takes as it is, without a look at the source.

    In a process of its own with a fixed hash seed: what surrounds the compiler leaves traces in the byte code.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for path, content in files:
            target = Path(scratch, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        subprocess.run(
            [
                sys.executable,
                "-S",
                "-m",
                "compileall",
                "-q",
                "--invalidation-mode=unchecked-hash",
                "-s",
                scratch,
                scratch,
            ],
            env={"PYTHONHASHSEED": "0"},
            check=True,
        )
        found = [path for path in Path(scratch).rglob("*") if path.is_file()]
        return sorted((str(path.relative_to(scratch)), path.read_bytes()) for path in found)


def archive(files: list[tuple[str, bytes]], compression: int, front: bytes = b"") -> bytes:
    """A zip archive, behind `front`, that depends on nothing but names and contents."""
    buffer = io.BytesIO()
    buffer.write(front)
    with zipfile.ZipFile(buffer, "w") as target:
        for path, content in files:
            entry = zipfile.ZipInfo(path)  # its date is that of the format's beginning, 1980
            entry.compress_type = compression
            entry.external_attr = 0o100600 << 16
            target.writestr(entry, content, compresslevel=9)
    return buffer.getvalue()


@dataclass(frozen=True)
class Target:
    """The systems a file is for."""

    python: str = f"{sys.version_info[0]}.{sys.version_info[1]}{sys.abiflags}"
    machine: str = platform.machine()
    glibc: tuple[int, int] = (0, 0)
    """The oldest that will do."""

    def __str__(self) -> str:
        return f"CPython {self.python} on {self.machine} with glibc {self.glibc[0]}.{self.glibc[1]} or newer"


def assemble(files: list[tuple[str, bytes]], target: Target) -> bytes:
    """The one file that carries these modules and runs `cli.main` of them."""
    payload = archive(files, zipfile.ZIP_DEFLATED)
    digest = hashlib.sha256(payload).hexdigest()
    start = (HERE / "start.py").read_text()
    if start.count(BLANKS) != 1:
        raise BuildError("start.py has no single line to fill in: it and build.py must name the same one")
    filled = f'PYTHON, MACHINE, GLIBC, DIGEST = "{target.python}", "{target.machine}", {target.glibc}, "{digest}"\n'
    (_, cache_code), (_, cache) = compiled([("onefile_cache.py", (HERE / "cache.py").read_bytes())])
    members = [
        ("__main__.py", start.replace(BLANKS, filled).encode()),
        ("onefile_cache.py", cache),
        ("onefile_cache.pyc", cache_code),
        ("payload.zip", payload),
    ]
    return archive(members, zipfile.ZIP_STORED, START_LINE)


def write(output: Path, content: bytes) -> None:
    """Put the file in place, executable, never half of it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = output.with_name(f".{output.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.rename(output)


def build(output: Path) -> str:
    """Write the file and return the line that tells of it. Raises BuildError."""
    began = time.monotonic()
    files = own_files(ROOT)
    for one in locked(LOCK.read_text()):
        files += library_files(one)
    target = Target(glibc=oldest_glibc(files))
    files = compiled(files)
    whole = assemble(files, target)
    write(output, whole)
    return (
        f"{output}: {len(whole):,} bytes, {len(files):,} files, sha256 {hashlib.sha256(whole).hexdigest()},"
        f" for {target}, in {time.monotonic() - began:.1f} s"
    )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: build.py FILE")
    try:
        print(f"build: {build(Path(sys.argv[1]))}")
    except BuildError as error:
        sys.exit(f"build: {error}")


if __name__ == "__main__":
    main()
