"""Clean paths: the keys that the v2 dialect can see.

A clean path begins with `/`, has no empty, `.` or `..` component, does not end in `/`, is valid UTF-8, and has at most
MAX_DEPTH components: a write makes every directory above it, so depth times length is what one request can cost.
`/` itself is the root, which is no record.
"""

ROOT = b"/"
MAX_DEPTH = 256


def is_clean(key: bytes) -> bool:
    """Whether v2 can see this key."""
    if key[:1] != b"/" or len(key) < 2 or key[-1:] == b"/" or b"//" in key:
        return False
    if len(key) > 2 * MAX_DEPTH and key.count(b"/") > MAX_DEPTH:
        return False
    if b"/." in key and any(part in (b".", b"..") for part in key.split(b"/")):
        return False
    if key.isascii():
        return True
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def clean(path: str) -> bytes:
    """The clean form of a path as Go's path.Clean gives it: `a//b/../c/` becomes `/a/c`."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part and part != ".":
            parts.append(part)
    return ("/" + "/".join(parts)).encode()


def parent(path: bytes) -> bytes:
    """The directory that holds a clean path."""
    return path[: path.rindex(b"/")] or ROOT


def ancestors(path: bytes) -> list[bytes]:
    """The directories above a clean path, from the top, without the root."""
    found = []
    slash = path.find(b"/", 1)
    while slash != -1:
        found.append(path[:slash])
        slash = path.find(b"/", slash + 1)
    return found


def below(directory: bytes) -> tuple[bytes, bytes]:
    """First key below a directory, and the first one behind them all (`0` follows `/`)."""
    return (b"/", b"0") if directory == ROOT else (directory + b"/", directory + b"0")


def is_hidden_below(path: bytes, directory: bytes) -> bool:
    """Whether a component of `path` below `directory` begins with `_`, so that listings above leave it out."""
    below = path[len(directory) :] if directory != ROOT else path
    return b"/_" in below
