"""Keys with their values as JSON. Written by hand: it is most of what this dialect sends."""

from binascii import b2a_base64
from collections.abc import Sequence

from core.kv.records import Record


def key_value(record: Record, *, keys_only: bool = False) -> bytes:
    """A `KeyValue`, fields at their default left out. A deletion shows its key and revision only."""
    key = b2a_base64(record.key, newline=False)
    if record.gone:
        return b'{"key":"%b","mod_revision":"%d"}' % (key, record.revision)
    head = b'{"key":"%b","create_revision":"%d","mod_revision":"%d","version":"%d"' % (
        key,
        record.create_revision,
        record.revision,
        record.version,
    )
    if record.value and not keys_only:
        head = b'%b,"value":"%b"' % (head, b2a_base64(record.value, newline=False))
    return b'%b,"lease":"%d"}' % (head, record.lease) if record.lease else head + b"}"


def key_values(records: Sequence[Record], *, keys_only: bool = False) -> bytes:
    """Several, with commas between them."""
    return b",".join([key_value(record, keys_only=keys_only) for record in records])
