"""A disk with its table: read at the start, mended if need be, changed in one step."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from core.partitions.device import Area, Device, partition_node, window
from core.partitions.reading import Found, read_table
from core.partitions.table import Table
from core.partitions.writing import Plan, change, repair


class Disk:
    """An open disk. TableError if it has no table that holds, DeviceError if it cannot be read or written."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._found = self._read()

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> Self:
        """An image is held against other writers. A whole block device cannot be: its other partitions are in use."""
        device = Device.open(path, writable=writable, exclusive=writable and path.is_file())
        try:
            return cls(device)
        except BaseException:
            device.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.device.close()

    @property
    def table(self) -> Table:
        """As it was read or changed last."""
        return self._found.table

    @property
    def problems(self) -> tuple[str, ...]:
        """What `repair` would mend."""
        return self._found.problems

    def change(self, table: Table) -> None:
        """Put this table in place of the present one, durably. A power cut leaves one of the two."""
        self._carry_out(change(self._found, table))

    def repair(self) -> None:
        """Make both copies whole and equal."""
        self._carry_out(repair(self._found))

    @contextmanager
    def opened(self, number: int) -> Iterator[Area]:
        """A partition, to be written to. DeviceError if it is in use."""
        partition = self.table.partition(number)
        if self.device.is_block_device:
            with Device.open(partition_node(self.device.path, number), writable=True, exclusive=True) as node:
                yield node
        else:
            yield window(self.device, partition)

    @contextmanager
    def read_only(self, number: int) -> Iterator[Area]:
        """A partition, to be read; it may be in use."""
        if self.device.is_block_device:
            with Device.open(partition_node(self.device.path, number)) as node:
                yield node
        else:
            yield window(self.device, self.table.partition(number))

    def _carry_out(self, plan: Plan) -> None:
        for group in plan:
            for write in group:
                self.device.write(write.offset, write.data)
            self.device.sync()
        self._found = self._read()

    def _read(self) -> Found:
        size = self.device.sector_size
        return read_table(self.device.read, self.device.size // size, size)
