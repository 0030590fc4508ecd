"""Which boot loader a disk has."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.partitions.boot import BootControl
from core.partitions.boot.gpt import GptControl
from core.partitions.disk import Disk


@contextmanager
def boot_control(disk: Disk) -> Iterator[BootControl]:
    """The control of an open disk, which must be writable if anything but its status is asked for."""
    yield GptControl(disk)
