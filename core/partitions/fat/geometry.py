"""Where the parts of a FAT32 volume lie.

Source: Microsoft's FAT32 File System Specification 1.03; ECMA-107 for what it shares with older ones.
"""

import struct
from typing import Self

import msgspec

from core.partitions.device import Area, DeviceError

_FIELDS = struct.Struct("<HBHBHHBHHHIIIHHIHH")
"""From byte 11: bytes of a sector, sectors of a cluster, reserved sectors, copies of the table, entries of a fixed
root, sectors (16 bits), medium, sectors of a copy (16 bits), three about tracks and hidden sectors, sectors, sectors of
a copy, flags, version, the root's first cluster, sector of the free count, sector of the copy of this one."""
CLUSTERS_MAX = 1 << 24
"""Clusters that are read: 64 MiB of table."""


class FatError(DeviceError):
    """A volume that cannot be used. The text says why; `fsck.vfat` may mend it."""


class NoVolumeError(FatError):
    """There is none, or one of another kind of FAT."""


class Geometry(msgspec.Struct, frozen=True):
    """All offsets are in bytes from the start of the volume."""

    sector: int
    """Bytes."""
    cluster: int
    """Bytes."""
    tables: tuple[int, ...]
    """Where each copy of the table of clusters begins; the first is the one that counts."""
    data: int
    """Where cluster 2 begins."""
    clusters: int
    root: int
    """The first cluster of the root directory."""
    free_count: int
    """The sector that tells how much is free."""

    @classmethod
    def read(cls, area: Area) -> Self:
        """NoVolumeError if it is no FAT32 volume, FatError if it is one that does not hold."""
        boot = area.read(0, 512)
        if len(boot) < 512 or boot[510:512] != b"\x55\xaa":
            raise NoVolumeError("it holds no FAT volume")
        (sector, per_cluster, reserved, copies, fixed_root, small, _, small_table, _, _, _, sectors, table, flags,
         version, root, info, _) = _FIELDS.unpack_from(boot, 11)  # fmt: skip
        if fixed_root or small_table or not table or boot[82:87] != b"FAT32":
            raise NoVolumeError("it holds no FAT32 volume, and other kinds of FAT are not written to")
        if sector not in (512, 1024, 2048, 4096) or per_cluster not in (1, 2, 4, 8, 16, 32, 64, 128):
            raise FatError(f"its FAT volume has sectors of {sector} bytes and clusters of {per_cluster} sectors")
        sectors = small or sectors
        start = reserved + copies * table
        clusters = min((sectors - start) // per_cluster, table * sector // 4 - 2)
        if version or flags & 0x80 or not copies or not 0 < info < reserved or not 0 < clusters <= CLUSTERS_MAX:
            raise FatError("its FAT volume is of a make that is not written to")
        if sectors * sector > area.size:
            raise FatError(f"its FAT volume says it has {sectors * sector} bytes, and the partition has {area.size}")
        tables = tuple((reserved + copy * table) * sector for copy in range(copies))
        return cls(sector, per_cluster * sector, tables, start * sector, clusters, root, info * sector)

    def place(self, cluster: int) -> int:
        """Where a cluster lies. FatError if there is none of that number."""
        if not 2 <= cluster < self.clusters + 2:
            raise FatError(f"its FAT volume speaks of cluster {cluster}, and has {self.clusters}; run fsck.vfat on it")
        return self.data + (cluster - 2) * self.cluster
