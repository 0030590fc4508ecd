"""A path of the repository as this member serves it: from the catalogue what is small, from the shelf the rest."""

import re
from collections.abc import Iterator

from core.depot.catalogue import Catalogue
from core.depot.shelf import Shelf
from core.images.manifest import Blob, ImageError

_METADATA = re.compile(r"metadata/(?:([1-9][0-9]{0,8})\.(root|targets|snapshot)|(timestamp))\.json")
_CHUNK = re.compile(r"chunks/([0-9a-f]{2})/(\1[0-9a-f]{62})\.zst")


class AbsentError(Exception):
    """The repository has no such file."""


class NotHereError(Exception):
    """It has, but this member does not yet, or what it has is damaged: ask another."""


def find(catalogue: Catalogue, path: str) -> bytes | Blob | str:
    """What is at a path: its bytes, a blob, or the name of a chunk. AbsentError."""
    chunk = _CHUNK.fullmatch(path)
    if chunk is not None:
        return chunk[2]
    metadata = _METADATA.fullmatch(path)
    found: bytes | Blob | None
    if metadata is None:
        found = catalogue.manifests.get(path)
    elif metadata[3]:
        found = catalogue.timestamp
    else:
        found = _version(catalogue, metadata[2], int(metadata[1]))
    if not found:
        raise AbsentError(path)
    return found


def _version(catalogue: Catalogue, role: str, version: int) -> bytes | Blob | None:
    match role:
        case "root":
            return catalogue.roots[version - 1] if version <= len(catalogue.roots) else None
        case "targets":
            there = {
                catalogue.targets_version: catalogue.targets,
                catalogue.targets_version - 1: catalogue.targets_before,
            }
            return there.get(version)
        case _:
            last = catalogue.snapshot_version
            return {last: catalogue.snapshot, last - 1: catalogue.snapshot_before}.get(version)


def pieces(shelf: Shelf, found: bytes | Blob | str) -> Iterator[bytes]:
    """Its bytes, some at a time; each step blocks. NotHereError, at any step."""
    if isinstance(found, bytes):
        yield found
    elif isinstance(found, str):
        packed = shelf.packed(found)
        if packed is None:
            raise NotHereError(found)
        yield packed
    else:
        for chunk in found.chunks:
            try:
                yield shelf.plain(chunk)
            except ImageError as error:
                raise NotHereError(str(error)) from None
