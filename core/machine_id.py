"""The id of this host among the machines of the cluster: 32 hexadecimal digits.

On an installed host it is systemd's. A data directory elsewhere has an id of its own: several nodes of one host, as in
a demo, are several machines.
"""

import re
import secrets
from pathlib import Path

SYSTEM_DATA = Path("/var/lib/corenode")
SYSTEM_ID = Path("/etc/machine-id")
FILE = "machine-id"

_ID = re.compile(r"[0-9a-f]{32}")


class MachineIdError(Exception):
    """No usable id. The text is for people."""


def is_machine_id(text: str) -> bool:
    """Whether a text is such an id."""
    return _ID.fullmatch(text) is not None


def machine_id(data_dir: Path, given: str = "") -> str:
    """The id given, or that of the host, or that of the data directory, which is made and gets one if it has none.
    MachineIdError."""
    if given:
        return given
    if data_dir.absolute() == SYSTEM_DATA and SYSTEM_ID.exists():
        return _read(SYSTEM_ID)
    file = data_dir / FILE
    try:
        if not file.exists():
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = data_dir / f".{FILE}.{secrets.token_hex(4)}.part"
            part.write_text(f"{secrets.token_hex(16)}\n")
            part.replace(file)
    except OSError as error:
        raise MachineIdError(f"{file} cannot be made: {error.strerror}; name an id with --machine-id") from error
    return _read(file)


def _read(file: Path) -> str:
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MachineIdError(f"{file} cannot be read: {error}; name an id with --machine-id") from error
    if not is_machine_id(text):
        raise MachineIdError(f"{file} holds no machine id (32 hexadecimal digits); correct it, or use --machine-id")
    return text
