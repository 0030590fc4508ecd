"""Becomes `onefile_cache` in the one file: unpacks the program once, and finds it again at every later start.

A version rests in `<cache>/<digest of its payload>/site`, with a seal beside it. The payload is held to its digest
before it is unpacked; afterwards the seal notices any file that was changed, cut short, added or lost, from sizes and
times alone (as git's index does), so that a start costs milliseconds. A tree that does not match is unpacked anew.

One lock a cache lets one process unpack at a time. A version is made beside its place and renamed into it, so nobody
sees half of one. Every running process holds a shared lock on its version; a new version removes older ones that no
process holds, but for the last before it, which a roll-back would want.
"""

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Iterator

SITE = "site"
SEAL = "seal"
LOCK = "lock"
NAME_LENGTH = 32
NAME = f"[0-9a-f]{{{NAME_LENGTH}}}"
UNMAPPED_USER = 65534
"""Who root is from inside a user namespace that does not map root."""

_held: list[int] = []  # the lock on the running version, open until the process ends


class RefusedError(Exception):
    """A directory that somebody else could have prepared. The text says what is wrong with it."""


def enter(archive: str, digest: str) -> None:
    """Put the unpacked program in front of `sys.path` in place of the archive; end the process in one line if it
    cannot be had."""
    problems = []
    for place in places():
        try:
            tree = unpacked(place, archive, digest)
        except RefusedError as error:
            problems.append(f"{place}: {error}")
            print(f"corenode: will not unpack into {place}: {error}", file=sys.stderr)
        except OSError as error:
            problems.append(f"{place}: {error.strerror}")
        else:
            sys.path[0] = tree
            sys.dont_write_bytecode = True
            return
    sys.exit(f"corenode: nowhere to unpack ({'; '.join(problems)}): name a directory of your own in CORENODE_CACHE")


def places() -> list[str]:
    """Where the cache may be, the best first. Works without HOME, and without a home."""
    if named := os.environ.get("CORENODE_CACHE"):
        return [os.path.abspath(named)]
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    home = [f"{caches}/corenode"] if os.path.isabs(caches) else []
    return [*home, f"/var/tmp/corenode-{os.geteuid()}", f"/tmp/corenode-{os.geteuid()}"]  # noqa: S108  # checked below


def unpacked(place: str, archive: str, digest: str) -> str:
    """The directory with the program's modules. Raises RefusedError or OSError if `place` cannot hold it."""
    make_private(place)
    version = f"{place}/{digest[:NAME_LENGTH]}"
    if not hold(version):
        lock = os.open(f"{place}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not hold(version):  # nobody else was faster
                unpack(place, version, archive, digest)
                hold(version)
        finally:
            os.close(lock)
    return f"{version}/{SITE}"


def make_private(place: str) -> None:
    """Make the directory (and one above it), or see that it is ours alone. Raises RefusedError or OSError."""
    above = os.path.dirname(place)
    if not os.path.isdir(above):
        with contextlib.suppress(FileExistsError):
            os.mkdir(above, 0o700)
    above = os.path.realpath(above)
    for parent in (above, *_parents(above)):
        found = os.lstat(parent)
        if found.st_uid not in (0, os.geteuid(), UNMAPPED_USER):
            raise RefusedError(f"{parent} above it belongs to user {found.st_uid}")
        if found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX:
            raise RefusedError(f"anybody may write to {parent} above it")
    with contextlib.suppress(FileExistsError):  # two first starts at once
        os.mkdir(place, 0o700)
    found = os.lstat(place)
    if not stat.S_ISDIR(found.st_mode):
        raise RefusedError("it is not a directory")
    if found.st_uid != os.geteuid():
        raise RefusedError(f"it belongs to user {found.st_uid}")
    if found.st_mode & 0o022:
        raise RefusedError("others may write to it")
    if found.st_mode & 0o077:
        os.chmod(place, 0o700)


def _parents(path: str) -> Iterator[str]:
    while path != "/":
        path = os.path.dirname(path)
        yield path


def hold(version: str) -> bool:
    """Whether the version is there and whole; if so it is kept from being pruned while this process lives."""
    try:
        handle = os.open(version, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    fcntl.flock(handle, fcntl.LOCK_SH)
    if os.path.exists(version) and os.path.samestat(os.fstat(handle), os.lstat(version)) and sealed(version):
        _held.append(handle)
        return True
    os.close(handle)
    return False


def sealed(version: str) -> bool:
    """Whether every file is as it was when the version was unpacked."""
    try:
        with open(f"{version}/{SEAL}") as file:
            return file.read() == seal(f"{version}/{SITE}")
    except OSError:
        return False


def seal(tree: str) -> str:
    """A line a file: its path, size, time of change and time of any change, of which the last cannot be set back."""
    return "".join(sorted(_lines(tree, len(tree) + 1)))


def _lines(directory: str, skip: int) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _lines(entry.path, skip)
            else:
                found = entry.stat(follow_symlinks=False)
                yield f"{entry.path[skip:]} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n"


def unpack(place: str, version: str, archive: str, digest: str) -> None:
    """Unpack, seal and rename into place; then prune. The cache's lock is held. Ends the process if the archive is
    damaged."""
    import hashlib
    import io
    import shutil
    import tempfile
    import zipfile

    payload = b""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(archive) as outer:
        payload = outer.read("payload.zip")
    if os.statvfs(place).f_flag & os.ST_NOEXEC:
        raise RefusedError("programs may not run from that file system")
    if hashlib.sha256(payload).hexdigest() != digest:
        sys.exit(f"corenode: {archive} is damaged, what it carries does not match its digest: copy it here again")
    for name in os.listdir(place):
        if name.startswith("new-"):  # left by a process that was killed: we hold the lock
            shutil.rmtree(f"{place}/{name}", ignore_errors=True)
    fresh = tempfile.mkdtemp(prefix="new-", dir=place)
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as inner:
            inner.extractall(f"{fresh}/{SITE}")
        with open(f"{fresh}/{SEAL}", "w") as file:
            file.write(seal(f"{fresh}/{SITE}"))
        if os.path.lexists(version):  # present, but not as it was
            os.rename(version, f"{fresh}/spoiled")
        os.rename(fresh, version)
        shutil.rmtree(f"{version}/spoiled", ignore_errors=True)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    prune(place, os.path.basename(version))


def prune(place: str, current: str) -> None:
    """Remove older versions but the last before this one, and but those that a process runs from."""
    import re
    import shutil

    names = [name for name in os.listdir(place) if name != current and re.fullmatch(NAME, name)]
    names.sort(key=lambda name: os.stat(f"{place}/{name}").st_mtime_ns)
    for name in names[:-1]:
        handle = os.open(f"{place}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(f"{place}/{name}", f"{place}/new-{name}")
            shutil.rmtree(f"{place}/new-{name}", ignore_errors=True)
        except OSError:
            continue  # in use, or on a file system without locks: another day
        finally:
            os.close(handle)
