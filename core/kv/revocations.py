"""Certificates that are no longer good, by serial number: system records that only grow."""

from core.kv.commands import Revoke
from core.kv.errors import LimitError
from core.kv.ledger import SYSTEM_PREFIX, Ledger
from core.kv.outcomes import Revoked
from core.kv.records import Action
from core.kv.transaction import Table

PREFIX = SYSTEM_PREFIX + b"revoked/"
SERIAL_BYTES = 20
"""As long as a serial number may be: RFC 5280, section 4.1.2.2."""


def revoke(ledger: Ledger, command: Revoke) -> Revoked:
    """Record a serial number. One that is there already consumes no revision."""
    if not 1 <= len(command.serial) <= SERIAL_BYTES or command.serial[0] == 0:
        raise LimitError(f"a serial number has 1 to {SERIAL_BYTES} bytes and does not begin with zero")
    key = PREFIX + command.serial
    if ledger.is_live(Table.KEY, key):
        return Revoked(ledger.revision, new=False)
    ledger.tell(ledger.write(Table.KEY, key, ledger.revision + 1, 0, Action.SET), None)
    ledger.revocations += 1
    return Revoked(ledger.revision, new=True)


def is_revoked(ledger: Ledger, serial: int) -> bool:
    """Whether that serial number was revoked."""
    return serial > 0 and ledger.is_live(Table.KEY, PREFIX + _bytes(serial))


def revoked(ledger: Ledger) -> list[int]:
    """Every revoked serial number, in the order of their bytes."""
    end = PREFIX[:-1] + bytes([PREFIX[-1] + 1])
    return [int.from_bytes(key[len(PREFIX) :], "big") for key, _ in ledger.rows.scan(Table.KEY, PREFIX, end)]


def command_for(serial: int) -> Revoke:
    """The command that revokes it. ValueError if it is no serial number."""
    if not 0 < serial < 1 << 8 * SERIAL_BYTES:
        raise ValueError(f"a serial number is above zero and has at most {2 * SERIAL_BYTES} hexadecimal digits")
    return Revoke(_bytes(serial))


def _bytes(serial: int) -> bytes:
    return serial.to_bytes((serial.bit_length() + 7) // 8, "big")
