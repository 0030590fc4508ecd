"""The form of `job` and `status`: a record a line, its fields separated by tabs; backslash, tab and newline escaped."""

Rows = list[list[str]]


def pack(rows: Rows) -> bytes:
    """The bytes of these records. What was no UTF-8 (surrogate escapes) comes back as it was."""
    lines = ("\t".join(_escaped(field) for field in row) + "\n" for row in rows)
    return "".join(lines).encode("utf-8", "surrogateescape")


def unpack(data: bytes) -> Rows:
    """The records in these bytes."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return [[_plain(field) for field in line.split("\t")] for line in lines if line]


def _escaped(field: str) -> str:
    return field.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _plain(field: str) -> str:
    if "\\" not in field:
        return field
    return "\\".join(part.replace("\\t", "\t").replace("\\n", "\n") for part in field.split("\\\\"))
