"""The files of a FAT32 volume, and the order of writes by which they come and go."""

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator

from core.partitions.device import Area
from core.partitions.fat.geometry import FatError, Geometry
from core.partitions.fat.names import (
    ARCHIVE,
    DIRECTORY,
    END,
    FREE,
    RECORD,
    Entry,
    entries,
    records,
    short_record,
)

_CLUSTER_MASK = 0x0FFF_FFFF
_LAST = 0x0FFF_FFF8
"""From here on: there is no next cluster."""
_END_OF_CHAIN = 0x0FFF_FFFF
_UNKNOWN = 0xFFFF_FFFF


class Volume:
    """An open volume. Paths have `/` between names; the case of letters does not matter.

    FatError if it does not hold, DeviceError if it fails. What a method changed is durable when it returns.
    """

    def __init__(self, area: Area) -> None:
        self._area = area
        self._at = Geometry.read(area)
        table = array("I", area.read(self._at.tables[0], 4 * (self._at.clusters + 2)))
        if len(table) != self._at.clusters + 2:
            raise FatError("its FAT volume ends in the table of clusters")
        if sys.byteorder == "big":
            table.byteswap()
        self._table = table

    @property
    def free(self) -> int:
        """Bytes that no file has."""
        return self._table.count(0) * self._at.cluster

    def needed(self, size: int) -> int:
        """Bytes that a file of so many takes."""
        return -(-size // self._at.cluster) * self._at.cluster

    def names(self, directory: str) -> list[str]:
        """What is in a directory; nothing if there is none."""
        try:
            found = self._listing(self._directory(directory))
        except FileNotFoundError:
            return []
        return [entry.name for entry in found if entry.name not in (".", "..")]

    def has(self, path: str) -> bool:
        try:
            return not self._entry(path)[1].is_directory
        except FileNotFoundError:
            return False

    def has_directory(self, path: str) -> bool:
        try:
            self._directory(path)
        except FileNotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        """Bytes of a file. FileNotFoundError if there is none."""
        return self._entry(path)[1].size

    def pieces(self, path: str) -> Iterator[bytes]:
        """What is in a file, as it is on the disk. FileNotFoundError if there is none."""
        entry = self._entry(path)[1]
        left = entry.size
        for offset, length in _runs(self._chain(entry.cluster, self.needed(left)), self._at):
            yield self._area.read(offset, min(length, left))
            left -= min(length, left)

    def read(self, path: str) -> bytes:
        """All of a file."""
        return b"".join(self.pieces(path))

    def create(self, path: str, size: int, pieces: Iterable[bytes]) -> None:
        """A new file of so many bytes, in a directory that is there. FileExistsError, FatError if there is no room.

        Its bytes, then its clusters in every copy of the table, then its name: each durable before the next.
        """
        parent, name = self._parent(path)
        if self._find(parent, name) is not None:
            raise FileExistsError(path)
        clusters = self._claimed(size)
        self._fill(clusters, size, pieces)
        self._area.sync()
        self._save_table(self._link(clusters))
        self._name(parent, name, ARCHIVE, clusters[0] if clusters else 0, size)

    def make_directory(self, path: str) -> None:
        """A directory, in one that is there; nothing if it is there."""
        parent, name = self._parent(path)
        if self._find(parent, name) is not None:
            return
        clusters = self._claimed(self._at.cluster)
        above = 0 if parent == self._at.root else parent
        content = short_record(b".".ljust(11), DIRECTORY, clusters[0], 0)
        content += short_record(b"..".ljust(11), DIRECTORY, above, 0)
        self._fill(clusters, self._at.cluster, [content.ljust(self._at.cluster, b"\0")])
        self._area.sync()
        self._save_table(self._link(clusters))
        self._name(parent, name, DIRECTORY, clusters[0], 0)

    def patch(self, path: str, offset: int, byte: bytes) -> None:
        """Another byte in the place of one of a file: one sector, so all of it or nothing."""
        entry = self._entry(path)[1]
        if len(byte) != 1 or not 0 <= offset < entry.size:
            raise ValueError(f"{len(byte)} bytes at {offset} of {entry.size}")
        cluster = self._chain(entry.cluster, self.needed(entry.size))[offset // self._at.cluster]
        place = self._at.place(cluster) + offset % self._at.cluster
        self._change(place, byte)
        self._area.sync()

    def remove(self, path: str) -> None:
        """A file goes: its name, durably, then its room. FileNotFoundError if there is none."""
        parent, entry = self._entry(path)
        self._unname(parent, entry)
        self._save_table(self._release(self._chain(entry.cluster, self.needed(entry.size))))

    def mend(self, directory: str) -> list[str]:
        """Of two files of a directory with the same room only the first is left, and room of no file is taken back.

        That is what a boot loader's rename and what `create` leave when the power goes. Returns the names that went.
        FatError if more than that is wrong.
        """
        gone = []
        try:
            parent = self._directory(directory)
        except FileNotFoundError:
            return []
        seen: set[int] = set()
        for entry in self._listing(parent):
            if entry.cluster and entry.cluster in seen:
                self._unname(parent, entry)
                gone.append(entry.name)
            seen.add(entry.cluster)
        used = self._used(self._at.root, set())
        lost = [cluster for cluster in range(2, len(self._table)) if self._next(cluster) and cluster not in used]
        # what is marked as bad belongs to nobody and stays so
        self._release([cluster for cluster in lost if self._next(cluster) != _LAST - 1])
        self._save_table(self._differing())
        self._save_hint()
        return gone

    # Names

    def _entry(self, path: str) -> tuple[int, Entry]:
        parent, name = self._parent(path)
        entry = self._find(parent, name)
        if entry is None:
            raise FileNotFoundError(path)
        return parent, entry

    def _parent(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return self._directory(above), name

    def _directory(self, path: str) -> int:
        """Its first cluster."""
        cluster = self._at.root
        for name in path.split("/") if path else ():
            entry = self._find(cluster, name)
            if entry is None or not entry.is_directory:
                raise FileNotFoundError(path)
            cluster = entry.cluster
        return cluster

    def _find(self, directory: int, name: str) -> Entry | None:
        return next((entry for entry in self._listing(directory) if entry.name.lower() == name.lower()), None)

    def _listing(self, directory: int) -> list[Entry]:
        return list(entries(self._content(directory)))

    def _content(self, directory: int) -> bytes:
        return b"".join(self._area.read(*run) for run in _runs(self._chain(directory), self._at))

    def _name(self, directory: int, name: str, attributes: int, cluster: int, size: int) -> None:
        """Records for a file, all in one sector, and so in one step."""
        content = self._content(directory)
        taken = {entry.short for entry in entries(content)}
        fresh = records(name, taken, attributes, cluster, size)
        index = _gap(content, len(fresh) // RECORD, self._at.sector)
        if index is None:
            self._grow(directory)
            content = self._content(directory)
            index = _gap(content, len(fresh) // RECORD, self._at.sector)
        if index is None:
            raise FatError(f"{name} is too long a name")
        end = next((at for at in range(len(content) // RECORD) if content[at * RECORD] == END), len(content) // RECORD)
        # the records between the old end and the new file: free, so that readers go on to it
        for at in range(end, index):
            self._change(self._record(directory, at), bytes([FREE]))
        behind = index + len(fresh) // RECORD
        if end <= index and behind * RECORD < len(content) and content[behind * RECORD] != END:
            self._change(self._record(directory, behind), bytes([END]))
        self._area.sync()
        self._change(self._record(directory, index), fresh)
        self._area.sync()

    def _unname(self, directory: int, entry: Entry) -> None:
        """The short record first: pieces of a long name without it are nothing."""
        by_sector: dict[int, list[int]] = {}
        for index in reversed(entry.records):
            place = self._record(directory, index)
            by_sector.setdefault(place - place % self._at.sector, []).append(place)
        for sector, places in by_sector.items():
            content = bytearray(self._area.read(sector, self._at.sector))
            for place in places:
                content[place - sector] = FREE
            self._area.write(sector, bytes(content))
            self._area.sync()

    def _record(self, directory: int, index: int) -> int:
        """Where a record lies."""
        cluster = self._chain(directory)[index * RECORD // self._at.cluster]
        return self._at.place(cluster) + index * RECORD % self._at.cluster

    def _grow(self, directory: int) -> None:
        """One cluster more, empty before it belongs to the directory."""
        last = self._chain(directory)[-1]
        clusters = self._claimed(self._at.cluster)
        self._area.write(self._at.place(clusters[0]), bytes(self._at.cluster))
        self._area.sync()
        self._save_table(self._link(clusters))
        self._table[last] = clusters[0]
        self._save_table({last})

    def _change(self, place: int, data: bytes) -> None:
        """Bytes within one sector, which is written as a whole."""
        sector = place - place % self._at.sector
        content = bytearray(self._area.read(sector, self._at.sector))
        content[place - sector : place - sector + len(data)] = data
        self._area.write(sector, bytes(content))

    # Clusters

    def _next(self, cluster: int) -> int:
        return self._table[cluster] & _CLUSTER_MASK

    def _chain(self, first: int, size: int | None = None) -> list[int]:
        """Clusters in their order. FatError if they end in nowhere, go in a circle, or are fewer than `size` takes."""
        found: list[int] = []
        cluster = first
        while cluster and cluster < _LAST:
            self._at.place(cluster)
            found.append(cluster)
            if len(found) > self._at.clusters:
                raise FatError("a chain of clusters of its FAT volume goes in a circle; run fsck.vfat on it")
            cluster = self._next(cluster)
        if found and not cluster:
            raise FatError("a chain of clusters of its FAT volume ends in nowhere; run fsck.vfat on it")
        if size is not None and len(found) * self._at.cluster < size:
            raise FatError("a file of its FAT volume is larger than its room; run fsck.vfat on it")
        return found

    def _used(self, directory: int, used: set[int]) -> set[int]:
        """The clusters of a directory and of all below it. FatError if two have the same."""
        for first in (directory, *(e.cluster for e in self._listing(directory) if not e.is_directory)):
            chain = self._chain(first)
            if not used.isdisjoint(chain):
                raise FatError("two files of its FAT volume have the same room; run fsck.vfat on it")
            used.update(chain)
        for entry in self._listing(directory):
            if entry.is_directory and entry.name not in (".", ".."):
                self._used(entry.cluster, used)
        return used

    def _claimed(self, size: int) -> list[int]:
        """Clusters for so many bytes, one behind the other where that is possible. FatError if there are too few."""
        count = -(-size // self._at.cluster)
        found: list[int] = []
        try:
            for _ in range(count):
                found.append(self._table.index(0, found[-1] + 1 if found else 2))
        except ValueError:
            raise FatError(f"{size} bytes do not fit: {self.free} are free on its FAT volume") from None
        return found

    def _fill(self, clusters: list[int], size: int, pieces: Iterable[bytes]) -> None:
        runs = _runs(clusters, self._at)
        offset, room = 0, 0
        left = size
        for piece in pieces:
            rest = memoryview(piece)
            if len(rest) > left:
                raise FatError(f"a file of {size} bytes turned out to be longer")
            left -= len(rest)
            while rest:
                if not room:
                    offset, room = next(runs)
                part = rest[:room]
                self._area.write(offset, part)
                offset, room, rest = offset + len(part), room - len(part), rest[len(part) :]
        if left:
            raise FatError(f"a file of {size} bytes turned out to be {left} shorter")

    def _link(self, clusters: list[int]) -> set[int]:
        for cluster, following in zip(clusters, [*clusters[1:], _END_OF_CHAIN], strict=False):
            self._table[cluster] = following
        return set(clusters)

    def _release(self, clusters: list[int]) -> set[int]:
        for cluster in clusters:
            self._table[cluster] = 0
        return set(clusters)

    def _save_table(self, clusters: set[int]) -> None:
        """The sectors of the table with these clusters, the copy that counts last."""
        if not clusters:
            return
        per_sector = self._at.sector // 4
        sectors = sorted({cluster // per_sector for cluster in clusters})
        for table in reversed(self._at.tables):
            for sector in sectors:
                self._area.write(table + sector * self._at.sector, self._table_sector(sector))
            self._area.sync()
        self._save_hint()

    def _table_sector(self, sector: int) -> bytes:
        """A sector of the table as it ought to be. Behind the last cluster there is none, and zeros."""
        per_sector = self._at.sector // 4
        part = array("I", self._table[sector * per_sector : (sector + 1) * per_sector])
        if sys.byteorder == "big":
            part.byteswap()
        return part.tobytes().ljust(self._at.sector, b"\0")

    def _differing(self) -> set[int]:
        """A cluster of each sector that any copy of the table has otherwise."""
        per_sector = self._at.sector // 4
        return {
            sector * per_sector
            for sector in range(-(-len(self._table) // per_sector))
            for table in self._at.tables
            if self._area.read(table + sector * self._at.sector, self._at.sector) != self._table_sector(sector)
        }

    def _save_hint(self) -> None:
        """How much is free, which readers may believe or count themselves."""
        known = struct.pack("<II", self.free // self._at.cluster, _UNKNOWN)
        if self._area.read(self._at.free_count + 488, len(known)) != known:
            self._change(self._at.free_count + 488, known)
            self._area.sync()


def _runs(clusters: list[int], at: Geometry) -> Iterator[tuple[int, int]]:
    """Offset and bytes of clusters that lie one behind the other."""
    start = count = 0
    for cluster in clusters:
        if count and cluster == start + count:
            count += 1
            continue
        if count:
            yield at.place(start), count * at.cluster
        start, count = cluster, 1
    if count:
        yield at.place(start), count * at.cluster


def _gap(content: bytes, count: int, sector: int) -> int | None:
    """The index of so many free records within one sector."""
    ended = False
    free = 0
    for index in range(len(content) // RECORD):
        ended = ended or content[index * RECORD] == END
        if index * RECORD % sector == 0:
            free = 0
        free = free + 1 if ended or content[index * RECORD] == FREE else 0
        if free == count:
            return index - count + 1
    return None
